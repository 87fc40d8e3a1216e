package publish

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/change"
	"github.com/leverstream/leverstream/internal/failpoint"
	"github.com/leverstream/leverstream/internal/state"
	"github.com/leverstream/leverstream/offsets"
)

// transaction is one Kafka transaction in the making.
type transaction struct {
	w       *Writer
	now     time.Time
	records []*kgo.Record
	puts    []put
	bytes   int
	// mark is the commit record: the one from which a local copy of the state is
	// recognised.
	mark  *kgo.Record
	entry state.Commit
	owned bool
}

// put is a new state record, and what it is in the state topic; nil if the row is gone.
type put struct {
	change.Put
	value []byte
}

func (t *transaction) add(topic string, key, value []byte, headers ...kgo.RecordHeader) *kgo.Record {
	// Without a timestamp it gets the time of the commit. Lever's times would make
	// compaction and retention act at once.
	r := &kgo.Record{Topic: topic, Key: key, Value: value, Headers: headers}
	t.records = append(t.records, r)
	t.bytes += len(key) + len(value)
	return r
}

const (
	// fewRecords are those that a transaction has beside events and state.
	fewRecords = 16
	// mostBuffer is the largest buffer, in bytes, that is kept for the next transaction.
	mostBuffer = 16 << 20
)

// build makes the records of a group. Without events, letters, puts or changed
// bookmarks there are none, unless the owner record is due.
func (t *transaction) build(g *change.Group, bookmarks map[string]offsets.Bookmark, changed map[string]bool) error {
	c := &t.w.c
	puts := g.Puts()
	t.records = make([]*kgo.Record, 0, len(g.Events)+len(puts)+len(g.Letters)+fewRecords)
	b := t.w.buffer[:0]
	// written returns what was appended to b since from. It stays where it is when b grows.
	written := func(from int) []byte { return b[from:len(b):len(b)] }
	for i := range g.Events {
		e := &g.Events[i]
		topic, from := c.Topic(e.Table.Name), len(b)
		b = e.Table.Codec.AppendKey(b, e.Key)
		key := written(from)
		if e.Op != avro.Delete || e.Before != nil {
			from = len(b)
			b = e.Table.Codec.AppendEvent(b, e.Event)
			t.add(topic, key, written(from))
		}
		if e.Op == avro.Delete {
			t.add(topic, key, nil)
		}
	}
	for _, l := range g.Letters {
		t.letter(l)
	}
	t.puts = make([]put, len(puts))
	for i, p := range puts {
		from := len(b)
		b = state.AppendRowKey(b, c.Account, p.Table, p.Key)
		key := written(from)
		t.puts[i].Put = p
		if p.Record != nil {
			from = len(b)
			b = state.AppendRecord(b, *p.Record)
			t.puts[i].value = written(from)
		}
		t.add(c.StateTopic, key, t.puts[i].value)
	}
	if t.w.buffer = b; cap(b) > mostBuffer {
		t.w.buffer = nil
	}
	if err := t.addBookmarks(bookmarks, changed); err != nil {
		return err
	}
	old := time.Since(t.w.renewed)
	due := old >= renewInterval || len(t.records) > 0 && old >= renewInterval-renewEarlier
	if len(t.records) == 0 && !due {
		return nil
	}
	if due {
		if err := t.owner(false); err != nil {
			return err
		}
	}
	t.commitRecord(g.LSN())
	return nil
}

// addBookmarks adds the bookmarks of the changed tables.
func (t *transaction) addBookmarks(bookmarks map[string]offsets.Bookmark, changed map[string]bool) error {
	c := &t.w.c
	for _, table := range c.Tables {
		if !changed[table.Name] {
			continue
		}
		value, err := bookmarks[table.Name].Marshal()
		if err != nil {
			return fmt.Errorf("bookmark of %s: %w", table.Name, err)
		}
		t.add(c.BookmarksTopic, offsets.Key(c.Account, table.Name), value)
	}
	return nil
}

// letter adds a dead letter. Its headers say what a person needs to know; the value
// is Lever's record, unless that is what is too large.
func (t *transaction) letter(l change.Letter) {
	c := &t.w.c
	header := func(k, v string) kgo.RecordHeader { return kgo.RecordHeader{Key: k, Value: []byte(v)} }
	var key []byte
	if l.Key != "" {
		key = l.Table.Codec.AppendKey(nil, l.Key)
	}
	value := l.Row
	if len(value)+len(key)+1024 > t.w.topics[c.DeadLetterTopic()].maxBytes {
		value = nil
	}
	t.add(c.DeadLetterTopic(), key, value,
		header("leverstream.account", c.Account),
		header("leverstream.table", l.Table.Name),
		header("leverstream.topic", c.Topic(l.Table.Name)),
		header("leverstream.key", l.Key),
		header("leverstream.parent", l.Parent),
		header("leverstream.reason", l.Reason),
		header("leverstream.bytes", strconv.Itoa(len(l.Row))),
		header("leverstream.read_at", l.ReadAt.UTC().Format(time.RFC3339)),
		header("leverstream.version", c.Version),
	)
}

