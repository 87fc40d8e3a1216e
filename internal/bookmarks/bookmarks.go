// Package bookmarks holds what a person may do to the bookmarks of an account: look at
// them, set, reset, export and import them. It decides what the new bookmarks are;
// package publish reads and writes them.
package bookmarks

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/publish"
	"github.com/leverstream/leverstream/offsets"
)

// An Edit makes new bookmarks of those there are (see publish.EditBookmarks).
type Edit func(map[string]publish.Entry) (map[string]*offsets.Bookmark, error)

// A Line is a bookmark in a list.
type Line struct {
	Table string `json:"table"`
	// Snapshot is "complete", "running", "not begun" or "damaged".
	Snapshot string `json:"snapshot"`
	LSN      int64  `json:"lsn"`
	Paused   bool   `json:"paused"`
	// Sections are the names of its sections.
	Sections []string `json:"sections"`
	// Err says why the bookmark cannot be read.
	Err string `json:"error,omitempty"`
}

// List returns a line for each bookmark, in the order of the catalogue, others last.
func List(entries map[string]publish.Entry) []Line {
	out := []Line{} // an empty list for programs, too
	for _, table := range inOrder(maps.Keys(entries)) {
		e := entries[table]
		l := Line{Table: table, Snapshot: "not begun", LSN: e.Bookmark.LSN, Sections: slices.Sorted(maps.Keys(e.Bookmark.Sections))}
		s, err := e.Bookmark.Snapshot()
		switch {
		case e.Err != nil || err != nil:
			l.Snapshot, l.Err = "damaged", errors.Join(e.Err, err).Error()
		case s.Complete:
			l.Snapshot = "complete"
		case e.Bookmark.Sections[cdc.SectionSnapshot] != nil:
			l.Snapshot = "running"
		}
		l.Paused = string(e.Bookmark.Sections[cdc.SectionPaused]) == "true"
		out = append(out, l)
	}
	return out
}

