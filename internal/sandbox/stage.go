package sandbox

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// baseStages is how many stages a new account has.
const baseStages = 12

// stages are the pipeline. A stage that was removed keeps its number, its rank and
// the opportunities in it.
type stages struct {
	seed   uint64
	list   []stage
	byID   map[string]int32
	sorted []int32 // by rank
}

type stage struct {
	id, text string
	rank     float64
	gone     bool
}

func newStages(seed uint64) stages {
	s := stages{seed: seed, byID: map[string]int32{}}
	for i, st := range []stage{
		{id: "lead-new", text: "New lead", rank: 0},
		{id: "lead-reached-out", text: "Reached out", rank: 1},
		{id: "lead-responded", text: "Responded", rank: 2},
		{id: "applicant-new", text: "New applicant", rank: 3},
		{text: "Recruiter screen", rank: 195.5},
		{text: "Phone interview", rank: 230.5},
		{text: "Take-home \"challenge\"", rank: 265.5},
		{text: "On-site interview", rank: 300.5},
		{text: "Panel", rank: 335.25},
		{text: "Reference check", rank: 370.5},
		{id: "offer", text: "Offer", rank: 400},
		{text: "Background check – final", rank: 450.5},
	} {
		if st.id == "" {
			st.id = newID(seed, kindStage, i)
		}
		s.add(st)
	}
	return s
}

func (s *stages) add(st stage) {
	n := int32(len(s.list))
	s.list = append(s.list, st)
	s.byID[st.id] = n
	at, _ := slices.BinarySearchFunc(s.sorted, st, func(n int32, st stage) int {
		return cmp.Or(cmp.Compare(s.list[n].rank, st.rank), strings.Compare(s.list[n].id, st.id))
	})
	s.sorted = slices.Insert(s.sorted, at, n)
}

func (s *stages) rank(n int32) float64 { return s.list[n].rank }

// number finds a stage that is there.
func (s *stages) number(id string) (n int32, ok bool) {
	n, ok = s.byID[id]
	return n, ok && !s.list[n].gone
}

// inOrder yields the stages that are there in the order of the pipeline.
func (s *stages) inOrder() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for _, n := range s.sorted {
			if !s.list[n].gone && !yield(n) {
				return
			}
		}
	}
}

// index is a stage's place in the pipeline.
func (s *stages) index(of int32) int {
	i := 0
	for n := range s.inOrder() {
		if n == of {
			return i
		}
		i++
	}
	return i
}

// after returns the stage that follows in the pipeline; after the last comes the first.
func (s *stages) after(n int32) int32 {
	first := int32(-1)
	for m := range s.inOrder() {
		if first < 0 {
			first = m
		}
		if s.list[m].rank > s.list[n].rank {
			return m
		}
	}
	return max(first, 0)
}

func (s *stages) live() []int32 { return slices.Collect(s.inOrder()) }

func (s *stages) ids() []string {
	var ids []string
	for n := range s.list {
		if !s.list[n].gone {
			ids = append(ids, s.list[n].id)
		}
	}
	return ids
}

func (s *stages) row(n int32) *object {
	return newObject("id", s.list[n].id, "text", s.list[n].text)
}
