package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// errGap says that a topic no longer holds the offset from which it was to be read.
var errGap = errors.New("the topic no longer holds this offset")

// listOffsets finds an end of a topic's partitions.
type listOffsets func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error)

// reader is readToEnd or readStable.
type reader func(ctx context.Context, opts []kgo.Opt, adm *kadm.Client, topicName string, from map[int32]int64, visit func(*kgo.Record) error) (map[int32]int64, error)

// readToEnd hands every committed record of a topic to visit, from the given offsets
// (absent partitions: from the start) to the high watermark as it is now, and returns
// the offsets at which a later call goes on. Nobody else may be writing transactions
// (see the package comment): the reader would wait for their end.
func readToEnd(ctx context.Context, opts []kgo.Opt, adm *kadm.Client, topicName string, from map[int32]int64, visit func(*kgo.Record) error) (map[int32]int64, error) {
	return readTo(ctx, adm.ListEndOffsets, opts, adm, topicName, from, visit)
}

// readStable hands every record of a topic to visit that is committed now, up to the
// first transaction that is still open: that of a live producer, or of one that died in
// the middle of it, for which Kafka waits until its timeout.
func readStable(ctx context.Context, opts []kgo.Opt, adm *kadm.Client, topicName string, from map[int32]int64, visit func(*kgo.Record) error) (map[int32]int64, error) {
	return readTo(ctx, adm.ListCommittedOffsets, opts, adm, topicName, from, visit)
}

// readTo reads up to the offsets that list returns.
//
// A compacted, transactional log has gaps and ends in control markers, so records
// cannot be counted: control records are kept and their position is compared.
func readTo(ctx context.Context, list listOffsets, opts []kgo.Opt, adm *kadm.Client, topicName string, from map[int32]int64, visit func(*kgo.Record) error) (map[int32]int64, error) {
	ends, err := list(ctx, topicName)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		hint := ""
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			hint = " (check KAFKA_TOPIC_PREFIX: no producer has written under this one)"
		}
		return nil, fmt.Errorf("find the end of topic %s%s: %w", topicName, hint, denied(err, rightDescribe, onTopic(topicName)))
	}
	starts, err := adm.ListStartOffsets(ctx, topicName)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the start of topic %s: %w", topicName, denied(err, rightDescribe, onTopic(topicName)))
	}
	position := map[int32]int64{}
	todo := map[int32]kgo.Offset{}
	end := map[int32]int64{}
	for _, e := range ends[topicName] {
		start, _ := starts.Lookup(topicName, e.Partition)
		at, ok := from[e.Partition]
		switch {
		case !ok:
			at = start.Offset
		case at < start.Offset || at > e.Offset:
			return nil, fmt.Errorf("topic %s partition %d offset %d: %w", topicName, e.Partition, at, errGap)
		}
		position[e.Partition], end[e.Partition] = at, e.Offset
		if at < e.Offset {
			todo[e.Partition] = kgo.NewOffset().At(at)
		}
	}
	if len(todo) == 0 {
		return position, nil
	}
	cl, err := kgo.NewClient(append(opts[:len(opts):len(opts)],
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topicName: todo}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(250*time.Millisecond),
	)...)
	if err != nil {
		return nil, fmt.Errorf("read topic %s: %w", topicName, err)
	}
	defer cl.Close()
	for len(todo) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read topic %s: %w", topicName, err)
		}
		for _, e := range fetches.Errors() {
			if errors.Is(e.Err, kerr.OffsetOutOfRange) {
				return nil, fmt.Errorf("topic %s partition %d: %w", topicName, e.Partition, errGap)
			}
			return nil, fmt.Errorf("read topic %s partition %d: %w", topicName, e.Partition, denied(e.Err, rightRead, onTopic(topicName)))
		}
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			if failed != nil {
				return
			}
			if r.Offset < end[r.Partition] && !r.Attrs.IsControl() {
				failed = visit(r)
			}
			// What stood right before the end may have been compacted away.
			position[r.Partition] = min(r.Offset+1, end[r.Partition])
			if r.Offset+1 >= end[r.Partition] {
				delete(todo, r.Partition)
			}
		})
		if failed != nil {
			return nil, failed
		}
	}
	return position, nil
}

// retry calls do until it succeeds, for a few seconds.
func retry(ctx context.Context, do func() error) error {
	const tries = 20
	for i := 1; ; i++ {
		err := do()
		if err == nil || i == tries || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(i) * 25 * time.Millisecond):
		}
	}
}
