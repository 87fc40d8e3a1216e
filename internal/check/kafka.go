package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/internal/publish"
)

func checkKafka(ctx context.Context, r *report, c *config.Config, version string, log *slog.Logger) {
	const brokers = "brokers"
	wc, err := pipeline.Writer(c, version, log)
	if err != nil {
		r.add(Failed, brokers, err.Error(), "")
		return
	}
	kafka, err := publish.NewInspector(wc)
	if err != nil {
		r.add(Failed, brokers, err.Error(), "")
		return
	}
	defer kafka.Close()
	cluster, err := kafka.Cluster(ctx)
	if err != nil {
		r.add(Failed, brokers, fmt.Sprintf("cannot connect to %s: %v", strings.Join(c.Kafka.Brokers, ","), err), connectFix(c, err))
		return
	}
	r.okf(brokers, "cluster %s, %d reachable by name, Kafka %s", cluster.ID, cluster.Brokers, cluster.Version)
	if err := kafka.Transactions(ctx); err != nil {
		r.denied("transactions", err)
	} else {
		r.okf("transactions", "the account's transactional id may be used")
	}
	topics, err := kafka.Topics(ctx)
	if err != nil {
		r.add(Failed, "topics", err.Error(), "")
		return
	}
	missing := 0
	for _, t := range topics {
		missing += reportTopic(r, t)
	}
	if missing > 0 {
		r.okf("topics", "%d of %d do not exist and can be created at the start; rights on them show once they exist", missing, len(topics))
	}
	reportOwner(ctx, r, wc, topics)
}

// denied reports an error, with the missing right as its fix if it is one.
func (r *report) denied(name string, err error) {
	var lacks *publish.DeniedError
	if errors.As(err, &lacks) {
		r.add(Failed, name, err.Error(), grant(lacks))
		return
	}
	r.add(Failed, name, err.Error(), "")
}

// grant is the command that gives the right.
func grant(d *publish.DeniedError) string {
	kind := "--transactional-id"
	_, name, ok := strings.Cut(d.Resource, "transactional id ")
	if !ok {
		kind, name = "--topic", strings.TrimPrefix(d.Resource, "topic ")
	}
	return fmt.Sprintf("kafka-acls --add --allow-principal User:... --operation %s %s %s", d.Operation, kind, name)
}

// reportTopic reports one topic. It returns 1 if it does not exist and may be created.
func reportTopic(r *report, t publish.TopicState) (missing int) {
	name := "topic " + t.Name
	switch {
	case t.Err != nil:
		r.denied(name, t.Err)
		return 0
	case !t.Exists:
		return 1
	}
	for _, lacks := range t.Lacks {
		r.denied(name, lacks)
	}
	for _, misses := range t.Misses {
		r.add(Warning, name, misses.Error()+": its configuration is not checked, and records above 1 MB become dead letters", grant(misses))
	}
	for _, d := range t.Drift {
		r.add(Warning, name, fmt.Sprintf("%s is %s, the program would have set %s", d.Setting, d.Have, d.Want), d.Fix)
	}
	if len(t.Lacks)+len(t.Misses)+len(t.Drift) == 0 {
		r.okf(name, "as it should be")
	}
	return 0
}

// reportOwner says whether a producer runs.
func reportOwner(ctx context.Context, r *report, wc publish.Config, topics []publish.TopicState) {
	for _, t := range topics {
		if t.Name == wc.BookmarksTopic && (!t.Exists || len(t.Lacks) > 0) {
			return
		}
	}
	owner, live, err := publish.Owner(ctx, wc)
	switch {
	case err != nil:
		r.denied("owner", err)
	case live:
		r.okf("owner", "a producer runs: instance %s on host %s, process %d", owner.Instance, owner.Host, owner.PID)
	default:
		r.okf("owner", "no producer runs for account %s", wc.Account)
	}
}

func connectFix(c *config.Config, err error) string {
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return "check KAFKA_SASL_MECHANISM, user name and password"
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return "the brokers do not speak KAFKA_SASL_MECHANISM=" + c.Kafka.SASLMechanism
	case strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "tls:"):
		return "check KAFKA_TLS, KAFKA_CA_FILE, KAFKA_CERT_FILE and KAFKA_KEY_FILE"
	case !c.Kafka.TLS && (strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "tls endpoint")):
		return "check KAFKA_BROKERS; a listener with TLS closes connections without it: KAFKA_TLS=true"
	}
	return "check KAFKA_BROKERS, and that brokers run there and are reachable from here"
}