// owner adds the owner record.
func (t *transaction) owner(released bool) error {
	w := t.w
	value, err := w.ownerRecord(t.now, released).Marshal()
	if err != nil {
		return fmt.Errorf("owner record: %w", err)
	}
	t.add(w.c.BookmarksTopic, offsets.OwnerKey(w.c.Account), value)
	t.owned = true
	return nil
}

// commitRecord adds the record by which this commit is known.
func (t *transaction) commitRecord(lsn int64) {
	w := t.w
	n := w.commits + 1
	t.entry = state.Commit{Version: 1, ID: w.c.Instance + "/" + strconv.FormatInt(n, 10), LSN: lsn, Time: t.now.UnixMilli()}
	t.mark = t.add(w.c.StateTopic, state.CommitKey(w.c.Account, int(n%commitRing)), t.entry.Marshal())
}

// commit produces the records and ends the transaction. A nil error means that all of
// them are committed; after any other nothing is known, and the client is of no more
// use.
func (t *transaction) commit(ctx context.Context) error {
	w := t.w
	ctx, cancel := context.WithTimeout(ctx, produceTimeout)
	defer cancel()
	if err := t.produce(ctx); err != nil {
		return err
	}
	if err := w.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return errors.Join(fmt.Errorf("commit a transaction: %w", err), w.abort(ctx))
	}
	failpoint.Reach(failpoint.Committed)
	w.commits++
	if t.owned {
		w.renewed = time.Now()
	}
	return nil
}

// rollback produces the records and aborts the transaction on purpose: they are in the
// partitions then, and no read_committed reader sees them. After an error the client is of no
// more use.
func (t *transaction) rollback(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, produceTimeout)
	defer cancel()
	if err := t.produce(ctx); err != nil {
		return err
	}
	if err := t.w.client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("abort a transaction: %w", err)
	}
	return nil
}

// produce begins a transaction and produces the records, all of them or none that counts:
// after an error the transaction is aborted, as far as that is possible.
func (t *transaction) produce(ctx context.Context) error {
	w := t.w
	if err := w.client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	failpoint.Reach(failpoint.Begun)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	promise := func(r *kgo.Record, err error) {
		defer wg.Done()
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			if failed == nil {
				failed = fmt.Errorf("produce to topic %s: %w", r.Topic, denied(err, rightWrite, onTopic(r.Topic)))
			}
		}
	}
	wg.Add(len(t.records))
	for i, r := range t.records {
		if i == len(t.records)/2 {
			failpoint.Reach(failpoint.Producing)
		}
		w.client.Produce(ctx, r, promise)
	}
	// All of them are there: nobody need linger for more.
	if err := w.client.Flush(ctx); err != nil {
		return errors.Join(fmt.Errorf("produce: %w", err), w.abort(ctx))
	}
	wg.Wait()
	// A transaction can be committed although one of its records failed, so the
	// results decide.
	if failed != nil {
		return errors.Join(failed, w.abort(ctx))
	}
	failpoint.Reach(failpoint.Produced)
	return nil
}

// abort ends what is open, as far as that is possible: the next owner's beginning
// does it for sure, but until then readers would wait.
// Somebody who no longer waits for the transaction waits no longer for that either.
func (w *Writer) abort(committing context.Context) error {
	patience := abortTimeout
	if errors.Is(committing.Err(), context.Canceled) {
		patience = hurriedAbort
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.client.AbortBufferedRecords(ctx); err != nil {
		return fmt.Errorf("abort a transaction: %w", err)
	}
	if err := w.client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("abort a transaction: %w", err)
	}
	return nil
}

// store moves the local copy of the state, after the commit and only then.
func (t *transaction) store(g *change.Group) (err error) {
	w := t.w
	size := 0
	for _, p := range t.puts {
		const entries = 256 // the row's key and the entries by which it is found
		size += len(p.value) + entries
	}
	b := w.store.NewBatchWithSize(size)
	defer func() { err = errors.Join(err, b.Close()) }()
	for _, p := range t.puts {
		if err := b.Replace(p.Table, p.Key, p.Was, p.Record, p.value); err != nil {
			return err
		}
	}
	if g != nil {
		for i := range g.Events {
			// A row that comes back at once may be that of a person who was anonymised.
			if e := &g.Events[i]; e.Op == avro.Delete {
				if err := b.Erase(e.Table.Name, e.Key); err != nil {
					return err
				}
			}
		}
	}
	pos := w.store.Position()
	for _, r := range t.records {
		if r.Topic == w.c.StateTopic {
			pos.Offsets[r.Partition] = max(pos.Offsets[r.Partition], r.Offset+1)
		}
	}
	if t.mark != nil {
		pos.Commit = state.CommitPosition{Commit: t.entry, Partition: t.mark.Partition, Offset: t.mark.Offset}
	}
	pos.AtEnd = t.now
	if err := b.SetPosition(pos); err != nil {
		return err
	}
	return b.Commit(context.Background())
}
