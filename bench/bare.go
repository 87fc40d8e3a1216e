package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/extractor"
)

// bareEvents is how many of the load's events the bare loop produces, again and again.
const bareEvents = 30_000

// bareTime is for how long it does, after warmTime that does not count: whoever produces to a
// new partition waits until the client knows its leader.
const (
	bareTime = 10 * time.Second
	warmTime = 3 * time.Second
)

// bare produces the first events of the load and their state records again, as they are and
// in the order in which the load did, into topics of their own with as many partitions, in
// transactions of so many events. It returns the rate of events: what Kafka and its client
// allow on this machine.
func (w *workload) bare(ctx context.Context, perTransaction int) (eventsPerSecond float64, err error) {
	var topics []string
	for _, t := range extractor.Tables() {
		topics = append(topics, w.prefix+"."+t.Name)
	}
	state := w.prefix + ".state"
	records, err := w.read(ctx, append(topics, state), 2*bareEvents)
	if err != nil {
		return 0, err
	}
	if len(records) == 0 {
		return 0, errors.New("the load has written nothing")
	}
	seeds := kgo.SeedBrokers(strings.Split(w.kafka.brokers, ",")...)
	compression := map[string]kgo.CompressionCodec{
		"zstd": kgo.ZstdCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "gzip": kgo.GzipCompression(), "none": kgo.NoCompression(),
	}[w.o.compression]
	cl, err := kgo.NewClient(seeds, kgo.TransactionalID(w.prefix+"-bare"), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(compression),
		kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchMaxBytes(8<<20), kgo.MaxBufferedRecords(1<<20), kgo.TransactionTimeout(time.Minute), kgo.UnknownTopicRetries(100), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	maxBytes := "8388608"
	for _, t := range append(topics, state) {
		partitions := int32(6)
		if t == state {
			partitions = 1
		}
		if _, err := adm.CreateTopic(ctx, partitions, 1, map[string]*string{"max.message.bytes": &maxBytes}, "bare-"+t); err != nil {
			return 0, fmt.Errorf("create topic bare-%s: %w", t, err)
		}
	}
	// An event and its state record are two records.
	size := max(1, min(2*perTransaction, len(records)))
	at := 0
	// transact produces the next records and returns how many events were among them.
	transact := func() (events int, err error) {
		if err := cl.BeginTransaction(); err != nil {
			return 0, err
		}
		promise := kgo.AbortingFirstErrPromise(cl)
		for _, r := range records[at : at+size] {
			if r.Topic != state {
				events++
			}
			cl.Produce(ctx, &kgo.Record{Topic: "bare-" + r.Topic, Key: r.Key, Value: r.Value}, promise.Promise())
		}
		if err := promise.Err(); err != nil {
			return 0, err
		}
		at = (at + size) % (len(records) - size + 1)
		return events, cl.EndTransaction(ctx, kgo.TryCommit)
	}
	for began := time.Now(); time.Since(began) < warmTime; {
		if _, err := transact(); err != nil {
			return 0, err
		}
	}
	began, produced := time.Now(), 0
	for time.Since(began) < bareTime {
		n, err := transact()
		if err != nil {
			return 0, err
		}
		produced += n
	}
	took := time.Since(began)
	if _, err := adm.DeleteTopics(ctx, prefixed("bare-", append(topics, state))...); err != nil {
		return 0, err
	}
	return float64(produced) / took.Seconds(), nil
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

// read returns the first n records of the topics, in the order of their timestamps (ms).
func (w *workload) read(ctx context.Context, topics []string, n int) (out []*kgo.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(w.kafka.brokers, ",")...), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	quiet := 0
	var last time.Time // of what is kept, once there is enough
	byTime := func(a, b *kgo.Record) int { return a.Timestamp.Compare(b.Timestamp) }
	for quiet < 3 {
		polling, stop := context.WithTimeout(ctx, time.Second)
		fetches := cl.PollFetches(polling)
		stop()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) {
				return nil, fmt.Errorf("read topic %s: %w", e.Topic, e.Err)
			}
		}
		before := len(out)
		for r := range fetches.RecordsAll() {
			if !last.IsZero() && r.Timestamp.After(last) {
				cl.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
				continue
			}
			out = append(out, r)
		}
		if quiet++; len(out) > before {
			quiet = 0
		}
		if len(out) > 4*n {
			slices.SortStableFunc(out, byTime)
			out = slices.Clone(out[:n])
			last = out[n-1].Timestamp
		}
	}
	slices.SortStableFunc(out, byTime)
	return out[:min(n, len(out))], nil
}
