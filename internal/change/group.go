package change

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/mask"
	"github.com/leverstream/leverstream/internal/state"
)

// Table is a table as the comparison needs it.
type Table struct {
	cdc.Table
	Codec *avro.Codec
	// Children are the names of the selected tables whose parent this table is.
	Children []string
	// MaxRecord is the largest record, in bytes before compression, that both the table's
	// topic and the state topic take. An update that is larger is written as d, tombstone, c; a row that
	// is larger by itself becomes a dead letter.
	MaxRecord int
	// Snapshot is the table's snapshot as the bookmark has it. The writer keeps it up
	// to date from group to group.
	Snapshot cdc.Snapshot
	// Mask leaves out and hashes fields of the rows before anything else is done with
	// them; nil if there are no rules.
	Mask *mask.Table
	// MaskedSince is the LSN up to which rows were written under other rules. Until such
	// a row is written again, what the rules mean now is blanked in the stored one.
	MaskedSince int64
}

// stale says that the stored row was written under other rules than are in force.
func (t *Table) stale(rec *state.Record) bool { return rec.Row != nil && rec.LSN <= t.MaskedSince }

// blanked returns the record without what the rules mean now, if it was written under
// others. It stays stale.
func (t *Table) blanked(rec *state.Record) (*state.Record, error) {
	if t.Mask == nil || !t.stale(rec) {
		return rec, nil
	}
	row, err := t.Codec.Upgrade(rec.Schema, rec.Row)
	if err != nil {
		return nil, err
	}
	next := *rec
	next.Schema = t.Codec.Version()
	next.Row, err = t.Codec.Blank(row, t.Mask.Blank())
	return &next, err
}

// Event is a change of one row. The writer encodes it, and follows a Delete with a
// tombstone. A Delete without the row as it was is the tombstone alone.
type Event struct {
	Table *Table
	Key   string
	avro.Event
}

// Letter is a row that could not become an event.
type Letter struct {
	Table *Table
	// Key is the row's key, empty if it has none.
	Key string
	// Parent is the row's parent, if its table has one.
	Parent string
	// Reason says why, without any of the row's content.
	Reason string
	// Row is Lever's record as canonical JSON.
	Row []byte
	// ReadAt is Lever's time of the read.
	ReadAt time.Time
}

// Put is a new state record; a nil Record means that the row is gone.
type Put struct {
	cdc.Ref
	Record *state.Record
	// Was is the record as it was before the group, nil if there was none.
	Was *state.Record
}

// Group collects what one transaction will hold.
type Group struct {
	tables  map[string]*Table
	rows    *overlay
	memory  *Memory
	lsn     int64
	account string
	version string
	now     time.Time

	// Events, in the order of their LSNs.
	Events []Event
	// Letters are dead letters, once per version of a row.
	Letters []Letter
	// Rows counts the rows compared, Bytes the encoded rows in the events.
	Rows, Bytes int
	// Drift says, for each table, what in its rows did not fit the schema.
	Drift map[string]*avro.Report
}

// NewGroup returns an empty group. lsn is the log sequence number of the last event
// before it; now is stamped on all its events; version is the program's.
func NewGroup(tables map[string]*Table, rows Rows, m *Memory, account, version string, lsn int64, now time.Time) *Group {
	return &Group{
		tables: tables, rows: newOverlay(tables, rows, &m.parents, m.puts), memory: m, account: account, version: version, lsn: lsn, now: now,
		Events: make([]Event, 0, m.events), Drift: map[string]*avro.Report{},
	}
}

// LSN returns the log sequence number of the last event.
func (g *Group) LSN() int64 { return g.lsn }

// Puts returns the new state records, in the order in which rows were first touched.
func (g *Group) Puts() []Put {
	out := make([]Put, len(g.rows.order))
	for i, ref := range g.rows.order {
		v := g.rows.records[ref]
		out[i] = Put{Ref: ref, Record: v.is, Was: v.was}
	}
	g.memory.events, g.memory.puts = len(g.Events), len(out)
	return out
}

