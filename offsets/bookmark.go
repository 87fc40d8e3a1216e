package offsets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Version is the bookmark format that this program writes.
const Version = 1

// Members of a bookmark that are no sections.
const (
	memberVersion     = "version"
	memberLSN         = "lsn"
	memberIncarnation = "incarnation"
)

// Bookmark says where the work on one table stands. Treat it as a value: Apply
// returns a new one.
type Bookmark struct {
	// Version is the format's; Marshal writes the package's Version.
	Version int
	// LSN is the log sequence number of the last event that the bookmark covers.
	LSN int64
	// Incarnation is what the topic's content depends on; nil if nobody wrote it yet.
	Incarnation *Incarnation
	// Sections are the loops' own parts, by name. The values are compact JSON.
	Sections map[string]json.RawMessage
}

// Parse reads a bookmark. It refuses what it cannot understand completely, because
// going on from a guess would lose rows.
func Parse(value []byte) (Bookmark, error) {
	const advice = "; remove the bookmark (a record with this key and no value) to have the table read again"
	members, err := parseObject(value)
	if err != nil {
		return Bookmark{}, fmt.Errorf("the bookmark is damaged: %w%s", err, advice)
	}
	b := Bookmark{Sections: map[string]json.RawMessage{}}
	for name, raw := range members {
		switch name {
		case memberVersion:
			err = json.Unmarshal(raw, &b.Version)
		case memberLSN:
			err = json.Unmarshal(raw, &b.LSN)
		case memberIncarnation:
			err = json.Unmarshal(raw, &b.Incarnation)
		default:
			if string(raw) != "null" {
				b.Sections[name] = raw
			}
		}
		if err != nil {
			return Bookmark{}, fmt.Errorf("the bookmark is damaged: %s: %w%s", name, err, advice)
		}
	}
	switch {
	case b.Version == 0:
		return Bookmark{}, fmt.Errorf("the bookmark is damaged: it has no version%s", advice)
	case b.Version > Version:
		return Bookmark{}, fmt.Errorf("the bookmark was written by a newer version of the program (format %d, this one knows %d): use that version", b.Version, Version)
	case b.Version < 0 || b.LSN < 0:
		return Bookmark{}, fmt.Errorf("the bookmark is damaged: version or lsn is negative%s", advice)
	}
	return b, nil
}

// parseObject reads a JSON object whose members are all different, and nothing after
// it. The values are compacted.
func parseObject(text []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil {
		return nil, cut(err)
	} else if t != json.Delim('{') {
		return nil, errors.New("it is no JSON object")
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, cut(err)
		}
		name, _ := t.(string)
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, cut(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			return nil, err
		}
		members[name] = compact.Bytes()
	}
	if _, err := dec.Token(); err != nil {
		return nil, cut(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return members, nil
}

// cut says so where the text ends too early.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON is cut off")
	}
	return err
}

// Marshal returns the bookmark as compact JSON: version, lsn, incarnation, then the
// sections by name. Equal bookmarks have equal bytes.
func (b Bookmark) Marshal() ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, `{"version":%d,"lsn":%d`, Version, b.LSN)
	if b.Incarnation != nil {
		raw, err := json.Marshal(b.Incarnation)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, `,"incarnation":%s`, raw)
	}
	for _, name := range slices.Sorted(maps.Keys(b.Sections)) {
		quoted, err := quote(name)
		if err != nil {
			return nil, err
		}
		out.WriteByte(',')
		out.Write(quoted)
		out.WriteByte(':')
		if err := json.Compact(&out, b.Sections[name]); err != nil {
			return nil, fmt.Errorf("section %q: %w", name, err)
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// Apply returns the bookmark with one section replaced, or removed if the change has
// no value. The table that the change names is not looked at.
func (b Bookmark) Apply(c cdc.Change) (Bookmark, error) {
	switch c.Section {
	case "", memberVersion, memberLSN, memberIncarnation:
		return b, fmt.Errorf("a bookmark has no section %q", c.Section)
	}
	sections := maps.Clone(b.Sections)
	if sections == nil {
		sections = map[string]json.RawMessage{}
	}
	if c.Value == nil || string(c.Value) == "null" {
		delete(sections, c.Section)
	} else {
		var compact bytes.Buffer
		if err := json.Compact(&compact, c.Value); err != nil {
			return b, fmt.Errorf("section %q: %w", c.Section, err)
		}
		sections[c.Section] = compact.Bytes()
	}
	b.Sections = sections
	return b, nil
}

// Snapshot returns the part of the snapshot section that the writer and consumers
// read; its zero value, a first snapshot that is not complete, if there is none.
func (b Bookmark) Snapshot() (cdc.Snapshot, error) {
	var s cdc.Snapshot
	raw, ok := b.Sections[cdc.SectionSnapshot]
	if !ok {
		return s, nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("section %q is damaged: %w; remove it from the bookmark to have the table read again", cdc.SectionSnapshot, err)
	}
	return s, nil
}
