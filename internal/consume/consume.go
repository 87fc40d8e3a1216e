// Package consume reads the topics of tables as any consumer would: committed records
// only, decoded by the schemas of the registry.
package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/avro"
)

// Tombstone is the op of a record without a value.
const Tombstone = "tombstone"

// Event is a record of a table's topic.
type Event struct {
	Partition int32
	Offset    int64
	Timestamp time.Time
	// Key is the primary key; KeyFields is the decoded key, nil with plain keys.
	Key       string
	KeyFields map[string]any
	// Value is the decoded event, nil for a tombstone.
	Value map[string]any
	// Op is the event's, or Tombstone.
	Op string
}

// Row returns the row of the event as it is after it, nil if it is gone.
func (e Event) Row() map[string]any {
	if e.Op == string(avro.Delete) || e.Value == nil {
		return nil
	}
	if _, flat := e.Value["__op"]; flat {
		return e.Value
	}
	row, _ := e.Value["after"].(map[string]any)
	return row
}

// Topic says what is read, and from where.
type Topic struct {
	Name string
	// Kafka are the options of the client.
	Kafka   []kgo.Opt
	Decoder *avro.Decoder
	// PlainKeys says that keys are plain text (EVENT_KEY=string).
	PlainKeys bool
	// Offsets is where reading begins and, after a Read, where the next one goes on. A
	// partition that it does not name begins at its start.
	Offsets map[int32]int64
}

// Seek moves the beginning to the first records at or after the time.
func (t *Topic) Seek(ctx context.Context, at time.Time) error {
	return t.list(func(adm *kadm.Client) (kadm.ListedOffsets, error) {
		return adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), t.Name)
	})
}

// SeekEnd moves the beginning to the end as it is now.
func (t *Topic) SeekEnd(ctx context.Context) error {
	return t.list(func(adm *kadm.Client) (kadm.ListedOffsets, error) { return adm.ListCommittedOffsets(ctx, t.Name) })
}

func (t *Topic) list(list func(*kadm.Client) (kadm.ListedOffsets, error)) error {
	cl, err := kgo.NewClient(t.Kafka...)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	defer cl.Close()
	listed, err := list(kadm.NewClient(cl))
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return t.unknown("find a place in topic", err)
	}
	t.Offsets = map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { t.Offsets[o.Partition] = o.Offset })
	return nil
}

// Read hands the events to visit: up to the end as it is now or, with follow, until ctx
// ends. An error of visit ends it.
func (t *Topic) Read(ctx context.Context, follow bool, visit func(Event) error) error {
	cl, err := kgo.NewClient(append(t.Kafka[:len(t.Kafka):len(t.Kafka)],
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	defer cl.Close()
	todo, err := t.unread(ctx, kadm.NewClient(cl))
	if err != nil {
		return err
	}
	from := map[int32]kgo.Offset{}
	for p, at := range t.Offsets {
		from[p] = kgo.NewOffset().At(at)
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{t.Name: from})
	for follow || len(todo) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			if follow && errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read topic %s: %w", t.Name, err)
		}
		for r := range fetches.RecordsAll() {
			if end, ok := todo[r.Partition]; ok && r.Offset >= end-1 {
				delete(todo, r.Partition)
			}
			t.Offsets[r.Partition] = r.Offset + 1
			if r.Attrs.IsControl() {
				continue
			}
			e, err := t.decode(ctx, r)
			if err == nil {
				err = visit(e)
			}
			if err != nil {
				return fmt.Errorf("topic %s partition %d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
			}
		}
	}
	return nil
}

// unread returns the end of each partition that has records behind its offset, and
// completes the offsets. A log has gaps and ends in control records, so records cannot be
// counted.
func (t *Topic) unread(ctx context.Context, adm *kadm.Client) (map[int32]int64, error) {
	starts, err := adm.ListStartOffsets(ctx, t.Name)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, t.unknown("find topic", err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, t.Name)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the end of topic %s: %w", t.Name, err)
	}
	if t.Offsets == nil {
		t.Offsets = map[int32]int64{}
	}
	todo := map[int32]int64{}
	for _, e := range ends[t.Name] {
		start, _ := starts.Lookup(t.Name, e.Partition)
		if at, ok := t.Offsets[e.Partition]; !ok || at < start.Offset {
			t.Offsets[e.Partition] = start.Offset
		}
		if t.Offsets[e.Partition] < e.Offset {
			todo[e.Partition] = e.Offset
		}
	}
	return todo, nil
}

// unknown says what was being done and, if there is no such topic, what to look at.
func (t *Topic) unknown(what string, err error) error {
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("there is no topic %s (check KAFKA_TOPIC_PREFIX and KAFKA_BROKERS; a producer creates it when it starts): %w", t.Name, err)
	}
	return fmt.Errorf("%s %s: %w", what, t.Name, err)
}

func (t *Topic) decode(ctx context.Context, r *kgo.Record) (Event, error) {
	e := Event{Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UTC(), Op: Tombstone}
	var err error
	if t.PlainKeys {
		e.Key = string(r.Key)
	} else {
		if e.KeyFields, err = t.Decoder.Decode(ctx, r.Key); err != nil {
			return e, fmt.Errorf("key: %w", err)
		}
		for _, v := range e.KeyFields { // the only one
			e.Key, _ = v.(string)
		}
	}
	if r.Value == nil {
		return e, nil
	}
	if e.Value, err = t.Decoder.Decode(ctx, r.Value); err != nil {
		return e, fmt.Errorf("value: %w", err)
	}
	if op, ok := e.Value["__op"].(string); ok {
		e.Op = op
		return e, nil
	}
	e.Op, _ = e.Value["op"].(string)
	return e, nil
}
