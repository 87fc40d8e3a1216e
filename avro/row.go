package avro

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/leverstream/leverstream/internal/cdc"
)

// extraField is the field of every row that holds what found no place in the others.
const extraField = "_extra"

// A conversion makes goavro's native value of a Lever record, driven by the schema:
// goavro silently ignores names that the schema lacks.
type conversion struct {
	extra  map[string]any
	report Report
}

// at is a place in a record. Paths become text only where something did not fit.
type at struct {
	up    *at
	name  string
	index int // of an array's item; -1 for a field
}

// path returns the place as text, for example "stageChanges[1].bar"; with items
// false, without the numbers of the items.
func (a *at) path(items bool) string {
	var b strings.Builder
	a.write(&b, items)
	return b.String()
}

func (a *at) write(b *strings.Builder, items bool) {
	if a == nil {
		return
	}
	a.up.write(b, items)
	switch {
	case a.index >= 0 && items:
		b.WriteString("[" + strconv.Itoa(a.index) + "]")
	case a.index >= 0:
		b.WriteString("[]")
	default:
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(a.name)
	}
}

// row converts a whole row.
func (c *conversion) row(s *schema, t *cdc.Table, r *cdc.Row) (map[string]any, error) {
	native := c.record(s, r.Fields, nil)
	native[t.Key] = r.Key
	for _, name := range t.ParentFields {
		if i, ok := s.index[name]; ok && native[name] == nil {
			native[name] = map[string]any{s.fields[i].value().branch(): r.Parent}
		}
	}
	headcount(s, native, c)
	native[extraField] = nil
	if len(c.extra) > 0 {
		text, err := canonical(c.extra)
		if err != nil {
			return nil, err
		}
		native[extraField] = map[string]any{"string": string(text)}
	}
	return native, nil
}

// headcount reads the total of a requisition, which is a number or "unlimited".
func headcount(s *schema, native map[string]any, c *conversion) {
	const total, infinite = "headcountTotal", "headcountInfinite"
	if _, ok := s.index[infinite]; !ok || c.extra[total] != "unlimited" {
		return
	}
	delete(c.extra, total)
	delete(c.report.paths, total)
	c.report.Mistyped--
	native[infinite] = map[string]any{"boolean": true}
}

// record converts an object; what the schema does not know becomes extra.
func (c *conversion) record(s *schema, m map[string]any, where *at) map[string]any {
	native := make(map[string]any, len(s.fields))
	found := 0
	for i := range s.fields {
		f := &s.fields[i]
		raw, ok := m[f.name]
		if !ok || f.name == extraField && where == nil {
			native[f.name] = nil
			continue
		}
		found++
		if raw == nil {
			native[f.name] = nil
			continue
		}
		t := f.value()
		place := at{up: where, name: f.name, index: -1}
		v, ok := c.value(t, raw, &place)
		switch {
		case !ok:
			c.put(&place, raw)
			c.report.Mistyped++
			native[f.name] = nil
		case f.kind == "union":
			native[f.name] = map[string]any{t.branch(): v}
		default:
			native[f.name] = v
		}
	}
	if found == len(m) {
		return native
	}
	for name, raw := range m {
		if _, known := s.index[name]; raw == nil || known && (name != extraField || where != nil) {
			continue
		}
		c.put(&at{up: where, name: name, index: -1}, raw)
		c.report.Unknown++
	}
	return native
}

func (c *conversion) put(place *at, raw any) {
	if c.extra == nil {
		c.extra = map[string]any{}
	}
	c.extra[place.path(true)] = raw
	c.report.note(place.path(false))
}

// value converts a value that is not null; ok is false if it has not the type.
func (c *conversion) value(s *schema, raw any, where *at) (native any, ok bool) {
	switch s.kind {
	case "boolean":
		native, ok = raw.(bool)
	case "long":
		return integer(raw)
	case "double":
		return float(raw)
	case "string":
		if s.json {
			text, err := canonical(raw)
			return string(text), err == nil
		}
		var text string
		if text, ok = raw.(string); ok && !utf8.ValidString(text) {
			text = strings.ToValidUTF8(text, "\uFFFD")
			c.report.Sanitized++
		}
		native = text
	case "record":
		var m map[string]any
		if m, ok = raw.(map[string]any); ok {
			native = c.record(s, m, where)
		}
	case "array":
		var list []any
		if list, ok = raw.([]any); ok {
			return c.array(s, list, where)
		}
	}
	return native, ok
}

// array converts a list. Items are not nullable: if one has not the type, the whole
// list has not.
func (c *conversion) array(s *schema, list []any, where *at) (any, bool) {
	items := make([]any, len(list))
	inner := conversion{}
	for i, raw := range list {
		v, ok := inner.value(s.items, raw, &at{up: where, index: i})
		if !ok {
			return nil, false
		}
		items[i] = v
	}
	c.report.Add(inner.report)
	if len(inner.extra) > 0 && c.extra == nil {
		c.extra = map[string]any{}
	}
	maps.Copy(c.extra, inner.extra)
	return items, true
}

// integer reads a whole number, which Lever also serves as a decimal string.
func integer(raw any) (any, bool) {
	var text string
	switch raw := raw.(type) {
	case json.Number:
		text = string(raw)
	case string:
		text = raw
	default:
		return nil, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && text[0] != '+' {
		return n, true
	}
	if _, isNumber := raw.(json.Number); !isNumber {
		return nil, false
	}
	// A whole number may be written as 5.0 or 5e3.
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return nil, false
	}
	return int64(f), true
}

// float reads a number that a double holds without loss of digits.
func float(raw any) (any, bool) {
	n, ok := raw.(json.Number)
	if !ok {
		return nil, false
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return nil, false
	}
	digits := 0
	for _, c := range string(n) {
		if c >= '0' && c <= '9' {
			digits++
		}
	}
	const always = 15 // decimal digits that every double keeps
	if digits > always && strconv.FormatFloat(f, 'f', -1, 64) != string(n) {
		return nil, false
	}
	return f, true
}

// canonical writes a JSON value so that equal values have equal text: sorted names, no
// spaces, numbers as served.
func canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
