package publish

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/internal/change"
)

// Kafka compacts closed segments only, and closes a segment when something is appended
// behind the time that it may stay open: min(segment.ms, max.compaction.lag.ms) after its
// first record. A partition to which nothing is written any more keeps what it holds for
// ever, erased values included.
//
// So the owner looks, now and then, for partitions of compacted data topics that have been
// quiet for that long, and appends a transaction to them that it aborts: a tombstone of a key
// that no row has. Whatever was there before is in a closed segment then. Readers that are
// read_committed see nothing; others see a tombstone without a row.
//
// The other topics need no such care. The state and bookmarks topics get a commit record and
// the owner record every 10 s (the 4096 commit records of the ring are spread over all
// partitions). The dead letter topic is not compacted: retention closes and deletes the last
// segment, too, when all its records are too old.

const (
	// A look comes after a tenth of the time that a segment may stay open, within these.
	leastLook, mostLook = time.Second, time.Hour
	// lookTimeout bounds a look, during which nothing is committed, and lookAgain is when
	// the next one is made if Kafka does not answer.
	lookTimeout = 10 * time.Second
	lookAgain   = time.Minute
	// mostSkew is by how much the clocks of this machine and a broker may differ: a segment
	// that is believed to be closed, and is not, would stay open.
	mostSkew = time.Minute
	// rollTogether is how many partitions are in one transaction.
	rollTogether = 200
	// rollHeader is the header by which people recognise the tombstones.
	rollHeader = "leverstream.roll"
)

// quietPartition is a partition whose last segment stays open.
type quietPartition struct {
	table     *change.Table
	topic, id string
	number    int32
	of        int // partitions of the topic
}

// key names the partition, of this topic and not of another with the same name.
func (p *quietPartition) key() string { return p.id + "/" + strconv.Itoa(int(p.number)) }

// roll closes the last segment of the partitions that have been quiet for long enough, and
// returns when to look again. That Kafka does not answer questions is no error: commits
// notice it, too.
func (w *Writer) roll(ctx context.Context) (next time.Duration, err error) {
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	quiet, next, err := w.quietPartitions(looking)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			w.c.Logger.Warn("cannot look for partitions whose last segment must be closed, so that erased values can be compacted away", "error", err, "retry_in", lookAgain.String())
		}
		return lookAgain, nil
	}
	for some := range slices.Chunk(quiet, rollTogether) {
		if err := w.rollPartitions(ctx, some); err != nil {
			return 0, fmt.Errorf("close the last segment of quiet partitions: %w", err)
		}
	}
	return next, nil
}

// quietPartitions returns the partitions whose last record is older than a segment may
// become, but for those in which that record is a tombstone of a roll. Everything is asked
// for each time: settings of topics may change, topics may go.
func (w *Writer) quietPartitions(ctx context.Context) (quiet []quietPartition, next time.Duration, err error) {
	adm := kadm.NewClient(w.client)
	rolls, err := w.rollTimes(ctx, adm)
	if err != nil {
		return nil, 0, err
	}
	rolled, err := w.store.Rolled()
	if err != nil {
		return nil, 0, err
	}
	next = mostLook
	byTime := map[time.Duration][]string{}
	for table, t := range rolls {
		next = min(next, max(t/10, leastLook))
		byTime[t] = append(byTime[t], table)
	}
	for t, tables := range byTime {
		since := w.c.now().Add(-t - min(t/10, mostSkew))
		if since.UnixMilli() < 0 {
			continue // never
		}
		topics := make([]string, len(tables))
		for i, table := range tables {
			topics[i] = w.c.Topic(table)
		}
		listed, err := adm.ListOffsetsAfterMilli(ctx, since.UnixMilli(), topics...)
		if err != nil {
			return nil, 0, fmt.Errorf("find the last records: %w", err)
		}
		for _, table := range tables {
			topic := w.c.Topic(table)
			for _, o := range listed[topic] {
				p := quietPartition{table: w.tables[table], topic: topic, id: w.topics[topic].id, number: o.Partition, of: len(listed[topic])}
				// Without a record since then, Offset is the end of the partition.
				if o.Err == nil && o.Timestamp < 0 && o.Offset > 0 && rolled[p.key()] != o.Offset {
					quiet = append(quiet, p)
				}
			}
		}
	}
	return quiet, next, nil
}