// Add compares the unit with what was emitted before. The result says what must be
// read again; everything else is in the group then. An error means that the state
// could not be read, or that the unit is malformed, and that the group is void.
func (g *Group) Add(u *Unit) (cdc.Result, error) {
	a := adding{Group: g, u: u}
	before := len(g.Events)
	g.rows.parents.unit++
	if err := a.run(); err != nil {
		return cdc.Result{}, fmt.Errorf("compare %s: %w", u.Scan, err)
	}
	a.result.Events = len(g.Events) - before
	a.result.LSN = g.lsn
	return a.result, nil
}

// adding is the working state of one Add.
type adding struct {
	*Group
	u      *Unit
	result cdc.Result
	// refused are the unit's lists that were overtaken.
	refused map[cdc.List]bool
	// empty says of each of the unit's lists that nothing was under its parent before the unit.
	empty []bool
	// keys holds the keys of each complete list of the unit; nil until it is asked for.
	keys map[cdc.List]map[string]bool
	// served holds the parents under which the unit shows a row; nil until it is asked for.
	served map[cdc.Ref][]string
}

// servedBy returns the parents under which the unit shows a row, in lists that count.
func (a *adding) servedBy(ref cdc.Ref) []string {
	if a.served == nil {
		a.served = map[cdc.Ref][]string{}
		for _, r := range a.u.Rows {
			if r.Parent != "" && !a.refused[cdc.List{Table: r.Table, Parent: r.Parent}] {
				ref := cdc.Ref{Table: r.Table, Key: r.Key}
				a.served[ref] = append(a.served[ref], r.Parent)
			}
		}
	}
	return a.served[ref]
}

func (a *adding) run() error {
	a.empty = make([]bool, len(a.u.Lists))
	for i, l := range a.u.Lists {
		if a.memory.listOvertaken(l, a.u.Sent) {
			a.refuse(l)
		} else if l.Parent != "" {
			a.empty[i] = a.rows.empty(l)
		}
	}
	for _, gone := range a.u.Gone {
		if err := a.gone(gone); err != nil {
			return err
		}
	}
	for i := range a.u.Rows {
		if err := a.row(&a.u.Rows[i], &a.u.rows[i]); err != nil {
			return err
		}
	}
	for i, l := range a.u.Lists {
		if err := a.complete(l, a.empty[i]); err != nil {
			return err
		}
	}
	return nil
}

// refuse has a list read again.
func (a *adding) refuse(l cdc.List) {
	if a.refused == nil {
		a.refused = map[cdc.List]bool{}
	}
	a.refused[l] = true
	a.again(cdc.Again{Ref: cdc.Ref{Table: l.Table}, Parent: l.Parent})
}

// keysOf returns the keys of the rows that one of the unit's lists shows.
func (a *adding) keysOf(l cdc.List) map[string]bool {
	if a.keys == nil {
		a.keys = make(map[cdc.List]map[string]bool, len(a.u.Lists))
		for _, l := range a.u.Lists {
			a.keys[l] = nil
		}
		for _, r := range a.u.Rows {
			l := cdc.List{Table: r.Table, Parent: r.Parent}
			keys, ok := a.keys[l]
			if ok && keys == nil {
				keys = map[string]bool{}
				a.keys[l] = keys
			}
			if ok {
				keys[r.Key] = true
			}
		}
	}
	return a.keys[l]
}

func (a *adding) again(x cdc.Again) {
	if !slices.ContainsFunc(a.result.Again, func(y cdc.Again) bool { return x.Ref == y.Ref && x.Parent == y.Parent }) {
		a.result.Again = append(a.result.Again, x)
	}
}

func (a *adding) table(name string) (*Table, error) {
	t := a.tables[name]
	if t == nil {
		return nil, fmt.Errorf("unit names table %q, which is not selected", name)
	}
	return t, nil
}

