package lever

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// A decoder makes maps, slices and texts of one JSON text after the other: what encoding/json
// makes of it with UseNumber, in less than two thirds of its time and memory, because it reads a
// text once, keeps the names that it has seen, and makes maps and slices when their size is known.
type decoder struct {
	source bytes.Buffer
	json   *jsontext.Decoder
	// names are those seen, by their JSON.
	names map[string]string
	// members and items are those of the objects and lists that are not complete.
	members []member
	items   []any
}

type member struct {
	name  string
	value any
}

const (
	// mostNames bounds the names that are kept, and longestName the bytes of each: somebody
	// may use identifiers as names.
	mostNames, longestName = 1_000, 64
	// mostItems is how many items or members there may be for which memory is kept.
	mostItems = 1_000
)

// asServed has what is no good JSON, but clear, read as encoding/json reads it: of a name that is
// there twice, the last counts, and what is no UTF-8 becomes U+FFFD.
var asServed = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

var decoders = sync.Pool{New: func() any {
	d := &decoder{names: map[string]string{}}
	d.json = jsontext.NewDecoder(&d.source, asServed...)
	return d
}}

// decode decodes a whole JSON text. What it returns shares nothing with the body.
func decode(body []byte) (top any, err error) {
	d, _ := decoders.Get().(*decoder)
	d.source = *bytes.NewBuffer(body)
	d.json.Reset(&d.source, asServed...)
	top, err = d.value()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("is empty or cut off")
	case err != nil:
		return nil, errors.New("is not JSON")
	}
	if _, err := d.json.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has something after the JSON")
	}
	d.release()
	return top, nil
}

// release keeps the decoder for another text, and nothing of this one. One that could not read a
// text is not kept.
func (d *decoder) release() {
	d.source = bytes.Buffer{}
	d.json.Reset(&d.source, asServed...)
	if cap(d.items) > mostItems || cap(d.members) > mostItems {
		d.items, d.members = nil, nil
	}
	decoders.Put(d)
}

// value reads the next value.
func (d *decoder) value() (any, error) {
	switch d.json.PeekKind() {
	case jsontext.KindBeginObject:
		return d.object()
	case jsontext.KindBeginArray:
		return d.array()
	}
	t, err := d.json.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case jsontext.KindString:
		return t.String(), nil
	case jsontext.KindNumber:
		return json.Number(t.String()), nil // as it is written
	case jsontext.KindTrue:
		return true, nil
	case jsontext.KindFalse:
		return false, nil
	case jsontext.KindNull:
		return nil, nil
	}
	return nil, fmt.Errorf("a value begins with %v", t.Kind())
}

func (d *decoder) object() (any, error) {
	if _, err := d.json.ReadToken(); err != nil {
		return nil, err
	}
	from := len(d.members)
	for d.json.PeekKind() != jsontext.KindEndObject {
		name, err := d.name()
		if err != nil {
			return nil, err
		}
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		d.members = append(d.members, member{name, v})
	}
	out := make(map[string]any, len(d.members)-from)
	for _, m := range d.members[from:] {
		out[m.name] = m.value
	}
	clear(d.members[from:])
	d.members = d.members[:from]
	_, err := d.json.ReadToken()
	return out, err
}

func (d *decoder) name() (string, error) {
	quoted, err := d.json.ReadValue()
	if err != nil {
		return "", err
	}
	if name, ok := d.names[string(quoted)]; ok {
		return name, nil
	}
	text, _ := jsontext.AppendUnquote(nil, quoted) // the error says that it was no UTF-8
	name := string(text)
	if len(d.names) < mostNames && len(quoted) <= longestName {
		d.names[string(quoted)] = name
	}
	return name, nil
}

func (d *decoder) array() (any, error) {
	if _, err := d.json.ReadToken(); err != nil {
		return nil, err
	}
	from := len(d.items)
	for d.json.PeekKind() != jsontext.KindEndArray {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		d.items = append(d.items, v)
	}
	out := make([]any, len(d.items)-from)
	copy(out, d.items[from:])
	clear(d.items[from:])
	d.items = d.items[:from]
	_, err := d.json.ReadToken()
	return out, err
}
