package offsets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// A Document holds the bookmarks of an account outside Kafka: what an export writes and
// an import reads. Its JSON has the form of Kafka Connect's offsets API
// (GET /connectors/{connector}/offsets, KIP-875):
//
//	{"account":"default","offsets":[{"partition":{"table":"stages"},"offset":{"version":1,"lsn":…}}]}
//
// An offset of null means that the bookmark is reset.
type Document struct {
	Account string
	// Bookmarks are the bookmarks by table; nil for one that is reset.
	Bookmarks map[string]*Bookmark
}

type document struct {
	Account string          `json:"account"`
	Offsets []documentEntry `json:"offsets"`
}

type documentEntry struct {
	Partition struct {
		Table string `json:"table"`
	} `json:"partition"`
	Offset json.RawMessage `json:"offset"`
}

// Marshal returns the document as indented JSON, tables by name.
func (d Document) Marshal() ([]byte, error) {
	out := document{Account: d.Account, Offsets: []documentEntry{}}
	for _, table := range slices.Sorted(maps.Keys(d.Bookmarks)) {
		e := documentEntry{Offset: json.RawMessage("null")}
		e.Partition.Table = table
		if b := d.Bookmarks[table]; b != nil {
			raw, err := b.Marshal()
			if err != nil {
				return nil, fmt.Errorf("bookmark of %s: %w", table, err)
			}
			e.Offset = raw
		}
		out.Offsets = append(out.Offsets, e)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(out)
	return b.Bytes(), err
}

// ParseDocument reads a document. Whether its tables exist is not looked at.
func ParseDocument(text []byte) (Document, error) {
	var in document
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return Document{}, fmt.Errorf("these are no bookmarks: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Document{}, errors.New("something follows the JSON object")
	}
	d := Document{Account: in.Account, Bookmarks: map[string]*Bookmark{}}
	for i, e := range in.Offsets {
		table := e.Partition.Table
		if table == "" {
			return Document{}, fmt.Errorf("offset %d names no table in its partition", i+1)
		}
		if _, twice := d.Bookmarks[table]; twice {
			return Document{}, fmt.Errorf("table %s is there twice", table)
		}
		if len(e.Offset) == 0 {
			return Document{}, fmt.Errorf("table %s has no offset; null resets it", table)
		}
		if string(e.Offset) == "null" {
			d.Bookmarks[table] = nil
			continue
		}
		b, err := Parse(e.Offset)
		if err != nil {
			return Document{}, fmt.Errorf("table %s: %w", table, err)
		}
		d.Bookmarks[table] = &b
	}
	return d, nil
}
