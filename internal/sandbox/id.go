package sandbox

import "encoding/hex"

// Ids look like random UUIDs (version 4), but the first 48 bits are the record's
// number, permuted, so that a number can be found from an id without an index.

const (
	halfBits = 24
	halfMask = 1<<halfBits - 1
)

// newID returns the id of the n-th record of a kind.
func newID(seed uint64, k kind, n int) string {
	key := mix(seed ^ uint64(k)<<32)
	front := permute(key, uint64(n))
	tail := mix(key ^ front)
	more := mix(tail)
	var b [16]byte
	for i := range 6 {
		b[i] = byte(front >> (40 - 8*i))
	}
	b[6] = 0x40 | byte(tail>>60)
	b[7] = byte(tail >> 48)
	b[8] = 0x80 | byte(tail>>40)&0x3f
	b[9] = byte(tail >> 32)
	for i := range 6 {
		b[10+i] = byte(more >> (8 * i))
	}
	var s [36]byte
	hex.Encode(s[0:8], b[0:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:36], b[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// numberOf returns the number behind an id that newID has made.
func numberOf(seed uint64, k kind, id string) (n int, ok bool) {
	if len(id) != 36 {
		return 0, false
	}
	var b [6]byte
	if _, err := hex.Decode(b[:], []byte(id[0:8]+id[9:13])); err != nil {
		return 0, false
	}
	front := uint64(0)
	for _, x := range b {
		front = front<<8 | uint64(x)
	}
	n = int(restore(mix(seed^uint64(k)<<32), front))
	return n, newID(seed, k, n) == id
}

// permute is a Feistel network over 48 bits: a permutation, so that no two numbers
// share an id.
func permute(key, n uint64) uint64 {
	left, right := n>>halfBits&halfMask, n&halfMask
	for round := range uint64(4) {
		left, right = right, left^mix(key^round<<56^right)&halfMask
	}
	return left<<halfBits | right
}

// restore undoes permute.
func restore(key, n uint64) uint64 {
	left, right := n>>halfBits&halfMask, n&halfMask
	for round := range uint64(4) {
		left, right = right^mix(key^(3-round)<<56^left)&halfMask, left
	}
	return left<<halfBits | right
}
