package state

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects changes that become visible together. It is filled by Put and Delete, or by
// Replace.
type Batch struct {
	s *Store
	b *pebble.Batch
	// records are the rows that Put and Delete have changed; nil for deleted ones.
	records  map[rowRef]*Record
	counts   map[string]int64 // differences
	position *Position
	due      map[uint64]bool // places, see Erase
	loading  bool            // see load.go
	loaded   int64
	// key and value are written anew for each entry: the database copies them.
	key, value []byte
}

type rowRef struct{ table, key string }

// mostRetained is the largest buffer, in bytes, that the database keeps for the next batch.
const mostRetained = 8 << 20

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return s.NewBatchWithSize(0) }

// NewBatchWithSize returns an empty batch that will hold about so many bytes.
func (s *Store) NewBatchWithSize(size int) *Batch {
	fresh, _ := s.Fresh()
	return &Batch{s: s, b: s.db.NewBatchWithSize(size, pebble.WithMaxRetainedSizeBytes(mostRetained)), records: map[rowRef]*Record{}, counts: map[string]int64{}, due: map[uint64]bool{}, loading: fresh}
}

// Put sets the record of a row. In a store that is fresh the row counts, and is found by its
// parent, from the batch that sets a position.
func (b *Batch) Put(table, key string, r Record) error {
	return b.change(rowRef{table, key}, &r)
}

// Delete removes the record of a row, if there is one.
func (b *Batch) Delete(table, key string) error {
	return b.change(rowRef{table, key}, nil)
}

// Replace sets the record of a row, or removes it if r is nil. The caller knows the record
// that the row has, or nil if it has none, so that it need not be looked up to move the
// entries by which it is found. encoded is what AppendRecord makes of r.
func (b *Batch) Replace(table, key string, was, r *Record, encoded []byte) (err error) {
	ref := rowRef{table, key}
	if b.loading {
		return b.load(ref, r)
	}
	if was != nil && was.place == 0 { // it is not from here
		known := *was
		if known.place, err = b.s.place(table, key); err != nil {
			return err
		}
		was = &known
	}
	return b.replace(ref, was, r, encoded)
}

func (b *Batch) old(ref rowRef) (*Record, error) {
	if r, ok := b.records[ref]; ok {
		return r, nil
	}
	r, ok, err := b.s.Get(ref.table, ref.key)
	if err != nil || !ok {
		return nil, err
	}
	return &r, nil
}

// change writes a record and moves the entries by which it is found.
func (b *Batch) change(ref rowRef, r *Record) error {
	if b.loading {
		return b.load(ref, r)
	}
	old, err := b.old(ref)
	if err != nil {
		return err
	}
	b.records[ref] = r
	if r == nil {
		return b.replace(ref, old, nil, nil)
	}
	if old != nil && !bytes.Equal(old.Row, r.Row) {
		b.due[old.place] = true // who reads the topic does not know why the row was written anew
	}
	return b.replace(ref, old, r, AppendRecord(nil, *r))
}

// replace writes a record to the place of the one that was there before, and moves the entries
// by which it is found.
func (b *Batch) replace(ref rowRef, old, r *Record, encoded []byte) error {
	b.counts[ref.table] += rows(r) - rows(old)
	var was, is locator // without a place if there is none
	if old != nil {
		was = locate(old)
	}
	if r != nil {
		if r.place = was.place; r.place == 0 {
			r.place = b.place()
		}
		is = locate(r)
	}
	for i := range was.entries() {
		if is.has(was, i) {
			continue
		}
		b.key = was.entry(b.key[:0], ref, i)
		if err := b.b.Delete(b.key, nil); err != nil {
			return err
		}
	}
	if r == nil {
		if old == nil {
			return nil
		}
		b.due[was.place] = true
		b.key = placeKey(b.key[:0], was.place)
		if err := b.b.Delete(b.key, nil); err != nil {
			return err
		}
		b.key = rowKey(b.key[:0], ref.table, ref.key)
		return b.b.Delete(b.key, nil)
	}
	if err := b.find(ref, was, is); err != nil {
		return err
	}
	if !was.is(is) {
		if err := b.setLocator(ref, is); err != nil {
			return err
		}
	}
	b.key = placeKey(b.key[:0], is.place)
	return b.b.Set(b.key, encoded, nil)
}

// place returns a place for a row that is new.
func (b *Batch) place() uint64 {
	b.s.places++
	return b.s.places
}

// setLocator sets the entry of the row.
func (b *Batch) setLocator(ref rowRef, l locator) error {
	b.key, b.value = rowKey(b.key[:0], ref.table, ref.key), l.append(b.value[:0])
	if n := b.s.novel.Load(); n != nil && !n.add(b.key) {
		b.s.novel.Store(nil)
	}
	return b.b.Set(b.key, b.value, nil)
}

// find sets the entries by which the row is found, beside its own and those that there were.
func (b *Batch) find(ref rowRef, was, l locator) error {
	for i := range l.entries() {
		if was.has(l, i) {
			continue
		}
		if i > 0 {
			b.s.claims.Store(claimsSome)
		}
		b.key = l.entry(b.key[:0], ref, i)
		if err := b.b.Set(b.key, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// rows is 1 if the record holds a row.
func rows(r *Record) int64 {
	if r == nil || r.Row == nil {
		return 0
	}
	return 1
}

// SetPosition says how far the store has followed the topic with this batch.
func (b *Batch) SetPosition(p Position) error {
	if p.Offsets = maps.Clone(p.Offsets); p.Offsets == nil {
		p.Offsets = map[int32]int64{}
	}
	b.position = &p
	return nil
}

// Commit makes the changes visible, all or none. They are not synced to the disk one by
// one: Kafka is the truth, and a store that a power failure sets back is still a
// whole copy of an earlier position and catches up from there.
//
// If it sets the first position of a store that was fresh, all rows are looked at, which takes
// some seconds for a million. Only then can ctx end it, and nothing has changed.
func (b *Batch) Commit(ctx context.Context) error {
	s := b.s
	if b.loading {
		return b.commitLoaded(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := maps.Clone(s.counts)
	for t, n := range b.counts {
		counts[t] += n
	}
	position := s.position
	if b.position != nil {
		position = *b.position
	} else {
		position.AtEnd = time.Time{} // in the middle of catching up
	}
	if err := b.addDue(); err != nil {
		return err
	}
	return b.writeAt(position, counts)
}

// writeAt writes the batch with the position and the counts. The caller holds the store's lock.
func (b *Batch) writeAt(position Position, counts map[string]int64) error {
	raw, err := json.Marshal(saved{position, counts, b.s.places})
	if err != nil {
		return err
	}
	if err := b.b.Set(positionKey, raw, nil); err != nil {
		return err
	}
	if err := b.write(); err != nil {
		return err
	}
	b.s.position, b.s.counts = position, counts
	if !position.AtEnd.IsZero() {
		b.s.reason = ""
	}
	return nil
}

// write hands the changes to the database, which panics when the disk is full.
func (b *Batch) write() error {
	defer func() {
		if failure := recover(); failure != nil {
			b.s.fatal(fmt.Errorf("%v", failure))
		}
	}()
	return b.b.Commit(pebble.NoSync)
}

// Close frees the batch. Without a Commit before it, nothing has changed.
func (b *Batch) Close() error { return b.b.Close() }