func inOrder(tables func(func(string) bool)) []string {
	names := slices.Sorted(tables)
	var out []string
	for _, t := range extractor.Tables() {
		if slices.Contains(names, t.Name) {
			out = append(out, t.Name)
		}
	}
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// Known says whether there is such a table; the error names those there are.
func Known(table string) error {
	var names []string
	for _, t := range extractor.Tables() {
		if t.Name == table {
			return nil
		}
		names = append(names, t.Name)
	}
	return fmt.Errorf("there is no table %q; the tables are %s", table, strings.Join(names, ", "))
}

// Set replaces a table's bookmark or, if section is not empty, one section of it; a
// section of null is removed. Where the value has no lsn or incarnation, those of the
// bookmark as it is stay.
func Set(table, section string, value []byte) (Edit, error) {
	if err := Known(table); err != nil {
		return nil, err
	}
	if section != "" {
		if !json.Valid(value) {
			return nil, fmt.Errorf("the value of section %q is no JSON", section)
		}
		if err := extractor.CheckSection(section, value); err != nil {
			return nil, err
		}
		return func(entries map[string]publish.Entry) (map[string]*offsets.Bookmark, error) {
			if err := entries[table].Err; err != nil {
				return nil, fmt.Errorf("bookmark of %s: %w", table, err)
			}
			b, err := entries[table].Bookmark.Apply(cdc.Change{Table: table, Section: section, Value: value})
			return map[string]*offsets.Bookmark{table: &b}, err
		}, nil
	}
	b, err := offsets.Parse(value)
	if err != nil {
		return nil, fmt.Errorf("the value is no bookmark: %w", err)
	}
	if err := checkSections(b); err != nil {
		return nil, err
	}
	return func(entries map[string]publish.Entry) (map[string]*offsets.Bookmark, error) {
		next, now := b, entries[table].Bookmark
		if next.LSN == 0 {
			next.LSN = now.LSN
		}
		if next.Incarnation == nil {
			next.Incarnation = now.Incarnation
		}
		return map[string]*offsets.Bookmark{table: &next}, nil
	}, nil
}

func checkSections(b offsets.Bookmark) error {
	for _, name := range slices.Sorted(maps.Keys(b.Sections)) {
		if err := extractor.CheckSection(name, b.Sections[name]); err != nil {
			return err
		}
	}
	return nil
}

// Reset removes the bookmarks of the tables, so that they are read again from their
// beginning. Rows that are known and have not changed make no event.
func Reset(tables []string) (Edit, error) {
	for _, t := range tables {
		if err := Known(t); err != nil {
			return nil, err
		}
	}
	return func(map[string]publish.Entry) (map[string]*offsets.Bookmark, error) {
		out := map[string]*offsets.Bookmark{}
		for _, t := range tables {
			out[t] = nil
		}
		return out, nil
	}, nil
}

// Export returns all bookmarks as a document. One that is damaged is an error.
func Export(account string, entries map[string]publish.Entry) (offsets.Document, error) {
	d := offsets.Document{Account: account, Bookmarks: map[string]*offsets.Bookmark{}}
	for table, e := range entries {
		if e.Err != nil {
			return d, fmt.Errorf("bookmark of %s: %w", table, e.Err)
		}
		d.Bookmarks[table] = &e.Bookmark
	}
	return d, nil
}

// Import reads an export of bookmarks, or the state of a Singer tap for Lever. notes say
// what it will do, for people.
func Import(account string, text []byte) (edit Edit, notes []string, err error) {
	read, singer, err := offsets.ParseSinger(text)
	switch {
	case err != nil:
		return nil, nil, err
	case singer:
		return importSinger(read)
	}
	d, err := offsets.ParseDocument(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; import reads what export writes, and the state.json of tap-lever", err)
	}
	if d.Account != account {
		return nil, nil, fmt.Errorf("the file holds bookmarks of account %q, and this is account %q: set LEVER_ACCOUNT, or change the name in the file if that is meant", d.Account, account)
	}
	for _, table := range inOrder(maps.Keys(d.Bookmarks)) {
		if err := Known(table); err != nil {
			return nil, nil, err
		}
		b := d.Bookmarks[table]
		if b == nil {
			notes = append(notes, table+": reset; it is read again from its beginning")
			continue
		}
		if err := checkSections(*b); err != nil {
			return nil, nil, fmt.Errorf("table %s: %w", table, err)
		}
		notes = append(notes, table+": set")
	}
	return func(map[string]publish.Entry) (map[string]*offsets.Bookmark, error) { return d.Bookmarks, nil }, notes, nil
}

// importSinger has the increments and feeds of deletions start where the tap stopped.
func importSinger(read map[string]time.Time) (Edit, []string, error) {
	known := map[string]time.Time{}
	var ignored []string
	for stream, at := range read {
		if Known(stream) != nil {
			ignored = append(ignored, stream)
			continue
		}
		known[stream] = at
	}
	changes, followed, whole := extractor.FollowFrom(known)
	if len(followed) == 0 {
		return nil, nil, errors.New("the Singer state says of no table how far it was read; start without it")
	}
	var notes []string
	for _, table := range inOrder(maps.Keys(followed)) {
		notes = append(notes, fmt.Sprintf("%s: what changed since %s is read first; the first snapshot reads every row", table, followed[table].Format(time.RFC3339)))
	}
	for _, table := range whole {
		notes = append(notes, table+": read whole, as always")
	}
	slices.Sort(ignored)
	for _, stream := range ignored {
		notes = append(notes, stream+": no such table; left out")
	}
	return func(entries map[string]publish.Entry) (map[string]*offsets.Bookmark, error) {
		out := map[string]*offsets.Bookmark{}
		for _, c := range changes {
			e := entries[c.Table]
			if e.Err != nil {
				return nil, fmt.Errorf("bookmark of %s: %w", c.Table, e.Err)
			}
			b := e.Bookmark
			if earlier := out[c.Table]; earlier != nil {
				b = *earlier
			}
			b, err := b.Apply(c)
			if err != nil {
				return nil, err
			}
			out[c.Table] = &b
		}
		return out, nil
	}, notes, nil
}

// Check says whether a running producer can go on from the bookmark.
func Check(table string, b offsets.Bookmark) error {
	if err := Known(table); err != nil {
		return err
	}
	if err := checkSections(b); err != nil {
		return fmt.Errorf("table %s: %w", table, err)
	}
	if paused, there := b.Sections[cdc.SectionPaused]; there && string(paused) != "true" {
		return fmt.Errorf("table %s: paused is not changed with the bookmark; POST /tables/%s/resume", table, table)
	}
	return nil
}

// Changes returns what makes of a table's bookmark as it is now the next one, which was
// checked before; nil resets it. A running producer keeps what is not a matter of how far
// the table was read: lsn, incarnation, whether it is paused, what the delete guard has
// counted. rows is the number of the table's rows that are known.
func Changes(table string, now offsets.Bookmark, next *offsets.Bookmark, rows int64) ([]cdc.Change, error) {
	if next == nil {
		return extractor.Reset(table, slices.Sorted(maps.Keys(now.Sections)), rows), nil
	}
	if next.Incarnation != nil && (now.Incarnation == nil || *next.Incarnation != *now.Incarnation) {
		return nil, fmt.Errorf("table %s: the incarnation says what the topic holds, and cannot be set while the producer runs; leave it out, and POST /tables/%s/resnapshot?all=true to have all rows written again", table, table)
	}
	var out []cdc.Change
	for _, name := range slices.Sorted(maps.Keys(now.Sections)) {
		if _, stays := next.Sections[name]; !stays && !extractor.Keeps(name) {
			out = append(out, cdc.Change{Table: table, Section: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(next.Sections)) {
		if name != cdc.SectionPaused {
			out = append(out, cdc.Change{Table: table, Section: name, Value: next.Sections[name]})
		}
	}
	return out, nil
}
