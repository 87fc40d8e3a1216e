package embedded

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The broker keeps a partition as segments, <first offset>.dat, each a sequence of
// record batches as they go over the wire, and beside each an index of the same
// name, .idx, with a fixed-size entry per batch.

// transaction is one transaction of one producer: brokers raise the epoch with
// each (KIP-890).
type transaction struct {
	producer int64
	epoch    int16
}

// partition is what a crash left of a partition.
type partition struct {
	dir      string
	segments []*segment
	// next is the offset of the next record.
	next int64
	// leaderEpoch is the highest in the log.
	leaderEpoch int32
	// open are transactions without a marker, by producer, with the sequence number
	// of their first record here.
	open map[int64]openTransaction
	// ended is the last marker of each producer. No other can belong to a transaction
	// that is still open somewhere.
	ended map[int64]ending
}

// ending is a marker.
type ending struct {
	transaction
	commit bool
	// again says that the marker before had the same name: the client does not raise
	// the epoch.
	again bool
}

type openTransaction struct {
	transaction
	firstSequence int32
}

// segment is one file of a partition.
type segment struct {
	base int64
	path string
	// size counts the bytes of whole batches, fileSize all bytes.
	size, fileSize int64
	// index is what the index must be.
	index []byte
}

// readPartition reads the segments in the directory. Half a batch at the very end
// is what a kill leaves, and is not counted; everything else that cannot be read
// is an error.
func readPartition(dir string) (*partition, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	p := &partition{dir: dir, open: map[int64]openTransaction{}, ended: map[int64]ending{}}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".dat")
		if !ok {
			continue
		}
		base, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			continue
		}
		p.segments = append(p.segments, &segment{base: base, path: filepath.Join(dir, e.Name())})
	}
	slices.SortFunc(p.segments, func(a, b *segment) int { return int(a.base - b.base) })
	for i, s := range p.segments {
		if err := p.readSegment(s); err != nil {
			return nil, fmt.Errorf("read %s: %w", s.path, err)
		}
		if s.size < s.fileSize && i < len(p.segments)-1 {
			return nil, damaged(s.path, s.size)
		}
	}
	return p, nil
}

// damaged is the error for what no kill of a process leaves behind.
func damaged(path string, pos int64) error {
	return fmt.Errorf("%s is damaged at byte %d, as after a power failure or a full disk; restore the data directory from a copy, or delete it to start over", path, pos)
}

func (p *partition) readSegment(s *segment) (err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.fileSize = info.Size()
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		b, err := readBatch(r, s.fileSize-s.size)
		switch {
		case errors.Is(err, errCut):
			return nil
		case err != nil:
			return err
		case b == nil, b.firstOffset < p.next:
			return damaged(s.path, s.size)
		}
		s.size += b.size
		s.index = append(s.index, indexEntry(b.leaderEpoch, b.transactional() && !b.control())...)
		p.add(b)
	}
}

// add follows the transactions.
func (p *partition) add(b *batch) {
	p.next = b.firstOffset + int64(b.lastOffsetDelta) + 1
	p.leaderEpoch = max(p.leaderEpoch, b.leaderEpoch)
	t := transaction{b.producer, b.epoch}
	switch {
	case b.control():
		p.ended[b.producer] = ending{t, b.commit, p.ended[b.producer].transaction == t}
		delete(p.open, b.producer)
	case b.transactional():
		if _, ok := p.open[b.producer]; !ok {
			p.open[b.producer] = openTransaction{t, b.firstSequence}
		}
	}
}

// batch is what matters of a record batch.
type batch struct {
	firstOffset     int64
	size            int64
	leaderEpoch     int32
	attributes      uint16
	lastOffsetDelta int32
	producer        int64
	epoch           int16
	firstSequence   int32
	// commit is for control batches.
	commit bool
}

func (b *batch) transactional() bool { return b.attributes&0x10 != 0 }
func (b *batch) control() bool       { return b.attributes&0x20 != 0 }

// batchHeader is the size of a batch without its records, crcFrom where the part
// begins that its checksum covers.
const (
	batchHeader = 61
	crcFrom     = 21
)

// errCut says that the file ends within a batch, or before one.
var errCut = errors.New("cut")

