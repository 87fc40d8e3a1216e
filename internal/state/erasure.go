package state

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A database of sorted files forgets late: what is deleted or replaced stays in its logs
// until they are flushed, and in its files until they happen to be merged. For a row that
// was erased that is put right on purpose. Whatever deletes a row notes in the same batch
// that the row is due, and Erase writes anew, without the old values, the files in which a
// row that is due may be:
//
//	e <generation, 8 bytes> <record's key>   the row in this place is due
//	e <generation, 8 bytes>                  all rows are
//
// A generation ends when Erase begins, so that rows which become due meanwhile wait for the
// next one.

const (
	// mostDue is how many rows of a generation are noted one by one. If there are more, as
	// after a rebuild, all files are written anew.
	mostDue = 250
	// eraseAtClose bounds what Close spends on rows that are due. The rest is done after
	// the next Open.
	eraseAtClose = 2 * time.Second
)

// Erase notes that earlier values of the row, which stays or comes back, must go from the
// files. Rows that are deleted are noted without it.
func (b *Batch) Erase(table, key string) error {
	place, err := b.s.place(table, key)
	if place > 0 {
		b.due[place] = true
	}
	return err
}

// addDue adds the rows that are due to the batch. The caller holds the store's lock.
func (b *Batch) addDue() error {
	s := b.s
	for place := range b.due {
		if s.due > mostDue {
			break
		}
		entry := eraseEntry(s.generation)
		if s.due++; s.due <= mostDue {
			entry = placeKey(entry, place)
		}
		if err := b.b.Set(entry, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// eraseEntry is the first entry of a generation: the one for all rows.
func eraseEntry(generation uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindErase}, generation)
}

// loadDue begins a generation behind those that the store holds.
func (s *Store) loadDue() (err error) {
	s.generation, s.due = 0, 0
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindErase}, UpperBound: after([]byte{kindErase})})
	if err != nil {
		return s.damaged(err)
	}
	if it.Last() && len(it.Key()) > 8 {
		s.generation = binary.BigEndian.Uint64(it.Key()[1:]) + 1
	}
	if err := it.Close(); err != nil {
		return s.damaged(err)
	}
	return nil
}

// Erase removes from the files what was deleted or replaced in the rows that are due, and
// returns when it is gone from there; the files themselves vanish as soon as nobody reads
// them any more. It costs nothing if no row is due, the writing anew of a few files for
// each row, and of all files at most. Rows may be read and written meanwhile.
//
// What is due survives a crash. An Erase that ctx has ended is made up for by the next one.
func (s *Store) Erase(ctx context.Context) error { return s.erase(ctx, true) }

// erase is Erase, which may write all files anew, or does nothing if that is what it takes.
func (s *Store) erase(ctx context.Context, mayAll bool) error {
	s.mu.Lock()
	generation := s.generation
	s.generation++
	s.due = 0
	s.mu.Unlock()

	first, end := []byte{kindErase}, eraseEntry(generation+1)
	var rows [][]byte
	all, found := false, false
	err := s.scan(first, nil, func(rest, _ []byte) (bool, error) {
		if len(rest) < 8 {
			return false, errTruncated
		}
		if binary.BigEndian.Uint64(rest) > generation {
			return false, nil
		}
		found = true
		all = len(rest) == 8 || len(rows) > mostDue
		rows = append(rows, slices.Clone(rest[8:]))
		return !all, nil
	})
	if err != nil || !found || all && !mayAll {
		return err
	}
	// The log with the old values is deleted as soon as what is in memory is a file.
	if err := s.db.Flush(); err != nil {
		return s.unerased(ctx, err)
	}
	if all {
		if err := s.db.Compact(ctx, []byte{kindRecord}, after([]byte{kindRecord}), true); err != nil {
			return s.unerased(ctx, err)
		}
		rows = nil
	}
	for _, row := range rows {
		if err := s.db.Compact(ctx, row, append(slices.Clone(row), 0), false); err != nil {
			return s.unerased(ctx, err)
		}
	}
	// Lost in a crash, this is done once more.
	if err := s.db.DeleteRange(first, end, pebble.NoSync); err != nil {
		return s.unerased(ctx, err)
	}
	return nil
}

// unerased tells a store that cannot be read from an Erase that was ended.
func (s *Store) unerased(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.damaged(err)
}

// keepNoLogs deletes the database's logs when they are flushed. By default it would keep
// some, with what is in them, to write over them later; it does not if its cleaner says
// that it needs the contents of files, as that which archives them does.
type keepNoLogs struct {
	pebble.DeleteCleaner
	needsContents
}

type needsContents struct{ pebble.ArchiveCleaner }

// rolledKey is the entry of what SetRolled keeps.
var rolledKey = []byte{kindMeta, 'r'}

// Rolled returns what SetRolled has kept; nothing in a store that is fresh.
func (s *Store) Rolled() (map[string]int64, error) {
	out := map[string]int64{}
	_, err := s.get(rolledKey, func(b []byte) error { return json.Unmarshal(b, &out) })
	return out, err
}

// SetRolled keeps, for partitions of topics, the offset at which they ended when their last
// segment was closed on purpose. It is kept here because it is worth as much as the store: it
// is forgotten with it when Kafka turns out to be another.
func (s *Store) SetRolled(ends map[string]int64) error {
	raw, err := json.Marshal(ends)
	if err != nil {
		return err
	}
	return s.db.Set(rolledKey, raw, pebble.NoSync)
}
