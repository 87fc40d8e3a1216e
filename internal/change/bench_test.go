package change

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/lever"
	"github.com/leverstream/leverstream/internal/sandbox"
	"github.com/leverstream/leverstream/internal/state"
)

// load is one page of a hundred opportunities with everything under them, as the
// simulated Lever serves it, parsed: some six hundred rows of ten tables.
type load struct {
	tables map[string]*Table
	unit   *cdc.Unit
	rows   memoryRows
}

func newLoad(b *testing.B) *load {
	b.Helper()
	server := sandbox.New(sandbox.Options{Opportunities: 100, Seed: 1})
	client, err := lever.New(lever.Config{
		BaseURL: "http://lever.test/v1", Token: func() (string, error) { return "key", nil }, Rate: 1e6, Burst: 1e6, Concurrency: 1,
		Clock: cdc.NewClock(), Transport: transport(func(r *http.Request) *http.Response {
			w := httptest.NewRecorder()
			server.ServeHTTP(w, r)
			return w.Result()
		}),
	})
	if err != nil {
		b.Fatal(err)
	}
	l := &load{tables: map[string]*Table{}, unit: &cdc.Unit{Scan: "bench", ReadAt: time.UnixMilli(1_800_000_000_000)}, rows: memoryRows{}}
	for _, ct := range extractor.Tables() {
		codec, err := avro.NewCodec(ct, "lever."+ct.Name, avro.Debezium, avro.KeyAvro)
		if err != nil {
			b.Fatal(err)
		}
		l.tables[ct.Name] = &Table{Table: ct, Codec: codec, MaxRecord: 8 << 20, Snapshot: cdc.Snapshot{Complete: true}}
		if ct.Parent != "" {
			l.tables[ct.Parent].Children = append(l.tables[ct.Parent].Children, ct.Name)
		}
	}
	get := func(path string, q map[string][]string) []map[string]any {
		p, err := client.Get(b.Context(), cdc.Request{Path: path, Limit: 100, Query: q})
		if err != nil && path == "/opportunities" {
			b.Fatal(err)
		}
		return p.Data
	}
	add := func(table, parent string, recs []map[string]any) {
		for _, rec := range recs {
			id, _ := rec["id"].(string)
			l.unit.Rows = append(l.unit.Rows, cdc.Row{Table: table, Key: id, Parent: parent, Fields: rec})
		}
		if parent != "" {
			l.unit.Lists = append(l.unit.Lists, cdc.List{Table: table, Parent: parent})
		}
	}
	plain := get("/opportunities", map[string][]string{"confidentiality": {"all"}})
	add("opportunities", "", plain)
	add("candidates", "", plain)
	for _, rec := range get("/opportunities", map[string][]string{"confidentiality": {"all"}, "expand": {"applications"}}) {
		id, _ := rec["id"].(string)
		var applications []map[string]any
		list, _ := rec["applications"].([]any)
		for _, a := range list {
			m, _ := a.(map[string]any)
			applications = append(applications, m)
		}
		for kind, recs := range map[string][]map[string]any{
			"applications": applications,
			"offers":       get("/opportunities/"+id+"/offers", nil), "referrals": get("/opportunities/"+id+"/referrals", nil), "resumes": get("/opportunities/"+id+"/resumes", nil),
		} {
			add("opportunity_"+kind, id, recs)
			add("candidate_"+kind, id, recs)
		}
	}
	return l
}

type transport func(*http.Request) *http.Response

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r), nil }

// emitted puts the rows into the state, but for every n-th, which is left as if it had
// been another.
func (l *load) emitted(b *testing.B, n int) {
	b.Helper()
	g := NewGroup(l.tables, l.rows, NewMemory(), "default", "bench", 1, time.UnixMilli(1_800_000_000_000))
	if _, err := g.Add(Encode(l.tables, l.unit)); err != nil {
		b.Fatal(err)
	}
	for i, p := range g.Puts() {
		rec := *p.Record
		if n > 0 && i%n == 0 {
			t := l.tables[p.Table]
			other := cdc.Row{Table: p.Table, Key: p.Key, Parent: rec.Parent, Fields: map[string]any{"id": p.Key}}
			row, _, err := t.Codec.EncodeRow(nil, other)
			if err != nil {
				b.Fatal(err)
			}
			rec.Row = row
		}
		l.rows[p.Ref] = rec
	}
}

// indexed are rows that know their children without looking at all of them.
type indexed struct {
	memoryRows
	children map[cdc.List][]string
}

func (l *load) indexed() indexed {
	x := indexed{l.rows, map[cdc.List][]string{}}
	for ref, rec := range l.rows {
		if rec.Parent != "" {
			k := cdc.List{Table: ref.Table, Parent: rec.Parent}
			x.children[k] = append(x.children[k], ref.Key)
		}
	}
	return x
}

func (x indexed) Children(table, parent string) ([]string, error) {
	return x.children[cdc.List{Table: table, Parent: parent}], nil
}

func (indexed) Claims(string, string) ([]string, error) { return nil, nil }

// BenchmarkUnchanged compares rows of which none has changed: from the parsed page to
// "no event".
func BenchmarkUnchanged(b *testing.B) { compare(b, 0) }

// BenchmarkCompare is change detection with one row in ten changed, events encoded.
func BenchmarkCompare(b *testing.B) { compare(b, 10) }

func compare(b *testing.B, n int) {
	b.Helper()
	l := newLoad(b)
	l.emitted(b, n)
	rows := l.indexed()
	var out []byte
	events := 0
	b.ReportAllocs()
	for b.Loop() {
		g := NewGroup(l.tables, rows, NewMemory(), "default", "bench", 1, time.UnixMilli(1_800_000_000_000))
		if _, err := g.Add(Encode(l.tables, l.unit)); err != nil {
			b.Fatal(err)
		}
		for i := range g.Events {
			e := &g.Events[i]
			out = e.Table.Codec.AppendKey(out[:0], e.Key)
			out = e.Table.Codec.AppendEvent(out, e.Event)
		}
		for _, p := range g.Puts() {
			out = state.AppendRecord(out[:0], *p.Record)
		}
		events = len(g.Events)
	}
	perRow(b, len(l.unit.Rows))
	b.ReportMetric(float64(events)/float64(len(l.unit.Rows)), "events/row")
}

// perRow reports what one row costs.
func perRow(b *testing.B, rows int) {
	b.Helper()
	each := float64(b.N * rows)
	b.ReportMetric(each/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/each, "ns/row")
}