// readBatch reads the next of at most left bytes. Nil without an error is a batch
// that is there and wrong.
func readBatch(r *bufio.Reader, left int64) (*batch, error) {
	if left < batchHeader {
		return nil, errCut
	}
	var h [batchHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	b := &batch{
		firstOffset:     int64(be.Uint64(h[0:])),
		size:            12 + int64(int32(be.Uint32(h[8:]))),
		leaderEpoch:     int32(be.Uint32(h[12:])),
		attributes:      be.Uint16(h[21:]),
		lastOffsetDelta: int32(be.Uint32(h[23:])),
		producer:        int64(be.Uint64(h[43:])),
		epoch:           int16(be.Uint16(h[51:])),
		firstSequence:   int32(be.Uint32(h[53:])),
	}
	if h[16] != 2 || b.size < batchHeader {
		return nil, nil
	}
	if b.size > left {
		return nil, errCut
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	_, _ = sum.Write(h[crcFrom:])
	var records bytes.Buffer
	into := io.Writer(sum)
	if b.control() {
		into = io.MultiWriter(sum, &records)
	}
	if _, err := io.CopyN(into, r, b.size-batchHeader); err != nil {
		return nil, err
	}
	if sum.Sum32() != be.Uint32(h[17:]) {
		return nil, nil
	}
	if b.control() {
		var rec kmsg.Record
		if err := rec.ReadFrom(records.Bytes()); err != nil || len(rec.Key) < 4 {
			return nil, nil
		}
		b.commit = be.Uint16(rec.Key[2:]) == uint16(kmsg.ControlRecordKeyTypeCommit)
	}
	return b, nil
}

// end makes files of the partition what they should be: whole batches only, an
// index entry for each, and a marker for every open transaction.
func (p *partition) end(outcomes map[transaction]bool) error {
	if len(p.segments) == 0 {
		return nil
	}
	last := p.segments[len(p.segments)-1]
	if last.size < last.fileSize {
		if err := os.Truncate(last.path, last.size); err != nil {
			return err
		}
	}
	var markers []byte
	for _, o := range p.open {
		markers = append(markers, marker(o.transaction, outcomes[o.transaction], p.next, p.leaderEpoch)...)
		last.index = append(last.index, indexEntry(p.leaderEpoch, false)...)
		p.next++
	}
	if len(markers) > 0 {
		if err := appendFile(last.path, markers); err != nil {
			return err
		}
	}
	for _, s := range p.segments {
		path := strings.TrimSuffix(s.path, ".dat") + ".idx"
		info, err := os.Stat(path)
		if err == nil && info.Size() == int64(len(s.index)) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// The broker cannot tell an open transaction's records without the index,
		// and misreads all that follows half an entry.
		if err := os.WriteFile(path, s.index, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func appendFile(path string, b []byte) (err error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(b)
	return err
}

// indexVersion and the layout are those of the broker's persist.go.
const indexVersion = 1

func indexEntry(leaderEpoch int32, inTransaction bool) []byte {
	e := make([]byte, 15)
	e[0] = indexVersion
	binary.LittleEndian.PutUint32(e[2:], uint32(leaderEpoch))
	// Bytes 6 to 13 are a timestamp that the broker computes anew.
	if inTransaction {
		e[14] = 1
	}
	e[1] = byte(crc32.Checksum(e[2:], crc32.MakeTable(crc32.Castagnoli)))
	return e
}

// marker returns the control batch that ends a transaction, as the broker writes it.
func marker(t transaction, commit bool, offset int64, leaderEpoch int32) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	if commit {
		key.Type = kmsg.ControlRecordKeyTypeCommit
	}
	rec := kmsg.Record{Key: key.AppendTo(nil), Value: new(kmsg.EndTxnMarker).AppendTo(nil)}
	rec.Length = int32(len(rec.AppendTo(nil)) - 1) // without the length itself, which takes a byte
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		FirstOffset:          offset,
		PartitionLeaderEpoch: leaderEpoch,
		Magic:                2,
		Attributes:           0x30, // control, transactional
		FirstTimestamp:       now,
		MaxTimestamp:         now,
		ProducerID:           t.producer,
		ProducerEpoch:        t.epoch,
		FirstSequence:        -1,
		NumRecords:           1,
		Records:              rec.AppendTo(nil),
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[crcFrom:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}
