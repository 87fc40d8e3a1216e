package avro

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// schema is a parsed Avro schema: what is needed to build goavro's native values and
// to find one's way in encoded bytes.
type schema struct {
	kind string // an Avro type name, or "union"
	// name is the full name of a record, enum or fixed.
	name string
	// logical is the logical type, where goavro names a branch after it.
	logical string
	// json says that a string holds the JSON text of an object without a schema.
	json bool
	// items are those of an array, or the values of a map.
	items    *schema
	fields   []field
	index    map[string]int // of fields, by name
	branches []*schema      // of a union
	// null and notNull are the branches of a nullable field: that of null, and the first
	// other one.
	null, notNull int
}

type field struct {
	name string
	// pii says that the field is tagged as a person's data.
	pii bool
	*schema
}

// tagPII is the tag, under Confluent's name for tags, of fields that hold a person's
// data.
const tagsProperty, tagPII = "confluent:tags", "PII"

// jsonText is the connect.name of strings that hold JSON.
const jsonText = "io.debezium.data.Json"

// parseSchema parses the text of a schema.
func parseSchema(text string) (*schema, error) {
	var raw any
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, fmt.Errorf("parse an Avro schema: %w", err)
	}
	p := parser{named: map[string]*schema{}}
	s, err := p.parse(raw, "")
	if err != nil {
		return nil, fmt.Errorf("parse an Avro schema: %w", err)
	}
	return s, nil
}

type parser struct{ named map[string]*schema }

func (p *parser) parse(raw any, namespace string) (*schema, error) {
	switch raw := raw.(type) {
	case string:
		return p.reference(raw, namespace)
	case []any:
		s := &schema{kind: "union"}
		for _, b := range raw {
			branch, err := p.parse(b, namespace)
			if err != nil {
				return nil, err
			}
			s.branches = append(s.branches, branch)
		}
		isNull := func(b *schema) bool { return b.kind == "null" }
		s.null = slices.IndexFunc(s.branches, isNull)
		s.notNull = max(slices.IndexFunc(s.branches, func(b *schema) bool { return !isNull(b) }), 0)
		return s, nil
	case map[string]any:
		return p.object(raw, namespace)
	}
	return nil, errors.New("a type is neither a name, a list nor an object")
}

func (p *parser) reference(name, namespace string) (*schema, error) {
	switch name {
	case "null", "boolean", "int", "long", "float", "double", "bytes", "string":
		return &schema{kind: name}, nil
	}
	if s := p.named[fullName(name, namespace)]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("unknown type %q", name)
}

func (p *parser) object(raw map[string]any, namespace string) (*schema, error) {
	kind, ok := raw["type"].(string)
	if !ok {
		return p.parse(raw["type"], namespace)
	}
	s := &schema{kind: kind}
	if name, ok := raw["name"].(string); ok {
		if ns, ok := raw["namespace"].(string); ok {
			namespace = ns
		}
		s.name = fullName(name, namespace)
		if i := strings.LastIndexByte(s.name, '.'); i >= 0 {
			namespace = s.name[:i]
		}
		p.named[s.name] = s
	}
	var err error
	switch kind {
	case "record":
		err = p.record(s, raw, namespace)
	case "array":
		s.items, err = p.parse(raw["items"], namespace)
	case "map":
		s.items, err = p.parse(raw["values"], namespace)
	case "enum", "fixed":
	default:
		if s, err = p.reference(kind, namespace); err == nil {
			s.logical, _ = raw["logicalType"].(string)
			s.json = raw["connect.name"] == jsonText
		}
	}
	return s, err
}

func (p *parser) record(s *schema, raw map[string]any, namespace string) error {
	fields, ok := raw["fields"].([]any)
	if !ok {
		return fmt.Errorf("record %s has no fields", s.name)
	}
	s.index = map[string]int{}
	for _, f := range fields {
		f, _ := f.(map[string]any)
		name, ok := f["name"].(string)
		if !ok {
			return fmt.Errorf("record %s has a field without a name", s.name)
		}
		t, err := p.parse(f["type"], namespace)
		if err != nil {
			return fmt.Errorf("field %s: %w", name, err)
		}
		s.index[name] = len(s.fields)
		tags, _ := f[tagsProperty].([]any)
		s.fields = append(s.fields, field{name, slices.Contains(tags, any(tagPII)), t})
	}
	return nil
}

func fullName(name, namespace string) string {
	if namespace == "" || strings.Contains(name, ".") {
		return name
	}
	return namespace + "." + name
}

// branch is the name by which goavro knows the type inside a union.
func (s *schema) branch() string {
	switch {
	case s.name != "":
		return s.name
	case s.logical != "":
		return s.kind + "." + s.logical
	}
	return s.kind
}

// value is the type of a nullable field when it is not null.
func (s *schema) value() *schema {
	if s.kind == "union" {
		return s.branches[s.notNull]
	}
	return s
}
