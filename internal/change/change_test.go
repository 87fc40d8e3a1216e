package change

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/state"
)

// memoryRows are the last emitted rows, as a map.
type memoryRows map[cdc.Ref]state.Record

func (m memoryRows) Get(table, key string) (state.Record, bool, error) {
	r, ok := m[cdc.Ref{Table: table, Key: key}]
	return r, ok, nil
}

func (m memoryRows) Children(table, parent string) ([]string, error) {
	return m.find(table, func(r state.Record) bool { return r.Parent == parent && r.Row != nil }), nil
}

func (m memoryRows) Claims(table, parent string) ([]string, error) {
	return m.find(table, func(r state.Record) bool { return slices.Contains(r.Claimants, parent) }), nil
}

func (m memoryRows) find(table string, is func(state.Record) bool) (keys []string) {
	for ref, r := range m {
		if ref.Table == table && is(r) {
			keys = append(keys, ref.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

// bench compares units one group at a time, and keeps the rows between them.
type bench struct {
	t      *testing.T
	tables map[string]*Table
	rows   memoryRows
	memory *Memory
	clock  *cdc.Clock
	lsn    int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, tables: map[string]*Table{}, rows: memoryRows{}, memory: NewMemory(), clock: cdc.NewClock(), lsn: 100}
	add := func(ct cdc.Table, children ...string) {
		codec, err := avro.NewCodec(ct, "lever."+ct.Name, avro.Debezium, avro.KeyString)
		if err != nil {
			t.Fatal(err)
		}
		b.tables[ct.Name] = &Table{Table: ct, Codec: codec, Children: children, MaxRecord: 1 << 20, Snapshot: cdc.Snapshot{Complete: true}}
	}
	add(cdc.Table{Name: "opportunities", Key: "id"}, "opportunity_offers")
	add(cdc.Table{Name: "opportunity_offers", Key: "id", Parent: "opportunities", ParentFields: []string{"opportunityId"}})
	add(cdc.Table{Name: "stages", Key: "id"})
	return b
}

// unit makes a unit that was asked for now and answered now.
func (b *bench) unit(rows ...cdc.Row) *cdc.Unit {
	return &cdc.Unit{Scan: "test", Rows: rows, Sent: b.clock.Now(), Arrived: b.clock.Now(), ReadAt: time.UnixMilli(1_800_000_000_000)}
}

func fields(t *testing.T, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (b *bench) opportunity(id, more string) cdc.Row {
	b.t.Helper()
	return cdc.Row{Table: "opportunities", Key: id, Fields: fields(b.t, `{"id":"`+id+`"`+more+`}`)}
}

func (b *bench) offer(id, parent, more string) cdc.Row {
	b.t.Helper()
	return cdc.Row{Table: "opportunity_offers", Key: id, Parent: parent, Fields: fields(b.t, `{"id":"`+id+`"`+more+`}`)}
}

// list says that the unit holds all offers of the parents.
func list(u *cdc.Unit, parents ...string) *cdc.Unit {
	for _, p := range parents {
		u.Lists = append(u.Lists, cdc.List{Table: "opportunity_offers", Parent: p})
	}
	return u
}

func gone(u *cdc.Unit, table, key, from string) *cdc.Unit {
	u.Gone = append(u.Gone, cdc.Gone{Ref: cdc.Ref{Table: table, Key: key}, From: from})
	return u
}

// commit compares the units as one group and returns it with the last unit's result.
func (b *bench) commit(units ...*cdc.Unit) (*Group, cdc.Result) {
	b.t.Helper()
	g := NewGroup(b.tables, b.rows, b.memory, "default", "test", b.lsn, time.UnixMilli(1_800_000_000_500))
	var last cdc.Result
	for _, u := range units {
		r, err := g.Add(Encode(b.tables, u))
		if err != nil {
			b.t.Fatal(err)
		}
		last = r
	}
	b.keep(g)
	return g, last
}

// keep takes over what the group has changed.
func (b *bench) keep(g *Group) {
	for _, p := range g.Puts() {
		if p.Record == nil {
			delete(b.rows, p.Ref)
		} else {
			b.rows[p.Ref] = *p.Record
		}
	}
	b.lsn = g.LSN()
}

// expect compares the units and checks which events and refusals they cause, written
// as "u opportunities o1" and "again missing opportunity_offers f1".
func (b *bench) expect(what string, want []string, units ...*cdc.Unit) *Group {
	b.t.Helper()
	before := b.lsn
	g, r := b.commit(units...)
	var have []string
	for _, e := range g.Events {
		have = append(have, fmt.Sprintf("%s %s %s", e.Op, e.Table.Name, e.Key))
		if e.LSN <= before {
			b.t.Errorf("%s: lsn %d does not grow", what, e.LSN)
		}
		before = e.LSN
	}
	for _, l := range g.Letters {
		have = append(have, "letter "+l.Table.Name+" "+l.Key)
	}
	for _, a := range r.Again {
		kind := "again"
		if a.Missing {
			kind = "again missing"
		}
		have = append(have, strings.TrimSpace(fmt.Sprintf("%s %s %s", kind, a.Table, a.Key)))
	}
	if !slices.Equal(have, want) {
		b.t.Errorf("%s:\nhave %q\nwant %q", what, have, want)
	}
	return g
}

func TestEqualRowsMakeNoEvent(t *testing.T) {
	b := newBench(t)
	b.expect("new", []string{"c opportunities o1"}, b.unit(b.opportunity("o1", `,"name":"A","foo":{"x":1,"a":2}`)))
	b.expect("equal, members in another order", nil, b.unit(b.opportunity("o1", `,"foo":{"a":2,"x":1},"name":"A"`)))
	g := b.expect("changed", []string{"u opportunities o1"}, b.unit(b.opportunity("o1", `,"name":"B","foo":{"x":1,"a":2}`)))
	changed, err := b.tables["opportunities"].Codec.Changed(g.Events[0].Before, g.Events[0].After)
	if err != nil || !slices.Equal(changed, []string{"name"}) {
		t.Errorf("changed %v, %v", changed, err)
	}
	b.expect("the same row twice in a group", []string{"u opportunities o1"},
		b.unit(b.opportunity("o1", `,"name":"C"`)), b.unit(b.opportunity("o1", `,"name":"C"`)))
}

func TestAnOlderReadNeverOverwritesANewerOne(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", `,"name":"A"`)))
	older := b.unit(b.opportunity("o1", `,"name":"A"`)) // sent before, arrives later
	b.commit(b.unit(b.opportunity("o1", `,"name":"B"`)))
	b.expect("older and different", []string{"again opportunities o1"}, older)
	b.expect("newer", []string{"u opportunities o1"}, b.unit(b.opportunity("o1", `,"name":"C"`)))

	older = b.unit(b.opportunity("o1", `,"name":"C"`))
	b.expect("deleted", []string{"d opportunities o1"}, gone(b.unit(), "opportunities", "o1", ""))
	b.expect("older than the delete", []string{"again opportunities o1"}, older)
	b.expect("created again", []string{"c opportunities o1"}, b.unit(b.opportunity("o1", `,"name":"C"`)))

	deletion := gone(b.unit(), "opportunities", "o1", "")
	b.commit(b.unit(b.opportunity("o1", `,"name":"D"`)))
	b.expect("a deletion older than the row", []string{"again opportunities o1"}, deletion)
}

// What a topic has lost is written again, if somebody asks for it by name, and nothing
// beside it.
func TestRowsAreWrittenAgainOnRequest(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", `,"name":"A"`), b.opportunity("o2", "")), list(b.unit(b.offer("f1", "o1", ""), b.offer("f2", "o1", "")), "o1"))
	wanting := func(u *cdc.Unit, table string, keys ...string) *cdc.Unit {
		for _, key := range keys {
			u.Write = append(u.Write, cdc.Ref{Table: table, Key: key})
		}
		return u
	}
	follow := b.rows[cdc.Ref{Table: "opportunities", Key: "o1"}].FollowLSN
	g := b.expect("equal", []string{"r opportunities o1"}, wanting(b.unit(b.opportunity("o1", `,"name":"A"`), b.opportunity("o2", "")), "opportunities", "o1"))
	if e := g.Events[0]; e.Snapshot != "incremental" || e.Before != nil {
		t.Errorf("%+v", e)
	}
	if r := b.rows[cdc.Ref{Table: "opportunities", Key: "o1"}]; r.FollowLSN != follow || r.LSN != b.lsn {
		t.Errorf("its children would be read again: %d, was %d", r.FollowLSN, follow)
	}
	b.expect("changed", []string{"u opportunities o1"}, wanting(b.unit(b.opportunity("o1", `,"name":"B"`)), "opportunities", "o1"))
	b.expect("one of a list", []string{"r opportunity_offers f2"}, wanting(list(b.unit(b.offer("f1", "o1", ""), b.offer("f2", "o1", "")), "o1"), "opportunity_offers", "f2"))
	b.expect("known and gone", []string{"d opportunities o2"}, wanting(gone(b.unit(), "opportunities", "o2", ""), "opportunities", "o2"))
	g = b.expect("gone, and never known", []string{"d opportunities o3"}, wanting(gone(b.unit(), "opportunities", "o3", ""), "opportunities", "o3"))
	if g.Events[0].Before != nil {
		t.Error("a row that nobody knows has no before")
	}
	b.expect("gone, and nobody asked", nil, gone(b.unit(), "opportunities", "o4", ""))
	older := wanting(gone(b.unit(), "opportunity_offers", "f9", "o1"), "opportunity_offers", "f9")
	b.commit(list(b.unit(b.offer("f9", "o1", "")), "o1"))
	b.expect("an older read", []string{"again opportunity_offers f9"}, older)
	b.expect("the list shows it after all", []string{"c opportunity_offers f8"},
		wanting(gone(list(b.unit(b.offer("f1", "o1", ""), b.offer("f2", "o1", ""), b.offer("f9", "o1", ""), b.offer("f8", "o1", "")), "o1"), "opportunity_offers", "f8", "o1"), "opportunity_offers", "f8"))
}

func TestMemoryForgetsWhatNoRequestCanBeOlderThan(t *testing.T) {
	b := newBench(t)
	read := b.clock.Begin()
	for i := range 10 {
		b.commit(b.unit(b.opportunity(fmt.Sprint("o", i), "")))
	}
	b.memory.Forget(b.clock.Oldest())
	if n := b.memory.Len(); n != 10 {
		t.Errorf("%d remembered while an older read is open, want 10", n)
	}
	b.clock.End(read)
	b.memory.Forget(b.clock.Oldest())
	if n := b.memory.Len(); n != 0 {
		t.Errorf("%d remembered, want none", n)
	}
}

func TestACompleteListThatLacksARowAsksBeforeItDeletes(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", "")), list(b.unit(b.offer("f1", "o1", ""), b.offer("f2", "o1", "")), "o1"))
	b.expect("f2 is missing", []string{"again missing opportunity_offers f2"}, list(b.unit(b.offer("f1", "o1", "")), "o1"))
	b.expect("confirmed", []string{"d opportunity_offers f2"}, gone(list(b.unit(b.offer("f1", "o1", "")), "o1"), "opportunity_offers", "f2", "o1"))
	b.expect("again: nothing", nil, list(b.unit(b.offer("f1", "o1", "")), "o1"))
}

func TestAnOlderListIsRefused(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", "")))
	older := list(b.unit(), "o1")
	b.commit(list(b.unit(b.offer("f1", "o1", "")), "o1"))
	b.expect("an empty list, asked for before", []string{"again opportunity_offers"}, older)
}

func TestAChildWithoutItsParentIsDropped(t *testing.T) {
	b := newBench(t)
	b.expect("no parent", nil, list(b.unit(b.offer("f1", "o1", "")), "o1"))
	b.expect("parent first", []string{"c opportunities o1", "c opportunity_offers f1"}, list(b.unit(b.opportunity("o1", ""), b.offer("f1", "o1", "")), "o1"))
}

// What is remembered of a parent is what the state says, from group to group and within one.
func TestParentsAreRememberedAsTheyAre(t *testing.T) {
	b := newBench(t)
	offers := func(more string) *cdc.Unit { return list(b.unit(b.offer("f1", "o1", more)), "o1") }
	b.expect("not there", nil, offers(""))
	b.expect("created", []string{"c opportunities o1"}, b.unit(b.opportunity("o1", `,"isAnonymized":false`)))
	b.expect("now it is", []string{"c opportunity_offers f1"}, offers(`,"status":"draft"`))
	b.expect("anonymised", []string{"d opportunities o1", "c opportunities o1"}, b.unit(b.opportunity("o1", `,"isAnonymized":true`)))
	b.expect("and known as that", []string{"d opportunity_offers f1", "c opportunity_offers f1"}, offers(`,"status":"sent"`))
	b.expect("deleted", []string{"d opportunity_offers f1", "d opportunities o1"}, gone(b.unit(), "opportunities", "o1", ""))
	b.expect("a list asked for after that", nil, offers(""))
	b.expect("all in one group", []string{"c opportunities o1", "c opportunity_offers f1", "d opportunity_offers f1", "d opportunities o1"},
		b.unit(b.opportunity("o1", "")), offers(""), gone(b.unit(), "opportunities", "o1", ""), offers(""))

	// More parents than are remembered.
	var many []cdc.Row
	for i := range 2*mostYoung + 1 {
		many = append(many, b.opportunity(fmt.Sprint("p", i), ""))
	}
	b.commit(b.unit(many...))
	if n := len(b.memory.parents.young) + len(b.memory.parents.old); n > 2*mostYoung {
		t.Errorf("%d parents are remembered", n)
	}
	b.expect("forgotten, not lost", []string{"c opportunity_offers f2"}, list(b.unit(b.offer("f2", "p0", "")), "p0"))
	b.expect("and remembered again", []string{"u opportunity_offers f2"}, list(b.unit(b.offer("f2", "p0", `,"status":"sent"`)), "p0"))
}

// Whatever comes, and in whatever order, what is remembered of parents changes nothing but the
// number of lookups.
func TestWhatIsRememberedOfParentsChangesNothing(t *testing.T) {
	looked := [2]int{}
	for seed := range uint64(300) {
		var logs [2][]string
		for forgetful := range 2 {
			random := rand.New(rand.NewPCG(seed, 0))
			b := newBench(t)
			id := func(kind string) string { return fmt.Sprint(kind, random.IntN(4)) }
			rows := counted{b.rows, &looked[forgetful]}
			for range 60 {
				g := NewGroup(b.tables, rows, b.memory, "default", "test", b.lsn, time.UnixMilli(1_800_000_000_500))
				for range 1 + random.IntN(3) {
					o, status := id("o"), fmt.Sprintf(`,"status":"%d"`, random.IntN(3))
					u := b.unit()
					switch random.IntN(4) {
					case 0:
						u.Rows = append(u.Rows, b.opportunity(o, status))
						if random.IntN(2) == 0 {
							u.Rows = append(u.Rows, b.offer(id("f"), o, status))
							list(u, o)
						}
					case 1:
						gone(u, "opportunities", o, "")
					case 2:
						gone(list(u, o), "opportunity_offers", id("f"), o)
					default:
						for range random.IntN(3) {
							u.Rows = append(u.Rows, b.offer(id("f"), o, status))
						}
						list(u, o)
					}
					r, err := g.Add(Encode(b.tables, u))
					if err != nil {
						t.Fatal(err)
					}
					logs[forgetful] = append(logs[forgetful], fmt.Sprint(r.Again))
				}
				for _, e := range g.Events {
					logs[forgetful] = append(logs[forgetful], fmt.Sprintf("%d %s %s %s", e.LSN, e.Op, e.Table.Name, e.Key))
				}
				b.keep(g)
				if forgetful == 1 {
					b.memory.parents = parents{}
				}
			}
		}
		if !slices.Equal(logs[0], logs[1]) {
			t.Fatalf("seed %d:\nremembering %q\nforgetting  %q", seed, logs[0], logs[1])
		}
	}
	if looked[0] >= looked[1] {
		t.Errorf("%d lookups of children and claims with what is remembered, %d without", looked[0], looked[1])
	}
}

// counted counts the lookups of children and claims.
type counted struct {
	memoryRows
	lookups *int
}

func (c counted) Children(table, parent string) ([]string, error) {
	*c.lookups++
	return c.memoryRows.Children(table, parent)
}

func (c counted) Claims(table, parent string) ([]string, error) {
	*c.lookups++
	return c.memoryRows.Claims(table, parent)
}

// A child that cannot move yet would stay behind without an owner: no list would ever miss it.
func TestADeletedOwnerWaitsForAChildThatCannotMoveYet(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", ""), b.opportunity("o2", "")),
		list(b.unit(b.offer("f1", "o1", "")), "o1"), list(b.unit(b.offer("f1", "o2", "")), "o2"))
	late := gone(list(b.unit(b.offer("f1", "o2", "")), "o2"), "opportunities", "o1", "")
	b.expect("meanwhile", []string{"u opportunity_offers f1"}, list(b.unit(b.offer("f1", "o1", `,"status":"sent"`)), "o1"))
	b.expect("overtaken", []string{"again missing opportunity_offers f1", "again opportunities o1", "again opportunity_offers f1"}, late)
	b.expect("read again", []string{"d opportunities o1", "u opportunity_offers f1"},
		gone(list(b.unit(b.offer("f1", "o2", `,"status":"sent"`)), "o2"), "opportunities", "o1", ""))
	b.expect("deleted", []string{"again missing opportunity_offers f1"}, list(b.unit(), "o2"))
}

// A child whose new version cannot become an event goes with its owner, and is put aside.
func TestADeletedOwnerTakesAChildThatCannotMove(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", ""), b.opportunity("o2", "")),
		list(b.unit(b.offer("f1", "o1", "")), "o1"), list(b.unit(b.offer("f1", "o2", "")), "o2"))
	large := `,"status":"` + strings.Repeat("x", 1<<20) + `"`
	b.expect("too large", []string{"d opportunity_offers f1", "d opportunities o1", "again opportunity_offers f1"},
		gone(list(b.unit(b.offer("f1", "o2", large)), "o2"), "opportunities", "o1", ""))
	b.expect("read again", []string{"letter opportunity_offers f1"}, list(b.unit(b.offer("f1", "o2", large)), "o2"))
	b.expect("smaller", []string{"c opportunity_offers f1"}, list(b.unit(b.offer("f1", "o2", "")), "o2"))
}

func TestADeletedParentTakesItsChildren(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", "")), list(b.unit(b.offer("f1", "o1", ""), b.offer("f2", "o1", "")), "o1"))
	late := list(b.unit(b.offer("f3", "o1", "")), "o1")
	b.expect("deleted", []string{"d opportunity_offers f1", "d opportunity_offers f2", "d opportunities o1"}, gone(b.unit(), "opportunities", "o1", ""))
	b.expect("its list arrives late", []string{"again opportunity_offers"}, late)
	if len(b.rows) != 0 {
		t.Errorf("left: %v", slices.Collect(maps.Keys(b.rows)))
	}
}

func TestARowServedByTwoParentsStaysWithTheFirst(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", ""), b.opportunity("o2", "")), list(b.unit(b.offer("f1", "o1", "")), "o1"))
	b.expect("claimed", nil, list(b.unit(b.offer("f1", "o2", "")), "o2"))
	b.expect("claimed again", nil, list(b.unit(b.offer("f1", "o2", "")), "o2"))
	if r := b.rows[cdc.Ref{Table: "opportunity_offers", Key: "f1"}]; r.Parent != "o1" || !slices.Equal(r.Claimants, []string{"o2"}) {
		t.Fatalf("parent %q, claimants %q", r.Parent, r.Claimants)
	}
	g, r := b.commit(list(b.unit(), "o1"))
	if len(g.Events) > 0 || len(r.Again) != 1 || !slices.Equal(r.Again[0].Claimants, []string{"o2"}) {
		t.Fatalf("the owner lets go: %d events, again %+v", len(g.Events), r.Again)
	}
	b.expect("it moves", []string{"u opportunity_offers f1"},
		gone(list(b.unit(b.offer("f1", "o2", "")), "o1", "o2"), "opportunity_offers", "f1", "o1"))
	if r := b.rows[cdc.Ref{Table: "opportunity_offers", Key: "f1"}]; r.Parent != "o2" || len(r.Claimants) > 0 {
		t.Errorf("parent %q, claimants %q", r.Parent, r.Claimants)
	}
}

func TestADeletedOwnerWaitsForTheClaimants(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", ""), b.opportunity("o2", "")),
		list(b.unit(b.offer("f1", "o1", "")), "o1"), list(b.unit(b.offer("f1", "o2", "")), "o2"))
	b.expect("nothing is deleted yet", []string{"again missing opportunity_offers f1", "again opportunities o1"}, gone(b.unit(), "opportunities", "o1", ""))
	b.expect("it moves, then its owner goes", []string{"d opportunities o1", "u opportunity_offers f1"},
		gone(list(b.unit(b.offer("f1", "o2", "")), "o2"), "opportunities", "o1", ""))
	b.expect("the last parent goes", []string{"d opportunity_offers f1", "d opportunities o2"}, gone(b.unit(), "opportunities", "o2", ""))
}

func TestAnonymisedRowsAreNeverUpdated(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", `,"name":"A","isAnonymized":false`)), list(b.unit(b.offer("f1", "o1", `,"status":"sent"`)), "o1"))
	b.expect("anonymised", []string{"d opportunities o1", "c opportunities o1"}, b.unit(b.opportunity("o1", `,"name":"","isAnonymized":true`)))
	b.expect("changed later", []string{"d opportunities o1", "c opportunities o1"}, b.unit(b.opportunity("o1", `,"name":"","isAnonymized":true,"stage":"x"`)))
	b.expect("a child", []string{"d opportunity_offers f1", "c opportunity_offers f1"}, list(b.unit(b.offer("f1", "o1", `,"status":"denied"`)), "o1"))
}

func TestRowsOfTheFirstSnapshotAreReads(t *testing.T) {
	b := newBench(t)
	b.tables["opportunities"].Snapshot = cdc.Snapshot{}
	g := b.expect("open", []string{"r opportunities o1"}, b.unit(b.opportunity("o1", "")))
	if s := g.Events[0].Snapshot; s != "true" {
		t.Errorf("snapshot %q", s)
	}
	g = b.expect("changed meanwhile", []string{"u opportunities o1"}, b.unit(b.opportunity("o1", `,"name":"A"`)))
	if s := g.Events[0].Snapshot; s != "false" {
		t.Errorf("snapshot %q", s)
	}
	b.tables["opportunities"].Snapshot = cdc.Snapshot{Complete: true}
	b.expect("complete", []string{"c opportunities o2"}, b.unit(b.opportunity("o2", "")))
}

func TestASnapshotOfAllRowsWritesEachOnce(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("o1", ""), b.opportunity("o2", "")))
	b.tables["opportunities"].Snapshot = cdc.Snapshot{Kind: cdc.SnapshotAll, Since: b.lsn}
	g := b.expect("once", []string{"r opportunities o1", "r opportunities o2", "r opportunities o3"},
		b.unit(b.opportunity("o1", ""), b.opportunity("o2", `,"name":"B"`), b.opportunity("o3", "")))
	for _, e := range g.Events {
		if e.Snapshot != "incremental" || e.Before != nil {
			t.Errorf("%s: snapshot %q, before %d bytes", e.Key, e.Snapshot, len(e.Before))
		}
	}
	b.expect("not twice", nil, b.unit(b.opportunity("o1", ""), b.opportunity("o2", `,"name":"B"`)))
	b.tables["opportunities"].Snapshot = cdc.Snapshot{Kind: cdc.SnapshotIncremental}
	b.expect("an incremental one writes differences", []string{"u opportunities o1"}, b.unit(b.opportunity("o1", `,"name":"A"`), b.opportunity("o2", `,"name":"B"`)))
}

