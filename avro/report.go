package avro

import (
	"maps"
	"slices"
)

// Report counts what in records did not fit the schema. Nothing of it was lost, but for what
// Sanitized counts.
type Report struct {
	// Unknown counts fields that the schema does not have.
	Unknown int
	// Mistyped counts fields whose value has not the schema's type.
	Mistyped int
	// Sanitized counts texts that hold U+FFFD, which replaces bytes that are not UTF-8 and
	// halves of surrogate pairs (or stood there before Lever served the text).
	Sanitized int
	// paths names the fields of Unknown and Mistyped, without values or array indexes.
	paths map[string]struct{}
}

// Paths returns the names of the fields that did not fit, sorted, for example
// "archived.foo" or "stageChanges[].bar". They hold no values.
func (r *Report) Paths() []string { return slices.Sorted(maps.Keys(r.paths)) }

// Count is the number of values that did not fit.
func (r *Report) Count() int { return r.Unknown + r.Mistyped + r.Sanitized }

// Add adds the counts of another report.
func (r *Report) Add(o Report) {
	r.Unknown += o.Unknown
	r.Mistyped += o.Mistyped
	r.Sanitized += o.Sanitized
	for p := range o.paths {
		r.note(p)
	}
}

// mostPaths bounds what a report remembers: names of fields may be invented.
const mostPaths = 200

func (r *Report) note(path string) {
	if r.paths == nil {
		r.paths = map[string]struct{}{}
	}
	if len(r.paths) < mostPaths {
		r.paths[path] = struct{}{}
	}
}
