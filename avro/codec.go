package avro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/linkedin/goavro/v2"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Format is the form of a change event.
type Format string

// The event formats.
const (
	// Debezium is an envelope with before, after, source and op.
	Debezium Format = "debezium"
	// Flat is the row with __op, __deleted, __source_ts_ms and __lsn.
	Flat Format = "flat"
)

// KeyFormat is the form of a record's key.
type KeyFormat string

// The key formats.
const (
	// KeyAvro is an Avro record with the primary key as its only field.
	KeyAvro KeyFormat = "avro"
	// KeyString is the plain text of the primary key.
	KeyString KeyFormat = "string"
)

// Op says what happened to a row.
type Op string

// The operations.
const (
	// Read is a row of a snapshot.
	Read Op = "r"
	// Create is a new row.
	Create Op = "c"
	// Update is a changed row.
	Update Op = "u"
	// Delete is a row that is gone.
	Delete Op = "d"
)

// Event is a change of one row.
type Event struct {
	Op Op
	// Before and After are the encoded rows (see Codec.EncodeRow); nil if there is none.
	Before, After []byte
	// LSN is the log sequence number, below 2^53.
	LSN int64
	// Time is when the event was made, SourceTime when the change happened in Lever, as
	// far as known.
	Time, SourceTime time.Time
	// Snapshot is "true", "incremental" or "false".
	Snapshot string
	// Account is the name of the Lever account, Version the program's.
	Account, Version string
}

// ErrNoKey says that a record has no primary key.
var ErrNoKey = errors.New("the record has no primary key")

// Codec encodes the rows and events of one table. It is safe for concurrent use once
// SetIDs was called.
type Codec struct {
	table  cdc.Table
	prefix string
	format Format
	keys   KeyFormat

	keySchema, valueSchema string
	keyID, valueID         uint32
	dropExtra              bool

	// versions are the row codecs of all released schema versions, oldest first.
	versions []rowCodec
}

// rowCodec encodes and decodes the Value record of one schema version.
type rowCodec struct {
	*goavro.Codec
	schema *schema
}

// NewCodec returns the codec of a table whose events go to the given topic.
func NewCodec(t cdc.Table, topic string, f Format, k KeyFormat) (*Codec, error) {
	c, err := newCodec(embedded, t, topic, f, k)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, err)
	}
	return c, nil
}

func newCodec(files fs.FS, t cdc.Table, topic string, f Format, k KeyFormat) (*Codec, error) {
	texts, err := rowSchemas(files, t.Name)
	if err != nil {
		return nil, err
	}
	ns := namespace(topic)
	c := &Codec{table: t, prefix: strings.TrimSuffix(topic, "."+t.Name), format: f, keys: k}
	for i := range texts {
		texts[i].Namespace = ns
		row, err := newRowCodec(texts[i].String())
		if err != nil {
			return nil, fmt.Errorf("schema version %d: %w", i+1, err)
		}
		if last := len(row.schema.fields) - 1; last < 0 || row.schema.fields[last].name != extraField {
			return nil, fmt.Errorf("schema version %d: its last field must be %s", i+1, extraField)
		}
		c.versions = append(c.versions, row)
	}
	newest := texts[len(texts)-1]
	extra := tailFields
	if f == Flat {
		extra = flatFields
	}
	tail, err := fieldTexts(extra)
	if err != nil {
		return nil, err
	}
	if f == Flat {
		c.valueSchema = flatSchema(newest, tail)
	} else {
		c.valueSchema = envelopeSchema(ns, t.Name, newest, tail)
	}
	if k == KeyAvro {
		c.keySchema = keySchema(ns, t.Name, t.Key)
		if _, err := goavro.NewCodec(c.keySchema); err != nil {
			return nil, err
		}
	}
	if _, err := goavro.NewCodec(c.valueSchema); err != nil {
		return nil, err
	}
	return c, nil
}

func newRowCodec(text string) (rowCodec, error) {
	g, err := goavro.NewCodec(text)
	if err != nil {
		return rowCodec{}, err
	}
	s, err := parseSchema(text)
	return rowCodec{g, s}, err
}

// KeySchema returns the text of the key's schema, empty for KeyString.
func (c *Codec) KeySchema() string { return c.keySchema }

// ValueSchema returns the text of the value's schema.
func (c *Codec) ValueSchema() string { return c.valueSchema }

// SetIDs sets the ids under which the registry knows the two schemas. Call it before
// anything is encoded for a topic.
func (c *Codec) SetIDs(key, value int) { c.keyID, c.valueID = uint32(key), uint32(value) }

// DropExtra has EncodeRow leave _extra empty: what finds no place in the other fields is
// lost. Call it before anything is encoded.
func (c *Codec) DropExtra() { c.dropExtra = true }

// KeyID returns the registry's id of the key's schema; 0 for KeyString.
func (c *Codec) KeyID() int { return int(c.keyID) }

