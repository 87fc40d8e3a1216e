package change

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
)

// Unit is a unit whose rows are encoded, as a Group compares them.
type Unit struct {
	*cdc.Unit
	rows []encoded // in the order of Unit.Rows
}

// encoded is what the comparison needs of a row's fields.
type encoded struct {
	table *Table // nil if it is not selected
	row   []byte
	// drift says what did not fit the table's schema.
	drift avro.Report
	// fault says why there is no row.
	fault string
	// fields is the record, masked; nil unless it may have to be put aside as it is.
	fields map[string]any
}

// scratch are buffers in which rows are encoded. What is kept of them is copied.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// Encode masks and encodes the rows of a unit. It needs nothing but the tables' codecs, masks
// and sizes, so that those who read can do it side by side. What is encoded is a tenth as large
// as the decoded JSON and does not refer to it, so whoever queues the result can drop the fields
// of the unit's rows. Encode does not change the unit.
func Encode(tables map[string]*Table, u *cdc.Unit) *Unit {
	out := &Unit{Unit: u, rows: make([]encoded, len(u.Rows))}
	buffer, _ := scratch.Get().(*[]byte)
	defer scratch.Put(buffer)
	for i := range u.Rows {
		if t := tables[u.Rows[i].Table]; t != nil {
			out.rows[i] = t.encode(buffer, u.Rows[i])
		}
	}
	return out
}

// encode encodes a row by way of the buffer.
func (t *Table) encode(buffer *[]byte, r cdc.Row) encoded {
	if t.Mask != nil {
		r.Fields = t.Mask.Apply(r.Fields)
	}
	row, drift, err := t.Codec.EncodeRow((*buffer)[:0], r)
	*buffer = row
	switch {
	case errors.Is(err, avro.ErrNoKey):
		return encoded{table: t, fields: r.Fields, fault: "the record has no primary key " + t.Key + " (a text that is not empty)"}
	case err != nil:
		return encoded{table: t, fields: r.Fields, fault: "the record cannot be encoded with the table's schema"}
	}
	e := encoded{table: t, row: bytes.Clone(row), drift: drift}
	if t.tooLarge(len(row)) {
		e.fields = r.Fields
	}
	return e
}

// overhead is more than what an event adds to the bytes of its rows.
const overhead = 1024

// tooLarge says that an event with so many bytes of rows does not fit into the table's topic.
func (t *Table) tooLarge(size int) bool { return size+overhead > t.MaxRecord }

// oversize says why a row of that size becomes a dead letter.
func (t *Table) oversize(size int) string {
	return fmt.Sprintf("the row has %d bytes, and its topic and the state topic take %d (max.message.bytes, the smaller of the two)", size, t.MaxRecord)
}
