package verify

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/consume"
	"github.com/leverstream/leverstream/internal/mask"
)

// fingerprint has a number for each field of a table's newest schema, 0 for null.
type fingerprint []uint64

// printer makes fingerprints of one table's rows.
type printer struct {
	table   cdc.Table
	fields  []string
	codec   *avro.Codec
	decoder *avro.Decoder
	mask    *mask.Table
}

func newPrinter(t cdc.Table, m *mask.Table) (*printer, error) {
	fields, err := avro.Fields(t.Name)
	if err != nil {
		return nil, err
	}
	p := &printer{table: t, mask: m}
	for _, f := range fields {
		p.fields = append(p.fields, f.Name)
	}
	if p.codec, err = avro.NewCodec(t, "verify."+t.Name, avro.Debezium, avro.KeyString); err != nil {
		return nil, err
	}
	if m != nil && m.DropsExtra() {
		p.codec.DropExtra()
	}
	p.decoder = avro.NewDecoder(func(context.Context, int) (string, error) { return p.codec.ValueSchema(), nil })
	return p, nil
}

// row is the fingerprint of a row of a topic.
func (p *printer) row(row map[string]any) (fingerprint, error) {
	out := make(fingerprint, len(p.fields))
	for i, name := range p.fields {
		v := row[name]
		if v == nil {
			continue
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("table %s: field %s of a row is no JSON", p.table.Name, name)
		}
		sum := sha256.Sum256(text)
		out[i] = binary.BigEndian.Uint64(sum[:])
	}
	return out, nil
}

// record is the fingerprint that a record of Lever has once the writer has masked and
// encoded it.
func (p *printer) record(r cdc.Row) (fingerprint, error) {
	if p.mask != nil {
		r.Fields = p.mask.Apply(r.Fields)
	}
	row, _, err := p.codec.EncodeRow(nil, r)
	if err != nil {
		return nil, err
	}
	event := p.codec.AppendEvent(nil, avro.Event{Op: avro.Read, After: row, Snapshot: "true", Time: time.Now(), SourceTime: time.Now()})
	value, err := p.decoder.Decode(context.Background(), event)
	if err != nil {
		return nil, err
	}
	return p.row(consume.Event{Value: value, Op: string(avro.Read)}.Row())
}

// differing returns the names of the fields in which two rows differ.
func (p *printer) differing(a, b fingerprint, claimed bool) []string {
	var names []string
	for i, name := range p.fields {
		if a[i] != b[i] && !(claimed && slices.Contains(p.table.ParentFields, name)) {
			names = append(names, name)
		}
	}
	return names
}