// rollTimes returns, for each table whose topic is compacted, how long a segment of it may
// stay open.
func (w *Writer) rollTimes(ctx context.Context, adm *kadm.Client) (map[string]time.Duration, error) {
	names := make([]string, len(w.c.Tables))
	for i, t := range w.c.Tables {
		names[i] = w.c.Topic(t.Name)
	}
	configs, err := describeConfigs(ctx, adm, names)
	if err != nil {
		return nil, err
	}
	byTopic := map[string]kadm.ResourceConfig{}
	for _, rc := range configs {
		byTopic[rc.Name] = rc
	}
	out := map[string]time.Duration{}
	for _, t := range w.c.Tables {
		settings := dataTopicConfig() // if they must not be read
		settings["segment.ms"] = week
		rc := byTopic[w.c.Topic(t.Name)]
		switch {
		case errors.Is(rc.Err, kerr.UnknownTopicOrPartition):
			continue
		case rc.Err == nil:
			for _, kv := range rc.Configs {
				settings[kv.Key] = kv.MaybeValue()
			}
		}
		if roll, ok := rollTime(settings); ok {
			out[t.Name] = roll
		}
	}
	return out, nil
}

// rollTime is how long a segment of a topic with these settings may stay open; false if the
// topic is not compacted.
func rollTime(settings map[string]string) (time.Duration, bool) {
	if !strings.Contains(settings["cleanup.policy"], "compact") {
		return 0, false
	}
	roll := time.Duration(math.MaxInt64)
	for _, name := range []string{"segment.ms", "max.compaction.lag.ms"} {
		ms, err := strconv.ParseInt(settings[name], 10, 64)
		if err == nil && ms > 0 && ms < math.MaxInt64/int64(time.Millisecond) {
			roll = min(roll, time.Duration(ms)*time.Millisecond)
		}
	}
	return roll, roll < math.MaxInt64
}

// rollPartitions appends an aborted transaction to the partitions, and remembers where they
// end behind it.
func (w *Writer) rollPartitions(ctx context.Context, quiet []quietPartition) error {
	tx := transaction{w: w, now: w.c.now()}
	for i := range quiet {
		key, err := w.unusedKey(&quiet[i])
		if err != nil {
			return err
		}
		tx.add(quiet[i].topic, key, nil, kgo.RecordHeader{Key: rollHeader, Value: []byte("the record closes a segment; its transaction is aborted")})
	}
	if err := tx.rollback(ctx); err != nil {
		return err
	}
	rolled, err := w.store.Rolled()
	if err != nil {
		return err
	}
	for i, r := range tx.records {
		if quiet[i].number == r.Partition {
			rolled[quiet[i].key()] = r.Offset + 2 // the record, and the marker that aborts it
		}
	}
	if err := w.store.SetRolled(rolled); err != nil {
		return err
	}
	w.c.Logger.Debug("closed the last segment of quiet partitions, so that erased values can be compacted away", "partitions", len(quiet))
	return nil
}

// unusedKey returns a record key that no row has, and that belongs to the partition.
func (w *Writer) unusedKey(p *quietPartition) ([]byte, error) {
	partitioner := partitioner().ForTopic(p.topic)
	for n := 0; ; n++ {
		name := "#roll/" + strconv.Itoa(n)
		key := p.table.Codec.AppendKey(nil, name)
		if partitioner.Partition(&kgo.Record{Key: key}, p.of) != int(p.number) {
			continue
		}
		switch _, used, err := w.store.Get(p.table.Name, name); {
		case err != nil:
			return nil, err
		case !used:
			return key, nil
		}
	}
}
