package avro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
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
	key      *goavro.Codec
	// tail encodes what follows the row, or the two rows, in an event.
	tail *goavro.Codec
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
	if c.tail, err = goavro.NewCodec(recordText{Type: "record", Name: "Tail", Fields: tail}.String()); err != nil {
		return nil, err
	}
	if k == KeyAvro {
		c.keySchema = keySchema(ns, t.Name, t.Key)
		if c.key, err = goavro.NewCodec(c.keySchema); err != nil {
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
	v := conversion{}
	native, err := v.row(row.schema, &c.table, &r)
	if c.dropExtra && err == nil {
		native[extraField] = nil
	}
	if err != nil {
		return dst, v.report, errors.New("encode a row: its unknown fields are no JSON")
	}
	out, err := row.BinaryFromNative(dst, native)
	if err != nil {
		// goavro's errors may quote values.
		return dst, v.report, errors.New("encode a row: it does not fit its schema")
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

// AppendEvent appends the record value of an event to dst.
func (c *Codec) AppendEvent(dst []byte, e Event) ([]byte, error) {
	dst = header(dst, c.valueID)
	if c.format == Flat {
		row := e.After
		if e.Op == Delete {
			row = e.Before
		}
		return c.tail.BinaryFromNative(append(dst, row...), map[string]any{
			"__op": string(e.Op), "__deleted": e.Op == Delete,
			"__source_ts_ms": e.SourceTime.UnixMilli(), "__lsn": e.LSN,
		})
	}
	dst = nullable(nullable(dst, e.Before), e.After)
	long := func(n int64) map[string]any { return map[string]any{"long": n} }
	sourceMillis, millis := e.SourceTime.UnixMilli(), e.Time.UnixMilli()
	return c.tail.BinaryFromNative(dst, map[string]any{
		"source": map[string]any{
			"version": e.Version, "connector": "lever", "name": c.prefix, "ts_ms": sourceMillis,
			"snapshot": map[string]any{"string": e.Snapshot}, "db": e.Account, "sequence": nil,
			"ts_us": long(sourceMillis * 1000), "ts_ns": nil, "schema": "lever", "table": c.table.Name,
			"txId": nil, "lsn": long(e.LSN), "xmin": nil,
		},
		"transaction": nil, "op": string(e.Op),
		"ts_ms": long(millis), "ts_us": long(e.Time.UnixMicro()), "ts_ns": nil,
	})
}

// nullable appends an optional row: the union's branch, then the row.
func nullable(dst, row []byte) []byte {
	if row == nil {
		return append(dst, 0)
	}
	return append(append(dst, 2), row...)
}
