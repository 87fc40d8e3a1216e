package sandbox

import (
	"iter"
	"slices"
	"sort"
)

// chunkSize is the length at which a chunk is split in two.
const chunkSize = 1024

// An ordered set keeps numbers of records sorted by a key that lives elsewhere. A
// record's key must not change while it is in the set. Sets of a million records
// cost four bytes for each of them; insertion moves at most one chunk.
type ordered struct {
	compare func(a, b int32) int
	chunks  [][]int32
	length  int
}

// newOrdered makes a set of numbers that are sorted already. It takes the slice over.
func newOrdered(sorted []int32, compare func(a, b int32) int) *ordered {
	o := &ordered{compare: compare, length: len(sorted)}
	for c := range slices.Chunk(sorted, chunkSize/2) {
		o.chunks = append(o.chunks, slices.Clip(c))
	}
	return o
}

// spot is a place between two members of a set.
type spot struct{ chunk, at int }

// find returns the place before the first member for which after is true. Members
// must be false first, then true.
func (o *ordered) find(after func(int32) bool) spot {
	c := sort.Search(len(o.chunks), func(i int) bool { return after(o.chunks[i][len(o.chunks[i])-1]) })
	if c == len(o.chunks) {
		return spot{c, 0}
	}
	return spot{c, sort.Search(len(o.chunks[c]), func(i int) bool { return after(o.chunks[c][i]) })}
}

// rank is the number of members before a place.
func (o *ordered) rank(p spot) int {
	n := p.at
	for _, c := range o.chunks[:p.chunk] {
		n += len(c)
	}
	return n
}

// from yields the members after a place, in order.
func (o *ordered) from(p spot) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for c := p.chunk; c < len(o.chunks); c++ {
			for _, x := range o.chunks[c][p.at:] {
				if !yield(x) {
					return
				}
			}
			p.at = 0
		}
	}
}

func (o *ordered) insert(x int32) {
	o.length++
	if len(o.chunks) == 0 {
		o.chunks = [][]int32{{x}}
		return
	}
	p := o.find(func(y int32) bool { return o.compare(y, x) >= 0 })
	if p.chunk == len(o.chunks) {
		p = spot{p.chunk - 1, len(o.chunks[p.chunk-1])}
	}
	c := slices.Insert(o.chunks[p.chunk], p.at, x)
	o.chunks[p.chunk] = c
	if len(c) >= chunkSize {
		half := len(c) / 2
		o.chunks[p.chunk] = slices.Clone(c[:half])
		o.chunks = slices.Insert(o.chunks, p.chunk+1, slices.Clone(c[half:]))
	}
}

func (o *ordered) remove(x int32) {
	p := o.find(func(y int32) bool { return o.compare(y, x) >= 0 })
	if p.chunk == len(o.chunks) || o.chunks[p.chunk][p.at] != x {
		return
	}
	o.length--
	if c := slices.Delete(o.chunks[p.chunk], p.at, p.at+1); len(c) > 0 {
		o.chunks[p.chunk] = c
		return
	}
	o.chunks = slices.Delete(o.chunks, p.chunk, p.chunk+1)
}
