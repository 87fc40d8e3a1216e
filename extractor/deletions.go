package extractor

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

const (
	// feedWindow is the widest window asked of a deletion feed; Lever allows 30 days.
	feedWindow = 29 * 24 * time.Hour
	// dateGrain is how far Lever's Date header may lag behind its clock.
	dateGrain = time.Second
)

// A deletionFeed reads one of Lever's lists of deleted records.
type deletionFeed struct {
	listing *listingReader
	path    string
	// tables lose a row for each record of the feed.
	tables []string
}

func (d *deletionFeed) loop() loop {
	return loop{name: d.path[1:] + " for " + d.tables[0], tables: d.tables, path: d.path}
}

// read reads the feed from its cursor up to now. The cursor then moves to the
// beginning of this read, minus the overlap.
func (d *deletionFeed) read(ctx context.Context) error {
	e := d.listing.e
	var tables []string
	var at deletionsSection
	for _, t := range d.tables {
		var s deletionsSection
		ok, err := section(e.State, t, sectionDeletions, &s)
		if err != nil {
			return errors.Join(errState, err)
		}
		if !ok {
			if s.Cursor, ok, err = e.beginning(t); err != nil {
				return err
			}
		}
		if !ok {
			continue // its snapshot has not begun
		}
		if len(tables) == 0 || s.Cursor < at.Cursor {
			at = s
		}
		tables = append(tables, t)
	}
	began := int64(0)
	for done := len(tables) == 0; !done; {
		end := at.Cursor + feedWindow.Milliseconds()
		q := url.Values{
			"deleted_at_start": {strconv.FormatInt(at.Cursor, 10)},
			"deleted_at_end":   {strconv.FormatInt(end, 10)},
		}
		unit := func(p cdc.Page, next string) (*cdc.Unit, error) {
			if began == 0 {
				began = p.Date.UnixMilli()
			}
			u := unit(d.loop().name, p)
			for _, rec := range p.Data {
				if err := d.add(ctx, u, rec, tables); err != nil {
					return nil, err
				}
			}
			if next == "" {
				at.Cursor = end
				if done = end > began; done {
					at.Cursor = began - e.Overlap.Milliseconds()
				}
				u.Changes = changes(tables, sectionDeletions, at)
			}
			return u, nil
		}
		r := cdc.Request{Class: cdc.ClassLive, Path: d.path, Query: q, Limit: pageSize}
		err := e.pages(ctx, pageRead{request: r, unit: unit})
		if errors.Is(err, cdc.ErrInvalidOffset) {
			err = e.pages(ctx, pageRead{request: r, unit: unit})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add says that the rows of a deleted record are gone. A deletion that is not
// surely later than the read that wrote the row is confirmed first: the record may
// have been created again.
func (d *deletionFeed) add(ctx context.Context, u *cdc.Unit, rec map[string]any, tables []string) error {
	e := d.listing.e
	id := text(rec, "id")
	deletedAt := millis(rec["deletedAt"])
	var gone []cdc.Gone
	for _, t := range tables {
		row, known, err := e.State.Row(t, id)
		if err != nil {
			return errors.Join(errState, err)
		}
		// A row that is not known yet may be in an older answer that is still under way.
		if known && !deletedAt.After(row.ReadAt.Add(dateGrain)) {
			record := id
			if row.Parent != "" {
				record = row.Parent
			}
			// One answer speaks for all tables. If it is gone, the feed has said so.
			before := len(u.Gone)
			_, err := d.listing.ask(ctx, u, record, cdc.ClassLive)
			for i := before; i < len(u.Gone); i++ {
				u.Gone[i].At = deletedAt
			}
			return err
		}
		gone = append(gone, cdc.Gone{Ref: cdc.Ref{Table: t, Key: id}, At: deletedAt})
	}
	u.Gone = append(u.Gone, gone...)
	return nil
}

// millis reads Lever's time: milliseconds since 1970, as a number or a string. It
// returns the zero time for anything else.
func millis(v any) time.Time {
	var s string
	switch v := v.(type) {
	case json.Number:
		s = v.String()
	case string:
		s = v
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}
