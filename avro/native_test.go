package avro

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// sameAsGoavro checks that the row's bytes are those that goavro makes of it. The
// conversion to goavro's native values shares no code with the one in row.go.
func sameAsGoavro(t testing.TB, c *Codec, r cdc.Row, row []byte, report Report) {
	t.Helper()
	v := nativeConversion{}
	native, err := v.row(c.current().schema, &c.table, &r)
	if err != nil {
		t.Fatal(err)
	}
	want, err := c.current().BinaryFromNative(nil, native)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(row, want) {
		t.Fatalf("table %s\nhave %q\nwant %q", c.table.Name, row, want)
	}
	if report.Unknown != v.report.Unknown || report.Mistyped != v.report.Mistyped || report.Sanitized != v.report.Sanitized || !maps.Equal(report.paths, v.report.paths) {
		t.Fatalf("table %s: report %+v, want %+v", c.table.Name, report, v.report)
	}
}

// A nativeConversion makes goavro's native value of a Lever record, driven by the schema:
// goavro silently ignores names that the schema lacks.
type nativeConversion struct {
	extra  map[string]any
	report Report
}

// at is a place in a record. Paths become text only where something did not fit.
type nativeAt struct {
	up    *nativeAt
	name  string
	index int // of an array's item; -1 for a field
}

// path returns the place as text, for example "stageChanges[1].bar"; with items
// false, without the numbers of the items.
func (a *nativeAt) path(items bool) string {
	var b strings.Builder
	a.write(&b, items)
	return b.String()
}

func (a *nativeAt) write(b *strings.Builder, items bool) {
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
func (c *nativeConversion) row(s *schema, t *cdc.Table, r *cdc.Row) (map[string]any, error) {
	native := c.record(s, r.Fields, nil)
	native[t.Key] = r.Key
	for _, name := range t.ParentFields {
		if i, ok := s.index[name]; ok && native[name] == nil {
			native[name] = map[string]any{s.fields[i].value().branch(): r.Parent}
		}
	}
	nativeHeadcount(s, native, c)
	native[extraField] = nil
	if len(c.extra) > 0 {
		text, err := nativeCanonical(c.extra)
		if err != nil {
			return nil, err
		}
		native[extraField] = map[string]any{"string": string(text)}
	}
	return native, nil
}

// nativeHeadcount reads the total of a requisition, which is a number or "unlimited".
func nativeHeadcount(s *schema, native map[string]any, c *nativeConversion) {
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
func (c *nativeConversion) record(s *schema, m map[string]any, where *nativeAt) map[string]any {
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
		place := nativeAt{up: where, name: f.name, index: -1}
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
		c.put(&nativeAt{up: where, name: name, index: -1}, raw)
		c.report.Unknown++
	}
	return native
}

func (c *nativeConversion) put(place *nativeAt, raw any) {
	if c.extra == nil {
		c.extra = map[string]any{}
	}
	c.extra[place.path(true)] = raw
	c.report.note(place.path(false))
}

// value converts a value that is not null; ok is false if it has not the type.
func (c *nativeConversion) value(s *schema, raw any, where *nativeAt) (native any, ok bool) {
	switch s.kind {
	case "boolean":
		native, ok = raw.(bool)
	case "long":
		return nativeInteger(raw)
	case "double":
		return nativeFloat(raw)
	case "string":
		if s.json {
			text, err := nativeCanonical(raw)
			if strings.ContainsRune(string(text), utf8.RuneError) {
				c.report.Sanitized++
			}
			return string(text), err == nil
		}
		var text string
		if text, ok = raw.(string); ok && strings.ContainsRune(text, utf8.RuneError) {
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
func (c *nativeConversion) array(s *schema, list []any, where *nativeAt) (any, bool) {
	items := make([]any, len(list))
	inner := nativeConversion{}
	for i, raw := range list {
		v, ok := inner.value(s.items, raw, &nativeAt{up: where, index: i})
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

// nativeInteger reads a whole number, which Lever also serves as a decimal string.
func nativeInteger(raw any) (any, bool) {
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
	// A whole number may be written as 5.0 or 5e3.
	v, ok := nativeFloat(raw)
	if f, _ := v.(float64); ok && f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
		return int64(f), true
	}
	return nil, false
}

// nativeFloat reads a number that a double holds without loss of digits.
func nativeFloat(raw any) (any, bool) {
	n, ok := raw.(json.Number)
	if !ok {
		return nil, false
	}
	f, err := strconv.ParseFloat(string(n), 64)
	mantissa, _, _ := strings.Cut(strings.ToLower(string(n)), "e")
	if err != nil || math.Abs(f) < 0x1p-1022 && strings.Trim(mantissa, "-0.") != "" {
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

// nativeCanonical writes a JSON value so that equal values have equal text: sorted names, no
// spaces, numbers as served.
func nativeCanonical(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Every row of a simulated account, as it is served and with some fields that do not fit.
func TestRowsAreWrittenAsByGoavro(t *testing.T) {
	lever := sandbox.New(sandbox.Options{Opportunities: 200, Seed: 3})
	lever.Mutate(300)
	entries, err := embedded.ReadDir("schemas")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		table := cdc.Table{Name: strings.TrimSuffix(e.Name(), ".avsc"), Key: "id", ParentFields: []string{"opportunityId", "candidateId"}}
		if table.Name == "sources" {
			table.Key = "text"
		}
		c := newTestCodec(t, table, Debezium)
		rows := 0
		for key, fields := range lever.Truth(table.Name) {
			text, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []string{string(text), strings.ReplaceAll(string(text), `":null`, `":["x",{"y":"ü\n"}]`), strings.ReplaceAll(string(text), `":"`, `":"<\u2028`)} {
				r := cdc.Row{Table: table.Name, Key: key, Parent: "p", Fields: record(t, r)}
				row, report, err := c.EncodeRow(nil, r)
				if err != nil {
					t.Fatal(err)
				}
				sameAsGoavro(t, c, r, row, report)
				rows++
			}
		}
		if rows == 0 {
			t.Errorf("table %s has no rows", table.Name)
		}
	}
}
