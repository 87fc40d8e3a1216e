package avro

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

var errDamaged = errors.New("the encoded row is damaged")

// Changed returns the names of the fields in which two rows differ, in the schema's
// order. Both were encoded by this codec's EncodeRow or Upgrade.
func (c *Codec) Changed(before, after []byte) ([]string, error) {
	s := c.current().schema
	b, err := s.split(before)
	if err != nil {
		return nil, fmt.Errorf("compare rows of table %s: %w", c.table.Name, err)
	}
	a, err := s.split(after)
	if err != nil {
		return nil, fmt.Errorf("compare rows of table %s: %w", c.table.Name, err)
	}
	var names []string
	for i := range s.fields {
		if !bytes.Equal(b[i], a[i]) {
			names = append(names, s.fields[i].name)
		}
	}
	return names, nil
}

// Long returns a field that is an integer or a time (in milliseconds since 1970); ok
// is false if it is null or there is no such field.
func (c *Codec) Long(row []byte, name string) (n int64, ok bool) {
	b := c.field(row, name, "long")
	if b == nil {
		return 0, false
	}
	n, width := binary.Varint(b)
	return n, width > 0
}

// Bool returns a field that is a boolean; ok is false if it is null or there is no
// such field.
func (c *Codec) Bool(row []byte, name string) (value, ok bool) {
	b := c.field(row, name, "boolean")
	if len(b) == 0 {
		return false, false
	}
	return b[0] == 1, true
}

// field returns the bytes of a field that is not null, without its union's branch.
func (c *Codec) field(row []byte, name, kind string) []byte {
	s := c.current().schema
	i, ok := s.index[name]
	if !ok {
		return nil
	}
	f := s.fields[i]
	if f.value().kind != kind {
		return nil
	}
	var err error
	for _, before := range s.fields[:i] {
		if row, err = before.skip(row); err != nil {
			return nil
		}
	}
	if f.kind == "union" {
		branch, width := binary.Varint(row)
		if width <= 0 || branch < 0 || int(branch) >= len(f.branches) || f.branches[branch].kind == "null" {
			return nil
		}
		row = row[width:]
	}
	return row
}

// split cuts an encoded record into its fields.
func (s *schema) split(row []byte) ([][]byte, error) {
	out := make([][]byte, len(s.fields))
	for i, f := range s.fields {
		rest, err := f.skip(row)
		if err != nil {
			return nil, err
		}
		out[i] = row[:len(row)-len(rest)]
		row = rest
	}
	if len(row) > 0 {
		return nil, errDamaged
	}
	return out, nil
}

// skip returns what follows a value of the type.
func (s *schema) skip(b []byte) ([]byte, error) {
	switch s.kind {
	case "null":
		return b, nil
	case "boolean":
		return drop(b, 1)
	case "int", "long":
		_, rest, err := varint(b)
		return rest, err
	case "float":
		return drop(b, 4)
	case "double":
		return drop(b, 8)
	case "string", "bytes":
		n, rest, err := varint(b)
		if err != nil {
			return nil, err
		}
		return drop(rest, n)
	case "union":
		n, rest, err := varint(b)
		if err != nil || n < 0 || n >= int64(len(s.branches)) {
			return nil, errDamaged
		}
		return s.branches[n].skip(rest)
	case "record":
		var err error
		for _, f := range s.fields {
			if b, err = f.skip(b); err != nil {
				return nil, err
			}
		}
		return b, nil
	case "array":
		return s.skipBlocks(b)
	}
	return nil, errDamaged
}

// skipBlocks skips an array: blocks of a count and as many items, until a count of 0.
func (s *schema) skipBlocks(b []byte) ([]byte, error) {
	for {
		n, rest, err := varint(b)
		if err != nil || n == 0 {
			return rest, err
		}
		if b = rest; n < 0 { // the block's size in bytes follows
			size, rest, err := varint(b)
			if err != nil {
				return nil, err
			}
			if b, err = drop(rest, size); err != nil {
				return nil, err
			}
			continue
		}
		for range n {
			if len(b) == 0 {
				return nil, errDamaged
			}
			if b, err = s.items.skip(b); err != nil {
				return nil, err
			}
		}
	}
}

func varint(b []byte) (int64, []byte, error) {
	n, width := binary.Varint(b)
	if width <= 0 {
		return 0, nil, errDamaged
	}
	return n, b[width:], nil
}

func drop(b []byte, n int64) ([]byte, error) {
	if n < 0 || n > int64(len(b)) {
		return nil, errDamaged
	}
	return b[n:], nil
}
