package state

import (
	"bytes"
	"context"
	"errors"
)

// A store that is fresh is filled without a look at what it holds: of a row's records the last
// one stays. The entries by which rows are found, and their counts, are made when everything is
// there, in one pass. To look up each row's old record, as later batches do, costs more than
// all the rest, and more for each row the more there are.

// loadedAtOnce is how many rows are read with one iterator, which keeps files from being
// deleted, and whose entries become one batch.
var loadedAtOnce = 10_000

// load is change and Replace in a store that is fresh.
func (b *Batch) load(ref rowRef, r *Record) error {
	b.loaded++
	if r == nil {
		b.key = rowKey(b.key[:0], ref.table, ref.key)
		return b.b.Delete(b.key, nil)
	}
	r.place = b.place()
	if err := b.setLocator(ref, locate(r)); err != nil {
		return err
	}
	b.key, b.value = placeKey(b.key[:0], r.place), AppendRecord(b.value[:0], *r)
	return b.b.Set(b.key, b.value, nil)
}

// commitLoaded is Commit in a store that is fresh.
func (b *Batch) commitLoaded(ctx context.Context) error {
	s := b.s
	if err := b.write(); err != nil {
		return err
	}
	s.loaded += b.loaded
	if b.position == nil || b.position.AtEnd.IsZero() {
		return nil
	}
	x := indexing{s: s, counts: map[string]int64{}, taken: make([]uint64, s.places/64+1)}
	for from := []byte{kindRow}; from != nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if from, err = x.next(from); err != nil {
			return err
		}
	}
	if x.records > 0 {
		s.novel.Store(nil) // this is no first load
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := Batch{s: s, b: s.db.NewBatch()}
	if s.loaded > x.records {
		// Earlier records of some rows are in the files.
		s.due = mostDue + 1
		if err := errors.Join(x.vacate(), last.b.Set(eraseEntry(s.generation), nil, nil)); err != nil {
			return errors.Join(err, last.Close())
		}
	}
	return errors.Join(last.writeAt(*b.position, x.counts), last.Close())
}

// indexing makes the entries of all rows, and counts them.
type indexing struct {
	s       *Store
	counts  map[string]int64
	records int64
	// taken has a bit for each place in which the record of a row is.
	taken []uint64
}

// next makes the entries of some rows, beginning at from. It returns where to go on, nil at the
// end.
func (x *indexing) next(from []byte) (next []byte, err error) {
	made := Batch{s: x.s, b: x.s.db.NewBatch()}
	defer func() { err = errors.Join(err, made.Close()) }()
	n := 0
	err = x.s.scan([]byte{kindRow}, from, func(rest, value []byte) (bool, error) {
		table, key, ok := cutPart(rest)
		if !ok {
			return false, errTruncated
		}
		l, err := parseLocator(value)
		if err != nil {
			return false, err
		}
		if l.place > x.s.places {
			return false, errTruncated
		}
		x.taken[l.place/64] |= 1 << (l.place % 64)
		ref := rowRef{table, string(key)}
		if l.row {
			x.counts[table]++
		}
		if err := made.find(ref, locator{}, l); err != nil {
			return false, err
		}
		x.records++
		if n++; n < loadedAtOnce {
			return true, nil
		}
		next = append(rowKey(nil, table, ref.key), 0)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	return next, made.write()
}

// vacate removes the records in places that are no row's.
func (x *indexing) vacate() error {
	b := Batch{s: x.s, b: x.s.db.NewBatch()}
	for place := uint64(1); place <= x.s.places; place++ {
		if x.taken[place/64]&(1<<(place%64)) != 0 {
			continue
		}
		b.key = placeKey(b.key[:0], place)
		if err := b.b.Delete(b.key, nil); err != nil {
			return errors.Join(err, b.Close())
		}
		if int(b.b.Count()) < loadedAtOnce {
			continue
		}
		if err := errors.Join(b.write(), b.Close()); err != nil {
			return err
		}
		b.b = x.s.db.NewBatch()
	}
	return errors.Join(b.write(), b.Close())
}

// cutPart undoes escape: it returns the part at the beginning, and what follows it.
func cutPart(b []byte) (part string, rest []byte, ok bool) {
	end := bytes.Index(b, []byte{0, 1})
	if end < 0 {
		return "", nil, false
	}
	return string(bytes.ReplaceAll(b[:end], []byte{0, 0xff}, []byte{0})), b[end+2:], true
}
