package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/consume"
	"github.com/leverstream/leverstream/internal/pipeline"
)

func newTail() *cobra.Command {
	var from string
	var keys, ops []string
	var follow bool
	cmd := &cobra.Command{
		Use:   "tail TABLE",
		Short: "Print a topic's events as JSON lines",
		Long: `tail prints the committed events of a table's topic, one JSON object per line, with
the key and the value decoded by the schemas of the registry. A value of null is a
tombstone. It ends at the end of the topic, or goes on with --follow.

--from says where to start: beginning, now (implies --follow), a time (RFC 3339, by
the records' timestamps), or how long ago (90m, 24h). --key and --op print only the
events of these rows, or of these kinds: r, c, u, d, tombstone.

Rows hold personal data: mind where you send them.`,
		Example: `  producer tail opportunities
  producer tail postings --from now --follow | jq .value.op
  producer tail opportunities --from 24h --op d,tombstone
  producer tail opportunities --key 0f2c4a52-8c7c-4b1f-9a55-1f6a1b1d2c3d`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: completeTables(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			seek, err := seeking(from, time.Now())
			if err != nil {
				return usageError{err}
			}
			for _, op := range ops {
				if !slices.Contains(tailOps(), op) {
					return usageError{fmt.Errorf("--op is %q; it takes %s", op, strings.Join(tailOps(), ", "))}
				}
			}
			c, err := config.Load(extractor.Tables(), config.NeedKafka|config.NeedRegistry)
			if err != nil {
				return err
			}
			if _, err := codecOf(c, args[0]); err != nil {
				return err
			}
			topic, err := topicOf(c, args[0])
			if err != nil {
				return err
			}
			if err := seek(cmd.Context(), topic); err != nil {
				return err
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetEscapeHTML(false)
			return topic.Read(cmd.Context(), follow || from == "now", func(e consume.Event) error {
				if len(keys) > 0 && !slices.Contains(keys, e.Key) || len(ops) > 0 && !slices.Contains(ops, e.Op) {
					return nil
				}
				return enc.Encode(lineOf(e))
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "beginning", "where to start: beginning, now (implies --follow), a time, or how long ago")
	cmd.Flags().StringSliceVar(&keys, "key", nil, "only the rows with these primary keys")
	cmd.Flags().StringSliceVar(&ops, "op", nil, "only these kinds of events: r, c, u, d, tombstone")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on at the end of the topic")
	_ = cmd.RegisterFlagCompletionFunc("op", cobra.FixedCompletions(tailOps(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{"beginning", "now"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func tailOps() []string { return []string{"r", "c", "u", "d", consume.Tombstone} }

// seeking returns what moves a topic to where --from says.
func seeking(from string, now time.Time) (func(context.Context, *consume.Topic) error, error) {
	switch from {
	case "beginning":
		return func(context.Context, *consume.Topic) error { return nil }, nil
	case "now":
		return func(ctx context.Context, t *consume.Topic) error { return t.SeekEnd(ctx) }, nil
	}
	at, err := time.Parse(time.RFC3339, from)
	if err != nil {
		ago, err := time.ParseDuration(from)
		if err != nil || ago < 0 {
			return nil, fmt.Errorf("--from is %q; it takes beginning, now, a time such as 2026-01-31T12:00:00Z, or how long ago, such as 24h", from)
		}
		at = now.Add(-ago)
	}
	return func(ctx context.Context, t *consume.Topic) error { return t.Seek(ctx, at) }, nil
}

// topicOf returns the topic of a table, to be read from its beginning.
func topicOf(c *config.Config, table string) (*consume.Topic, error) {
	registry, err := pipeline.Registry(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	opts, err := c.Kafka.Opts()
	if err != nil {
		return nil, err
	}
	return &consume.Topic{
		Name: string(c.Kafka.TopicPrefix) + "." + table, Kafka: opts,
		Decoder: avro.NewDecoder(registry.Schema), PlainKeys: c.Events.Key == "string",
	}, nil
}

// line is what is printed of a record.
type line struct {
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Timestamp time.Time `json:"timestamp"`
	Key       any       `json:"key"`
	Value     any       `json:"value"`
}

func lineOf(e consume.Event) line {
	l := line{Partition: e.Partition, Offset: e.Offset, Timestamp: e.Timestamp, Key: e.Key}
	if e.KeyFields != nil {
		l.Key = e.KeyFields
	}
	if e.Value != nil {
		l.Value = e.Value
	}
	return l
}