// gone handles a row that Lever no longer serves.
func (a *adding) gone(g cdc.Gone) error {
	t, err := a.table(g.Table)
	if err != nil {
		return err
	}
	rec, err := a.rows.get(g.Ref)
	if err != nil {
		return err
	}
	if rec == nil || rec.Row == nil {
		if slices.Contains(a.u.Write, g.Ref) && len(a.servedBy(g.Ref)) == 0 {
			if a.memory.overtaken(g.Ref, a.u.Sent) {
				a.again(cdc.Again{Ref: g.Ref, Parent: g.From})
				return nil
			}
			a.emit(t, g.Key, avro.Delete, nil, nil, a.readAt())
			a.memory.wrote(g.Ref, a.u.Arrived)
		}
		if g.From == "" {
			a.memory.wrote(g.Ref, a.u.Arrived)
		}
		if rec != nil {
			a.rows.put(g.Ref, rec, nil) // only a dead letter was known of it
		}
		return nil
	}
	if a.memory.overtaken(g.Ref, a.u.Sent) {
		a.again(cdc.Again{Ref: g.Ref, Parent: rec.Parent})
		return nil
	}
	if g.From != "" && rec.Parent != g.From {
		a.unclaim(g.Ref, rec, g.From)
		return nil
	}
	if g.From != "" && a.otherParent(g.Ref, g.From) {
		return nil // the row moves when its other parent's list is looked at
	}
	if g.From != "" && len(rec.Claimants) > 0 && !a.claimantsRead(g.Table, rec) {
		a.again(cdc.Again{Ref: g.Ref, Parent: rec.Parent, Missing: true, Claimants: rec.Claimants})
		return nil
	}
	return a.delete(t, g.Ref, rec, g.At)
}

// otherParent says whether the unit shows the row under a parent other than from.
func (a *adding) otherParent(ref cdc.Ref, from string) bool {
	return slices.ContainsFunc(a.servedBy(ref), func(p string) bool { return p != from })
}

// claimantsRead says whether the unit holds the lists of all claimants.
func (a *adding) claimantsRead(table string, rec *state.Record) bool {
	for _, c := range rec.Claimants {
		l := cdc.List{Table: table, Parent: c}
		if !slices.Contains(a.u.Lists, l) || a.refused[l] {
			return false
		}
	}
	return true
}

// unfit says that what the unit shows of the row cannot become an event.
func (a *adding) unfit(ref cdc.Ref) bool {
	for i, r := range a.u.Rows {
		if e := &a.u.rows[i]; r.Table == ref.Table && r.Key == ref.Key && (e.fault != "" || e.table.tooLarge(len(e.row))) {
			return true
		}
	}
	return false
}

// delete deletes the row and everything under it. Nothing is deleted if a child is
// served by another parent that was not asked yet, or cannot move there yet: without an owner
// nothing would ever miss it.
func (a *adding) delete(t *Table, ref cdc.Ref, rec *state.Record, at time.Time) error {
	type child struct {
		ref cdc.Ref
		rec *state.Record
	}
	under := map[string][]child{}
	claimed := map[cdc.Ref]*state.Record{}
	wait := false
	for _, name := range t.Children {
		l := cdc.List{Table: name, Parent: ref.Key}
		children, err := a.rows.childrenOf(l, nil)
		if err != nil {
			return err
		}
		for _, key := range sorted(children) {
			c := child{cdc.Ref{Table: name, Key: key}, children[key]}
			moves := a.otherParent(c.ref, ref.Key)
			switch {
			case moves && a.memory.overtaken(c.ref, a.u.Sent):
				a.again(cdc.Again{Ref: c.ref, Parent: ref.Key, Missing: true, Claimants: c.rec.Claimants})
				wait = true
			case moves && !a.unfit(c.ref):
				// It moves there.
			case len(c.rec.Claimants) > 0 && !a.claimantsRead(name, c.rec):
				a.again(cdc.Again{Ref: c.ref, Parent: ref.Key, Missing: true, Claimants: c.rec.Claimants})
				wait = true
			default:
				under[name] = append(under[name], c)
			}
		}
		claims, err := a.rows.claimedBy(l, nil)
		if err != nil {
			return err
		}
		for key, rec := range claims {
			claimed[cdc.Ref{Table: name, Key: key}] = rec
		}
	}
	if wait {
		a.again(cdc.Again{Ref: ref, Parent: rec.Parent})
		return nil
	}
	for _, name := range t.Children {
		for _, c := range under[name] {
			if err := a.delete(a.tables[name], c.ref, c.rec, at); err != nil {
				return err
			}
		}
		a.memory.listed(cdc.List{Table: name, Parent: ref.Key}, a.u.Arrived)
	}
	for ref2, rec := range claimed {
		a.unclaim(ref2, rec, ref.Key)
	}
	before, err := t.Codec.Upgrade(rec.Schema, rec.Row)
	if err != nil {
		return err
	}
	if at.IsZero() {
		at = a.readAt()
	}
	a.emit(t, ref.Key, avro.Delete, before, nil, at)
	a.rows.put(ref, rec, nil)
	a.memory.wrote(ref, a.u.Arrived)
	return nil
}

