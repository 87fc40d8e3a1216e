package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Cluster is what is known of a Kafka cluster from outside.
type Cluster struct {
	ID      string
	Brokers int
	// Version is a guess, from the requests that the brokers answer.
	Version string
}

// TopicState is a topic as Inspect finds it.
type TopicState struct {
	Name string
	// Exists is false if the program would create it at its start.
	Exists bool
	// Err says why nothing can be said of it, or why it could not be created.
	Err error
	// Lacks are rights without which the program cannot work; Misses are rights without
	// which it works less well.
	Lacks, Misses []*DeniedError
	// Drift is how its configuration differs from what the program would have given it.
	Drift []Drift
}

// Inspector looks at what the writer will need, without becoming the owner of the
// account or changing anything: a producer that runs is not disturbed.
type Inspector struct {
	c   Config
	cl  *kgo.Client
	adm *kadm.Client
}

// NewInspector returns an Inspector. Close it.
func NewInspector(c Config) (*Inspector, error) {
	cl, err := kgo.NewClient(c.Kafka...)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka: %w", err)
	}
	return &Inspector{c: c, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close frees the connections.
func (i *Inspector) Close() { i.cl.Close() }

// Cluster asks the brokers who they are.
func (i *Inspector) Cluster(ctx context.Context) (Cluster, error) {
	meta, err := i.adm.BrokerMetadata(ctx)
	if err != nil {
		return Cluster{}, err
	}
	out := Cluster{ID: meta.Cluster, Brokers: len(meta.Brokers), Version: "unknown"}
	if versions, err := i.adm.ApiVersions(ctx); err == nil {
		for _, v := range versions {
			if v.Err == nil {
				out.Version = v.VersionGuess()
			}
		}
	}
	return out, nil
}

// Topics looks at every topic that the writer will use.
func (i *Inspector) Topics(ctx context.Context) ([]TopicState, error) {
	want := i.c.wantedTopics()
	names := make([]string, len(want))
	for n, w := range want {
		names[n] = w.name
	}
	found, err := listTopics(ctx, i.adm, names)
	if err != nil {
		return nil, err
	}
	var exist []string
	for _, name := range names {
		if found[name].Err == nil {
			exist = append(exist, name)
		}
	}
	configs := map[string]kadm.ResourceConfig{}
	if len(exist) > 0 {
		answers, err := describeConfigs(ctx, i.adm, exist)
		if err != nil {
			return nil, err
		}
		for _, a := range answers {
			configs[a.Name] = a
		}
	}
	out := make([]TopicState, len(want))
	for n, w := range want {
		if out[n], err = i.topic(ctx, w, found[w.name], configs[w.name]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (i *Inspector) topic(ctx context.Context, w wanted, d kadm.TopicDetail, rc kadm.ResourceConfig) (TopicState, error) {
	s := TopicState{Name: w.name}
	switch {
	case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
		config := make(map[string]*string, len(w.config))
		for k, v := range w.config {
			config[k] = &v
		}
		answers, err := i.adm.ValidateCreateTopics(ctx, w.partitions, i.c.ReplicationFactor, config, w.name)
		if err != nil {
			return s, fmt.Errorf("ask whether topic %s could be created: %w", w.name, err)
		}
		if answer := answers[w.name]; answer.Err != nil {
			s.Err = cannotCreate(&i.c, w, answer.Err, answer.ErrMessage)
		}
		return s, nil
	case d.Err != nil:
		s.Err = denied(d.Err, rightWrite, onTopic(w.name))
		return s, nil
	}
	s.Exists = true
	s.Lacks, s.Misses = missingRights(w.name, i.c.rightsOn(w.name), d.AuthorizedOperations)
	if rc.Err != nil {
		if err := denied(rc.Err, rightDescribeConfigs, onTopic(w.name)); !errors.As(err, new(*DeniedError)) {
			s.Err = fmt.Errorf("read the configuration of topic %s: %w", w.name, err)
		}
		return s, nil
	}
	config := map[string]string{}
	for _, kv := range rc.Configs {
		config[kv.Key] = kv.MaybeValue()
	}
	s.Drift = w.drift(int32(len(d.Partitions)), config)
	return s, nil
}

// rightsOn are the rights that the program needs on a topic that exists. Each implies
// Describe.
func (c *Config) rightsOn(topic string) []kadm.ACLOperation {
	if topic == c.BookmarksTopic || topic == c.StateTopic {
		return []kadm.ACLOperation{kadm.OpRead, kadm.OpWrite}
	}
	return []kadm.ACLOperation{kadm.OpWrite}
}

// missingRights compares what is needed with what the broker says is granted: lacks are
// rights without which nothing works, misses those without which it works less well. A
// broker without an authorizer grants everything; one that is too old says nothing.
func missingRights(topic string, needed, granted []kadm.ACLOperation) (lacks, misses []*DeniedError) {
	if len(granted) == 0 {
		return nil, nil
	}
	for _, op := range needed {
		if !slices.Contains(granted, op) {
			name := rightWrite
			if op == kadm.OpRead {
				name = rightRead
			}
			lacks = append(lacks, &DeniedError{Operation: name, Resource: onTopic(topic)})
		}
	}
	if !slices.Contains(granted, kadm.OpDescribeConfigs) {
		misses = append(misses, &DeniedError{Operation: rightDescribeConfigs, Resource: onTopic(topic)})
	}
	return lacks, misses
}

// Transactions says whether the user may use the account's transactional id. It asks to
// end a transaction of a producer id that nobody has: the broker looks at the rights
// first, and then refuses. Becoming the owner to find out would fence a producer that
// runs.
func (i *Inspector) Transactions(ctx context.Context) error {
	id := i.c.transactionalID()
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = id, nobody, 0, false
	resp, err := req.RequestWith(ctx, i.cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	var answered *kerr.Error
	switch err = denied(err, rightWrite, onTransactionalID(&i.c)); {
	case errors.As(err, new(*DeniedError)):
		return err
	case err == nil, errors.As(err, &answered) && !answered.Retriable:
		return nil // refused because of the producer id
	}
	return fmt.Errorf("ask for the coordinator of transactional id %s: %w", id, err)
}

// nobody is a producer id that no broker hands out: they count from 0.
const nobody = 1<<62 + 1
