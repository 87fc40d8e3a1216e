package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/change"
	"github.com/leverstream/leverstream/internal/failpoint"
	"github.com/leverstream/leverstream/internal/state"
	"github.com/leverstream/leverstream/offsets"
)

// Writer commits units. It is a cdc.Sink.
type Writer struct {
	c      Config
	client *kgo.Client
	store  *state.Store
	// temporary is the directory of the store if it is a temporary copy.
	temporary string
	tables    map[string]*change.Table
	topics    map[string]topic
	memory    *change.Memory
	queue     chan submission
	// closing is closed by Close: no more units come. stopped is closed when Run ends.
	closing, stopped chan struct{}
	closeOnce        sync.Once

	started time.Time
	// renewed is when the owner record was last written, by a clock that never jumps; commits the number of the last
	// commit. Only Run touches them.
	renewed time.Time
	commits int64
	// buffer holds the records of the transaction that is under way. What was in it before is
	// committed, and nobody looks at it any more.
	buffer []byte
	// drift holds the fields that were reported.
	drift   map[string]bool
	schemas schemas // what the registry is known to know

	mu        sync.RWMutex
	bookmarks map[string]offsets.Bookmark
	lsn       int64
}

type submission struct {
	unit   *change.Unit
	result chan cdc.Result
}

// Submit encodes the unit's rows and queues it (see cdc.Sink).
func (w *Writer) Submit(ctx context.Context, u *cdc.Unit) (<-chan cdc.Result, error) {
	s := submission{unit: change.Encode(w.tables, u), result: make(chan cdc.Result, 1)}
	for i := range u.Rows {
		u.Rows[i].Fields = nil
	}
	select {
	case <-w.stopped:
		return nil, cdc.ErrStopped
	case <-ctx.Done():
		return nil, ctx.Err()
	case w.queue <- s:
		return s.result, nil
	}
}

// LSN is the log sequence number of the last committed event.
func (w *Writer) LSN() int64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.lsn
}

// Section is the committed value of a bookmark's section; nil if there is none.
func (w *Writer) Section(table, section string) json.RawMessage {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.bookmarks[table].Sections[section]
}

// Bookmark is the committed bookmark of a table.
func (w *Writer) Bookmark(table string) offsets.Bookmark {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.bookmarks[table]
}

// Store is the local copy of the last emitted rows.
func (w *Writer) Store() *state.Store { return w.store }

// Run commits what is submitted until Close has been called and the queue is empty
// (nil is returned), or a commit fails. After an error nothing of the open group
// counts: close the Writer and open another.
func (w *Writer) Run(ctx context.Context) (err error) {
	defer func() {
		close(w.stopped)
		w.refuse(err)
	}()
	erasing, stopErasing := context.WithCancel(ctx)
	erased := make(chan error, 1)
	go func() {
		defer close(erased)
		erased <- w.erase(erasing)
	}()
	defer func() {
		stopErasing()
		err = errors.Join(err, <-erased)
	}()
	renew := time.NewTimer(renewInterval)
	defer renew.Stop()
	// The first look comes first: the program may run for a single pass, now and then.
	next, err := w.roll(ctx)
	if err != nil {
		w.c.Stats.failed()
		return err
	}
	roll := time.NewTimer(next)
	defer roll.Stop()
	for {
		var group []submission
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s := <-w.queue:
			group = w.gather(ctx, s)
		case <-renew.C:
		case <-roll.C:
			next, err := w.roll(ctx)
			if err != nil {
				w.c.Stats.failed()
				return err
			}
			roll.Reset(next)
			continue
		case err := <-erased:
			return errors.Join(err, ctx.Err())
		case <-w.closing:
			select {
			case s := <-w.queue:
				group = w.gather(ctx, s)
			default:
				return w.release(ctx)
			}
		}
		for first := true; first || len(group) > 0; first = false {
			n, err := w.commit(ctx, group)
			if err != nil {
				w.c.Stats.failed()
				for _, s := range group {
					s.result <- cdc.Result{Err: errors.Join(cdc.ErrStopped, err)}
				}
				return err
			}
			group = group[n:]
		}
		renew.Reset(time.Until(w.renewed.Add(renewInterval)))
	}
}

