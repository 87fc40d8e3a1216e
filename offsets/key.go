package offsets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ParsedKey is the key of a record of the bookmarks topic: that of a table's bookmark,
// or of the account's owner record.
type ParsedKey struct {
	Account string
	// Table is empty for the owner record.
	Table string
	// Owner is true for the owner record.
	Owner bool
}

// Key returns the key of a table's bookmark: ["<account>",{"table":"<table>"}].
func Key(account, table string) []byte {
	return marshalKey(account, map[string]any{"table": table})
}

// OwnerKey returns the key of the account's owner record: ["<account>",{"owner":true}].
func OwnerKey(account string) []byte {
	return marshalKey(account, map[string]any{"owner": true})
}

func marshalKey(account string, what map[string]any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode([]any{account, what}) // strings and true always encode
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func quote(s string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// ParseKey reads the key of a record of the bookmarks topic.
func ParseKey(key []byte) (ParsedKey, error) {
	var k ParsedKey
	var parts []json.RawMessage
	if err := json.Unmarshal(key, &parts); err != nil || len(parts) != 2 {
		return k, errors.New(`the key is not ["<account>",{…}]: is this the bookmarks topic of this program?`)
	}
	var what struct {
		Table *string `json:"table"`
		Owner bool    `json:"owner"`
	}
	dec := json.NewDecoder(bytes.NewReader(parts[1]))
	dec.DisallowUnknownFields()
	if err := errors.Join(json.Unmarshal(parts[0], &k.Account), dec.Decode(&what)); err != nil {
		return k, fmt.Errorf("the key is not that of a bookmark: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) || k.Account == "" || (what.Table == nil) == !what.Owner {
		return k, errors.New("the key names neither a table nor the owner")
	}
	if k.Owner = what.Owner; what.Table != nil {
		if k.Table = *what.Table; k.Table == "" {
			return k, errors.New("the key names no table")
		}
	}
	return k, nil
}
