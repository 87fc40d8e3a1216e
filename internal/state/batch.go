package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects changes that become visible together.
type Batch struct {
	s *Store
	b *pebble.Batch
	// records are the rows that this batch has changed; nil for deleted ones.
	records  map[rowRef]*Record
	counts   map[string]int64 // differences
	position *Position
	due      map[rowRef]bool // see Erase
	loading  bool            // see load.go
	loaded   int64
}

type rowRef struct{ table, key string }

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return s.NewBatchWithSize(0) }

// NewBatchWithSize returns an empty batch that will hold about so many bytes.
func (s *Store) NewBatchWithSize(size int) *Batch {
	fresh, _ := s.Fresh()
	return &Batch{s: s, b: s.db.NewBatchWithSize(size), records: map[rowRef]*Record{}, counts: map[string]int64{}, due: map[rowRef]bool{}, loading: fresh}
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
func (b *Batch) Replace(table, key string, was, r *Record, encoded []byte) error {
	if b.loading {
		return b.load(rowRef{table, key}, r)
	}
	return b.replace(rowRef{table, key}, was, r, encoded)
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
	if old != nil && r != nil && !bytes.Equal(old.Row, r.Row) {
		b.Erase(ref.table, ref.key) // who reads the topic does not know why the row was written anew
	}
	if r == nil {
		return b.replace(ref, old, nil, nil)
	}
	return b.replace(ref, old, r, AppendRecord(nil, *r))
}

func (b *Batch) replace(ref rowRef, old, r *Record, encoded []byte) (err error) {
	was, is := entries(ref, old), entries(ref, r)
	for _, e := range was {
		if !slices.ContainsFunc(is, func(x []byte) bool { return slices.Equal(x, e) }) {
			if err := b.b.Delete(e, nil); err != nil {
				return err
			}
		}
	}
	for _, e := range is {
		if !slices.ContainsFunc(was, func(x []byte) bool { return slices.Equal(x, e) }) {
			if err := b.b.Set(e, nil, nil); err != nil {
				return err
			}
		}
	}
	key := rowKey(nil, ref.table, ref.key)
	if r == nil {
		if old != nil {
			b.Erase(ref.table, ref.key)
		}
		err = b.b.Delete(key, nil)
	} else {
		err = b.b.Set(key, encoded, nil)
	}
	b.records[ref] = r
	b.counts[ref.table] += rows(r) - rows(old)
	return err
}

// rows is 1 if the record holds a row.
func rows(r *Record) int64 {
	if r == nil || r.Row == nil {
		return 0
	}
	return 1
}

// entries are the keys under which a record is found, beside its own.
func entries(ref rowRef, r *Record) (out [][]byte) {
	if r == nil || r.Row == nil {
		return nil
	}
	under := func(kind byte, parent string) []byte {
		return append(escape(escape([]byte{kind}, ref.table), parent), ref.key...)
	}
	if r.Parent != "" {
		out = append(out, under(kindParent, r.Parent))
	} else {
		follow := binary.BigEndian.AppendUint64(escape([]byte{kindFollow}, ref.table), uint64(r.FollowLSN))
		out = append(out, append(follow, ref.key...))
	}
	for _, c := range r.Claimants {
		out = append(out, under(kindClaim, c))
	}
	return out
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
	raw, err := json.Marshal(saved{position, counts})
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
