package verify

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
)

// collector takes the extractors' units and keeps a fingerprint of each row. It is their
// sink and, because they go on from what was emitted, their state.
type collector struct {
	fingerprint func(cdc.Row) (fingerprint, error)

	mu       sync.Mutex
	tables   map[string]*rows
	children map[cdc.List]map[string]bool // keys by table and parent
	sections map[[2]string]json.RawMessage
	lsn      int64
}

// rows are those of one table.
type rows struct {
	known map[string]known
	// order has every version of every row, by LSN; those that were replaced are skipped.
	order []cdc.Version
}

// known is what Lever says of a row.
type known struct {
	fields fingerprint
	parent string
	lsn    int64
	// claimed says that Lever serves the row under several parents: whose it is, is a
	// matter of who was seen first.
	claimed bool
}

func newCollector(of func(cdc.Row) (fingerprint, error)) *collector {
	return &collector{fingerprint: of, tables: map[string]*rows{}, children: map[cdc.List]map[string]bool{}, sections: map[[2]string]json.RawMessage{}}
}

// of returns the rows of a table.
func (c *collector) of(table string) *rows {
	if c.tables[table] == nil {
		c.tables[table] = &rows{known: map[string]known{}}
	}
	return c.tables[table]
}

// Submit applies the unit at once (see cdc.Sink).
func (c *collector) Submit(_ context.Context, u *cdc.Unit) (<-chan cdc.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var r cdc.Result
	for _, g := range u.Gone {
		if k, ok := c.of(g.Table).known[g.Key]; ok && (g.From == "" || k.parent == g.From) {
			c.drop(g.Ref, k)
		}
	}
	served := map[cdc.Ref]bool{}
	for _, row := range u.Rows {
		if row.Key == "" {
			continue // a dead letter; the topics cannot hold it
		}
		ref := cdc.Ref{Table: row.Table, Key: row.Key}
		served[ref] = true
		fields, err := c.fingerprint(row)
		if err != nil {
			return nil, err
		}
		was, there := c.of(row.Table).known[row.Key]
		c.lsn++
		next := known{fields: fields, parent: row.Parent, lsn: c.lsn, claimed: was.claimed}
		if there && was.parent != row.Parent {
			next.parent, next.claimed = was.parent, true
		}
		c.put(ref, next)
		if row.Parent == "" {
			r.Changed = append(r.Changed, ref)
		}
	}
	for _, l := range u.Lists {
		for key := range c.children[l] {
			if ref := (cdc.Ref{Table: l.Table, Key: key}); !served[ref] {
				c.drop(ref, c.of(l.Table).known[key])
			}
		}
	}
	for _, ch := range u.Changes {
		c.sections[[2]string{ch.Table, ch.Section}] = ch.Value
	}
	r.LSN = c.lsn
	results := make(chan cdc.Result, 1)
	results <- r
	return results, nil
}

func (c *collector) put(ref cdc.Ref, k known) {
	t := c.of(ref.Table)
	t.known[ref.Key] = k
	t.order = append(t.order, cdc.Version{Key: ref.Key, LSN: k.lsn})
	if k.parent == "" {
		return
	}
	l := cdc.List{Table: ref.Table, Parent: k.parent}
	if c.children[l] == nil {
		c.children[l] = map[string]bool{}
	}
	c.children[l][ref.Key] = true
}

func (c *collector) drop(ref cdc.Ref, k known) {
	delete(c.of(ref.Table).known, ref.Key)
	delete(c.children[cdc.List{Table: ref.Table, Parent: k.parent}], ref.Key)
}

func (c *collector) get(ref cdc.Ref) (known, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.of(ref.Table).known[ref.Key]
	return k, ok
}

// keys returns the keys of a table's rows.
func (c *collector) keys(table string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.of(table).known))
}

// Row says what is known of a row (see extractor.State, as the methods below).
func (c *collector) Row(table, key string) (extractor.Known, bool, error) {
	k, ok := c.get(cdc.Ref{Table: table, Key: key})
	return extractor.Known{Parent: k.parent}, ok, nil
}

// Keys yields the keys of the table's rows.
func (c *collector) Keys(table string) iter.Seq2[string, error] {
	keys := c.keys(table)
	return func(yield func(string, error) bool) {
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}

// KeysAfter returns keys that sort behind after.
func (c *collector) KeysAfter(table, after string, limit int) ([]string, error) {
	keys := slices.DeleteFunc(c.keys(table), func(k string) bool { return k <= after })
	slices.Sort(keys)
	return keys[:min(limit, len(keys))], nil
}

// Children returns the keys of a parent's rows.
func (c *collector) Children(table, parent string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.children[cdc.List{Table: table, Parent: parent}])), nil
}

// Count is the number of the table's rows.
func (c *collector) Count(table string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(len(c.of(table).known))
}

// Since returns rows in the order in which they came.
func (c *collector) Since(table string, lsn int64, limit int) ([]cdc.Version, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.of(table)
	at, _ := slices.BinarySearchFunc(t.order, lsn+1, func(v cdc.Version, lsn int64) int { return cmp.Compare(v.LSN, lsn) })
	var out []cdc.Version
	for _, v := range t.order[at:] {
		if t.known[v.Key].lsn == v.LSN {
			if out = append(out, v); len(out) == limit {
				break
			}
		}
	}
	return out, nil
}

// LSN counts the rows that came.
func (c *collector) LSN() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lsn
}

// Section is a section of a bookmark.
func (c *collector) Section(table, section string) json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sections[[2]string{table, section}]
}
