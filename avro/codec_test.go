package avro

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/linkedin/goavro/v2"
	other "github.com/twmb/avro"

	"github.com/leverstream/leverstream/internal/cdc"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func record(t testing.TB, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

var opportunities = cdc.Table{Name: "opportunities", Key: "id"}

func newTestCodec(t testing.TB, table cdc.Table, f Format) *Codec {
	t.Helper()
	c, err := NewCodec(table, "lever."+table.Name, f, KeyAvro)
	if err != nil {
		t.Fatal(err)
	}
	c.SetIDs(7, 8)
	return c
}

// decodeRow reads a row with another Avro library.
func decodeRow(t testing.TB, c *Codec, row []byte) map[string]any {
	t.Helper()
	return decodeWith(t, c.current().Schema(), row)
}

func decodeWith(t testing.TB, schema string, b []byte) map[string]any {
	t.Helper()
	s, err := other.Parse(schema)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	rest, err := s.Decode(b, &v)
	if err != nil || len(rest) > 0 {
		t.Fatalf("decode: %v, %d bytes left", err, len(rest))
	}
	return v.(map[string]any)
}

func encode(t testing.TB, c *Codec, key, text string) ([]byte, Report) {
	t.Helper()
	row, report, err := c.EncodeRow(nil, cdc.Row{Table: c.table.Name, Key: key, Parent: "parent-1", Fields: record(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	sameAsGoavro(t, c, cdc.Row{Table: c.table.Name, Key: key, Parent: "parent-1", Fields: record(t, text)}, row, report)
	return row, report
}

func TestWhatDoesNotFitTheSchemaIsKeptInExtra(t *testing.T) {
	for _, test := range []struct {
		name, fields string
		extra        string         // expected _extra
		typed        map[string]any // expected fields
	}{
		{"nothing", `"name":"A"`, ``, map[string]any{"name": "A"}},
		{"an unknown field", `"foo":{"b":1,"a":[true,null]}`, `{"foo":{"a":[true,null],"b":1}}`, nil},
		{"an unknown field that is null", `"foo":null`, ``, nil},
		{"a field of a nested record", `"archived":{"reason":"r","foo":1}`, `{"archived.foo":1}`, nil},
		{"a field of a list's item", `"stageChanges":[{"toStageId":"a"},{"toStageId":"b","bar":"x"}]`, `{"stageChanges[1].bar":"x"}`, nil},
		{"a record that is text", `"archived":"yes"`, `{"archived":"yes"}`, map[string]any{"archived": nil}},
		{"a boolean that is text", `"isAnonymized":"true"`, `{"isAnonymized":"true"}`, map[string]any{"isAnonymized": nil}},
		{"text that is a number", `"name":5`, `{"name":5}`, map[string]any{"name": nil}},
		{"a list with an item of another type", `"emails":["a",5]`, `{"emails":["a",5]}`, map[string]any{"emails": nil}},
		{"a list with a null", `"emails":["a",null]`, `{"emails":["a",null]}`, map[string]any{"emails": nil}},
		{"a list that is none", `"emails":"a"`, `{"emails":"a"}`, map[string]any{"emails": nil}},
		{"an empty list", `"emails":[]`, ``, map[string]any{"emails": []any{}}},
		{"empty text", `"name":""`, ``, map[string]any{"name": ""}},
		{"a time that is a decimal string", `"createdAt":"1767225600000"`, ``, map[string]any{"createdAt": time.UnixMilli(1767225600000).UTC()}},
		{"a time that is other text", `"createdAt":"yesterday"`, `{"createdAt":"yesterday"}`, map[string]any{"createdAt": nil}},
		{"an integer with a fraction", `"createdAt":1.5`, `{"createdAt":1.5}`, map[string]any{"createdAt": nil}},
		{"an integer written with an exponent", `"createdAt":1.7e12`, ``, map[string]any{"createdAt": time.UnixMilli(1700000000000).UTC()}},
		{"an integer beyond 64 bits", `"createdAt":92233720368547758080`, `{"createdAt":92233720368547758080}`, map[string]any{"createdAt": nil}},
		{"an integer beyond 2^53 in a list's item", `"stageChanges":[{"toStageIndex":9007199254740993}]`, ``, nil},
		{"an integer that no double holds, with a point", `"createdAt":9007199254740993.0`, `{"createdAt":9007199254740993.0}`, map[string]any{"createdAt": nil}},
		{"an integer with a fraction that no double shows", `"createdAt":1.00000000000000000001`, `{"createdAt":1.00000000000000000001}`, map[string]any{"createdAt": nil}},
		{"an integer too small for a double", `"createdAt":1e-400`, `{"createdAt":1e-400}`, map[string]any{"createdAt": nil}},
		{"zero with an exponent", `"createdAt":0.0e-400`, ``, map[string]any{"createdAt": time.UnixMilli(0).UTC()}},
		{"a field called like the extra one", `"_extra":"x"`, `{"_extra":"x"}`, nil},
		{"HTML in an unknown field", `"foo":"<a&b>"`, `{"foo":"<a&b>"}`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newTestCodec(t, opportunities, Debezium)
			row, report := encode(t, c, "o1", `{"id":"o1",`+test.fields+`}`)
			got := decodeRow(t, c, row)
			extra, _ := got["_extra"].(string)
			if extra != test.extra {
				t.Errorf("_extra %s, want %s", extra, test.extra)
			}
			if (report.Unknown+report.Mistyped > 0) != (test.extra != "") || (len(report.Paths()) > 0) != (test.extra != "") {
				t.Errorf("report %+v", report)
			}
			for name, want := range test.typed {
				if fmt.Sprint(got[name]) != fmt.Sprint(want) {
					t.Errorf("%s is %v, want %v", name, got[name], want)
				}
			}
		})
	}
}

func TestLargeIntegersKeepEveryDigit(t *testing.T) {
	c := newTestCodec(t, cdc.Table{Name: "sources", Key: "text"}, Debezium)
	row, _ := encode(t, c, "s", `{"text":"s","count":9007199254740993}`)
	if got := decodeRow(t, c, row)["count"]; got != int64(9007199254740993) {
		t.Errorf("count %v", got)
	}
}

func TestNumbersThatADoubleCannotHoldAreKeptInExtra(t *testing.T) {
	c := newTestCodec(t, cdc.Table{Name: "postings", Key: "id"}, Debezium)
	row, _ := encode(t, c, "p", `{"id":"p","salaryRange":{"min":0.1,"max":9007199254740993}}`)
	got := decodeRow(t, c, row)
	if r := got["salaryRange"].(map[string]any); r["min"] != 0.1 || r["max"] != nil || got["_extra"] != `{"salaryRange.max":9007199254740993}` {
		t.Errorf("salaryRange %v, _extra %v", r, got["_extra"])
	}
	row, _ = encode(t, c, "p", `{"id":"p","salaryRange":{"min":1e-400,"max":4.94e-324}}`)
	if got := decodeRow(t, c, row)["_extra"]; got != `{"salaryRange.max":4.94e-324,"salaryRange.min":1e-400}` {
		t.Errorf("numbers near zero: _extra %v", got)
	}
}

func TestUnlimitedHeadcount(t *testing.T) {
	c := newTestCodec(t, cdc.Table{Name: "requisitions", Key: "id"}, Debezium)
	row, report := encode(t, c, "r", `{"id":"r","headcountTotal":"unlimited","approval":{"steps":[]},"customFields":{}}`)
	got := decodeRow(t, c, row)
	if got["headcountTotal"] != nil || got["headcountInfinite"] != true || got["_extra"] != nil || report.Mistyped != 0 {
		t.Errorf("total %v, infinite %v, _extra %v, report %+v", got["headcountTotal"], got["headcountInfinite"], got["_extra"], report)
	}
	if got["approval"] != `{"steps":[]}` || got["customFields"] != `{}` {
		t.Errorf("approval %v, customFields %v", got["approval"], got["customFields"])
	}
}

func TestChildrenCarryTheirParentsID(t *testing.T) {
	table := cdc.Table{Name: "candidate_offers", Key: "id", Parent: "candidates", ParentFields: []string{"opportunityId", "candidateId"}}
	c := newTestCodec(t, table, Debezium)
	row, report := encode(t, c, "f1", `{"id":"f1","opportunityId":"other"}`)
	got := decodeRow(t, c, row)
	if got["opportunityId"] != "other" || got["candidateId"] != "parent-1" || report.Unknown > 0 {
		t.Errorf("opportunityId %v, candidateId %v, report %+v", got["opportunityId"], got["candidateId"], report)
	}
}

func TestInvalidUTF8IsReplaced(t *testing.T) {
	c := newTestCodec(t, opportunities, Debezium)
	row, report, err := c.EncodeRow(nil, cdc.Row{Table: "opportunities", Key: "o1", Fields: map[string]any{"id": "o1", "name": "a\xffb"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := decodeRow(t, c, row)["name"]; got != "a\uFFFDb" || report.Sanitized != 1 {
		t.Errorf("name %q, report %+v", got, report)
	}
}

// What no UTF-8 can express is U+FFFD already when it comes out of encoding/json: bytes of
// another encoding, and halves of surrogate pairs, which is what cutting a text in the
// middle of an emoji leaves.
func TestTextThatArrivedDamagedIsCounted(t *testing.T) {
	for text, want := range map[string]int{
		`"name":"a\ud83d"`:                             1,
		"\"name\":\"a\xff\"":                           1,
		`"emails":["a\ud83d@example.test","b"]`:        1,
		`"phones":[{"value":"1\ude00"},{"value":"2"}]`: 1,
		`"name":"a\ud83d\ude00"`:                       0,
	} {
		c := newTestCodec(t, opportunities, Debezium)
		if _, report := encode(t, c, "o1", `{"id":"o1",`+text+`}`); report.Sanitized != want || report.Count() != want {
			t.Errorf("%q: report %+v, want %d", text, report, want)
		}
	}
	c := newTestCodec(t, cdc.Table{Name: "requisitions", Key: "id"}, Debezium)
	if _, report := encode(t, c, "r", `{"id":"r","customFields":{"a":"\ud83d","b":"\udbff"}}`); report.Sanitized != 1 {
		t.Errorf("report %+v: a field of free form is one text", report)
	}
}

func TestARowWithoutKeyIsRefused(t *testing.T) {
	c := newTestCodec(t, opportunities, Debezium)
	if _, _, err := c.EncodeRow(nil, cdc.Row{Fields: map[string]any{"name": "secret"}}); err != ErrNoKey {
		t.Errorf("error %v", err)
	}
}

func TestEnvelopesAreReadByAnotherLibrary(t *testing.T) {
	c := newTestCodec(t, opportunities, Debezium)
	before, _ := encode(t, c, "o1", `{"id":"o1","name":"A","stageChanges":[{"toStageId":"a","updatedAt":5}]}`)
	after, _ := encode(t, c, "o1", `{"id":"o1","name":"B","archived":{"reason":"x","archivedAt":1}}`)
	event := Event{
		Op: Update, Before: before, After: after, LSN: 1795460862043001, Snapshot: "false", Account: "default", Version: "v1",
		Time: time.UnixMicro(1_800_000_000_000_123), SourceTime: time.UnixMilli(1_700_000_000_000),
	}
	for _, test := range []struct {
		op            Op
		before, after []byte
	}{{Create, nil, after}, {Update, before, after}, {Delete, before, nil}} {
		event.Op, event.Before, event.After = test.op, test.before, test.after
		framed := c.AppendEvent(nil, event)
		if !bytes.Equal(framed[:5], []byte{0, 0, 0, 0, 8}) {
			t.Fatalf("frame %x", framed[:5])
		}
		got := decodeWith(t, c.ValueSchema(), framed[5:])
		if got["op"] != string(test.op) || (got["before"] == nil) != (test.before == nil) || (got["after"] == nil) != (test.after == nil) {
			t.Errorf("op %v, before %v, after %v", got["op"], got["before"], got["after"])
		}
		if a, ok := got["after"].(map[string]any); ok && a["name"] != "B" {
			t.Errorf("after %v", a)
		}
		source := got["source"].(map[string]any)
		want := map[string]any{
			"version": "v1", "connector": "lever", "name": "lever", "ts_ms": int64(1_700_000_000_000), "snapshot": "false",
			"db": "default", "sequence": nil, "ts_us": int64(1_700_000_000_000_000), "ts_ns": nil, "schema": "lever",
			"table": "opportunities", "txId": nil, "lsn": int64(1795460862043001), "xmin": nil,
		}
		if fmt.Sprint(source) != fmt.Sprint(want) {
			t.Errorf("source\nhave %v\nwant %v", source, want)
		}
		if got["ts_ms"] != int64(1_800_000_000_000) || got["ts_us"] != int64(1_800_000_000_000_123) || got["ts_ns"] != nil || got["transaction"] != nil {
			t.Errorf("times %v %v %v, transaction %v", got["ts_ms"], got["ts_us"], got["ts_ns"], got["transaction"])
		}
	}
}

func TestFlatEventsAreReadByAnotherLibrary(t *testing.T) {
	c := newTestCodec(t, opportunities, Flat)
	row, _ := encode(t, c, "o1", `{"id":"o1","name":"A"}`)
	framed := c.AppendEvent(nil, Event{Op: Delete, Before: row, LSN: 9, SourceTime: time.UnixMilli(5)})
	got := decodeWith(t, c.ValueSchema(), framed[5:])
	if got["name"] != "A" || got["__op"] != "d" || got["__deleted"] != true || got["__source_ts_ms"] != int64(5) || got["__lsn"] != int64(9) {
		t.Errorf("event %v", got)
	}
}

func TestKeys(t *testing.T) {
	c := newTestCodec(t, cdc.Table{Name: "sources", Key: "text"}, Debezium)
	key := c.AppendKey(nil, "Grüße")
	if got := decodeWith(t, c.KeySchema(), key[5:]); got["text"] != "Grüße" || !bytes.Equal(key[:5], []byte{0, 0, 0, 0, 7}) {
		t.Errorf("key %x: %v", key, got)
	}
	other, err := goavro.NewCodec(c.KeySchema())
	if err != nil {
		t.Fatal(err)
	}
	native, err := other.BinaryFromNative(nil, map[string]any{"text": "Grüße"})
	if err != nil || !bytes.Equal(native, key[5:]) {
		t.Errorf("goavro writes %x, %v", native, err)
	}
	plain, err := NewCodec(opportunities, "lever.opportunities", Debezium, KeyString)
	if err != nil {
		t.Fatal(err)
	}
	if got := plain.AppendKey(nil, "o1"); string(got) != "o1" || plain.KeySchema() != "" {
		t.Errorf("key %q, schema %q", got, plain.KeySchema())
	}
}

func TestFieldsOfEncodedRows(t *testing.T) {
	c := newTestCodec(t, opportunities, Debezium)
	a, _ := encode(t, c, "o1", `{"id":"o1","name":"A","emails":["x","y"],"archived":{"reason":"r"},"updatedAt":-5,"isAnonymized":true,"dataProtection":{"store":{"allowed":true}}}`)
	b, _ := encode(t, c, "o1", `{"id":"o1","name":"A","emails":["x"],"updatedAt":-5,"isAnonymized":false,"foo":1}`)
	changed, err := c.Changed(a, b)
	if err != nil || !slices.Equal(changed, []string{"emails", "archived", "isAnonymized", "dataProtection", "_extra"}) {
		t.Errorf("changed %v, %v", changed, err)
	}
	if n, ok := c.Long(a, "updatedAt"); n != -5 || !ok {
		t.Errorf("updatedAt %d %v", n, ok)
	}
	if v, ok := c.Bool(a, "isAnonymized"); !v || !ok {
		t.Errorf("isAnonymized %v %v", v, ok)
	}
	if v, ok := c.Bool(b, "isAnonymized"); v || !ok {
		t.Errorf("isAnonymized %v %v", v, ok)
	}
	for _, name := range []string{"createdAt", "name", "nope"} {
		if _, ok := c.Long(a, name); ok {
			t.Errorf("%s is a number", name)
		}
	}
	if _, err := c.Changed(a[:len(a)-1], b); err == nil {
		t.Error("a truncated row was compared")
	}
}

func TestRowsOfAnOlderSchemaAreUpgraded(t *testing.T) {
	v1 := `{"type":"record","name":"Value","fields":[{"name":"id","type":"string"},{"name":"a","type":["null","long"],"default":null},{"name":"_extra","type":["null","string"],"default":null}]}`
	v2 := strings.Replace(v1, `{"name":"_extra"`, `{"name":"b","type":["null","string"],"default":null},{"name":"_extra"`, 1)
	old, err := newCodec(fstest.MapFS{"schemas/things.avsc": {Data: []byte(v1)}}, cdc.Table{Name: "things", Key: "id"}, "lever.things", Debezium, KeyAvro)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCodec(fstest.MapFS{"schemas/things.1.avsc": {Data: []byte(v1)}, "schemas/things.avsc": {Data: []byte(v2)}},
		cdc.Table{Name: "things", Key: "id"}, "lever.things", Debezium, KeyAvro)
	if err != nil {
		t.Fatal(err)
	}
	row, _ := encode(t, old, "x", `{"id":"x","a":5}`)
	upgraded, err := c.Upgrade(old.Version(), row)
	if err != nil || c.Version() != 2 {
		t.Fatal(c.Version(), err)
	}
	same, _ := encode(t, c, "x", `{"id":"x","a":5}`)
	if !bytes.Equal(upgraded, same) {
		t.Errorf("upgraded %x, want %x", upgraded, same)
	}
	if _, err := old.Upgrade(2, row); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("a newer version: %v", err)
	}
}

func TestNamespacesFollowTheTopic(t *testing.T) {
	for topic, want := range map[string]string{
		"lever.opportunities": "lever.opportunities", "my-prefix.users": "my_prefix.users",
		"1a.2b": "_a._b", "a..b": "a._.b", "ä.x": "__.x",
	} {
		if got := namespace(topic); got != want {
			t.Errorf("%s: %s, want %s", topic, got, want)
		}
	}
}

// The schemas are frozen: a difference here breaks consumers.
func TestRegisteredSchemasAreAsReleased(t *testing.T) {
	for _, f := range []Format{Debezium, Flat} {
		c := newTestCodec(t, cdc.Table{Name: "stages", Key: "id"}, f)
		for name, text := range map[string]string{"stages-" + string(f) + "-value.json": c.ValueSchema(), "stages-key.json": c.KeySchema()} {
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if text+"\n" != string(want) {
				t.Errorf("%s differs; have\n%s", name, text)
			}
		}
	}
}

func FuzzEncodeRow(f *testing.F) {
	f.Add(`{"id":"o1","name":"A","emails":["x"],"stageChanges":[{"toStageId":"a","foo":[1,{"x":null}]}],"archived":{"archivedAt":"5"}}`)
	f.Add(`{"id":"o1","createdAt":1e400,"phones":[{"value":5}],"dataProtection":{"store":{"expiresAt":-1}}}`)
	f.Add(`{"id":"o1","":{"":[]},"_extra":{},"isAnonymized":0}`)
	f.Fuzz(func(t *testing.T, text string) {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		var m map[string]any
		if dec.Decode(&m) != nil {
			t.Skip()
		}
		c := newTestCodec(t, opportunities, Debezium)
		row, report, err := c.EncodeRow(nil, cdc.Row{Table: "opportunities", Key: "o1", Fields: m})
		if err != nil {
			t.Fatal(err)
		}
		decodeRow(t, c, row)
		sameAsGoavro(t, c, cdc.Row{Table: "opportunities", Key: "o1", Fields: m}, row, report)
		again, _, err := c.EncodeRow(nil, cdc.Row{Table: "opportunities", Key: "o1", Fields: m})
		if err != nil || !bytes.Equal(row, again) {
			t.Fatalf("equal records have other bytes (%v)", err)
		}
		if _, err := c.Changed(row, again); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzSkip(f *testing.F) {
	c := newTestCodec(f, opportunities, Debezium)
	row, _ := encode(f, c, "o1", `{"id":"o1","name":"A","emails":["x"],"stageChanges":[{"toStageId":"a"}]}`)
	f.Add(row)
	f.Add(bytes.Repeat([]byte{1}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Damaged rows are refused or read, never a panic or an endless loop.
		_, _ = c.Changed(b, b)
		_, _ = c.Long(b, "updatedAt")
		_, _ = c.Bool(b, "isAnonymized")
	})
}

const benchmarkRow = `{"id":"7d1c0a9e-52d4-4b1e-8f63-0c2b7a9f1001","name":"Ada Example","contact":"3e9b1f70-6a0f-4a9e-a5d2-9f0c4e7b2001","headline":"Example Works, Sample Labs","stage":"lead-reached-out","confidentiality":"non-confidential","location":"","phones":[{"type":"mobile","value":"(555) 010-0100"}],"emails":["ada@example.test"],"links":["https://example.test/ada"],"archived":null,"tags":["Platform Engineer","Engineering","Infrastructure","Berlin","Full-time"],"sources":["Referral"],"stageChanges":[{"toStageId":"lead-new","toStageIndex":0,"updatedAt":1767225600000},{"toStageId":"lead-reached-out","toStageIndex":1,"updatedAt":1767312000000,"userId":"5a7e0c11-8b1d-4c55-9d5e-2f6a1b3c3001"}],"origin":"sourced","sourcedBy":"5a7e0c11-8b1d-4c55-9d5e-2f6a1b3c3001","owner":"5a7e0c11-8b1d-4c55-9d5e-2f6a1b3c3001","followers":["5a7e0c11-8b1d-4c55-9d5e-2f6a1b3c3001"],"applications":["c4f2b8d0-1e3a-4d57-8a90-6b7c8d9e4001"],"createdAt":1767225600000,"updatedAt":1767312000363,"lastInteractionAt":1767312000362,"lastAdvancedAt":1767312000000,"snoozedUntil":null,"urls":{"list":"https://hire.lever.co/candidates","show":"https://hire.lever.co/candidates/7d1c0a9e-52d4-4b1e-8f63-0c2b7a9f1001"},"isAnonymized":false,"dataProtection":null,"opportunityLocation":"Berlin"}`

func BenchmarkEncodeRow(b *testing.B) {
	c := newTestCodec(b, opportunities, Debezium)
	row := cdc.Row{Table: "opportunities", Key: "7d1c0a9e-52d4-4b1e-8f63-0c2b7a9f1001", Fields: record(b, benchmarkRow)}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, _, err = c.EncodeRow(buf[:0], row); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkAppendEvent(b *testing.B) {
	c := newTestCodec(b, opportunities, Debezium)
	row, _ := encode(b, c, "o1", benchmarkRow)
	e := Event{Op: Update, Before: row, After: row, LSN: math.MaxInt32, Snapshot: "false", Time: time.Now(), SourceTime: time.Now()}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = c.AppendEvent(buf[:0], e)
	}
	b.SetBytes(int64(len(buf)))
}
