package mask

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
)

// Rules are the masks of all tables. The zero value and nil leave every row as it is.
type Rules struct {
	tables map[string]*Table
}

// Table is the mask of one table. It may be used from several goroutines.
type Table struct {
	root   *node
	key    []byte
	digest string
	blank  avro.Selection
}

// node is what happens to a field and to those under it.
type node struct {
	act    Action // 0: look at the fields under it, or keep it
	list   bool
	fields map[string]*node
	// strict says that fields which the schema does not know are left out.
	strict bool
}

// New returns the rules that the patterns mean (see the package comment). The key is for
// hashing. The error speaks of patterns that Match refuses.
func New(tables []cdc.Table, exclude, hash []string, key string) (*Rules, error) {
	excluded, problems := match(tables, exclude, Exclude)
	hashed, more := match(tables, hash, Hash)
	for _, p := range append(problems, more...) {
		return nil, fmt.Errorf("%s %s", p.Pattern, p.Text)
	}
	r := &Rules{tables: map[string]*Table{}}
	for _, t := range tables {
		if len(excluded[t.Name])+len(hashed[t.Name]) == 0 {
			continue
		}
		fields, err := avro.Fields(t.Name)
		if err != nil {
			return nil, err
		}
		b := builder{excluded: excluded[t.Name], hashed: hashed[t.Name]}
		b.strict = b.excluded[avro.ExtraField] || b.hashed[avro.ExtraField]
		m := &Table{key: []byte(key), root: b.record(fields, "", 0)}
		m.blank = m.root.selection()
		m.blank[avro.ExtraField] = nil // it may hold what a rule means now
		slices.Sort(b.lines)
		m.digest = m.fingerprint(b.lines)
		r.tables[t.Name] = m
	}
	return r, nil
}

// Table returns the mask of the table, nil if it has none.
func (r *Rules) Table(name string) *Table {
	if r == nil {
		return nil
	}
	return r.tables[name]
}

// Digest identifies the rules of a table and, if anything is hashed, the key; it gives
// neither away. It is empty if there are none.
func (r *Rules) Digest(table string) string {
	m := r.Table(table)
	if m == nil {
		return ""
	}
	return m.digest
}

// builder makes the nodes of one table.
type builder struct {
	excluded, hashed map[string]bool
	strict           bool
	lines            []string // the rules, written down
}

// record returns the node of a record. above is what happens to all of it.
func (b *builder) record(fields []avro.Field, under string, above Action) *node {
	n := &node{fields: map[string]*node{}, strict: b.strict || above == Hash}
	if above == Hash { // says more than its fields do: what is unknown under it is left out
		b.lines = append(b.lines, above.String()+" "+under)
	}
	for _, f := range fields {
		at := under + f.Name
		act := above
		if b.hashed[at] {
			act = Hash
		}
		if b.excluded[at] {
			act = Exclude
		}
		if act == Hash && f.Fields == nil && (!f.Text || at == avro.ExtraField) {
			act = Exclude
		}
		switch {
		case act == Exclude, act == Hash && f.Fields == nil:
			b.lines = append(b.lines, act.String()+" "+at)
			n.fields[f.Name] = &node{act: act, list: f.List}
		case f.Fields != nil:
			below := b.record(f.Fields, at+".", act)
			if below.strict || below.does() {
				below.list = f.List
				n.fields[f.Name] = below
			} else if n.strict {
				n.fields[f.Name] = &node{}
			}
		case n.strict:
			n.fields[f.Name] = &node{}
		}
	}
	return n
}

// does says whether anything happens under the node.
func (n *node) does() bool {
	return n.act != 0 || slices.ContainsFunc(slices.Collect(maps.Values(n.fields)), (*node).does)
}

// selection names everything under the node that is left out or hashed.
func (n *node) selection() avro.Selection {
	out := avro.Selection{}
	for name, f := range n.fields {
		switch {
		case f.act != 0:
			out[name] = nil
		case f.does():
			out[name] = f.selection()
		}
	}
	return out
}

// fingerprint condenses the rules and the key.
func (m *Table) fingerprint(lines []string) string {
	text := strings.Join(lines, "\n")
	if slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, Hash.String()) }) {
		text += "\nkey " + m.hash("leverstream: which key is it")
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:16])
}

// DropsExtra says that fields which the schema does not know are left out.
func (m *Table) DropsExtra() bool { return m.root.strict }

// Blank names the fields that are null in a row that was stored under other rules: all
// that are left out or hashed now, and _extra. Nobody can tell whether such a row holds a
// value or a hash of it already.
func (m *Table) Blank() avro.Selection { return m.blank }

// Apply returns the record as the rules want it. The record itself is not changed; what
// is not touched is shared with it.
func (m *Table) Apply(record map[string]any) map[string]any { return m.record(m.root, record) }

func (m *Table) record(n *node, record map[string]any) map[string]any {
	out := make(map[string]any, len(record))
	for name, v := range record {
		f, known := n.fields[name]
		switch {
		case !known && !n.strict:
			out[name] = v
		case known:
			if v, keep := m.value(f, v); keep {
				out[name] = v
			}
		}
	}
	return out
}

func (m *Table) value(n *node, v any) (_ any, keep bool) {
	switch {
	case n.act == Exclude:
		return nil, false
	case v == nil:
		return nil, true
	case n.act == Hash:
		return m.hashed(n, v), true
	case n.fields == nil:
		return v, true
	}
	if record, ok := v.(map[string]any); ok && !n.list {
		return m.record(n, record), true
	}
	list, ok := v.([]any)
	if !ok || !n.list {
		return nil, false
	}
	out := make([]any, len(list))
	for i, item := range list {
		record, ok := item.(map[string]any)
		if !ok {
			return nil, false
		}
		out[i] = m.record(n, record)
	}
	return out, true
}

// hashed replaces a value by its hash, each item of a list of texts by its own.
func (m *Table) hashed(n *node, v any) any {
	if list, ok := v.([]any); ok && n.list {
		out := make([]any, len(list))
		for i, item := range list {
			out[i] = m.hashed(&node{}, item)
		}
		return out
	}
	if text, ok := v.(string); ok {
		if text == "" {
			return ""
		}
		return m.hash(text)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return "" // it came out of JSON, so it goes in again
	}
	return m.hash(strings.TrimSuffix(b.String(), "\n"))
}

func (m *Table) hash(text string) string {
	h := hmac.New(sha256.New, m.key)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}
