package avro

import "fmt"

// ExtraField is the field of every row that holds what found no place in the others.
const ExtraField = extraField

// Field describes a field of a table's rows.
type Field struct {
	Name string
	// Text says that its values are text: a string, a list of strings, or JSON.
	Text bool
	// List says that it is a list.
	List bool
	// PII says that the schema tags it as a person's data.
	PII bool
	// Fields are those of a record, or of the records in a list.
	Fields []Field
}

// Fields returns the fields of the newest schema of the table's rows.
func Fields(table string) ([]Field, error) {
	texts, err := rowSchemas(embedded, table)
	if err != nil {
		return nil, err
	}
	s, err := parseSchema(texts[len(texts)-1].String())
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", table, err)
	}
	return s.describe(), nil
}

func (s *schema) describe() []Field {
	var out []Field
	for _, f := range s.fields {
		d := Field{Name: f.name, PII: f.pii}
		t := f.value()
		if t.kind == "array" {
			d.List, t = true, t.items
		}
		d.Text, d.Fields = t.kind == "string", t.describe()
		out = append(out, d)
	}
	return out
}

// Selection names fields: those under it, or the whole field if it is nil.
type Selection map[string]Selection

// Blank returns the encoded row with the selected fields null. Those of a list of
// records are blanked in each. The row was encoded with the current schema (see Upgrade).
func (c *Codec) Blank(row []byte, fields Selection) ([]byte, error) {
	native, rest, err := c.current().NativeFromBinary(row)
	record, ok := native.(map[string]any)
	if err != nil || len(rest) > 0 || !ok {
		return nil, fmt.Errorf("a stored row of table %s is damaged", c.table.Name)
	}
	fields.blank(record)
	out, err := c.current().BinaryFromNative(nil, record)
	if err != nil {
		// goavro's errors may quote values.
		return nil, fmt.Errorf("a stored row of table %s cannot be written without the fields that are left out now", c.table.Name)
	}
	return out, nil
}

func (s Selection) blank(record map[string]any) {
	for name, below := range s {
		if below == nil {
			record[name] = nil
			continue
		}
		branch, _ := record[name].(map[string]any)
		for _, v := range branch { // the one value of a union
			switch v := v.(type) {
			case map[string]any:
				below.blank(v)
			case []any:
				for _, item := range v {
					if item, ok := item.(map[string]any); ok {
						below.blank(item)
					}
				}
			}
		}
	}
}
