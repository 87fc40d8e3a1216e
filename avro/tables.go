package avro

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed schemas/*.avsc
var embedded embed.FS

// rowSchemas returns the texts of a table's row schema, oldest version first. The
// newest is <table>.avsc, those before it are <table>.1.avsc, <table>.2.avsc and so on.
func rowSchemas(files fs.FS, table string) ([]recordText, error) {
	var out []recordText
	read := func(name string) error {
		text, err := fs.ReadFile(files, "schemas/"+name)
		if err != nil {
			return err
		}
		r, err := parseRecordText(text)
		if err != nil {
			return fmt.Errorf("schema %s: %w", name, err)
		}
		out = append(out, r)
		return nil
	}
	for {
		err := read(fmt.Sprintf("%s.%d.avsc", table, len(out)+1))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if err := read(table + ".avsc"); err != nil {
		return nil, fmt.Errorf("table %s has no schema: %w", table, err)
	}
	return out, nil
}

// recordText is a record schema whose parts keep their text, so that what is
// registered reads like the file.
type recordText struct {
	Type      string            `json:"type"`
	Name      string            `json:"name"`
	Namespace string            `json:"namespace,omitempty"`
	Doc       string            `json:"doc,omitempty"`
	Fields    []json.RawMessage `json:"fields"`
}

func parseRecordText(text []byte) (recordText, error) {
	var r recordText
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return r, err
	}
	dec := json.NewDecoder(&compact)
	dec.DisallowUnknownFields()
	err := dec.Decode(&r)
	return r, err
}

// String returns the schema as JSON.
func (r recordText) String() string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// A record of strings and valid raw JSON always encodes.
	_ = enc.Encode(r)
	return strings.TrimSpace(b.String())
}

// namespace makes an Avro namespace of a topic's name: each character that Avro does
// not allow there, and a digit at the beginning of a part, becomes an underscore.
func namespace(topic string) string {
	parts := strings.Split(topic, ".")
	for i, part := range parts {
		b := []byte(part)
		for j, c := range b {
			letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
			if digit := c >= '0' && c <= '9'; !letter && (!digit || j == 0) {
				b[j] = '_'
			}
		}
		if parts[i] = string(b); len(b) == 0 {
			parts[i] = "_"
		}
	}
	return strings.Join(parts, ".")
}
