package sandbox

import (
	"iter"
	"slices"
)

// A shelf holds the records of one kind by number. The first base numbers are
// generated when asked for, unless they were changed or deleted since. Records must
// not be written to once they are on the shelf: a change puts a copy.
type shelf struct {
	seed       uint64
	kind       kind
	base, next int32
	rows       map[int32]*object
	gone       map[int32]struct{}
	build      func(n int32) *object
}

func newShelf(seed uint64, k kind, base int, build func(int32) *object) *shelf {
	return &shelf{
		seed: seed, kind: k, base: int32(base), next: int32(base),
		rows: map[int32]*object{}, gone: map[int32]struct{}{}, build: build,
	}
}

func (s *shelf) id(n int32) string { return newID(s.seed, s.kind, int(n)) }

// number finds a record that is there.
func (s *shelf) number(id string) (n int32, ok bool) {
	n, ok = s.place(id)
	return n, ok && s.has(n)
}

// place finds a record that is or was there.
func (s *shelf) place(id string) (n int32, ok bool) {
	big, ok := numberOf(s.seed, s.kind, id)
	if !ok || big >= int(s.next) {
		return 0, false
	}
	return int32(big), true
}

func (s *shelf) has(n int32) bool {
	_, gone := s.gone[n]
	return n >= 0 && n < s.next && !gone
}

func (s *shelf) row(n int32) *object {
	if row := s.rows[n]; row != nil {
		return row
	}
	return s.build(n)
}

func (s *shelf) put(n int32, row *object) {
	s.rows[n] = row
	s.next = max(s.next, n+1)
}

func (s *shelf) drop(n int32) {
	delete(s.rows, n)
	s.gone[n] = struct{}{}
}

// all yields the numbers of what is there, oldest first.
func (s *shelf) all() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for n := range s.next {
			if s.has(n) && !yield(n) {
				return
			}
		}
	}
}

// newest yields the numbers of what is there from n downwards.
func (s *shelf) newest(n int32) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for ; n >= 0; n-- {
			if s.has(n) && !yield(n) {
				return
			}
		}
	}
}

// any picks a record at random, half of the time one of the newest fifth, which is
// where most of an account's life is; false if there is none.
func (s *shelf) any(d *dice) (n int32, ok bool) {
	for range 50 {
		from := 0
		if d.permille(500) {
			from = int(s.next) * 4 / 5
		}
		n = int32(from + d.below(int(s.next)-from))
		if s.has(n) {
			return n, true
		}
	}
	for n = range s.all() {
		return n, true
	}
	return 0, false
}

// perParent is the most children of a kind that are generated for one opportunity.
const perParent = 4

// children hold the records of one kind under opportunities. The numbers of
// generated ones follow from their parent's.
type children struct {
	seed    uint64
	kind    kind
	base    int32 // opportunities whose children are generated
	next    int
	lists   map[int32][]*object // of opportunities whose children changed
	parents map[int]int32       // of added ones
	build   func(parent int32) []*object
}

func newChildren(seed uint64, k kind, parents int, build func(int32) []*object) *children {
	return &children{
		seed: seed, kind: k, base: int32(parents), next: parents * perParent,
		lists: map[int32][]*object{}, parents: map[int]int32{}, build: build,
	}
}

func (c *children) id(n int) string { return newID(c.seed, c.kind, n) }

// generatedID is the id of the i-th child that is generated for a parent.
func (c *children) generatedID(parent int32, i int) string { return c.id(int(parent)*perParent + i) }

// list returns the children of an opportunity that is there.
func (c *children) list(parent int32) []*object {
	if list, ok := c.lists[parent]; ok {
		return list
	}
	if parent >= c.base {
		return nil
	}
	return c.build(parent)
}

// find returns the parent of a child and its place in the list. The parent may be gone.
func (c *children) find(id string) (parent int32, at int, ok bool) {
	n, ok := numberOf(c.seed, c.kind, id)
	if !ok || n >= c.next {
		return 0, 0, false
	}
	if n < int(c.base)*perParent {
		parent = int32(n / perParent)
	} else {
		parent = c.parents[n]
	}
	at = slices.IndexFunc(c.list(parent), func(row *object) bool { return row.text("id") == id })
	return parent, at, at >= 0
}

// number hands out the number of a new child.
func (c *children) number(parent int32) int {
	n := c.next
	c.next++
	c.parents[n] = parent
	return n
}

func (c *children) add(parent int32, row *object) {
	c.lists[parent] = append(slices.Clip(slices.Clone(c.list(parent))), row)
}

func (c *children) replace(parent int32, at int, row *object) {
	list := slices.Clone(c.list(parent))
	list[at] = row
	c.lists[parent] = list
}

func (c *children) remove(parent int32, at int) {
	c.lists[parent] = slices.Delete(slices.Clone(c.list(parent)), at, at+1)
}

// drop forgets the children of a parent that is gone.
func (c *children) drop(parent int32) { c.lists[parent] = nil }
