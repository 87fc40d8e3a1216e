package change

import (
	"bytes"
	"testing"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/mask"
	"github.com/leverstream/leverstream/internal/state"
)

// masked puts rules in force for rows that were written without them.
func (b *bench) masked(exclude ...string) {
	b.t.Helper()
	var tables []cdc.Table
	for _, t := range b.tables {
		tables = append(tables, t.Table)
	}
	rules, err := mask.New(tables, exclude, nil, "")
	if err != nil {
		b.t.Fatal(err)
	}
	for name, t := range b.tables {
		t.Mask, t.MaskedSince = rules.Table(name), b.lsn
	}
}

// secret says whether the group gives SECRET to anybody.
func (b *bench) secret(g *Group) bool {
	var all []byte
	for _, e := range g.Events {
		all = append(append(all, e.Before...), e.After...)
	}
	for _, l := range g.Letters {
		all = append(append(all, l.Row...), l.Reason...)
	}
	for _, p := range g.Puts() {
		if p.Record != nil {
			all = append(all, state.AppendRecord(nil, *p.Record)...)
		}
	}
	return bytes.Contains(all, []byte("SECRET"))
}

func TestMaskedFieldsGoNowhere(t *testing.T) {
	b := newBench(t)
	b.masked("opportunities.name", "opportunities._extra", "opportunity_offers.fields")
	const more = `,"name":"SECRET","stage":"a","news":"SECRET"`
	for _, g := range []*Group{
		b.expect("new", []string{"c opportunities o1"}, b.unit(b.opportunity("o1", more))),
		b.expect("only masked fields differ", nil, b.unit(b.opportunity("o1", `,"name":"SECRET2","stage":"a"`))),
		b.expect("changed", []string{"u opportunities o1"}, b.unit(b.opportunity("o1", `,"name":"SECRET2","stage":"b"`))),
		b.expect("no key", []string{"letter opportunities "}, b.unit(cdc.Row{Table: "opportunities", Fields: fields(t, `{"name":"SECRET","news":"SECRET","stage":"c"}`)})),
		b.expect("deleted", []string{"d opportunities o1"}, gone(b.unit(), "opportunities", "o1", "")),
	} {
		if b.secret(g) {
			t.Error("a masked value came out")
		}
	}
}

func TestRowsWrittenUnderOtherRulesAreWrittenAgain(t *testing.T) {
	b := newBench(t)
	const more = `,"name":"SECRET","stage":"a"`
	big := `,"name":"SECRET","stage":"` + string(bytes.Repeat([]byte("x"), 2<<20)) + `"`
	for _, id := range []string{"o1", "o2", "o3", "o4"} {
		b.commit(b.unit(b.opportunity(id, more)))
	}
	b.commit(list(b.unit(b.offer("f1", "o1", `,"fields":[{"value":"SECRET"}]`)), "o1"))
	b.masked("opportunities.name", "opportunity_offers.fields")
	for _, g := range []*Group{
		b.expect("equal", []string{"r opportunities o1"}, b.unit(b.opportunity("o1", more))),
		b.expect("equal again", nil, b.unit(b.opportunity("o1", more))),
		b.expect("changed", []string{"r opportunities o2"}, b.unit(b.opportunity("o2", `,"name":"SECRET","stage":"b"`))),
		b.expect("deleted before it was written again", []string{"d opportunities o3"}, gone(b.unit(), "opportunities", "o3", "")),
		b.expect("another parent claims it before", nil, list(b.unit(b.offer("f1", "o2", `,"fields":[{"value":"SECRET"}]`)), "o2")),
		b.expect("written again after the claim", []string{"r opportunity_offers f1"}, list(b.unit(b.offer("f1", "o1", `,"fields":[{"value":"SECRET"}]`)), "o1")),
		b.expect("too large to be written again", []string{"r opportunities o4", "letter opportunities o4"}, b.unit(b.opportunity("o4", big))),
	} {
		if b.secret(g) {
			t.Error("a masked value came out")
		}
		for _, e := range g.Events {
			if e.Op == avro.Read && (e.Before != nil || e.Snapshot != "incremental") {
				t.Errorf("%s %s: snapshot %s, before %d bytes", e.Op, e.Key, e.Snapshot, len(e.Before))
			}
		}
	}
	for ref, rec := range b.rows {
		if bytes.Contains(rec.Row, []byte("SECRET")) {
			t.Errorf("%v is stored with a masked value", ref)
		}
	}
}
