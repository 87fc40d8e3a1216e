package extractor

import (
	"context"
	"fmt"
	"slices"

	"github.com/leverstream/leverstream/internal/cdc"
)

// readAgain reads what the writer refused, and puts the answers into the unit: rows
// that exist, and rows that are now known to be gone because a second read did not
// show them either.
func (e *Extractor) readAgain(ctx context.Context, u *cdc.Unit, refused []cdc.Again) error {
	r := rereader{e: e, u: u, done: map[string]bool{}}
	for _, a := range refused {
		if err := r.read(ctx, a); err != nil {
			return err
		}
	}
	present := map[cdc.Ref]bool{}
	for _, row := range u.Rows {
		present[cdc.Ref{Table: row.Table, Key: row.Key}] = true
	}
	for _, a := range refused {
		if a.Missing && (a.Parent != "" || !present[a.Ref]) {
			// If another parent serves the row, it moves there; else it is deleted.
			u.Gone = append(u.Gone, cdc.Gone{Ref: a.Ref, From: a.Parent})
		}
	}
	u.Gone = slices.DeleteFunc(u.Gone, func(g cdc.Gone) bool { return g.From != "" && servedBy(u.Rows, g.Ref, g.From) })
	return nil
}

// servedBy says whether the parent still serves the row.
func servedBy(rows []cdc.Row, ref cdc.Ref, parent string) bool {
	return slices.ContainsFunc(rows, func(r cdc.Row) bool {
		return r.Table == ref.Table && r.Key == ref.Key && r.Parent == parent
	})
}

// rereader reads each object and each list at most once.
type rereader struct {
	e    *Extractor
	u    *cdc.Unit
	done map[string]bool
}

func (r *rereader) once(what string) bool {
	if r.done[what] {
		return false
	}
	r.done[what] = true
	return true
}

func (r *rereader) read(ctx context.Context, a cdc.Again) error {
	for _, l := range r.e.listings {
		if slices.Contains(l.tables, a.Table) {
			return r.object(ctx, l, a.Key)
		}
		for _, n := range l.nested {
			if slices.Contains(n.tables, a.Table) {
				for _, id := range append([]string{a.Parent}, a.Claimants...) {
					if err := r.object(ctx, l, id); err != nil {
						return err
					}
				}
				return nil
			}
		}
	}
	for _, f := range r.e.followers {
		if slices.Contains(f.tables, a.Table) {
			for _, parent := range append([]string{a.Parent}, a.Claimants...) {
				if r.once(f.of + "\x00" + f.name + "\x00" + parent) {
					if err := f.list(ctx, r.u, parent, cdc.Request{Class: cdc.ClassChildren}, true); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	for _, f := range r.e.full {
		if f.table == a.Table && !f.single {
			return nil // the next read of the whole list tells
		}
		if f.table == a.Table {
			return f.one(ctx, r.u, a.Key)
		}
	}
	return fmt.Errorf("%w: nothing reads table %s", errState, a.Table)
}

func (r *rereader) object(ctx context.Context, l *listingReader, id string) error {
	if !r.once(l.path + "\x00" + id) {
		return nil
	}
	return l.single(ctx, r.u, id, cdc.ClassLive)
}
