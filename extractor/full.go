package extractor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/leverstream/leverstream/internal/cdc"
)

// A fullReader reads a whole list, each time, and finds what is no longer in it.
type fullReader struct {
	fullList
	e *Extractor
}

func (f *fullReader) loop() loop {
	return loop{name: f.table + " full", tables: []string{f.table}, path: f.path}
}

// read reads the list to its end. Rows are committed page by page. Rows that are
// known and were not listed are confirmed (a 404 for the single object, or a second
// complete list) before they are called gone. Then the table's snapshot is complete.
func (f *fullReader) read(ctx context.Context) error { return f.readWriting(ctx, nil) }

// readWriting reads the list and has the given rows written (see cdc.Unit).
func (f *fullReader) readWriting(ctx context.Context, write []cdc.Ref) error {
	seen, began, err := f.list(ctx, write)
	if err != nil {
		return err
	}
	missing, err := f.missing(seen)
	if err != nil {
		return err
	}
	for _, ref := range write {
		if !seen[ref.Key] && !slices.Contains(missing, ref.Key) {
			missing = append(missing, ref.Key)
		}
	}
	read := f.e.Clock.Begin()
	defer f.e.Clock.End(read)
	u := &cdc.Unit{Scan: f.loop().name, Write: write}
	if u.Changes, err = f.finished(began); err != nil {
		return err
	}
	switch {
	case len(missing) == 0:
	case f.single:
		for _, key := range missing {
			// What cannot be read for its own reasons is kept, until a 404 says that it is gone.
			q := question{f.table, f.path + "/:id", cdc.Request{Class: cdc.ClassRefresh}}
			broken, err := f.e.ask(ctx, q, key, func() error { return f.one(ctx, u, key) })
			if err != nil && !f.e.keeps(q, key, broken, err) {
				return err
			}
		}
	default:
		u.Sent = f.e.Clock.Now()
		if seen, _, err = f.list(ctx, nil); err != nil {
			return err
		}
		u.Arrived = f.e.Clock.Now()
		for _, key := range missing {
			if !seen[key] {
				u.Gone = append(u.Gone, cdc.Gone{Ref: cdc.Ref{Table: f.table, Key: key}})
			}
		}
	}
	return f.e.commit(ctx, u)
}

// list reads and commits the list once. It returns the keys that it held and Lever's
// time (ms) at its beginning.
func (f *fullReader) list(ctx context.Context, write []cdc.Ref) (seen map[string]bool, began int64, err error) {
	q := url.Values{}
	if f.confidential {
		q = f.e.query(nil)
	}
	for k, v := range f.query {
		q.Set(k, v)
	}
	key := f.e.selected[f.table].Key
	for try := 0; ; try++ {
		f.e.Status.snapshotRuns(f.loop(), true)
		seen, began = map[string]bool{}, 0
		err = f.e.pages(ctx, pageRead{
			request: cdc.Request{Class: cdc.ClassRefresh, Path: f.path, Query: q, Limit: pageSize},
			unit: func(p cdc.Page, _ string) (*cdc.Unit, error) {
				if began == 0 {
					began = p.Date.UnixMilli()
				}
				u := unit(f.loop().name, p)
				u.Write = write
				for _, rec := range p.Data {
					if !f.inRange(rec) {
						continue
					}
					k := text(rec, key)
					if k != "" && seen[k] {
						continue // a list that names a row twice: the first counts, always
					}
					seen[k] = true
					u.Rows = append(u.Rows, cdc.Row{Table: f.table, Key: k, Fields: rec})
				}
				return u, nil
			},
		})
		if !errors.Is(err, cdc.ErrInvalidOffset) || try == 2 {
			return seen, began, err
		}
	}
}

// inRange says that a record of the list's table is to be replicated. Reference tables
// are whole.
func (f *fullReader) inRange(rec map[string]any) bool {
	return f.e.selected[f.table].Method != methodCDC || f.e.inRange(rec)
}

// inRange says that a record is to be replicated: created or updated since the start
// date, and not confidential if such are excluded.
func (e *Extractor) inRange(rec map[string]any) bool {
	if e.ExcludeConfidential && text(rec, "confidentiality") == "confidential" {
		return false
	}
	return e.StartDate.IsZero() || !millis(rec["createdAt"]).Before(e.StartDate) || !millis(rec["updatedAt"]).Before(e.StartDate)
}

// finished are the changes that go with the end of a read that began then.
func (f *fullReader) finished(began int64) ([]cdc.Change, error) {
	tables := []string{f.table}
	out := changes(tables, sectionFull, fullSection{At: began})
	var s snapshotSection
	if _, err := section(f.e.State, f.table, cdc.SectionSnapshot, &s); err != nil {
		return nil, errors.Join(errState, err)
	}
	if !s.Complete {
		s.Complete, s.Began = true, began
		out = append(out, changes(tables, cdc.SectionSnapshot, s)...)
	}
	for _, l := range f.e.listings {
		if l.noSnapshot && l.tables[0] == f.table && f.e.State.Section(f.table, sectionIncrement) == nil {
			out = append(out, changes(tables, sectionIncrement, incrementSection{Cursor: began - f.e.Overlap.Milliseconds()})...)
		}
	}
	return out, nil
}

// missing returns the keys of known rows that were not listed.
func (f *fullReader) missing(seen map[string]bool) ([]string, error) {
	var missing []string
	for key, err := range f.e.State.Keys(f.table) {
		if err != nil {
			return nil, errors.Join(errState, err)
		}
		if !seen[key] {
			missing = append(missing, key)
		}
	}
	return missing, nil
}

// one asks for a single row, and says that it is gone if Lever does not know it.
func (f *fullReader) one(ctx context.Context, u *cdc.Unit, key string) error {
	ref := cdc.Ref{Table: f.table, Key: key}
	if !f.single {
		return fmt.Errorf("%w: table %s has no single rows to ask for", errState, f.table)
	}
	p, err := f.e.get(ctx, u, cdc.Request{Class: cdc.ClassRefresh, Path: f.path + "/" + url.PathEscape(key)})
	if errors.Is(err, cdc.ErrNotFound) {
		if err := f.e.believe(ctx, f.path, cdc.ClassRefresh); err != nil {
			return err
		}
		u.Gone = append(u.Gone, cdc.Gone{Ref: ref})
		return nil
	}
	if err != nil {
		return err
	}
	for _, rec := range p.Data {
		if text(rec, f.e.selected[f.table].Key) != key {
			return fmt.Errorf("%w: %s answered with another record than the one asked for", cdc.ErrUnavailable, f.path)
		}
		if !f.inRange(rec) { // the start date was moved, or it became confidential
			u.Gone = append(u.Gone, cdc.Gone{Ref: ref, At: p.Date})
			return nil
		}
		u.Rows = append(u.Rows, cdc.Row{Table: f.table, Key: key, Fields: rec})
	}
	return nil
}
