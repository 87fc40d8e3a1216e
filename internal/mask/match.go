package mask

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
)

// Action is what happens to a field.
type Action int

const (
	// Exclude leaves the field out.
	Exclude Action = iota + 1
	// Hash replaces text by its hash.
	Hash
)

const (
	tagPII = "@pii"
	// anonymized tells that a person's data must not be kept in a before.
	anonymized = "isAnonymized"
)

// Problem says what is wrong with a pattern.
type Problem struct {
	Pattern, Text string
	// Unknown says that the pattern means no field.
	Unknown bool
}

// fieldSet holds what patterns mean, per table and path.
type fieldSet map[string]map[string]bool

// Match returns what is wrong with the patterns, as rules of the given action.
func Match(tables []cdc.Table, patterns []string, a Action) []Problem {
	_, problems := match(tables, patterns, a)
	return problems
}

// Paths returns every path that can be named, for suggestions.
func Paths(tables []cdc.Table) []string {
	var out []string
	for _, t := range tables {
		fields, err := avro.Fields(t.Name)
		if err != nil {
			continue // a table without a schema has no fields to name
		}
		out = append(out, paths(t.Name, fields)...)
	}
	return out
}

func paths(under string, fields []avro.Field) (out []string) {
	for _, f := range fields {
		out = append(out, under+"."+f.Name)
		out = append(out, paths(under+"."+f.Name, f.Fields)...)
	}
	return out
}

// match finds the leaves that the patterns mean.
func match(tables []cdc.Table, patterns []string, a Action) (fieldSet, []Problem) {
	found := fieldSet{}
	var problems []Problem
	for _, p := range patterns {
		m := matcher{action: a, found: found}
		if err := m.pattern(tables, p); err != "" {
			problems = append(problems, Problem{Pattern: p, Text: err, Unknown: m.count == 0})
		}
	}
	return found, problems
}

// matcher matches one pattern.
type matcher struct {
	action Action
	found  fieldSet
	table  cdc.Table
	count  int // fields that it means, protected ones included
	wrong  string
}

// pattern returns what is wrong, empty if nothing is.
func (m *matcher) pattern(tables []cdc.Table, p string) string {
	name, rest, ok := strings.Cut(p, ".")
	if p == tagPII {
		name, rest, ok = "*", tagPII, true
	}
	if !ok || rest == "" {
		return "is no path; use table.field, with * for any, or " + tagPII
	}
	segments := strings.Split(rest, ".")
	for _, s := range append([]string{name}, segments...) {
		if _, err := path.Match(s, ""); err != nil || s == "" {
			return "is no path: a part of it is empty, or has an open bracket"
		}
	}
	for _, t := range tables {
		if !matches(name, t.Name) {
			continue
		}
		m.table = t
		fields, err := avro.Fields(t.Name)
		if err != nil {
			continue
		}
		if rest == tagPII {
			m.tagged(fields, "")
		} else {
			m.walk(fields, segments, "", !strings.ContainsAny(p, "*?["))
		}
	}
	if m.wrong == "" && m.count == 0 {
		return "matches no field of any table"
	}
	return m.wrong
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// walk finds the fields that the segments mean. explicit says that the pattern has no
// wildcard.
func (m *matcher) walk(fields []avro.Field, segments []string, under string, explicit bool) {
	for _, f := range fields {
		if !matches(segments[0], f.Name) {
			continue
		}
		if len(segments) > 1 {
			m.walk(f.Fields, segments[1:], under+f.Name+".", explicit)
			continue
		}
		m.count++
		if explicit {
			m.check(f, under+f.Name)
		}
		m.add(f, under)
	}
}

// tagged finds what the schema tags.
func (m *matcher) tagged(fields []avro.Field, under string) {
	for _, f := range fields {
		if f.PII {
			m.count++
			m.add(f, under)
			continue
		}
		m.tagged(f.Fields, under+f.Name+".")
	}
}

// check says what is wrong with a rule for this very field.
func (m *matcher) check(f avro.Field, at string) {
	switch {
	case at == m.table.Key:
		m.wrong = "is the primary key, which every event needs"
	case slices.Contains(m.table.ParentFields, at):
		m.wrong = "is the id of the row's parent, which every event needs"
	case at == anonymized:
		m.wrong = "tells that a person was anonymised; without it their data could not be erased"
	case m.action == Hash && at == avro.ExtraField:
		m.wrong = "holds unknown fields of any type and cannot be hashed; leave it out with LEVER_EXCLUDE_FIELDS"
	case m.action == Hash && !f.Text && f.Fields == nil:
		m.wrong = "is not text and cannot hold a hash; leave it out with LEVER_EXCLUDE_FIELDS"
	}
}

// add takes the field, and everything under it.
func (m *matcher) add(f avro.Field, under string) {
	at := under + f.Name
	if at == m.table.Key || at == anonymized || slices.Contains(m.table.ParentFields, at) {
		return
	}
	if m.found[m.table.Name] == nil {
		m.found[m.table.Name] = map[string]bool{}
	}
	m.found[m.table.Name][at] = true
}

// String names the action, as rules are written down.
func (a Action) String() string {
	switch a {
	case Exclude:
		return "exclude"
	case Hash:
		return "hash"
	}
	return fmt.Sprintf("action %d", int(a))
}
