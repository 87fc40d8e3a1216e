package extractor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leverstream/leverstream/internal/cdc"
)

// pageSize is the largest page that Lever serves.
const pageSize = 100

// A listingReader reads one listing: its snapshot, its increments, and single
// records of it.
type listingReader struct {
	listing
	e     *Extractor
	feeds []*deletionFeed
	pass  *listingPass // of the sweep; only its loop touches it
	again *listingPass // of a snapshot that is not the first; only its loop touches it
}

func newListingReader(e *Extractor, l listing) *listingReader {
	r := &listingReader{listing: l, e: e}
	if l.deletions != "" {
		r.feeds = append(r.feeds, &deletionFeed{listing: r, path: l.deletions, tables: l.tables})
	}
	for _, n := range l.nested {
		if n.deletions != "" && len(n.tables) > 0 {
			r.feeds = append(r.feeds, &deletionFeed{listing: r, path: n.deletions, tables: n.tables})
		}
	}
	return r
}

// listing is the reader of the listing at the path.
func (e *Extractor) listing(path string) *listingReader {
	for _, l := range e.listings {
		if l.path == path {
			return l
		}
	}
	return nil // no child without its parent: New has checked
}

func (l *listingReader) loop(kind string) loop {
	return loop{name: l.path[1:] + " " + kind, tables: l.allTables(), path: l.path}
}

// allTables are the tables that the listing feeds, parents first.
func (l *listingReader) allTables() []string {
	all := append([]string(nil), l.tables...)
	for _, n := range l.nested {
		all = append(all, n.tables...)
	}
	return all
}

// add puts the records' rows of the given tables into the unit.
func (l *listingReader) add(ctx context.Context, u *cdc.Unit, recs []map[string]any, into map[string]bool, class cdc.Class) error {
	var apart []*cdc.Unit
	for _, n := range l.nested {
		parts, err := l.complete(ctx, n, recs, into, class)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", n.field, l.path, err)
		}
		apart = append(apart, parts...)
	}
	for _, rec := range recs {
		id := text(rec, "id")
		own := l.collapse(rec)
		for _, t := range l.tables {
			if into[t] {
				u.Rows = append(u.Rows, cdc.Row{Table: t, Key: id, Fields: own})
			}
		}
		for _, n := range l.nested {
			if items, ok := objects(rec[n.field]); ok && id != "" {
				n.add(u, id, items, into)
			}
		}
	}
	for _, part := range apart {
		u.Rows, u.Lists = append(u.Rows, part.Rows...), append(u.Lists, part.Lists...)
		u.Sent, u.Arrived = min(u.Sent, part.Sent), max(u.Arrived, part.Arrived)
	}
	return nil
}

// add puts the complete list of a parent's nested rows into the unit.
func (n nested) add(u *cdc.Unit, parent string, items []map[string]any, into map[string]bool) {
	for _, t := range n.tables {
		if !into[t] {
			continue
		}
		for _, item := range items {
			u.Rows = append(u.Rows, cdc.Row{Table: t, Key: text(item, "id"), Parent: parent, Fields: item})
		}
		u.Lists = append(u.Lists, cdc.List{Table: t, Parent: parent})
	}
}

// complete reads the nested rows of those records that arrived with ids in their place,
// because the server does not expand them (Lever does not say whether its deprecated
// /candidates does), from the list that each parent has of them.
func (l *listingReader) complete(ctx context.Context, n nested, recs []map[string]any, into map[string]bool, class cdc.Class) (parts []*cdc.Unit, err error) {
	if !slices.ContainsFunc(n.tables, func(t string) bool { return into[t] }) {
		return nil, nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, l.e.Concurrency/2))
	for _, rec := range recs {
		id := text(rec, "id")
		ids, _ := rec[n.field].([]any)
		if _, expanded := objects(rec[n.field]); expanded || id == "" || len(ids) == 0 {
			continue
		}
		part := &cdc.Unit{}
		parts = append(parts, part)
		g.Go(func() error {
			var items []map[string]any
			q := question{l.tables[0], l.path + "/:id/" + n.field, cdc.Request{Class: class, Limit: pageSize}}
			broken, err := l.e.ask(ctx, q, id, func() (err error) {
				items, err = l.e.list(ctx, part, q.of(id))
				return err
			})
			switch {
			case errors.Is(err, cdc.ErrNotFound):
				return nil // the record is gone by now; its deletion will be heard of
			case broken && l.e.keeps(q, id, broken, err):
				*part = cdc.Unit{}
				return nil
			}
			n.add(part, id, items, into)
			return err
		})
	}
	err = g.Wait()
	parts = slices.DeleteFunc(parts, func(p *cdc.Unit) bool { return p.Arrived == 0 })
	return parts, err
}

// collapse returns the record as Lever serves it without expand: nested objects
// replaced by their ids.
func (l *listingReader) collapse(rec map[string]any) map[string]any {
	if len(l.nested) == 0 {
		return rec
	}
	own := maps.Clone(rec)
	for _, n := range l.nested {
		items, ok := objects(rec[n.field])
		if !ok {
			continue
		}
		ids := make([]any, len(items))
		for i, item := range items {
			ids[i] = item["id"]
		}
		own[n.field] = ids
	}
	return own
}

// objects returns the value as a list of objects; ok is false if it is anything else.
func objects(v any) (items []map[string]any, ok bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	items = make([]map[string]any, len(list))
	for i, v := range list {
		if items[i], ok = v.(map[string]any); !ok {
			return nil, false
		}
	}
	return items, true
}