func TestOnlyChangesThatMatterToChildrenAreFollowed(t *testing.T) {
	b := newBench(t)
	_, r := b.commit(b.unit(b.opportunity("o1", `,"name":"A","tags":["x"],"updatedAt":1`)))
	ref := cdc.Ref{Table: "opportunities", Key: "o1"}
	if !slices.Equal(r.Changed, []cdc.Ref{ref}) {
		t.Errorf("changed %v", r.Changed)
	}
	followed := b.rows[ref].FollowLSN
	_, r = b.commit(b.unit(b.opportunity("o1", `,"name":"A","tags":["y"],"updatedAt":2`)))
	if rec := b.rows[ref]; len(r.Changed) > 0 || rec.FollowLSN != followed || rec.LSN == followed {
		t.Errorf("tags and updatedAt alone: changed %v, lsn %d, follow lsn %d, was %d", r.Changed, rec.LSN, rec.FollowLSN, followed)
	}
	_, r = b.commit(b.unit(b.opportunity("o1", `,"name":"B","tags":["y"],"updatedAt":2`)))
	if rec := b.rows[ref]; len(r.Changed) != 1 || rec.FollowLSN != rec.LSN {
		t.Errorf("the name: changed %v, lsn %d, follow lsn %d", r.Changed, rec.LSN, rec.FollowLSN)
	}
}

