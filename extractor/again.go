package extractor

import (
	"context"
	"fmt"
	"slices"

	"github.com/leverstream/leverstream/internal/cdc"
)

// readAgain reads what the writer refused, and puts the answers into the unit: rows
// that exist, and rows that are now known to be gone because a second read did not
// show them either. With keep, the rows of a record that cannot be read for reasons of its own
// stay as they are, so that it does not hold up its listing.
func (e *Extractor) readAgain(ctx context.Context, u *cdc.Unit, refused []cdc.Again, keep bool) error {
	r := rereader{e: e, u: u, keep: keep, done: map[string]bool{}, kept: map[string]bool{}}
	var answered []cdc.Again
	for _, a := range refused {
		kept, err := r.read(ctx, a)
		if err != nil {
			return err
		}
		if !kept {
			answered = append(answered, a)
		}
	}
	present := map[cdc.Ref]bool{}
	for _, row := range u.Rows {
		present[cdc.Ref{Table: row.Table, Key: row.Key}] = true
	}
	for _, a := range answered {
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
	keep bool
	done map[string]bool
	// kept are the objects that could not be read and are kept as they are.
	kept map[string]bool
}

func (r *rereader) once(what string) bool {
	if r.done[what] {
		return false
	}
	r.done[what] = true
	return true
}

// read reads one row, or its list, with all who claim it. kept says that it stays as it is.
func (r *rereader) read(ctx context.Context, a cdc.Again) (kept bool, err error) {
	for _, l := range r.e.listings {
		if slices.Contains(l.tables, a.Table) {
			return r.object(ctx, l, a.Key, r.keep)
		}
		for _, n := range l.nested {
			if slices.Contains(n.tables, a.Table) {
				// Where several claim the row, nothing can be decided without all of them.
				keep := r.keep && len(a.Claimants) == 0
				for _, id := range append([]string{a.Parent}, a.Claimants...) {
					if kept, err = r.object(ctx, l, id, keep); err != nil {
						return false, err
					}
				}
				return kept, nil
			}
		}
	}
	for _, f := range r.e.followers {
		if slices.Contains(f.tables, a.Table) {
			for _, parent := range append([]string{a.Parent}, a.Claimants...) {
				if r.once(f.of + "\x00" + f.name + "\x00" + parent) {
					if err := f.list(ctx, r.u, parent, cdc.Request{Class: cdc.ClassChildren}, true); err != nil {
						return false, err
					}
				}
			}
			return false, nil
		}
	}
	for _, f := range r.e.full {
		if f.table == a.Table && !f.single {
			return false, nil // the next read of the whole list tells
		}
		if f.table == a.Table {
			return false, f.one(ctx, r.u, a.Key)
		}
	}
	return false, fmt.Errorf("%w: nothing reads table %s", errState, a.Table)
}

func (r *rereader) object(ctx context.Context, l *listingReader, id string, keep bool) (kept bool, err error) {
	what := l.path + "\x00" + id
	switch {
	case !r.once(what):
	case keep:
		r.kept[what], err = l.ask(ctx, r.u, id, cdc.ClassLive)
	default:
		err = l.single(ctx, r.u, id, cdc.ClassLive)
	}
	return r.kept[what], err
}
