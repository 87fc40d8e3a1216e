package extractor

import (
	"context"
	"errors"
	"slices"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Reread reads single rows, and the lists that hold children, and submits what Lever says
// of them now. A row that Lever no longer serves is submitted as gone. Each row needs its
// parent, if its table has one; an empty key of such a table means the whole list.
func (e *Extractor) Reread(ctx context.Context, rows []cdc.Again) error {
	return e.reread(ctx, rows, false)
}

// reread reads the rows. With write they are written although they were emitted before
// (see cdc.Unit).
func (e *Extractor) reread(ctx context.Context, rows []cdc.Again, write bool) error {
	var single []cdc.Again
	var written []cdc.Ref
	whole := map[*fullReader][]cdc.Ref{}
	for _, r := range rows {
		if f := e.withoutSingles(r.Table); f != nil {
			whole[f] = append(whole[f], r.Ref)
			continue
		}
		single = append(single, r)
		if write {
			written = append(written, r.Ref)
		}
	}
	for f, refs := range whole {
		if !write {
			refs = nil
		}
		if err := f.readWriting(ctx, refs); err != nil {
			return err
		}
	}
	if len(single) == 0 {
		return nil
	}
	served, err := e.rereadSingles(ctx, single, written)
	if err != nil || !write {
		return err
	}
	// A row that is in no list, and that was never emitted, only its topic has. The writer
	// does not miss it there, so that nothing was confirmed yet.
	strange := slices.DeleteFunc(single, func(r cdc.Again) bool { return r.Parent == "" || r.Key == "" || served[r.Ref] })
	for i := range strange {
		strange[i].Missing = true
	}
	var unknown []cdc.Again
	for _, r := range strange {
		_, known, err := e.State.Row(r.Table, r.Key)
		if err != nil {
			return errors.Join(errState, err)
		}
		if !known {
			unknown = append(unknown, r)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	_, err = e.rereadSingles(ctx, unknown, written)
	return err
}

// rereadSingles reads and commits the rows, and returns those that Lever serves.
func (e *Extractor) rereadSingles(ctx context.Context, rows []cdc.Again, write []cdc.Ref) (served map[cdc.Ref]bool, err error) {
	read := e.Clock.Begin()
	defer e.Clock.End(read)
	u := &cdc.Unit{Scan: "reread", Write: write}
	if err := e.readAgain(ctx, u, rows, false); err != nil {
		return nil, err
	}
	served = map[cdc.Ref]bool{}
	for _, r := range u.Rows {
		served[cdc.Ref{Table: r.Table, Key: r.Key}] = true
	}
	return served, e.commit(ctx, u)
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
