package state

import (
	"encoding/binary"
	"slices"
)

// Rows come in no order of their keys, and a database of sorted files rewrites most of what it
// holds, again and again, to put them in order. So records are kept in the order in which their
// rows first came, which never has to be mended, and what is kept by the row's key is small: its
// locator. A row keeps its place for as long as it lives, so that all values it ever had are
// under one key, and can be erased together.

// A locator says where a row's record is, and by what else the row is found.
type locator struct {
	// place is the record's, from 1.
	place uint64
	// row says that the record holds more than a dead letter.
	row       bool
	parent    string
	claimants []string
	followLSN int64
}

// locate returns the locator of a record that has a place.
func locate(r *Record) locator {
	return locator{r.place, r.Row != nil, r.Parent, r.Claimants, r.FollowLSN}
}

// append appends the locator's binary form: a byte that says whether there is a row, place and
// follow LSN as varints, parent and claimants behind their lengths.
func (l locator) append(dst []byte) []byte {
	if l.row {
		dst = append(dst, 1)
	} else {
		dst = append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, l.place)
	dst = binary.AppendVarint(dst, l.followLSN)
	dst = appendBytes(dst, l.parent)
	for _, c := range l.claimants {
		dst = appendBytes(dst, c)
	}
	return dst
}

// parseLocator reads what append wrote.
func parseLocator(b []byte) (l locator, err error) {
	if len(b) == 0 {
		return l, errTruncated
	}
	p := reader{b: b[1:]}
	l = locator{row: b[0] == 1, place: p.uvarint(), followLSN: p.varint(), parent: string(p.bytes())}
	for len(p.b) > 0 {
		l.claimants = append(l.claimants, string(p.bytes()))
	}
	if p.failed || l.place == 0 || b[0] > 1 {
		return locator{}, errTruncated
	}
	return l, nil
}

// parsePlace reads no more of it than the place.
func parsePlace(b []byte) (uint64, error) {
	if len(b) == 0 {
		return 0, errTruncated
	}
	place, width := binary.Uvarint(b[1:])
	if width <= 0 || place == 0 {
		return 0, errTruncated
	}
	return place, nil
}

// is says that both are written in the same way.
func (l locator) is(m locator) bool {
	return l.place == m.place && l.row == m.row && l.parent == m.parent && l.followLSN == m.followLSN && slices.Equal(l.claimants, m.claimants)
}

// placeKey appends the key of the record in a place.
func placeKey(dst []byte, place uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kindRecord), place)
}

// entries is the number of entries by which a row is found, beside its own: one of its parent or of
// its follow LSN, and one of each claimant.
func (l locator) entries() int {
	if !l.row {
		return 0
	}
	return 1 + len(l.claimants)
}

// has says that the i-th entry of m is an entry of l, too.
func (l locator) has(m locator, i int) bool {
	switch {
	case !l.row:
		return false
	case i > 0:
		return slices.Contains(l.claimants, m.claimants[i-1])
	default:
		return l.parent == m.parent && (l.parent != "" || l.followLSN == m.followLSN)
	}
}

// entry appends the key of the i-th of them.
func (l locator) entry(dst []byte, ref rowRef, i int) []byte {
	switch {
	case i > 0:
		dst = escape(escape(append(dst, kindClaim), ref.table), l.claimants[i-1])
	case l.parent != "":
		dst = escape(escape(append(dst, kindParent), ref.table), l.parent)
	default:
		dst = binary.BigEndian.AppendUint64(escape(append(dst, kindFollow), ref.table), uint64(l.followLSN))
	}
	return append(dst, ref.key...)
}
