package state

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// Nearly all that is asked for in a first load is new, and the database has to look into its
// memory and into a filter of each layer of its files to find that out. A store that was empty when
// it was opened knows it from a filter of all that was put into it since.

const (
	// firstBlocks and mostBlocks bound the filters, in blocks of 64 bytes: from a quarter of a
	// megabyte, each twice as large as the one before, to four, or seven million rows together.
	// What comes then is looked up.
	firstBlocks, mostBlocks = 1 << 12, 1 << 16
	// keysInBlock is when a filter is full: of those that are not in it one of a hundred
	// seems to be.
	keysInBlock = 48
	// bitsOfKey is how many bits of its block a key sets.
	bitsOfKey = 6
)

// novel tells keys that were never put into a store. It may be asked while it is added to, which
// one goroutine at a time may do. A nil novel knows nothing.
type novel struct {
	seed    maphash.Seed
	filters atomic.Pointer[[]*filter]
}

// filter is a blocked Bloom filter: a key's bits lie in one cache line.
type filter struct {
	blocks [][8]atomic.Uint64
	keys   int
}

func newNovel() *novel {
	n := &novel{seed: maphash.MakeSeed()}
	n.filters.Store(&[]*filter{newFilter(firstBlocks)})
	return n
}

func newFilter(blocks int) *filter { return &filter{blocks: make([][8]atomic.Uint64, blocks)} }

// add adds a key. It returns false if there is no room: n is of no more use then.
func (n *novel) add(key []byte) bool {
	filters := *n.filters.Load()
	f := filters[len(filters)-1]
	if f.keys == keysInBlock*len(f.blocks) {
		if len(f.blocks) == mostBlocks {
			return false
		}
		f = newFilter(2 * len(f.blocks))
		filters = append(filters[:len(filters):len(filters)], f)
		n.filters.Store(&filters)
	}
	f.keys++
	h := maphash.Bytes(n.seed, key)
	block := f.block(h)
	for range bitsOfKey {
		h = nextBit(h)
		block[h>>61].Or(1 << (h >> 55 & 63))
	}
	return true
}

// isNew says that the key was never added. If it does not, the key may have been.
func (n *novel) isNew(key []byte) bool {
	if n == nil {
		return false
	}
	h := maphash.Bytes(n.seed, key)
	for _, f := range *n.filters.Load() {
		if f.has(h) {
			return false
		}
	}
	return true
}

func (f *filter) has(h uint64) bool {
	block := f.block(h)
	for range bitsOfKey {
		h = nextBit(h)
		if block[h>>61].Load()&(1<<(h>>55&63)) == 0 {
			return false
		}
	}
	return true
}

func (f *filter) block(h uint64) *[8]atomic.Uint64 {
	i, _ := bits.Mul64(h, uint64(len(f.blocks)))
	return &f.blocks[i]
}

// nextBit mixes a hash, whose highest nine bits say which bit of a block is meant.
func nextBit(h uint64) uint64 { return (h ^ h>>29) * 0x9e3779b97f4a7c15 }
