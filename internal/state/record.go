package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// recordVersion is the format that AppendRecord writes.
const recordVersion = 1

// Record is what is kept of a row.
type Record struct {
	// Schema is the number of the table's schema version that Row was written with,
	// from 1. Ids of a registry would be no identity.
	Schema int
	// Parent is the primary key of the row's parent, empty for tables without one.
	Parent string
	// Claimants are other parents that were seen to serve the row, sorted.
	Claimants []string
	// LSN is the log sequence number of the row's last event.
	LSN int64
	// FollowLSN is that of the last event after which the row's children must be read.
	FollowLSN int64
	// ReadAt is Lever's time of the read that wrote the row, in full milliseconds.
	ReadAt time.Time
	// DeadHash identifies the version of the row that was put into the dead letter
	// topic; empty if there is none.
	DeadHash []byte
	// Anonymized says that the row is about a person who was anonymised, so that its
	// changes are not written as updates.
	Anonymized bool
	// Row is the encoded row. Nil if only a dead letter is known of it.
	Row []byte

	// place is where a Store has the record, 0 if it is not from there (see locator).
	place uint64
}

const (
	flagAnonymized = 1 << iota
	flagRow
	flagReadAt
)

// AppendRecord appends the record's binary form to dst: a version byte, a byte of
// flags, then schema, LSN, follow LSN and time as varints, and parent, claimants, dead
// hash and row, each behind its length.
func AppendRecord(dst []byte, r Record) []byte {
	var flags byte
	if r.Anonymized {
		flags |= flagAnonymized
	}
	if r.Row != nil {
		flags |= flagRow
	}
	if !r.ReadAt.IsZero() {
		flags |= flagReadAt
	}
	const most = 2 + 8*binary.MaxVarintLen64 // version, flags and numbers; claimants are rare
	dst = slices.Grow(dst, most+len(r.Parent)+len(r.DeadHash)+len(r.Row))
	dst = append(dst, recordVersion, flags)
	dst = binary.AppendUvarint(dst, uint64(r.Schema))
	dst = binary.AppendVarint(dst, r.LSN)
	dst = binary.AppendVarint(dst, r.FollowLSN)
	if flags&flagReadAt != 0 {
		dst = binary.AppendVarint(dst, r.ReadAt.UnixMilli())
	}
	dst = appendBytes(dst, r.Parent)
	dst = binary.AppendUvarint(dst, uint64(len(r.Claimants)))
	for _, c := range r.Claimants {
		dst = appendBytes(dst, c)
	}
	dst = appendBytes(dst, r.DeadHash)
	if r.Row != nil {
		dst = appendBytes(dst, r.Row)
	}
	return dst
}

func appendBytes[T string | []byte](dst []byte, b T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

var errTruncated = errors.New("the state record is damaged")

// ParseRecord reads what AppendRecord wrote. The record's byte slices are part of b.
func ParseRecord(b []byte) (Record, error) {
	if len(b) < 2 {
		return Record{}, errTruncated
	}
	if b[0] != recordVersion {
		return Record{}, fmt.Errorf("the state record was written by another version of the program (format %d, this one knows %d): use that version, or delete the state topic to have all tables read again", b[0], recordVersion)
	}
	flags := b[1]
	p := reader{b: b[2:]}
	r := Record{Schema: int(p.uvarint()), LSN: p.varint(), FollowLSN: p.varint(), Anonymized: flags&flagAnonymized != 0}
	if flags&flagReadAt != 0 {
		r.ReadAt = time.UnixMilli(p.varint()).UTC()
	}
	r.Parent = string(p.bytes())
	for n := p.uvarint(); n > 0 && !p.failed; n-- {
		r.Claimants = append(r.Claimants, string(p.bytes()))
	}
	if hash := p.bytes(); len(hash) > 0 {
		r.DeadHash = hash
	}
	if flags&flagRow != 0 {
		r.Row = p.bytes()
	}
	if p.failed || len(p.b) > 0 || flags&^(flagAnonymized|flagRow|flagReadAt) != 0 || r.Schema < 0 {
		return Record{}, errTruncated
	}
	return r, nil
}

// reader takes values off a byte slice, until something does not fit.
type reader struct {
	b      []byte
	failed bool
}

func (p *reader) uvarint() uint64 {
	n, width := binary.Uvarint(p.b)
	return advance(p, n, width)
}

func (p *reader) varint() int64 {
	n, width := binary.Varint(p.b)
	return advance(p, n, width)
}

func advance[T uint64 | int64](p *reader, n T, width int) T {
	if width <= 0 {
		p.failed, p.b = true, nil
		return 0
	}
	p.b = p.b[width:]
	return n
}

// bytes returns a slice that is never nil.
func (p *reader) bytes() []byte {
	n := p.uvarint()
	if n > uint64(len(p.b)) {
		p.failed, p.b = true, nil
		return []byte{}
	}
	out := p.b[:n:n]
	p.b = p.b[n:]
	if out == nil {
		out = []byte{}
	}
	return out
}