// single reads one record by id and adds it to the unit. If Lever says that it does
// not exist, the unit says that it is gone.
func (l *listingReader) single(ctx context.Context, u *cdc.Unit, id string, class cdc.Class) error {
	q := url.Values{}
	for _, x := range l.expand {
		q.Add("expand", x)
	}
	p, err := l.e.get(ctx, u, cdc.Request{Class: class, Path: l.path + "/" + url.PathEscape(id), Query: q})
	if errors.Is(err, cdc.ErrNotFound) {
		if err := l.e.believe(ctx, l.path, class); err != nil {
			return err
		}
		for _, t := range l.tables {
			u.Gone = append(u.Gone, cdc.Gone{Ref: cdc.Ref{Table: t, Key: id}})
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, rec := range p.Data {
		if text(rec, "id") != id {
			return fmt.Errorf("%w: %s answered with another record than the one asked for", cdc.ErrUnavailable, l.path)
		}
		if !l.e.inRange(rec) { // the start date was moved, or it became confidential
			for _, t := range l.tables {
				u.Gone = append(u.Gone, cdc.Gone{Ref: cdc.Ref{Table: t, Key: id}, At: p.Date})
			}
			return nil
		}
	}
	return l.add(ctx, u, p.Data, set(l.allTables()), class)
}

// ask is single for a record that may be kept as it is: one that cannot be read for its own
// reasons holds up no other.
func (l *listingReader) ask(ctx context.Context, u *cdc.Unit, id string, class cdc.Class) (kept bool, err error) {
	q := question{l.tables[0], l.path + "/:id", cdc.Request{Class: class}}
	broken, err := l.e.ask(ctx, q, id, func() error { return l.single(ctx, u, id, class) })
	if l.e.keeps(q, id, broken, err) {
		return true, nil
	}
	return false, err
}

// increment reads everything that changed since the cursor, to the last page; only
// then the cursor moves, to the beginning of this scan minus the overlap. Never to
// the newest updatedAt seen: rows move in the list's order while it is being read,
// and what a scan missed was changed after the scan began.
func (l *listingReader) increment(ctx context.Context) error {
	var tables []string
	var at incrementSection
	for _, t := range l.allTables() {
		var s incrementSection
		ok, err := section(l.e.State, t, sectionIncrement, &s)
		if err != nil {
			return errors.Join(errState, err)
		}
		if !ok {
			if s.Cursor, ok, err = l.e.beginning(t); err != nil {
				return err
			}
		}
		switch {
		case !ok: // its snapshot has not begun
			continue
		case len(tables) == 0:
			at = s
		case s != at:
			at = incrementSection{Cursor: min(at.Cursor, s.Cursor)}
		}
		tables = append(tables, t)
	}
	if len(tables) == 0 {
		return nil
	}
	into := set(tables)
	q := l.e.query(l.expand)
	q.Set(l.cursor, strconv.FormatInt(at.Cursor, 10))
	unit := func(p cdc.Page, next string) (*cdc.Unit, error) {
		if at.Token == "" && at.Began == 0 {
			at.Began = p.Date.UnixMilli()
		}
		u := unit(l.loop("increment").name, p)
		if err := l.add(ctx, u, p.Data, into, cdc.ClassLive); err != nil {
			return nil, err
		}
		at.Token = next
		s := at
		if next == "" {
			s = incrementSection{Cursor: at.Began - l.e.Overlap.Milliseconds(), Scan: time.Now().UnixNano()}
		}
		u.Changes = changes(tables, sectionIncrement, s)
		return u, nil
	}
	request := cdc.Request{Class: cdc.ClassLive, Path: l.path, Query: q, Limit: pageSize, Offset: at.Token}
	err := l.e.pages(ctx, pageRead{request: request, unit: unit, live: true})
	if errors.Is(err, cdc.ErrInvalidOffset) {
		// The token did not survive; the scan begins again at its cursor.
		at.Token, at.Began, request.Offset = "", 0, ""
		err = l.e.pages(ctx, pageRead{request: request, unit: unit, live: true})
	}
	return err
}

// beginning is where a cursor starts that is missing although the table's snapshot is complete,
// because somebody has removed it: where it started with the snapshot.
func (e *Extractor) beginning(table string) (cursor int64, ok bool, err error) {
	var s snapshotSection
	if _, err := section(e.State, table, cdc.SectionSnapshot, &s); err != nil {
		return 0, false, errors.Join(errState, err)
	}
	return max(s.Began-e.Overlap.Milliseconds(), 0), s.Complete, nil
}

// opening are the changes that go with the first unit of a snapshot: the cursors of
// increments and deletion feeds start when the snapshot began, minus the overlap.
// Cursors that are there already stay.
func (l *listingReader) opening(tables []string, began time.Time) []cdc.Change {
	cursor := began.Add(-l.e.Overlap).UnixMilli()
	scan := time.Now().UnixNano()
	var out []cdc.Change
	open := func(t, name string, v any) {
		if l.e.State.Section(t, name) == nil {
			out = append(out, changes([]string{t}, name, v)...)
		}
	}
	into := set(tables)
	for _, t := range tables {
		open(t, sectionIncrement, incrementSection{Cursor: cursor, Scan: scan})
	}
	for _, f := range l.feeds {
		for _, t := range f.tables {
			if into[t] {
				open(t, sectionDeletions, deletionsSection{Cursor: cursor})
			}
		}
	}
	return out
}

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
