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
	key := rowKey(nil, ref.table, ref.key)
	if r == nil {
		return b.b.Delete(key, nil)
	}
	return b.b.Set(key, AppendRecord(nil, *r), nil)
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
	counts := map[string]int64{}
	var records int64
	for from := []byte{kindRow}; from != nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var n int64
		var err error
		if from, n, err = s.index(from, counts); err != nil {
			return err
		}
		records += n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := Batch{s: s, b: s.db.NewBatch()}
	if s.loaded > records {
		// Earlier records of some rows, nobody knows which, are in the files.
		s.due = mostDue + 1
		if err := last.b.Set(eraseEntry(s.generation), nil, nil); err != nil {
			return errors.Join(err, last.Close())
		}
	}
	return errors.Join(last.writeAt(*b.position, counts), last.Close())
}

// index makes the entries of rows, beginning at from, and counts them. It returns where to go
// on, nil at the end, and the number of records.
func (s *Store) index(from []byte, counts map[string]int64) (next []byte, records int64, err error) {
	made := Batch{s: s, b: s.db.NewBatch()}
	defer func() { err = errors.Join(err, made.Close()) }()
	err = s.scan([]byte{kindRow}, from, func(rest, value []byte) (bool, error) {
		table, key, ok := cutPart(rest)
		if !ok {
			return false, errTruncated
		}
		r, err := ParseRecord(value)
		if err != nil {
			return false, err
		}
		counts[table] += rows(&r)
		for _, e := range entries(rowRef{table, string(key)}, &r) {
			if err := made.b.Set(e, nil, nil); err != nil {
				return false, err
			}
		}
		if records++; records < int64(loadedAtOnce) {
			return true, nil
		}
		next = append(rowKey(nil, table, string(key)), 0)
		return false, nil
	})
	if err != nil {
		return nil, 0, err
	}
	return next, records, made.write()
}

// cutPart undoes escape: it returns the part at the beginning, and what follows it.
func cutPart(b []byte) (part string, rest []byte, ok bool) {
	end := bytes.Index(b, []byte{0, 1})
	if end < 0 {
		return "", nil, false
	}
	return string(bytes.ReplaceAll(b[:end], []byte{0, 0xff}, []byte{0})), b[end+2:], true
}