// unclaim notes that the parent no longer serves a row that it does not own.
func (a *adding) unclaim(ref cdc.Ref, rec *state.Record, parent string) {
	if !contains(rec.Claimants, parent) {
		return
	}
	next := *rec
	next.Claimants = without(rec.Claimants, parent)
	a.rows.put(ref, rec, &next)
}

// complete checks a complete list against the rows that are known of it. empty says that there
// were none before the unit.
func (a *adding) complete(l cdc.List, empty bool) error {
	if a.refused[l] || l.Parent == "" {
		return nil
	}
	t, err := a.table(l.Table)
	if err != nil {
		return err
	}
	p, err := a.rows.parent(cdc.Ref{Table: t.Parent, Key: l.Parent})
	if err != nil || !p.recorded {
		return err
	}
	if empty || a.rows.bornNow(l) { // what is there now is of this unit
		a.memory.listed(l, a.u.Arrived)
		return nil
	}
	missing, err := a.rows.childrenOf(l, a.keysOf(l))
	if err != nil {
		return err
	}
	for _, key := range sorted(missing) {
		a.again(cdc.Again{Ref: cdc.Ref{Table: l.Table, Key: key}, Parent: l.Parent, Missing: true, Claimants: missing[key].Claimants})
	}
	claims, err := a.rows.claimedBy(l, a.keysOf(l))
	if err != nil {
		return err
	}
	for key, rec := range claims {
		a.unclaim(cdc.Ref{Table: l.Table, Key: key}, rec, l.Parent)
	}
	a.memory.listed(l, a.u.Arrived)
	return nil
}

// emit appends an event.
func (a *adding) emit(t *Table, key string, op avro.Op, before, after []byte, sourceTime time.Time) {
	a.lsn++
	a.Bytes += len(before) + len(after)
	snapshot := "false"
	switch {
	case t.Snapshot.Complete && op == avro.Read:
		snapshot = "incremental" // a row written under other rules for masking
	case !t.Snapshot.Complete:
		switch {
		case t.Snapshot.Kind != cdc.SnapshotFirst:
			snapshot = "incremental"
		case op == avro.Read:
			snapshot = "true"
		}
	}
	a.Events = append(a.Events, Event{Table: t, Key: key, Event: avro.Event{
		Op: op, Before: before, After: after, LSN: a.lsn,
		Time: a.now, SourceTime: sourceTime, Snapshot: snapshot, Account: a.account, Version: a.version,
	}})
}

func (a *adding) readAt() time.Time {
	if a.u.ReadAt.IsZero() {
		return a.now
	}
	return a.u.ReadAt
}

// letter puts a row aside, once per version of it.
func (a *adding) letter(r *cdc.Row, e *encoded, reason string) error {
	t := e.table
	body, err := json.Marshal(e.fields)
	if err != nil {
		return fmt.Errorf("table %s: a row that cannot become an event is no JSON either: %w", t.Name, err)
	}
	hash := sha256.Sum256(body)
	ref := cdc.Ref{Table: t.Name, Key: r.Key}
	if r.Key == "" {
		ref.Key = fmt.Sprintf("#keyless:%x", hash[:16])
	}
	rec, err := a.rows.get(ref)
	if err != nil {
		return err
	}
	if rec != nil && slices.Equal(rec.DeadHash, hash[:]) {
		return nil
	}
	next := state.Record{Schema: t.Codec.Version(), Parent: r.Parent, ReadAt: a.readAt()}
	if rec != nil {
		next = *rec
	}
	next.DeadHash = hash[:]
	a.rows.put(ref, rec, &next)
	a.Letters = append(a.Letters, Letter{Table: t, Key: r.Key, Parent: r.Parent, Reason: reason, Row: body, ReadAt: a.readAt()})
	return nil
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }

func without(list []string, s string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(x string) bool { return x == s })
}

func sorted(m map[string]*state.Record) []string {
	if len(m) == 0 {
		return nil
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