// erase removes from the files of the local state, again and again, what was deleted. An error
// means that they cannot be read.
func (w *Writer) erase(ctx context.Context) error {
	every := w.c.EraseInterval
	if every == 0 {
		every = eraseInterval
	}
	again := time.NewTicker(every)
	defer again.Stop()
	for {
		if err := w.store.Erase(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("remove deleted rows from the local state: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}

// refuse answers everything that is still queued.
func (w *Writer) refuse(err error) {
	for {
		select {
		case s := <-w.queue:
			s.result <- cdc.Result{Err: errors.Join(cdc.ErrStopped, err)}
		default:
			return
		}
	}
}

// gather takes the units that make a group. Those that wait are taken, up to the limit; more
// are waited for only until they are enough, and while they keep coming. It is not worth
// waiting for all that is being read: children are read when their parents are committed, so
// whoever reads would have nothing to do during the commit.
func (w *Writer) gather(ctx context.Context, first submission) []submission {
	group := []submission{first}
	rows := len(first.unit.Rows)
	deadline := time.NewTimer(maxGroupWait)
	defer deadline.Stop()
	for rows < maxGroupRows {
		var silence <-chan time.Time
		if len(w.queue) == 0 {
			if rows >= enoughRows {
				break
			}
			silence = time.After(quiet)
		}
		select {
		case s := <-w.queue:
			group = append(group, s)
			rows += len(s.unit.Rows)
		case <-silence:
			return group
		case <-deadline.C:
			return group
		case <-ctx.Done():
			return group
		}
	}
	return group
}

// commit compares the units with the state and commits what they change, as many of
// them as make a group; it returns their number. With no units it renews the owner
// record.
func (w *Writer) commit(ctx context.Context, group []submission) (n int, err error) {
	began := time.Now()
	now := w.c.now()
	pending := maps.Clone(w.bookmarks) // only Run changes them
	changed := map[string]bool{}
	view, err := w.store.View()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	g := change.NewGroup(w.tables, view, w.memory, w.c.Account, w.c.Version, w.lsn, now)
	var results []cdc.Result
	for _, s := range group {
		if g.Bytes > maxGroupBytes {
			break
		}
		r, err := g.Add(s.unit)
		if err != nil {
			return 0, err
		}
		results = append(results, r)
		if len(r.Again) > 0 {
			continue
		}
		for _, ch := range s.unit.Changes {
			b, err := pending[ch.Table].Apply(ch)
			if err != nil {
				return 0, fmt.Errorf("bookmark of %s: %w", ch.Table, err)
			}
			pending[ch.Table] = b
			changed[ch.Table] = true
			if err := w.setSnapshot(ch.Table, b); err != nil {
				return 0, err
			}
		}
	}
	group = group[:len(results)]
	for t := range changed {
		b := pending[t]
		b.LSN = g.LSN()
		pending[t] = b
	}
	tx := transaction{w: w, now: now}
	if err := tx.build(g, pending, changed); err != nil {
		return 0, err
	}
	if len(tx.records) == 0 {
		w.settle(group, results)
		return len(group), nil
	}
	failpoint.Reach(failpoint.Compared)
	if err := w.verifySchemas(ctx); err != nil {
		return 0, err
	}
	if err := tx.commit(ctx); err != nil {
		return 0, err
	}
	if err := tx.store(g); err != nil {
		return 0, fmt.Errorf("write the local state: %w", err)
	}
	failpoint.Reach(failpoint.Stored)
	w.mu.Lock()
	w.bookmarks, w.lsn = pending, g.LSN()
	w.mu.Unlock()
	w.settle(group, results)
	failpoint.Reach(failpoint.Settled)
	c := Commit{Units: len(group), Rows: g.Rows, Events: len(g.Events), Letters: len(g.Letters), Drift: w.reportDrift(g), LSN: g.LSN(), Bytes: tx.bytes, Took: time.Since(began)}
	w.c.Stats.committed(g, c, pending)
	if w.c.Committed != nil {
		w.c.Committed(c)
	}
	return len(group), nil
}

// reportDrift names the fields that did not fit the schemas, each once per ownership,
// and returns how many values there were.
func (w *Writer) reportDrift(g *change.Group) (n int) {
	for table, r := range g.Drift {
		n += r.Count()
		for _, path := range r.Paths() {
			if !w.drift[table+"."+path] {
				w.drift[table+"."+path] = true
				w.c.Logger.Info("Lever serves a field that the schema does not have, or not with this type; it is kept in _extra", "table", table, "field", path)
			}
		}
	}
	for _, l := range g.Letters {
		w.c.Logger.Warn("a row could not become an event and is in the dead letter topic", "table", l.Table.Name, "reason", l.Reason)
	}
	return n
}

// settle hands out the results. What no open read can be older than is forgotten.
func (w *Writer) settle(group []submission, results []cdc.Result) {
	for i, s := range group {
		s.result <- results[i]
	}
	w.memory.Forget(w.c.Clock.Oldest())
}

// setSnapshot tells the comparison where the table's snapshot stands.
func (w *Writer) setSnapshot(table string, b offsets.Bookmark) error {
	s, err := b.Snapshot()
	if err != nil {
		return &ConfigError{fmt.Errorf("bookmark of %s: %w", table, err)}
	}
	w.tables[table].Snapshot = s
	if b.Incarnation != nil {
		w.tables[table].MaskedSince = b.Incarnation.MaskedSince
	}
	return nil
}

// Drain says that no more units will be submitted: Run commits what is queued, gives
// up the ownership and returns.
func (w *Writer) Drain() { w.closeOnce.Do(func() { close(w.closing) }) }

// release marks the owner record as released, so that another producer need not wait
// for it to grow old.
func (w *Writer) release(ctx context.Context) error {
	tx := transaction{w: w, now: w.c.now()}
	if err := tx.owner(true); err != nil {
		return err
	}
	tx.commitRecord(w.lsn)
	if err := tx.commit(ctx); err != nil {
		return err
	}
	failpoint.Reach(failpoint.Released)
	return tx.store(nil)
}

// Close frees what the Writer holds. Call it after Run has returned.
func (w *Writer) Close() error {
	w.Drain()
	w.c.Stats.released()
	w.client.Close()
	return w.closeStore()
}

// closeStore closes the local state; a temporary copy is removed.
func (w *Writer) closeStore() error {
	err := w.store.Close()
	if w.temporary != "" {
		err = errors.Join(err, os.RemoveAll(w.temporary))
	}
	return err
}
