package pipeline

import (
	"context"
	"slices"

	"github.com/leverstream/leverstream/internal/cdc"
)

// MostReread is how many rows may be asked for at a time. More than that are better read
// with their table (see Resnapshot).
const MostReread = 500

// mostKey bounds a key, in bytes.
const mostKey = 1024

// A RowKey names a row, and the row above it if its table has a parent.
type RowKey struct {
	Key    string `json:"key"`
	Parent string `json:"parent,omitempty"`
}

// Queued says what was queued by Reread.
type Queued struct {
	Rows int `json:"rows"`
	// Reads is the number of objects and lists that will be asked for, confirmations aside.
	Reads int `json:"reads"`
}

// Reread has rows of a table read again, by key: each alone where Lever has single objects,
// with the whole list of their parent where it has not, or with the whole table. What
// differs from what was emitted is written; with write, what does not differ as well (for
// rows that their topic has lost): as r, or as a tombstone if Lever does not have the row.
//
// The parent of a row that is known need not be given. Reread returns when the rows are
// queued; Snapshot tells what becomes of them.
func (p *Pipeline) Reread(_ context.Context, table string, rows []RowKey, write bool) (Queued, error) {
	var q Queued
	if err := p.steerable(table); err != nil {
		return q, err
	}
	t := p.tables[slices.IndexFunc(p.tables, func(t cdc.Table) bool { return t.Name == table })]
	switch {
	case len(rows) == 0:
		return q, refused(`no rows are named; they go into the body: {"rows":[{"key":"…"}]}`)
	case len(rows) > MostReread:
		return q, refused("%d rows are too many, at most %d are read one by one; POST /tables/%s/resnapshot reads the whole table", len(rows), MostReread, table)
	}
	p.looking.RLock()
	defer p.looking.RUnlock()
	if p.writer == nil {
		return q, ErrNotRunning
	}
	if p.pausedNow(p.writer)[table] {
		return q, conflict("the table is paused, or the one above it; POST /tables/{table}/resume first")
	}
	wanted := make([]cdc.Again, len(rows))
	for i, r := range rows {
		switch {
		case r.Key == "" || len(r.Key) > mostKey || len(r.Parent) > mostKey:
			return q, refused("row %d has no key, or one that is too long", i+1)
		case r.Parent != "" && t.Parent == "":
			return q, refused("row %d has a parent, and table %s has no parent table", i+1, table)
		}
		a := cdc.Again{Ref: cdc.Ref{Table: table, Key: r.Key}, Parent: r.Parent}
		if t.Parent != "" {
			known, ok, err := stateView{p.writer}.Row(table, r.Key)
			switch {
			case err != nil:
				return q, err
			case r.Parent == "" && !ok:
				return q, refused("row %d is not known here, so that its parent in %s must be given", i+1, t.Parent)
			case r.Parent == "":
				a.Parent = known.Parent
			case ok && known.Parent != r.Parent:
				a.Claimants = []string{known.Parent} // whose it is shows when both lists are read
			}
		}
		wanted[i] = a
	}
	reads, err := p.rereads.Add(wanted, write)
	if err != nil {
		return q, err
	}
	p.o.Logger.Info("steered by an operator", "action", "reread", "table", table, "rows", len(rows), "write", write)
	return Queued{Rows: len(rows), Reads: reads}, nil
}
