package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
)

// shownReads is how many snapshot events of each table are shown one by one.
const shownReads = 3

// screen prints what the demo shows. It may be used from several goroutines.
type screen struct {
	mu     sync.Mutex
	out    *lines
	counts map[string]map[string]int // by table, then op
}

// newScreen returns a screen that says when nobody looks at it any more.
func newScreen(out io.Writer, closed func()) *screen {
	return &screen{out: &lines{out: out, broken: closed}, counts: map[string]map[string]int{}}
}

func (s *screen) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format, args...)
}

// event prints one change event: time, table, op, key, and which fields changed.
func (s *screen) event(table, op, key string, changed []string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts[table] == nil {
		s.counts[table] = map[string]int{}
	}
	s.counts[table][op]++
	n := s.counts[table][op]
	more := strings.Join(changed, ", ")
	if op == "r" {
		if n > shownReads {
			return
		}
		if n == shownReads {
			more = "(further rows of this snapshot are only counted)"
		}
	}
	line := fmt.Sprintf("%s  %-24s  %s  %-36s  %s", at.Local().Format("15:04:05.000"), table, op, key, more)
	fmt.Fprintln(s.out, strings.TrimRight(line, " "))
}

// progress shows how far the first snapshot is: a bar on a terminal, a line every two
// seconds elsewhere.
func (s *screen) progress(ctx context.Context, p *pipeline.Pipeline) {
	if isTerminal(s.out.out) {
		showBar(ctx, p, s.out)
	} else {
		s.report(ctx, p)
	}
	if pr := p.Progress(); pr.Complete {
		s.printf("--  snapshot complete: %d rows, %d requests. Changes follow as they happen.\n", pr.Rows, pr.Requests)
	}
}

// report prints lines until the snapshot is complete.
func (s *screen) report(ctx context.Context, p *pipeline.Pipeline) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	var pace pace
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pr := p.Progress()
		if pr.Complete {
			return
		}
		left, known := pace.left(time.Now(), pr)
		s.printf("--  snapshot %s\n", progressText(pr, left, known))
	}
}

// summary prints the number of events seen.
func (s *screen) summary() {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.out, "\nevents committed:       read   create   update   delete")
	for _, table := range slices.Sorted(maps.Keys(s.counts)) {
		c := s.counts[table]
		fmt.Fprintf(s.out, "%-22s %6d   %6d   %6d   %6d\n", table, c["r"], c["c"], c["u"], c["d"])
	}
}

// watch reads the topics as any consumer would, read_committed, and shows the events,
// until ctx ends. What was written by an earlier run is not shown.
func watch(ctx context.Context, c *config.Config, s *screen) error {
	registry, err := pipeline.Registry(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	opts, err := c.Kafka.Opts()
	if err != nil {
		return err
	}
	began := time.Now().Truncate(time.Millisecond)
	var topics []string
	for _, t := range c.Lever.Tables {
		topics = append(topics, string(c.Kafka.TopicPrefix)+"."+t)
	}
	cl, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(250*time.Millisecond), kgo.MetadataMaxAge(time.Second),
		kgo.UnknownTopicRetries(-1), kgo.FetchMaxWait(250*time.Millisecond))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	decoder := avro.NewDecoder(registry.Schema)
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for r := range fetches.RecordsAll() {
			if r.Value == nil || r.Timestamp.Before(began) {
				continue // a tombstone follows its delete
			}
			value, err := decoder.Decode(ctx, r.Value)
			if err != nil {
				return fmt.Errorf("topic %s: %w", r.Topic, err)
			}
			op, changed := described(value)
			s.event(strings.TrimPrefix(r.Topic, string(c.Kafka.TopicPrefix)+"."), op, keyText(ctx, decoder, c.Events.Key, r.Key), changed, r.Timestamp)
		}
	}
}

// described returns the op of an event in either format, and for an update the names
// of the fields that changed, if the event has its before.
func described(value map[string]any) (op string, changed []string) {
	if op, ok := value["__op"].(string); ok {
		return op, nil
	}
	op, _ = value["op"].(string)
	before, _ := value["before"].(map[string]any)
	after, _ := value["after"].(map[string]any)
	if before == nil || after == nil {
		return op, nil
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if fmt.Sprint(before[name]) != fmt.Sprint(after[name]) {
			changed = append(changed, name)
		}
	}
	return op, changed
}

// keyText returns the primary key in a record's key.
func keyText(ctx context.Context, d *avro.Decoder, format string, key []byte) string {
	if format == "string" {
		return string(key)
	}
	fields, err := d.Decode(ctx, key)
	if err != nil {
		return "?"
	}
	for _, v := range fields {
		return fmt.Sprint(v)
	}
	return "?"
}
