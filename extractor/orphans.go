package extractor

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// followedBy is the section of a parent's bookmark that names the child tables that are
// selected beside it. A deleted parent takes the rows of these along.
const followedBy = "followed_by"

// orphanBatch is how many rows one unit deletes.
const orphanBatch = 500

// dropOrphans deletes the rows of child tables whose parent was deleted while the child
// table was not selected.
func (e *Extractor) dropOrphans(ctx context.Context) error {
	for _, parent := range e.Tables {
		was, now := []string(nil), []string{} // never nil: a section that is null is no section
		for _, t := range e.Tables {
			if t.Parent == parent.Name {
				now = append(now, t.Name)
			}
		}
		found, err := section(e.State, parent.Name, followedBy, &was)
		if err != nil {
			return errors.Join(errState, err)
		}
		if len(now) == 0 && !found || found && slices.Equal(was, now) {
			continue
		}
		for _, child := range now {
			if !slices.Contains(was, child) {
				if err := e.dropOrphansOf(ctx, child, parent.Name); err != nil {
					return err
				}
			}
		}
		u := &cdc.Unit{Scan: "orphans", Changes: changes([]string{parent.Name}, followedBy, now)}
		if err := e.commit(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

func (e *Extractor) dropOrphansOf(ctx context.Context, child, parent string) error {
	for after := ""; ; {
		keys, err := e.State.KeysAfter(child, after, orphanBatch)
		if err != nil {
			return errors.Join(errState, err)
		}
		if len(keys) == 0 {
			return nil
		}
		after = keys[len(keys)-1]
		now := e.Clock.Now()
		u := &cdc.Unit{Scan: "orphans", Sent: now, Arrived: now}
		for _, key := range keys {
			row, known, err := e.State.Row(child, key)
			if err == nil && known {
				_, known, err = e.State.Row(parent, row.Parent)
				if err == nil && !known {
					u.Gone = append(u.Gone, cdc.Gone{Ref: cdc.Ref{Table: child, Key: key}, At: time.Now()})
				}
			}
			if err != nil {
				return errors.Join(errState, err)
			}
		}
		if len(u.Gone) > 0 {
			if err := e.commit(ctx, u); err != nil {
				return err
			}
		}
	}
}