func TestRowsThatCannotBecomeEventsAreLettersOnce(t *testing.T) {
	b := newBench(t)
	noKey := func(text string) *cdc.Unit {
		return b.unit(cdc.Row{Table: "stages", Fields: fields(t, text)})
	}
	b.expect("no key", []string{"letter stages "}, noKey(`{"text":"A"}`))
	b.expect("the same again", nil, noKey(`{"text":"A"}`))
	b.expect("another", []string{"letter stages "}, noKey(`{"text":"B"}`))

	b.tables["stages"].MaxRecord = 4000
	stage := func(n int) *cdc.Unit {
		return b.unit(cdc.Row{Table: "stages", Key: "s1", Fields: fields(t, `{"id":"s1","text":"`+strings.Repeat("x", n)+`"}`)})
	}
	b.expect("fits", []string{"c stages s1"}, stage(2000))
	b.expect("too large with before and after", []string{"d stages s1", "c stages s1"}, stage(2001))
	b.expect("too large by itself", []string{"letter stages s1"}, stage(4000))
	b.expect("the same again", nil, stage(4000))
	b.expect("fits again", []string{"u stages s1"}, stage(20))
	b.expect("too large once more", []string{"letter stages s1"}, stage(4000))
}

func TestUnitsOfUnknownTablesAreRefused(t *testing.T) {
	b := newBench(t)
	g := NewGroup(b.tables, b.rows, b.memory, "default", "test", 0, time.Now())
	if _, err := g.Add(Encode(b.tables, b.unit(cdc.Row{Table: "nope", Key: "x"}))); err == nil || !strings.Contains(err.Error(), "nope") {
		t.Errorf("error %v", err)
	}
}

func TestAPutSaysWhatTheStateHeldBeforeTheGroup(t *testing.T) {
	b := newBench(t)
	b.commit(b.unit(b.opportunity("a", ``), b.opportunity("b", ``)))
	before := b.rows[cdc.Ref{Table: "opportunities", Key: "a"}]
	g, _ := b.commit(b.unit(b.opportunity("a", `,"name":"1"`)), b.unit(b.opportunity("a", `,"name":"2"`), b.opportunity("c", ``)), gone(b.unit(), "opportunities", "b", ""))
	want := map[string]bool{"a": true, "b": true, "c": false}
	for _, p := range g.Puts() {
		if (p.Was != nil) != want[p.Key] {
			t.Errorf("%s: was %v", p.Key, p.Was)
		}
		if p.Key == "a" && !slices.Equal(p.Was.Row, before.Row) {
			t.Error("a: what it was is from within the group")
		}
		delete(want, p.Key)
	}
	if len(want) > 0 {
		t.Errorf("no put of %v", want)
	}
}
