package avro

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/leverstream/leverstream/internal/cdc"
)

// extraField is the field of every row that holds what found no place in the others. It
// is the schema's last, because only then is everything known that belongs into it.
const extraField = "_extra"

// The two fields of a requisition's total, which is a number or "unlimited".
const totalField, infiniteField, unlimited = "headcountTotal", "headcountInfinite", "unlimited"

// errUnfit says that a field is missing which the schema wants.
var errUnfit = errors.New("a field is missing that cannot be null")

// damaged is what stands for what UTF-8 cannot express. encoding/json puts it there when it
// reads an answer; so it is looked for, and not only what it replaces.
const damaged = "\uFFFD"

// A conversion writes a Lever record in Avro's binary form, driven by the schema, and
// collects what does not fit it. It writes the bytes itself: every row of every read goes
// through here, changed or not, and by way of the maps that a general codec takes it costs
// ten times as much (docs/performance.md). The tests compare the bytes with goavro's.
type conversion struct {
	extra map[string]any
	// dropExtra leaves it out.
	dropExtra bool
	report    Report
	// path is the place in the record. It becomes text only where something did not fit.
	path []step
	// missing says that a field is null which cannot be.
	missing bool
}

// A step leads to a field or, if field is empty, to an item of a list.
type step struct {
	field string
	item  int
}

// place is the path of a field as text, for example "stageChanges[1].bar"; with items
// false, without the numbers of the items.
func (c *conversion) place(field string, items bool) string {
	var b strings.Builder
	name := func(field string) {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(field)
	}
	for _, s := range c.path {
		switch {
		case s.item < 0:
			name(s.field)
		case items:
			b.WriteString("[" + strconv.Itoa(s.item) + "]")
		default:
			b.WriteString("[]")
		}
	}
	name(field)
	return b.String()
}

// row appends a whole row.
func (c *conversion) row(dst []byte, s *schema, t *cdc.Table, r *cdc.Row) ([]byte, error) {
	_, counts := s.index[infiniteField]
	infinite := counts && r.Fields[totalField] == unlimited
	known := 0
	for i := range s.fields {
		f := &s.fields[i]
		raw, ok := r.Fields[f.name]
		if ok && f.name != extraField {
			known++
		}
		var null bool
		before := len(dst)
		switch {
		case f.name == extraField:
			c.unknown(s, r.Fields, known)
			text, err := c.extraText()
			if err != nil {
				return dst, err
			}
			dst = f.appendText(dst, text)
			continue
		case infinite && f.name == totalField:
			raw = nil
		}
		dst, null = c.field(dst, f, raw)
		switch {
		case f.name == t.Key:
			dst = f.appendText(dst[:before], []byte(r.Key))
		case infinite && f.name == infiniteField:
			dst = append(f.appendBranch(dst[:before]), 1)
		case null && slices.Contains(t.ParentFields, f.name):
			dst = f.appendText(dst[:before], []byte(r.Parent))
		case null && !f.nullable():
			c.missing = true
		}
	}
	if c.missing {
		return dst, errUnfit
	}
	return dst, nil
}

// extraText is what did not fit as canonical JSON; nil if everything did.
func (c *conversion) extraText() ([]byte, error) {
	if len(c.extra) == 0 || c.dropExtra {
		return nil, nil
	}
	return appendCanonical(nil, c.extra)
}

// record appends an object inside a row; what the schema does not know becomes extra.
func (c *conversion) record(dst []byte, s *schema, m map[string]any) []byte {
	known := 0
	for i := range s.fields {
		f := &s.fields[i]
		raw, ok := m[f.name]
		if ok {
			known++
		}
		var null bool
		if dst, null = c.field(dst, f, raw); null && !f.nullable() {
			c.missing = true
		}
	}
	c.unknown(s, m, known)
	return dst
}

// unknown puts the fields aside that the schema does not know, unless it knows as many as
// there are.
func (c *conversion) unknown(s *schema, m map[string]any, known int) {
	if known == len(m) {
		return
	}
	for name, raw := range m {
		if _, is := s.index[name]; raw == nil || is && (name != extraField || len(c.path) > 0) {
			continue
		}
		c.put(name, raw)
		c.report.Unknown++
	}
}

// field appends the value of a field, or null if it has not the schema's type.
func (c *conversion) field(dst []byte, f *field, raw any) (out []byte, null bool) {
	if raw == nil {
		return f.appendNull(dst), true
	}
	before := len(dst)
	c.path = append(c.path, step{field: f.name, item: -1})
	dst, ok := c.value(f.appendBranch(dst), f.value(), raw)
	c.path = c.path[:len(c.path)-1]
	if !ok {
		c.put(f.name, raw)
		c.report.Mistyped++
		return f.appendNull(dst[:before]), true
	}
	return dst, false
}

func (c *conversion) put(field string, raw any) {
	if c.extra == nil {
		c.extra = map[string]any{}
	}
	c.extra[c.place(field, true)] = raw
	c.report.note(c.place(field, false))
}

// value appends a value that is not null; ok is false if it has not the type.
func (c *conversion) value(dst []byte, s *schema, raw any) (out []byte, ok bool) {
	switch s.kind {
	case "boolean":
		b, ok := raw.(bool)
		if b {
			return append(dst, 1), ok
		}
		return append(dst, 0), ok
	case "long":
		n, ok := integer(raw)
		return binary.AppendVarint(dst, n), ok
	case "double":
		f, ok := float(raw)
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), ok
	case "string":
		if s.json {
			before := len(dst)
			dst, ok := appendJSON(dst, raw)
			if bytes.Contains(dst[before:], []byte(damaged)) {
				c.report.Sanitized++
			}
			return dst, ok
		}
		text, ok := raw.(string)
		if ok && !utf8.ValidString(text) {
			text = strings.ToValidUTF8(text, damaged)
		}
		if strings.Contains(text, damaged) {
			c.report.Sanitized++
		}
		return appendString(dst, text), ok
	case "record":
		m, ok := raw.(map[string]any)
		if !ok {
			return dst, false
		}
		return c.record(dst, s, m), true
	case "array":
		list, ok := raw.([]any)
		if !ok {
			return dst, false
		}
		return c.array(dst, s, list)
	}
	return dst, false
}

