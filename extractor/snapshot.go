package extractor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

const (
	// firstWindow is the width of a snapshot's first window. The next ones grow or
	// shrink with the number of rows found.
	firstWindow = 30 * 24 * time.Hour
	// lastWindow: what was created longer than this before the snapshot began is read
	// in one window that is open towards the past.
	lastWindow = 15 * 365 * 24 * time.Hour
	// fewRows and manyRows are when a window was too narrow or too wide: each window
	// costs one page that is not full, and is what is read again if a page token dies.
	fewRows, manyRows = 1_000, 20_000
)

// snapshot reads every record of the listing for those tables whose snapshot is not
// complete. A list without created_at filters is read in one go. Otherwise it is
// cut into windows of createdAt, which never changes, newest first: the default
// order of the list moves while it is read, and updatedAt is null on old records.
func (l *listingReader) snapshot(ctx context.Context) error {
	restarts := 0
	for {
		tables, at, err := l.openSnapshot()
		if err != nil {
			return errors.Join(errState, err)
		}
		if len(tables) == 0 {
			return nil
		}
		if at.Check {
			if err := l.endSnapshot(ctx, tables, at); err != nil {
				return err
			}
			continue
		}
		l.e.Status.snapshotRuns(l.snapshotLoop(tables), false)
		err = l.readWindow(ctx, tables, &at)
		if errors.Is(err, cdc.ErrInvalidOffset) && restarts < 3 {
			// The token did not survive: this window is read again from its first page.
			restarts++
			at.Token = ""
			err = l.e.commit(ctx, &cdc.Unit{Scan: l.loop("snapshot").name, Changes: changes(tables, cdc.SectionSnapshot, at)})
		}
		if err != nil {
			return err
		}
	}
}

// snapshotLoop is the loop that reads the tables' snapshot.
func (l *listingReader) snapshotLoop(tables []string) loop {
	s := l.loop("snapshot")
	s.tables = tables
	return s
}

// openSnapshot returns the tables whose snapshot goes on next. Tables that are at
// the same point go together; one that was added later has a scan of its own.
func (l *listingReader) openSnapshot() (tables []string, at snapshotSection, err error) {
	var first json.RawMessage
	for _, t := range l.allTables() {
		raw := l.e.State.Section(t, cdc.SectionSnapshot)
		var s snapshotSection
		if _, err := section(l.e.State, t, cdc.SectionSnapshot, &s); err != nil {
			return nil, at, err
		}
		if s.Complete || len(tables) > 0 && !bytes.Equal(raw, first) {
			continue
		}
		if len(tables) == 0 {
			first, at = raw, s
		}
		tables = append(tables, t)
	}
	return tables, at, nil
}

// readWindow reads the snapshot's open window, or opens the next one. at is where
// the snapshot stands; it moves along.
func (l *listingReader) readWindow(ctx context.Context, tables []string, at *snapshotSection) error {
	q := l.e.query(l.expand)
	probe := at.Began == 0
	switch {
	case at.Updated:
		q.Set("updated_at_start", strconv.FormatInt(l.e.StartDate.UnixMilli(), 10))
	case !l.windows:
		l.since(q)
	case probe:
		l.since(q)
	default:
		if !at.Open {
			at.openWindow(l.floor())
		}
		at.bound(q)
	}
	rows := 0
	into := set(tables)
	unit := func(p cdc.Page, next string) (*cdc.Unit, error) {
		u := unit(l.loop("snapshot").name, p)
		if err := l.add(ctx, u, p.Data, into, cdc.ClassRefresh); err != nil {
			return nil, err
		}
		rows += len(p.Data)
		if at.Began == 0 {
			l.e.Status.snapshotRuns(l.snapshotLoop(tables), true)
			at.Began = p.Date.UnixMilli()
			u.Changes = l.opening(tables, p.Date)
			l.again = newListingPass(at.Began, at.Kind != cdc.SnapshotFirst)
		}
		l.again.note(p)
		l.e.letCatchUp(ctx)
		at.Token = next
		switch {
		case probe && l.windows && next != "":
			at.Token, at.Width = "", firstWindow.Milliseconds()
		case next != "":
		case l.windows && !probe && !at.Updated:
			at.closeWindow(rows, l.floor())
		default:
			at.Complete = true
		}
		if at.Complete && l.windows && !l.e.StartDate.IsZero() && !at.Updated {
			at.Complete, at.Updated = false, true
		}
		if at.Complete && at.Kind != cdc.SnapshotFirst {
			at.Complete, at.Check = false, true
		}
		u.Changes = append(u.Changes, changes(tables, cdc.SectionSnapshot, at.saved())...)
		return u, nil
	}
	return l.e.pages(ctx, pageRead{
		// Before the children of the first load: a hundred rows for one request.
		request: cdc.Request{Class: cdc.ClassRefresh, Path: l.path, Query: q, Limit: pageSize, Offset: at.Token},
		unit:    unit,
		// The first page is unfiltered: a small account is complete with it, a larger
		// one goes on in windows.
		firstOnly: probe && l.windows,
	})
}

