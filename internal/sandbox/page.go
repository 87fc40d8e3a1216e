package sandbox

import (
	"cmp"
	"iter"
	"slices"
	"sort"
	"strings"
)

// page writes the first limit records of a sequence in Lever's envelope. If there
// are more, next is the token of the first that is left.
func page(limit int, records iter.Seq[int32], render func(b []byte, n int32) []byte, token func(n int32) string) []byte {
	b := []byte(`{"data":[`)
	count := 0
	for n := range records {
		if count == limit {
			b = append(b, `],"hasNext":true,"next":`...)
			return append(appendString(b, token(n)), '}')
		}
		if count > 0 {
			b = append(b, ',')
		}
		b = render(b, n)
		count++
	}
	return append(b, `],"hasNext":false}`...)
}

// rendered makes a renderer of a function that returns records.
func rendered(row func(n int32) *object) func([]byte, int32) []byte {
	return func(b []byte, n int32) []byte { return appendObject(b, row(n)) }
}

// A filter is what a request for opportunities asks for.
type filter struct {
	created, updated window
	shows            func(confidential bool) bool
}

func (f filter) matches(o outline) bool {
	return f.shows(o.confidential) && f.created.holds(o.created) && (!f.updated.set || o.updated > 0 && f.updated.holds(o.updated))
}

// opportunitiesFrom yields the opportunities that match a filter, in the order of
// the list, from a page token on.
func (l *Lever) opportunitiesFrom(f filter, offset string) (iter.Seq[int32], *failure) {
	reached := func(int32) bool { return true }
	if offset != "" {
		numbers, texts, ok := parseToken(offset, "nns")
		if !ok {
			return nil, badToken()
		}
		reached = func(n int32) bool {
			o := l.outline(n)
			c := cmp.Or(cmp.Compare(l.stages.rank(o.stage), numbers[0]), cmp.Compare(int64(numbers[1]), o.advanced))
			return c > 0 || c == 0 && l.opportunities.id(n) >= texts[0]
		}
	}
	if few, ok := l.narrow(f); ok {
		var found []position
		for n := range few {
			if !l.opportunities.has(n) {
				continue
			}
			if o := l.outline(n); f.matches(o) && reached(n) {
				found = append(found, l.position(n, o))
			}
		}
		slices.SortFunc(found, l.comparePositions)
		return slices.Values(numbers(found, func(p position) int32 { return p.n })), nil
	}
	return func(yield func(int32) bool) {
		for n := range l.order.from(l.order.find(reached)) {
			if f.matches(l.outline(n)) && !yield(n) {
				return
			}
		}
	}, nil
}

// narrow yields a superset of the opportunities that match a filter, if it is so
// small that looking at all of it and sorting takes less time than walking along the
// list until a page is full.
func (l *Lever) narrow(f filter) (iter.Seq[int32], bool) {
	small := func(count int) bool { return count*count <= 100*l.order.length }
	if f.updated.set {
		from := l.updated.find(func(n int32) bool { return l.outline(n).updated >= f.updated.start })
		to := l.updated.find(func(n int32) bool { return l.outline(n).updated > f.updated.end })
		if small(l.updated.rank(to) - l.updated.rank(from)) {
			return func(yield func(int32) bool) {
				for n := range l.updated.from(from) {
					if l.outline(n).updated > f.updated.end || !yield(n) {
						return
					}
				}
			}, true
		}
	}
	if f.created.set {
		// Generated opportunities are numbered in the order of createdAt, which never
		// changes; the added ones come after them.
		base := l.opportunities.base
		from := sort.Search(int(base), func(n int) bool { return l.generatedOutline(int32(n)).created >= f.created.start })
		to := sort.Search(int(base), func(n int) bool { return l.generatedOutline(int32(n)).created > f.created.end })
		if small(to - from + int(l.opportunities.next-base)) {
			return func(yield func(int32) bool) {
				for n := int32(from); n < int32(to); n++ {
					if !yield(n) {
						return
					}
				}
				for n := base; n < l.opportunities.next; n++ {
					if !yield(n) {
						return
					}
				}
			}, true
		}
	}
	return nil, false
}

func (l *Lever) opportunityToken(n int32) string {
	o := l.outline(n)
	return formatToken(l.stages.rank(o.stage), o.advanced, l.opportunities.id(n))
}

// newestFrom yields the records of a shelf, newest first, from a token on that holds
// a time and an id.
func newestFrom(s *shelf, offset string) (iter.Seq[int32], *failure) {
	from := s.next - 1
	if offset != "" {
		_, texts, ok := parseToken(offset, "ns")
		if ok {
			from, ok = s.place(texts[0])
		}
		if !ok {
			return nil, badToken()
		}
	}
	return s.newest(from), nil
}

// filtered leaves out what does not match.
func filtered(records iter.Seq[int32], matches func(int32) bool) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for n := range records {
			if matches(n) && !yield(n) {
				return
			}
		}
	}
}

// childrenByAge are the children of an opportunity as they are listed: by createdAt
// and id.
func (l *Lever) childrenByAge(c *children, parent int32) []*object {
	list := slices.Clone(c.list(parent))
	slices.SortFunc(list, compareAge)
	return list
}

func compareAge(a, b *object) int {
	return cmp.Or(cmp.Compare(a.millis("createdAt"), b.millis("createdAt")), strings.Compare(a.text("id"), b.text("id")))
}
