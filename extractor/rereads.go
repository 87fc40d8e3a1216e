package extractor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/leverstream/leverstream/internal/cdc"
)

const (
	// rereadBatch is how many rows are read and committed together.
	rereadBatch = 20
	// mostWaiting bounds the rows that wait to be read again.
	mostWaiting = 5_000
)

// ErrRereadsWaiting says that too many rows wait to be read again.
var ErrRereadsWaiting = errors.New("too many rows wait to be read again")

// Rereads are the rows that somebody wants to have read again, because their topic and
// Lever differ. They wait in memory: who asked looks whether it was done, and asks again
// after a restart. They outlive extractors, as Status does.
type Rereads struct {
	mu      sync.Mutex
	waiting []wanted
	signal  chan struct{}
	read    int64
	failed  int64
}

type wanted struct {
	cdc.Again

	write bool
}

// RereadStatus says what became of the rows that were to be read again.
type RereadStatus struct {
	// Waiting are the rows not read yet.
	Waiting int `json:"waiting"`
	// Read were read and committed, Failed could not be read, since the program started.
	Read   int64 `json:"read"`
	Failed int64 `json:"failed"`
}

// NewRereads returns an empty queue.
func NewRereads() *Rereads { return &Rereads{signal: make(chan struct{}, 1)} }

// Add has rows read again (see Extractor.Reread), all or none. With write, those that have
// not changed since they were emitted are written all the same: as r, or as a tombstone if
// Lever does not have the row and nobody knows of it. It returns the number of objects and
// lists that will be asked for, confirmations aside.
func (q *Rereads) Add(rows []cdc.Again, write bool) (reads int, err error) {
	rows = slices.Clone(rows)
	// Rows of one list are read together.
	slices.SortStableFunc(rows, func(a, b cdc.Again) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Parent, b.Parent), cmp.Compare(a.Key, b.Key))
	})
	rows = slices.CompactFunc(rows, func(a, b cdc.Again) bool { return a.Ref == b.Ref && a.Parent == b.Parent })
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting)+len(rows) > mostWaiting {
		return 0, fmt.Errorf("%w: %d, at most %d", ErrRereadsWaiting, len(q.waiting), mostWaiting)
	}
	for i, r := range rows {
		q.waiting = append(q.waiting, wanted{r, write})
		if i == 0 || !together(rows[i-1], r) {
			reads++
		}
		for _, c := range r.Claimants {
			if i == 0 || !slices.Contains(rows[i-1].Claimants, c) {
				reads++
			}
		}
	}
	select {
	case q.signal <- struct{}{}:
	default:
	}
	return reads, nil
}

// together says that one request answers for both rows.
func together(a, b cdc.Again) bool {
	return a.Table == b.Table && (a.Parent != "" && a.Parent == b.Parent || readWhole(a.Table))
}

// readWhole says that the table's rows cannot be asked for one by one.
func readWhole(table string) bool {
	return slices.ContainsFunc(fullLists(), func(f fullList) bool { return f.table == table && !f.single })
}

// Status says how many rows wait, and what became of the others.
func (q *Rereads) Status() RereadStatus {
	q.mu.Lock()
	defer q.mu.Unlock()
	return RereadStatus{Waiting: len(q.waiting), Read: q.read, Failed: q.failed}
}

// next returns the rows to read next. They wait until they are done.
func (q *Rereads) next() (rows []cdc.Again, write bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, w := range q.waiting {
		if i > 0 {
			last := q.waiting[i-1]
			if w.Table != last.Table || w.write != last.write || i >= rereadBatch && !together(last.Again, w.Again) {
				break
			}
		}
		rows, write = append(rows, w.Again), w.write
	}
	return rows, write
}

// done takes rows that were read from the queue.
func (q *Rereads) done(n, failed int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = q.waiting[n:]
	q.read += int64(n - failed)
	q.failed += int64(failed)
}

// rereadWaiting reads what waits until ctx ends.
func (e *Extractor) rereadWaiting(ctx context.Context) error {
	for {
		rows, write := e.Rereads.next()
		if len(rows) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-e.Rereads.signal:
			}
			continue
		}
		failed, err := e.rereadBatch(ctx, rows, write)
		if err != nil {
			return err // they wait for the next extractor
		}
		e.Rereads.done(len(rows), failed)
		e.Logger.Info("read rows again, as asked", "table", rows[0].Table, "rows", len(rows), "failed", failed)
	}
}

// rereadBatch reads the rows together or, if that fails, one by one. failed is how many
// could not be read; the error is fatal.
func (e *Extractor) rereadBatch(ctx context.Context, rows []cdc.Again, write bool) (failed int, err error) {
	table := rows[0].Table
	if _, ok := e.selected[table]; !ok {
		e.Logger.Warn("cannot read rows again: the table was paused meanwhile", "table", table, "rows", len(rows))
		return len(rows), nil
	}
	for attempt := 1; ; attempt++ {
		err := e.reread(ctx, slices.Clone(rows), write)
		switch {
		case err == nil:
			return 0, nil
		case fatal(ctx, err):
			return 0, err
		case errors.Is(err, cdc.ErrUnauthorized):
			attempt = 0 // all loops wait for credentials
		case errors.Is(err, cdc.ErrUnavailable) && attempt < onceAttempts:
		case len(rows) > 1 && !readWhole(table):
			for i := range rows {
				n, err := e.rereadBatch(ctx, rows[i:i+1], write)
				if failed += n; err != nil {
					return failed, err
				}
			}
			return failed, nil
		default:
			e.Logger.Warn("cannot read rows again", "table", table, "rows", len(rows), "error", err)
			return len(rows), nil
		}
		if !sleep(ctx, e.pause(err, max(attempt, 1))) {
			return 0, ctx.Err()
		}
	}
}
