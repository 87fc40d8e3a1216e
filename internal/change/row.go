package change

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/state"
)

// Fields of Lever's records that decide how a change is written.
const (
	fieldUpdatedAt  = "updatedAt"
	fieldTags       = "tags"
	fieldAnonymized = "isAnonymized"
)

// row compares one row with what was emitted before.
func (a *adding) row(r *cdc.Row, e *encoded) error {
	t := e.table
	if t == nil {
		return fmt.Errorf("unit names table %q, which is not selected", r.Table)
	}
	a.Rows++
	private, orphan, err := a.parent(t, r)
	if err != nil || orphan || a.refused[cdc.List{Table: r.Table, Parent: r.Parent}] {
		return err
	}
	if e.fault != "" {
		return a.letter(r, e, e.fault)
	}
	a.drifted(t, e.drift)
	ref := cdc.Ref{Table: r.Table, Key: r.Key}
	rec, err := a.rows.get(ref)
	if err != nil {
		return err
	}
	if rec == nil || rec.Row == nil {
		return a.create(r, e, ref, rec)
	}
	before, err := t.Codec.Upgrade(rec.Schema, rec.Row)
	if err != nil {
		return fmt.Errorf("table %s: %w", t.Name, err)
	}
	if r.Parent != rec.Parent {
		if !a.letsGo(ref, rec) {
			return a.claim(ref, rec, r.Parent)
		}
	} else if bytes.Equal(before, e.row) && !a.rewrite(t, rec) && !slices.Contains(a.u.Write, ref) {
		return nil
	}
	if a.memory.overtaken(ref, a.u.Sent) {
		a.again(cdc.Again{Ref: ref, Parent: r.Parent})
		return nil
	}
	return a.update(r, e, ref, rec, before, private)
}

// drifted notes what did not fit the table's schema.
func (a *adding) drifted(t *Table, r avro.Report) {
	if r.Unknown+r.Mistyped+r.Sanitized == 0 {
		return
	}
	if a.Drift[t.Name] == nil {
		a.Drift[t.Name] = &avro.Report{}
	}
	a.Drift[t.Name].Add(r)
}

// parent looks up the row's parent: whether its person was anonymised, and whether
// it is unknown, in which case the row must wait for it.
func (a *adding) parent(t *Table, r *cdc.Row) (private, orphan bool, err error) {
	if t.Parent == "" {
		return false, false, nil
	}
	p, err := a.rows.parent(cdc.Ref{Table: t.Parent, Key: r.Parent})
	return p.anonymized, !p.row, err
}

// rewrite says that the row is to be written again although it is known: a re-snapshot of
// all rows has not written it yet, or it was written under other rules for masking.
func (a *adding) rewrite(t *Table, rec *state.Record) bool {
	return t.stale(rec) || !t.Snapshot.Complete && t.Snapshot.Kind == cdc.SnapshotAll && rec.LSN <= t.Snapshot.Since
}

// letsGo says that the unit shows the row's owner to have let go of it.
func (a *adding) letsGo(ref cdc.Ref, rec *state.Record) bool {
	if rec.Parent == "" {
		return true // tables without parents never get here; a record without one has no owner
	}
	for _, g := range a.u.Gone {
		owner := g.Table == a.tables[ref.Table].Parent && g.Key == rec.Parent
		if g.Ref == ref && g.From == rec.Parent || owner {
			return !slices.Contains(a.servedBy(ref), rec.Parent)
		}
	}
	return false
}

// claim notes that a parent serves a row that belongs to another.
func (a *adding) claim(ref cdc.Ref, rec *state.Record, parent string) error {
	if contains(rec.Claimants, parent) {
		return nil
	}
	next := *rec
	next.Claimants = append(slices.Clone(rec.Claimants), parent)
	slices.Sort(next.Claimants)
	a.rows.put(ref, rec, &next)
	return nil
}

func (a *adding) create(r *cdc.Row, e *encoded, ref cdc.Ref, was *state.Record) error {
	t, after := e.table, e.row
	if a.memory.overtaken(ref, a.u.Sent) {
		a.again(cdc.Again{Ref: ref, Parent: r.Parent})
		return nil
	}
	if t.tooLarge(len(after)) {
		return a.letter(r, e, t.oversize(len(after)))
	}
	op, at := avro.Create, a.sourceTime(t, nil, after)
	if !t.Snapshot.Complete && t.Snapshot.Kind != cdc.SnapshotIncremental {
		op, at = avro.Read, a.readAt()
	}
	a.emit(t, ref.Key, op, nil, after, at)
	a.write(t, r, ref, was, after, true, 0, nil)
	return nil
}

func (a *adding) update(r *cdc.Row, e *encoded, ref cdc.Ref, rec *state.Record, before []byte, private bool) error {
	t, after := e.table, e.row
	if t.tooLarge(len(after)) {
		if t.stale(rec) {
			// The new version cannot be written, and the old one must not stay as it is.
			a.emit(t, ref.Key, avro.Read, nil, before, a.readAt())
			next := *rec
			next.LSN = a.lsn
			a.rows.put(ref, rec, &next)
		}
		return a.letter(r, e, t.oversize(len(after)))
	}
	follow := true
	if len(t.Children) > 0 {
		changed, err := t.Codec.Changed(before, after)
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
		// A posting was renamed: thousands of opportunities get another tag at once.
		follow = slices.ContainsFunc(changed, func(f string) bool { return f != fieldTags && f != fieldUpdatedAt })
		private, _ = t.Codec.Bool(after, fieldAnonymized)
	}
	at := a.sourceTime(t, before, after)
	switch {
	case a.rewrite(t, rec):
		follow = true
		a.emit(t, ref.Key, avro.Read, nil, after, at)
	case bytes.Equal(before, after): // its topic has lost it
		a.emit(t, ref.Key, avro.Read, nil, after, at)
	case private || t.tooLarge(len(before)+len(after)):
		a.emit(t, ref.Key, avro.Delete, before, nil, at)
		a.emit(t, ref.Key, avro.Create, nil, after, at)
	default:
		a.emit(t, ref.Key, avro.Update, before, after, at)
	}
	a.write(t, r, ref, rec, after, follow, rec.FollowLSN, without(rec.Claimants, r.Parent))
	return nil
}

// write puts the row that was just emitted into the state.
func (a *adding) write(t *Table, r *cdc.Row, ref cdc.Ref, was *state.Record, after []byte, follow bool, followed int64, claimants []string) {
	rec := &state.Record{
		Schema: t.Codec.Version(), Parent: r.Parent, Claimants: claimants,
		LSN: a.lsn, FollowLSN: a.lsn, ReadAt: a.readAt(), Row: after,
	}
	if len(t.Children) > 0 {
		rec.Anonymized, _ = t.Codec.Bool(after, fieldAnonymized)
		if follow {
			a.result.Changed = append(a.result.Changed, ref)
		} else {
			rec.FollowLSN = followed
			if !bytes.Equal(was.Row, after) {
				a.result.Touched = append(a.result.Touched, ref)
			}
		}
	}
	a.rows.put(ref, was, rec)
	a.memory.wrote(ref, a.u.Arrived)
}

// sourceTime is updatedAt if it changed, else the time of the read.
func (a *adding) sourceTime(t *Table, before, after []byte) time.Time {
	at, ok := t.Codec.Long(after, fieldUpdatedAt)
	if !ok {
		return a.readAt()
	}
	if before != nil {
		if was, ok := t.Codec.Long(before, fieldUpdatedAt); ok && was == at {
			return a.readAt()
		}
	}
	return time.UnixMilli(at)
}
