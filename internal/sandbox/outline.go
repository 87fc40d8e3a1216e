package sandbox

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// An outline is what is needed of an opportunity to sort and filter it, and what its
// record is made from. It is cheap to generate.
type outline struct {
	created, advanced, interaction, archived, updated int64 // archived and updated: 0 = null
	stage                                             int32
	posting                                           int32 // of the first application; -1 = none
	applications                                      int
	source                                            int
	confidential                                      bool
}

// outline returns the outline of an opportunity as it is now.
func (l *Lever) outline(n int32) outline {
	if o, ok := l.outlines[n]; ok {
		return o
	}
	return l.generatedOutline(n)
}

func (l *Lever) generatedOutline(n int32) outline {
	d := throw(l.o.Seed, kindOpportunity, int(n))
	o := outline{created: l.slot(&d, n, l.opportunities.base), posting: -1}
	// Two throws, of which the lower counts: most are early in the pipeline.
	o.stage = int32(min(d.below(baseStages), d.below(baseStages)))
	switch x := d.below(1000); {
	case x < 30:
	case x < 38:
		o.applications = 2
	default:
		o.applications = 1
	}
	earlier := d.below(5)
	if o.applications > 0 {
		share := int(n) * int(l.postings.base) / int(l.opportunities.base)
		o.posting = int32(max(share-earlier, 0))
		o.confidential = l.confidentialPosting(o.posting)
	}
	o.source = d.below(baseSources)
	o.advanced = o.created
	if o.stage > 0 && d.permille(800) {
		o.advanced += d.millis(min(l.epoch-o.created, (90 * day).Milliseconds()))
	}
	o.interaction = o.advanced + d.millis(min(l.epoch-o.advanced, (30*day).Milliseconds()))
	age := l.epoch - o.created
	if d.permille(600) && age > (20*day).Milliseconds() {
		o.archived = o.interaction
	}
	if d.permille(40) || age < (60*day).Milliseconds() {
		o.updated = o.interaction + 1
	}
	return o
}

// slot returns a time in the n-th of count equal parts of the account's past, so
// that records are numbered in the order in which they were created.
func (l *Lever) slot(d *dice, n, count int32) int64 {
	all := span.Milliseconds()
	start, end := all*int64(n)/int64(count), all*int64(n+1)/int64(count)
	return l.epoch - all + start + d.millis(end-start)
}

// before returns a time like slot, one part earlier: parents are made before the
// children that are created in the same part.
func (l *Lever) before(d *dice, n, count int32) int64 {
	return l.slot(d, n, count) - span.Milliseconds()/int64(count) - 1
}

// within returns a time after from, by at most d and not after the account's past.
func (l *Lever) within(d *dice, from int64, most time.Duration) int64 {
	return from + d.millis(min(l.epoch-from, most.Milliseconds()))
}

// A position is a place in the order of the list of opportunities.
type position struct {
	rank     float64
	advanced int64
	n        int32
}

func (l *Lever) position(n int32, o outline) position {
	return position{l.stages.rank(o.stage), o.advanced, n}
}

func (l *Lever) comparePositions(a, b position) int {
	if c := cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.advanced, a.advanced)); c != 0 || a.n == b.n {
		return c
	}
	return strings.Compare(l.opportunities.id(a.n), l.opportunities.id(b.n))
}

// compareOpportunities sorts as Lever's list does: by stage rank, the last advance
// (latest first) and id.
func (l *Lever) compareOpportunities(a, b int32) int {
	return l.comparePositions(l.position(a, l.outline(a)), l.position(b, l.outline(b)))
}

// compareUpdated sorts by updatedAt.
func (l *Lever) compareUpdated(a, b int32) int {
	return cmp.Or(cmp.Compare(l.outline(a).updated, l.outline(b).updated), cmp.Compare(a, b))
}

// sortOpportunities makes the two sorted sets of a new account, and counts sources.
func (l *Lever) sortOpportunities() {
	type stamped struct {
		at int64
		n  int32
	}
	positions := make([]position, l.opportunities.base)
	var changed []stamped
	for n := range l.opportunities.base {
		o := l.generatedOutline(n)
		positions[n] = l.position(n, o)
		if o.updated > 0 {
			changed = append(changed, stamped{o.updated, n})
		}
		l.sources.list[o.source].count++
	}
	slices.SortFunc(positions, l.comparePositions)
	slices.SortFunc(changed, func(a, b stamped) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.n, b.n)) })
	l.order = newOrdered(numbers(positions, func(p position) int32 { return p.n }), l.compareOpportunities)
	l.updated = newOrdered(numbers(changed, func(s stamped) int32 { return s.n }), l.compareUpdated)
}

func numbers[T any](from []T, number func(T) int32) []int32 {
	list := make([]int32, len(from))
	for i, x := range from {
		list[i] = number(x)
	}
	return list
}
