package avro

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Decoder reads what is framed as Confluent's serializers do, with the schemas of a
// registry. It is safe for concurrent use.
type Decoder struct {
	lookup func(ctx context.Context, id int) (string, error)
	mu     sync.Mutex
	known  map[int]rowCodec
}

// NewDecoder returns a decoder that asks lookup once for each schema id.
func NewDecoder(lookup func(ctx context.Context, id int) (schema string, err error)) *Decoder {
	return &Decoder{lookup: lookup, known: map[int]rowCodec{}}
}

// Decode returns the record in a framed key or value: plain Go values without the
// wrapping of unions. Times are milliseconds since 1970, as they stand in the topic.
func (d *Decoder) Decode(ctx context.Context, framed []byte) (map[string]any, error) {
	const frame = 5
	if len(framed) < frame || framed[0] != magic {
		return nil, errors.New("the bytes are not framed with a schema id (zero byte, four bytes of id)")
	}
	id := int(binary.BigEndian.Uint32(framed[1:frame]))
	codec, err := d.codec(ctx, id)
	if err != nil {
		return nil, err
	}
	native, rest, err := codec.NativeFromBinary(framed[frame:])
	if err != nil || len(rest) > 0 {
		// goavro's errors may quote values.
		return nil, fmt.Errorf("the bytes do not fit schema id %d", id)
	}
	record, ok := unwrap(codec.schema, native).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("schema id %d is not that of a record", id)
	}
	return record, nil
}

func (d *Decoder) codec(ctx context.Context, id int) (rowCodec, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, ok := d.known[id]; ok {
		return c, nil
	}
	text, err := d.lookup(ctx, id)
	if err != nil {
		return rowCodec{}, fmt.Errorf("look up schema id %d: %w", id, err)
	}
	c, err := newRowCodec(text)
	if err != nil {
		return rowCodec{}, fmt.Errorf("schema id %d: %w", id, err)
	}
	d.known[id] = c
	return c, nil
}

// unwrap removes goavro's maps around the values of unions.
func unwrap(s *schema, native any) any {
	switch s.kind {
	case "union":
		wrapped, ok := native.(map[string]any)
		if !ok {
			return native // null
		}
		for _, b := range s.branches {
			if v, ok := wrapped[b.branch()]; ok {
				return unwrap(b, v)
			}
		}
	case "record":
		if m, ok := native.(map[string]any); ok {
			out := make(map[string]any, len(m))
			for _, f := range s.fields {
				out[f.name] = unwrap(f.schema, m[f.name])
			}
			return out
		}
	case "array":
		if list, ok := native.([]any); ok {
			out := make([]any, len(list))
			for i, v := range list {
				out[i] = unwrap(s.items, v)
			}
			return out
		}
	case "map":
		if m, ok := native.(map[string]any); ok {
			out := make(map[string]any, len(m))
			for k, v := range m {
				out[k] = unwrap(s.items, v)
			}
			return out
		}
	}
	if t, ok := native.(time.Time); ok {
		return t.UnixMilli()
	}
	return native
}
