package publish

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// maxMessageBytes is the max.message.bytes of topics that the program creates.
const maxMessageBytes = 8 << 20

const (
	day  = "86400000"
	week = "604800000"
)

// dataTopicConfig is the configuration of a table's topic. A reader that is at most a
// day behind sees every event; erased values are gone within a week; deletes stay
// visible to a reader that was away for less.
func dataTopicConfig() map[string]string {
	return map[string]string{
		"cleanup.policy":        "compact",
		"min.compaction.lag.ms": day,
		"max.compaction.lag.ms": week,
		"delete.retention.ms":   week,
		"max.message.bytes":     strconv.Itoa(maxMessageBytes),
	}
}

// Segments of the bookmarks and state topics are small, so that they are compacted soon
// and read back fast.
const (
	bookmarksSegment = 8 << 20
	stateSegment     = 64 << 20
)

// storeTopicConfig is the configuration of the bookmarks and state topics.
func storeTopicConfig(segment int) map[string]string {
	return map[string]string{
		"cleanup.policy":        "compact",
		"max.compaction.lag.ms": week, // bounds erasure, as for data topics
		"delete.retention.ms":   week,
		"segment.bytes":         strconv.Itoa(segment),
		"max.message.bytes":     strconv.Itoa(maxMessageBytes),
	}
}

func deadLetterTopicConfig() map[string]string {
	return map[string]string{"cleanup.policy": "delete", "max.message.bytes": strconv.Itoa(maxMessageBytes)}
}

// topic is a topic as it exists.
type topic struct {
	id         string
	partitions int32
	maxBytes   int
	created    bool // by this start
}

// wanted is a topic as it should be created.
type wanted struct {
	name       string
	partitions int32
	config     map[string]string
}

// Topic returns the name of a table's topic.
func (c *Config) Topic(table string) string { return c.Prefix + "." + table }

// DeadLetterTopic returns the name of the dead letter topic.
func (c *Config) DeadLetterTopic() string { return c.Prefix + ".dlq" }

func (c *Config) wantedTopics() []wanted {
	var out []wanted
	for _, t := range c.Tables {
		config := dataTopicConfig()
		maps.Copy(config, c.TopicConfig)
		out = append(out, wanted{c.Topic(t.Name), c.Partitions, config})
	}
	state := storeTopicConfig(stateSegment)
	if n, err := strconv.Atoi(c.TopicConfig["max.message.bytes"]); err == nil && n > maxMessageBytes {
		state["max.message.bytes"] = strconv.Itoa(n) // what a table's topic takes must fit there, too
	}
	return append(out,
		wanted{c.BookmarksTopic, 1, storeTopicConfig(bookmarksSegment)},
		wanted{c.StateTopic, 1, state},
		wanted{c.DeadLetterTopic(), 1, deadLetterTopicConfig()})
}

// ensureTopics creates the topics that are missing and reports how those that exist
// differ from what the program would have created. It goes on with those.
func ensureTopics(ctx context.Context, adm *kadm.Client, c *Config) (map[string]topic, error) {
	want := c.wantedTopics()
	names := make([]string, len(want))
	for i, w := range want {
		names[i] = w.name
	}
	exist, err := listTopics(ctx, adm, names)
	if err != nil {
		return nil, err
	}
	created := map[string]bool{}
	for _, w := range want {
		d := exist[w.name]
		if d.Err == nil {
			continue
		}
		if !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			return nil, fmt.Errorf("look up topic %s: %w", w.name, denied(d.Err, rightWrite, onTopic(w.name)))
		}
		config := make(map[string]*string, len(w.config))
		for k, v := range w.config {
			config[k] = &v
		}
		resp, err := adm.CreateTopic(ctx, w.partitions, c.ReplicationFactor, config, w.name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return nil, cannotCreate(c, w, err, resp.ErrMessage)
		}
		created[w.name] = err == nil
	}
	if len(created) > 0 {
		c.Logger.Info("created topics", "topics", slices.Sorted(maps.Keys(created)))
	}
	topics, err := describeTopics(ctx, adm, c, want, created)
	if err == nil && len(created) > 0 {
		awaitLeaders(ctx, adm, slices.Collect(maps.Keys(created)))
	}
	return topics, err
}

// awaitLeaders waits, for a few seconds, until the leaders of new topics know that they
// are. Whoever needs one that does not, says so.
func awaitLeaders(ctx context.Context, adm *kadm.Client, names []string) {
	_ = retry(ctx, func() error {
		ends, err := adm.ListEndOffsets(ctx, names...)
		if err == nil {
			err = ends.Error()
		}
		if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.LeaderNotAvailable) || errors.Is(err, kerr.NotLeaderForPartition) {
			return err
		}
		return nil
	})
}

