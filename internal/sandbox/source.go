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
