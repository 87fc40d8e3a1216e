package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// commitTable stands in the place of a table in the keys of commit records.
const commitTable = "#commit"

// RowKey returns the state topic's key of a row: ["<account>","<table>","<pk>"].
func RowKey(account, table, key string) []byte { return AppendRowKey(nil, account, table, key) }

// AppendRowKey appends RowKey to dst.
func AppendRowKey(dst []byte, account, table, key string) []byte {
	if !plain(account) || !plain(table) || !plain(key) {
		return append(dst, marshal([]string{account, table, key})...)
	}
	dst = append(append(append(dst, `["`...), account...), `","`...)
	dst = append(append(append(dst, table...), `","`...), key...)
	return append(dst, `"]`...)
}

// plain says that a text is itself as JSON, but for the quotation marks.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// CommitKey returns the state topic's key of the n-th commit record of the ring:
// ["<account>","#commit",n].
func CommitKey(account string, n int) []byte { return marshal([]any{account, commitTable, n}) }

// marshal writes strings and numbers as JSON, with all characters as they are.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // strings and numbers always encode
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Key is a key of the state topic.
type Key struct {
	Account string
	// Table and Key name a row.
	Table, Key string
	// Commit says that it is a commit record's key, and N is its place in the ring.
	Commit bool
	N      int
}

// ParseKey reads a key of the state topic.
func ParseKey(b []byte) (Key, error) {
	var parts []json.RawMessage
	var k Key
	if err := json.Unmarshal(b, &parts); err != nil || len(parts) != 3 {
		return k, errors.New(`the key is not ["<account>","<table>","<key>"]: is this the state topic of this program?`)
	}
	err := errors.Join(json.Unmarshal(parts[0], &k.Account), json.Unmarshal(parts[1], &k.Table))
	if k.Commit = k.Table == commitTable; k.Commit {
		k.Table = ""
		err = errors.Join(err, json.Unmarshal(parts[2], &k.N))
	} else {
		err = errors.Join(err, json.Unmarshal(parts[2], &k.Key))
	}
	if err != nil {
		return Key{}, fmt.Errorf("the key is not that of a state record: %w", err)
	}
	if k.Account == "" || !k.Commit && (k.Table == "" || k.Key == "") || k.N < 0 {
		return Key{}, errors.New("the key is not that of a state record: a part of it is empty")
	}
	return k, nil
}