// array appends a list, as one block. Items are not nullable: if one has not the type,
// the whole list has not.
func (c *conversion) array(dst []byte, s *schema, list []any) (out []byte, ok bool) {
	if len(list) == 0 {
		return append(dst, 0), true
	}
	dst = binary.AppendVarint(dst, int64(len(list)))
	inner := conversion{path: c.path}
	for i, raw := range list {
		inner.path = append(inner.path[:len(c.path)], step{item: i})
		if dst, ok = inner.value(dst, s.items, raw); !ok {
			return dst, false
		}
	}
	c.missing = c.missing || inner.missing
	c.report.Add(inner.report)
	if len(inner.extra) > 0 && c.extra == nil {
		c.extra = map[string]any{}
	}
	maps.Copy(c.extra, inner.extra)
	return append(dst, 0), true
}

func (f *field) nullable() bool { return f.kind == "union" && f.null >= 0 }

// appendNull appends null, if the field may be that.
func (f *field) appendNull(dst []byte) []byte {
	if !f.nullable() {
		return dst
	}
	return binary.AppendVarint(dst, int64(f.null))
}

// appendBranch appends the branch of a value that is not null, if the field is a union.
func (f *field) appendBranch(dst []byte) []byte {
	if f.kind != "union" {
		return dst
	}
	return binary.AppendVarint(dst, int64(f.notNull))
}

// appendText appends text as the value of the field, null for nil.
func (f *field) appendText(dst, text []byte) []byte {
	if text == nil {
		return f.appendNull(dst)
	}
	return appendString(f.appendBranch(dst), text)
}

// appendString appends Avro's form of a string: its length, then its bytes.
func appendString[T string | []byte](dst []byte, text T) []byte {
	return append(binary.AppendVarint(dst, int64(len(text))), text...)
}

// appendJSON appends the canonical JSON of a value as a string.
func appendJSON(dst []byte, raw any) (out []byte, ok bool) {
	// Its length comes first, and is known last: it is written behind, then moved.
	before := len(dst)
	dst, err := appendCanonical(dst, raw)
	if err != nil {
		return dst, false
	}
	var length [binary.MaxVarintLen64]byte
	n := binary.PutVarint(length[:], int64(len(dst)-before))
	return slices.Insert(dst, before, length[:n]...), true
}

// integer reads a whole number, which Lever also serves as a decimal string.
func integer(raw any) (n int64, ok bool) {
	var text string
	switch raw := raw.(type) {
	case json.Number:
		text = string(raw)
	case string:
		text = raw
	default:
		return 0, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && text[0] != '+' {
		return n, true
	}
	// A whole number may be written as 5.0 or 5e3.
	f, ok := float(raw)
	if !ok || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// float reads a number that a double holds without loss of digits.
func float(raw any) (f float64, ok bool) {
	n, ok := raw.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return 0, false
	}
	const smallest = 0x1p-1022 // below it, doubles have fewer digits, and in the end none
	if math.Abs(f) < smallest && !zero(string(n)) {
		return 0, false
	}
	digits := 0
	for _, c := range string(n) {
		if c >= '0' && c <= '9' {
			digits++
		}
	}
	const always = 15 // decimal digits that every double keeps
	if digits > always && strconv.FormatFloat(f, 'f', -1, 64) != string(n) {
		return 0, false
	}
	return f, true
}

// zero says that a number has no other digits than 0 before its exponent.
func zero(n string) bool {
	if e := strings.IndexAny(n, "eE"); e >= 0 {
		n = n[:e]
	}
	return !strings.ContainsAny(n, "123456789")
}

// appendCanonical appends a JSON value so that equal values have equal text: sorted
// names, no spaces, numbers as served. The text is encoding/json's.
func appendCanonical(dst []byte, v any) (out []byte, err error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		return appendQuoted(dst, v)
	case json.Number:
		if plain(string(v)) {
			return append(dst, v...), nil
		}
	case []any:
		if v == nil {
			break
		}
		dst = append(dst, '[')
		for i, item := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendCanonical(dst, item); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case map[string]any:
		if v == nil {
			break
		}
		var few [16]string // so that small objects need no memory for it
		names := slices.AppendSeq(few[:0], maps.Keys(v))
		slices.Sort(names)
		dst = append(dst, '{')
		for i, name := range names {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendQuoted(dst, name); err != nil {
				return dst, err
			}
			dst = append(dst, ':')
			if dst, err = appendCanonical(dst, v[name]); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
	return appendMarshalled(dst, v) // numbers are checked there
}

// plain says that a number is written with digits alone.
func plain(n string) bool {
	for i := range len(n) {
		if n[i] < '0' || n[i] > '9' {
			return false
		}
	}
	return n != "" && (n[0] != '0' || len(n) == 1)
}

// appendQuoted appends a string as JSON.
func appendQuoted(dst []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if b := s[i]; b < ' ' || b > '~' || b == '"' || b == '\\' {
			return appendMarshalled(dst, s)
		}
	}
	return append(append(append(dst, '"'), s...), '"'), nil
}

// appendMarshalled appends what encoding/json makes of the value.
func appendMarshalled(dst []byte, v any) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return dst, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