// listTopics looks the topics up, with the rights on each. kadm gives up all of them if
// one may not be looked at; then they are asked for one by one, and that one has the
// error.
func listTopics(ctx context.Context, adm *kadm.Client, names []string) (kadm.TopicDetails, error) {
	ctx = kadm.WithAuthorizedOps(ctx)
	var refused *kadm.AuthError
	found, err := adm.ListTopics(ctx, names...)
	if err == nil {
		return found, nil
	}
	if !errors.As(err, &refused) {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	found = kadm.TopicDetails{}
	for _, name := range names {
		one, err := adm.ListTopics(ctx, name)
		switch {
		case errors.As(err, &refused):
			found[name] = kadm.TopicDetail{Topic: name, Err: err}
		case err != nil:
			return nil, fmt.Errorf("list topics: %w", err)
		default:
			found[name] = one[name]
		}
	}
	return found, nil
}

// describeConfigs reads the topics' configurations, and goes about refusals as listTopics
// does.
func describeConfigs(ctx context.Context, adm *kadm.Client, names []string) (kadm.ResourceConfigs, error) {
	var refused *kadm.AuthError
	found, err := adm.DescribeTopicConfigs(ctx, names...)
	if err == nil {
		return found, nil
	}
	if !errors.As(err, &refused) {
		return nil, fmt.Errorf("read topic configurations: %w", err)
	}
	found = nil
	for _, name := range names {
		one, err := adm.DescribeTopicConfigs(ctx, name)
		switch {
		case errors.As(err, &refused):
			one = kadm.ResourceConfigs{{Name: name, Err: err}}
		case err != nil:
			return nil, fmt.Errorf("read topic configurations: %w", err)
		}
		found = append(found, one...)
	}
	return found, nil
}

// cannotCreate says why a topic is not there.
func cannotCreate(c *Config, w wanted, err error, message string) error {
	if lacks := denied(err, rightCreate, onTopic(w.name)); lacks != err { //nolint:errorlint // the same value means that nothing was found
		return fmt.Errorf("create topic %s: %w; or create it by hand", w.name, lacks)
	}
	return fmt.Errorf("create topic %s (%d partitions, replication factor %d): %w %s; create it by hand or let the program's user do so", w.name, w.partitions, c.ReplicationFactor, err, message)
}

// describeTopics reads ids, partition counts and configurations.
func describeTopics(ctx context.Context, adm *kadm.Client, c *Config, want []wanted, created map[string]bool) (map[string]topic, error) {
	names := make([]string, len(want))
	for i, w := range want {
		names[i] = w.name
	}
	// Metadata of a topic just created may take a moment to reach every broker.
	var found kadm.TopicDetails
	err := retry(ctx, func() (err error) {
		found, err = listTopics(ctx, adm, names)
		if err == nil {
			err = found.Error()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up topics: %w", err)
	}
	for _, w := range want {
		if lacks, _ := missingRights(w.name, c.rightsOn(w.name), found[w.name].AuthorizedOperations); len(lacks) > 0 {
			return nil, lacks[0]
		}
	}
	configs, err := describeConfigs(ctx, adm, names)
	if err != nil {
		return nil, err
	}
	actual := map[string]map[string]string{}
	unread := map[string]bool{}
	for _, rc := range configs {
		if rc.Err != nil {
			if unread[rc.Err.Error()] {
				continue // the others most likely for the same reason
			}
			unread[rc.Err.Error()] = true
			c.Logger.Warn("cannot read topics' configurations; they are not checked, and records above 1 MB become dead letters", "first", rc.Name, "error", denied(rc.Err, rightDescribeConfigs, onTopic(rc.Name)))
			continue
		}
		actual[rc.Name] = map[string]string{}
		for _, kv := range rc.Configs {
			actual[rc.Name][kv.Key] = kv.MaybeValue()
		}
	}
	out := map[string]topic{}
	for _, w := range want {
		d := found[w.name]
		t := topic{id: base64.RawURLEncoding.EncodeToString(d.ID[:]), partitions: int32(len(d.Partitions)), maxBytes: 1_000_000, created: created[w.name]}
		if config, ok := actual[w.name]; ok {
			if n, err := strconv.Atoi(config["max.message.bytes"]); err == nil && n > 0 {
				t.maxBytes = n
			}
			c.reportDrift(w, t, config)
		}
		out[w.name] = t
	}
	return out, nil
}

// Drift is a setting of a topic that exists with another value than the program would
// have given it.
type Drift struct {
	// Setting is Kafka's name, or "partitions".
	Setting    string
	Have, Want string
	// Fix is what mends it; empty if nothing does.
	Fix string
}

// drift returns how the topic differs from what would have been created.
func (w wanted) drift(partitions int32, config map[string]string) []Drift {
	var out []Drift
	for _, key := range slices.Sorted(maps.Keys(w.config)) {
		if have, ok := config[key]; ok && have != w.config[key] {
			out = append(out, Drift{
				Setting: key, Have: have, Want: w.config[key],
				Fix: fmt.Sprintf("kafka-configs --alter --entity-type topics --entity-name %s --add-config %s=%s", w.name, key, w.config[key]),
			})
		}
	}
	if partitions != w.partitions {
		out = append(out, Drift{Setting: "partitions", Have: strconv.Itoa(int(partitions)), Want: strconv.Itoa(int(w.partitions))})
	}
	return out
}

// reportDrift says how an existing topic differs from what would have been created,
// and how to mend it.
func (c *Config) reportDrift(w wanted, t topic, config map[string]string) {
	if t.created {
		return
	}
	for _, d := range w.drift(t.partitions, config) {
		if d.Fix == "" {
			c.Logger.Warn("topic exists with another number of partitions; going on with it", "topic", w.name, "have", d.Have, "want", d.Want)
			continue
		}
		c.Logger.Warn("topic exists with another configuration; going on with it",
			"topic", w.name, "config", d.Setting, "have", d.Have, "want", d.Want, "fix", d.Fix)
	}
}