// ValueID returns the registry's id of the value's schema.
func (c *Codec) ValueID() int { return int(c.valueID) }

// Version is the number of the row schema with which EncodeRow writes, from 1.
func (c *Codec) Version() int { return len(c.versions) }

func (c *Codec) current() rowCodec { return c.versions[len(c.versions)-1] }

// EncodeRow appends the row's Value record to dst. The report says what did not fit
// the schema and is kept in _extra. The error is ErrNoKey for a row without a primary
// key; no error holds any of the row's content.
func (c *Codec) EncodeRow(dst []byte, r cdc.Row) ([]byte, Report, error) {
	if r.Key == "" {
		return dst, Report{}, ErrNoKey
	}
	row := c.current()
	var path [8]step
	v := conversion{path: path[:0], dropExtra: c.dropExtra}
	out, err := v.row(dst, row.schema, &c.table, &r)
	switch {
	case errors.Is(err, errUnfit):
		return dst, v.report, errors.New("encode a row: it does not fit its schema")
	case err != nil:
		return dst, v.report, errors.New("encode a row: its unknown fields are no JSON")
	}
	return out, v.report, nil
}

// Upgrade returns the row as the current schema writes it. version is the one it was
// written with. It fails for a version that this program does not know.
func (c *Codec) Upgrade(version int, row []byte) ([]byte, error) {
	switch {
	case version == c.Version():
		return row, nil
	case version < 1 || version > c.Version():
		return nil, fmt.Errorf("a row of table %s was written with schema version %d, and this program knows 1 to %d: use a newer program", c.table.Name, version, c.Version())
	}
	native, rest, err := c.versions[version-1].NativeFromBinary(row)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("a stored row of table %s is damaged", c.table.Name)
	}
	out, err := c.current().BinaryFromNative(nil, native)
	if err != nil {
		return nil, fmt.Errorf("a stored row of table %s cannot be written with schema version %d", c.table.Name, c.Version())
	}
	return out, nil
}

const magic = 0

func header(dst []byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, magic), id)
}

// AppendKey appends the record key of a row to dst.
func (c *Codec) AppendKey(dst []byte, key string) []byte {
	if c.keys == KeyString {
		return append(dst, key...)
	}
	dst = header(dst, c.keyID)
	// A record of one string always encodes: its length, then its bytes.
	dst = binary.AppendVarint(dst, int64(len(key)))
	return append(dst, key...)
}

// AppendEvent appends the record value of an event to dst: the rows as they are, and the
// fields that follow them as tailFields, or flatFields, has them.
func (c *Codec) AppendEvent(dst []byte, e Event) []byte {
	const numbers = 128 // all that is not text
	dst = slices.Grow(dst, len(e.Before)+len(e.After)+len(e.Version)+len(e.Account)+len(e.Snapshot)+len(c.prefix)+len(c.table.Name)+numbers)
	dst = header(dst, c.valueID)
	if c.format == Flat {
		return c.appendFlat(dst, &e)
	}
	dst = nullable(nullable(dst, e.Before), e.After)
	sourceMillis := e.SourceTime.UnixMilli()
	dst = appendString(dst, e.Version)
	dst = appendString(dst, "lever")
	dst = appendString(dst, c.prefix)
	dst = binary.AppendVarint(dst, sourceMillis)
	dst = appendString(append(dst, firstBranch), e.Snapshot)
	dst = appendString(dst, e.Account)
	dst = append(dst, firstBranch) // sequence
	dst = appendLong(dst, sourceMillis*1000)
	dst = append(dst, firstBranch) // ts_ns
	dst = appendString(dst, "lever")
	dst = appendString(dst, c.table.Name)
	dst = append(dst, firstBranch) // txId
	dst = appendLong(dst, e.LSN)
	dst = append(dst, firstBranch) // xmin
	dst = append(dst, firstBranch) // transaction
	dst = appendString(dst, string(e.Op))
	dst = appendLong(dst, e.Time.UnixMilli())
	dst = appendLong(dst, e.Time.UnixMicro())
	return append(dst, firstBranch) // ts_ns
}

func (c *Codec) appendFlat(dst []byte, e *Event) []byte {
	row, deleted := e.After, byte(0)
	if e.Op == Delete {
		row, deleted = e.Before, 1
	}
	dst = appendString(append(dst, row...), string(e.Op))
	dst = binary.AppendVarint(append(dst, deleted), e.SourceTime.UnixMilli())
	return binary.AppendVarint(dst, e.LSN)
}

// The branches of a union with two, as they are written.
const firstBranch, secondBranch = 0, 2

// appendLong appends a number whose schema is ["null","long"].
func appendLong(dst []byte, n int64) []byte {
	return binary.AppendVarint(append(dst, secondBranch), n)
}

// nullable appends an optional row: the union's branch, then the row.
func nullable(dst, row []byte) []byte {
	if row == nil {
		return append(dst, firstBranch)
	}
	return append(append(dst, secondBranch), row...)
}
