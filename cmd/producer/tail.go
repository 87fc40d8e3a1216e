package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
)

func newTail() *cobra.Command {
	var from string
	var follow bool
	cmd := &cobra.Command{
		Use:   "tail TABLE",
		Short: "Print a topic's events as JSON lines",
		Long: `tail prints the committed events of a table's topic, one JSON object per line, with
the key and the value decoded by the schemas of the registry. A value of null is a
tombstone. It ends at the end of the topic, or goes on with --follow.

Rows hold personal data: mind where you send them.`,
		Example: `  producer tail opportunities
  producer tail postings --from now --follow | jq .value.op`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from != "beginning" && from != "now" {
				return usageError{fmt.Errorf("--from is %q; it takes beginning or now", from)}
			}
			c, err := config.Load(extractor.Tables(), config.NeedKafka|config.NeedRegistry)
			if err != nil {
				return err
			}
			if _, err := codecOf(c, args[0]); err != nil {
				return err
			}
			registry, err := pipeline.Registry(c, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			t := tail{topic: string(c.Kafka.TopicPrefix) + "." + args[0], keys: c.Events.Key, decoder: avro.NewDecoder(registry.Schema), out: cmd.OutOrStdout()}
			opts, err := c.Kafka.Opts()
			if err != nil {
				return err
			}
			return t.run(cmd.Context(), opts, from == "now", follow || from == "now")
		},
	}
	cmd.Flags().StringVar(&from, "from", "beginning", "where to start: beginning, or now (implies --follow)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on at the end of the topic")
	return cmd
}

// tail prints one topic.
type tail struct {
	topic   string
	keys    string // EVENT_KEY
	decoder *avro.Decoder
	out     io.Writer
}

// line is what is printed of a record.
type line struct {
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Timestamp time.Time `json:"timestamp"`
	Key       any       `json:"key"`
	Value     any       `json:"value"`
}

func (t *tail) run(ctx context.Context, opts []kgo.Opt, fromEnd, follow bool) error {
	offset := kgo.NewOffset().AtStart()
	if fromEnd {
		offset = kgo.NewOffset().AtEnd()
	}
	cl, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(t.topic), kgo.ConsumeResetOffset(offset),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	defer cl.Close()
	todo, err := t.unread(ctx, cl)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	for follow || len(todo) > 0 {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read topic %s: %w", t.topic, err)
		}
		for r := range fetches.RecordsAll() {
			if end, ok := todo[r.Partition]; ok && r.Offset >= end-1 {
				delete(todo, r.Partition)
			}
			if r.Attrs.IsControl() {
				continue
			}
			l, err := t.decode(ctx, r)
			if err != nil {
				return fmt.Errorf("topic %s partition %d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
			}
			if err := enc.Encode(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// unread returns the end of each partition that has records.
func (t *tail) unread(ctx context.Context, cl *kgo.Client) (map[int32]int64, error) {
	adm := kadm.NewClient(cl)
	starts, err := adm.ListStartOffsets(ctx, t.topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find topic %s: %w", t.topic, err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, t.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the end of topic %s: %w", t.topic, err)
	}
	todo := map[int32]int64{}
	for _, e := range ends[t.topic] {
		if s, ok := starts.Lookup(t.topic, e.Partition); ok && s.Offset < e.Offset {
			todo[e.Partition] = e.Offset
		}
	}
	return todo, nil
}

func (t *tail) decode(ctx context.Context, r *kgo.Record) (l line, err error) {
	l = line{Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UTC()}
	if t.keys == "string" {
		l.Key = string(r.Key)
	} else if l.Key, err = t.decoder.Decode(ctx, r.Key); err != nil {
		return l, fmt.Errorf("key: %w", err)
	}
	if r.Value == nil {
		return l, nil
	}
	if l.Value, err = t.decoder.Decode(ctx, r.Value); err != nil {
		return l, fmt.Errorf("value: %w", err)
	}
	return l, nil
}
