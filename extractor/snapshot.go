package extractor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	if !probe && l.windows {
		if !at.Open {
			at.openWindow()
		}
		if at.End != nil {
			q.Set("created_at_end", strconv.FormatInt(*at.End, 10))
		}
		if at.Start != nil {
			q.Set("created_at_start", strconv.FormatInt(*at.Start, 10))
		}
	}
	rows := 0
	into := set(tables)
	unit := func(p cdc.Page, next string) (*cdc.Unit, error) {
		u := unit(l.loop("snapshot").name, p)
		for _, rec := range p.Data {
			l.add(u, rec, into)
		}
		rows += len(p.Data)
		if at.Began == 0 {
			at.Began = p.Date.UnixMilli()
			u.Changes = l.opening(tables, p.Date)
		}
		at.Token = next
		switch {
		case probe && l.windows && next != "":
			at.Token, at.Width = "", firstWindow.Milliseconds()
		case next != "":
		case l.windows && !probe:
			at.closeWindow(rows)
		default:
			at.Complete = true
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

// openWindow sets the bounds of the next window.
func (s *snapshotSection) openWindow() {
	upper := s.Began
	if s.End != nil {
		upper = *s.End
	}
	s.Open, s.Start = true, nil
	if start := upper - s.Width; start > s.Began-lastWindow.Milliseconds() {
		s.Start = &start
	}
}

// closeWindow notes that the open window, which held so many rows, is done.
func (s *snapshotSection) closeWindow(rows int) {
	if s.Start == nil {
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