const (
	// mostBehind is how many parents the followers may be behind a first load before its next
	// page waits for them, for as long as mostWait.
	mostBehind = 2_000
	mostWait   = 100 * time.Millisecond
)

// letCatchUp waits a moment if the followers are far behind the first load. Where Lever is the
// limit they always are; their requests go on meanwhile, and the last page is later by less than
// one part in a hundred of the load. Where it is not, they catch up in that moment, and read the
// lists of parents that are still in memory.
func (e *Extractor) letCatchUp(ctx context.Context) {
	for until := time.Now().Add(mostWait); e.behind() > mostBehind && time.Now().Before(until); {
		if !sleep(ctx, mostWait/20) {
			return
		}
	}
}

// behind is how many parents' lists the last of the followers has to read for its snapshot.
func (e *Extractor) behind() (most int64) {
	for _, f := range e.followers {
		if !e.complete(f.tables[0]) {
			most = max(most, e.State.Count(f.lead)-e.Status.readOf(f.loop))
		}
	}
	return most
}

// endSnapshot asks for the known rows that a repeated snapshot has not seen, and
// completes it. If it was interrupted nobody remembers what it has seen; then it is read
// once more.
func (l *listingReader) endSnapshot(ctx context.Context, tables []string, at snapshotSection) error {
	next := snapshotSection{Snapshot: at.Snapshot}
	if l.again != nil && l.again.opened == at.Began {
		for _, t := range tables {
			if !slices.Contains(l.tables, t) {
				continue // its lists were complete
			}
			if err := l.vanished(ctx, l.again, []string{t}, l.loop("snapshot").name); err != nil {
				return err
			}
		}
		next.Complete, next.Began = true, at.Began
	}
	l.again = nil
	return l.e.commit(ctx, &cdc.Unit{Scan: l.loop("snapshot").name, Changes: changes(tables, cdc.SectionSnapshot, next)})
}

// floor is the createdAt (ms) before which nothing is read; nil if there is none.
func (l *listingReader) floor() *int64 {
	if l.e.StartDate.IsZero() {
		return nil
	}
	ms := l.e.StartDate.UnixMilli()
	return &ms
}

// since limits a read of the whole list to what is in range: created since the start
// date or, where the list cannot be cut by that, updated since.
func (l *listingReader) since(q url.Values) {
	name := "updated_at_start"
	if l.windows {
		name = "created_at_start"
	}
	if floor := l.floor(); floor != nil && !q.Has(name) {
		q.Set(name, strconv.FormatInt(*floor, 10))
	}
}

// openWindow sets the bounds of the next window.
func (s *snapshotSection) openWindow(floor *int64) {
	upper := s.Began
	if s.End != nil {
		upper = *s.End
	}
	s.Open, s.Start = true, floor
	if s.Width <= 0 { // of a bookmark that somebody has written
		s.Width = firstWindow.Milliseconds()
	}
	start := upper - s.Width
	if start > s.Began-lastWindow.Milliseconds() && (floor == nil || start > *floor) {
		s.Start = &start
	}
}

// bound limits a list to the open window.
func (s *snapshotSection) bound(q url.Values) {
	if s.End != nil {
		q.Set("created_at_end", strconv.FormatInt(*s.End, 10))
	}
	if s.Start != nil {
		q.Set("created_at_start", strconv.FormatInt(*s.Start, 10))
	}
}

// closeWindow notes that the open window, which held so many rows, is done.
func (s *snapshotSection) closeWindow(rows int, floor *int64) {
	if s.Start == nil || floor != nil && *s.Start <= *floor {
		*s = snapshotSection{Snapshot: s.Snapshot, Began: s.Began}
		s.Complete = true
		return
	}
	end := *s.Start - 1 // both bounds are inclusive
	s.End, s.Start, s.Open = &end, nil, false
	switch {
	case rows < fewRows:
		s.Width *= 4
	case rows > manyRows:
		s.Width = max(s.Width/4, time.Hour.Milliseconds())
	}
}

// saved is the section as it is written; a complete one keeps no progress.
func (s *snapshotSection) saved() snapshotSection {
	if s.Complete {
		return snapshotSection{Snapshot: s.Snapshot, Began: s.Began}
	}
	return *s
}
