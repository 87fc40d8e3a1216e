package extractor

import (
	"context"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Reread reads single rows, and the lists that hold children, and submits what Lever says
// of them now. A row that Lever no longer serves is submitted as gone. Each row needs its
// parent, if its table has one; an empty key of such a table means the whole list.
func (e *Extractor) Reread(ctx context.Context, rows []cdc.Again) error {
	read := e.Clock.Begin()
	defer e.Clock.End(read)
	u := &cdc.Unit{Scan: "reread"}
	var single []cdc.Again
	listed := map[string]bool{}
	for _, r := range rows {
		f := e.withoutSingles(r.Table)
		if f == nil {
			single = append(single, r)
			continue
		}
		if !listed[r.Table] {
			listed[r.Table] = true
			if err := f.read(ctx); err != nil {
				return err
			}
		}
	}
	if len(single) == 0 {
		return nil
	}
	if err := e.readAgain(ctx, u, single); err != nil {
		return err
	}
	return e.commit(ctx, u)
}

// withoutSingles returns the reader of a table whose rows cannot be asked for one by one,
// nil for any other.
func (e *Extractor) withoutSingles(table string) *fullReader {
	for _, f := range e.full {
		if f.table == table && !f.single {
			return f
		}
	}
	return nil
}
