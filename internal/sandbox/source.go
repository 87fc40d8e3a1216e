package sandbox

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// baseSources is how many sources a new account has.
const baseSources = 9

// sources are where opportunities come from. They have no ids, only texts.
type sources struct {
	list []source
}

type source struct {
	text  string
	count int
	gone  bool
}

func newSources() sources {
	return sources{list: []source{
		{text: "Added manually"}, {text: "Referral"}, {text: "Job site"}, {text: "agency: Éclair & Co"},
		{text: "Career fair"}, {text: "hackathon"}, {text: "University"}, {text: "Social / \"Posts\""}, {text: "Import"},
	}}
}

// number finds a source that is there.
func (s *sources) number(text string) (n int32, ok bool) {
	i := slices.IndexFunc(s.list, func(x source) bool { return x.text == text && !x.gone })
	return int32(i), i >= 0
}

// sorted are the numbers of the sources that are there, by text without regard to case.
func (s *sources) sorted() []int32 {
	var numbers []int32
	for n := range s.list {
		if !s.list[n].gone {
			numbers = append(numbers, int32(n))
		}
	}
	slices.SortFunc(numbers, func(a, b int32) int { return compareFold(s.list[a].text, s.list[b].text) })
	return numbers
}

func (s *sources) texts() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, x := range s.list {
			if !x.gone && !yield(x.text) {
				return
			}
		}
	}
}

// recount moves the counts when an opportunity's sources change.
func (s *sources) recount(before, after []string) {
	for _, text := range before {
		if n, ok := s.number(text); ok {
			s.list[n].count--
		}
	}
	for _, text := range after {
		if n, ok := s.number(text); ok {
			s.list[n].count++
		}
	}
}

func (s *sources) row(n int32) *object {
	return newObject("text", s.list[n].text, "count", s.list[n].count)
}

func compareFold(a, b string) int {
	return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
}

// reasons are why opportunities are archived, in the order of their configuration.
type reasons struct {
	seed uint64
	list []reason
}

type reason struct {
	id, text, status, kind string
	gone                   bool
}

// The first generated reason is the one for hires.
const (
	hiredReason = 0
	baseReasons = 7
)

func newReasons(seed uint64) reasons {
	r := reasons{seed: seed}
	r.add("Hired", "active", "hired")
	r.add("Underqualified", "active", "non-hired")
	r.add("Withdrew", "active", "non-hired")
	r.add("Timing", "active", "non-hired")
	r.add("Position closed", "active", "non-hired")
	r.add("Unresponsive – \"ghosted\"", "active", "non-hired")
	r.add("Too far away", "inactive", "non-hired")
	return r
}

func (r *reasons) add(text, status, kind string) (id string) {
	id = newID(r.seed, kindReason, len(r.list))
	r.list = append(r.list, reason{id: id, text: text, status: status, kind: kind})
	return id
}

// number finds a reason that is there.
func (r *reasons) number(id string) (n int32, ok bool) {
	i := slices.IndexFunc(r.list, func(x reason) bool { return x.id == id && !x.gone })
	return int32(i), i >= 0
}

func (r *reasons) live() []int32 {
	var numbers []int32
	for n := range r.list {
		if !r.list[n].gone {
			numbers = append(numbers, int32(n))
		}
	}
	return numbers
}

func (r *reasons) ids() []string {
	var ids []string
	for _, n := range r.live() {
		ids = append(ids, r.list[n].id)
	}
	return ids
}

func (r *reasons) row(n int32) *object {
	x := r.list[n]
	return newObject("id", x.id, "text", x.text, "status", x.status, "type", x.kind)
}
