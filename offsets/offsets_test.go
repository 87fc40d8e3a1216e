package offsets

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

var whole = Incarnation{
	TopicID: "a", StateTopicID: "b", Partitions: 6, Format: "debezium", KeyFormat: "avro", KeySchemaID: 7,
	SchemaVersion: 1, Confidentiality: "all", APIHost: "api.lever.co",
}

func TestBookmarksSurviveARoundTrip(t *testing.T) {
	for _, b := range []Bookmark{
		{Version: 1, Sections: map[string]json.RawMessage{}},
		{Version: 1, LSN: 1795460862043001, Incarnation: &whole, Sections: map[string]json.RawMessage{
			"snapshot": json.RawMessage(`{"complete":true}`), "children.offers": json.RawMessage(`{"lsn":5}`), "<&>": json.RawMessage(`[1,"<"]`),
		}},
	} {
		raw, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(raw)
		if err != nil || !reflect.DeepEqual(got, b) {
			t.Errorf("%s: have %+v, %v", raw, got, err)
		}
	}
}

func TestABookmarkIsMadeToBeRead(t *testing.T) {
	b := Bookmark{LSN: 5, Sections: map[string]json.RawMessage{"snapshot": json.RawMessage(` {"complete": true} `), "full": json.RawMessage(`{"at":1}`)}}
	raw, err := b.Marshal()
	if want := `{"version":1,"lsn":5,"full":{"at":1},"snapshot":{"complete":true}}`; err != nil || string(raw) != want {
		t.Errorf("have %s, %v\nwant %s", raw, err, want)
	}
}

func TestWhatCannotBeUnderstoodIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ value, says string }{
		"nothing":             {``, "damaged"},
		"cut off":             {`{"version":1,"lsn":5,"snap`, "damaged"},
		"no object":           {`[1]`, "damaged"},
		"two objects":         {`{"version":1}{}`, "damaged"},
		"no version":          {`{"lsn":5}`, "no version"},
		"a newer version":     {`{"version":2}`, "newer version of the program"},
		"a member twice":      {`{"version":1,"lsn":5,"lsn":6}`, "twice"},
		"an lsn that is text": {`{"version":1,"lsn":"5"}`, "lsn"},
		"a negative lsn":      {`{"version":1,"lsn":-5}`, "negative"},
		"a bad incarnation":   {`{"version":1,"incarnation":[]}`, "incarnation"},
	} {
		_, err := Parse([]byte(test.value))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v", name, err)
		} else if !strings.Contains(err.Error(), "remove the bookmark") && !strings.Contains(err.Error(), "use that version") {
			t.Errorf("%s: the error does not say what to do: %v", name, err)
		}
	}
}

func TestApplyLeavesTheOriginalAlone(t *testing.T) {
	before := Bookmark{Version: 1, Sections: map[string]json.RawMessage{"a": json.RawMessage(`1`), "b": json.RawMessage(`2`)}}
	after, err := before.Apply(cdc.Change{Section: "a", Value: json.RawMessage(` { "x" : 1 } `)})
	if err != nil || string(after.Sections["a"]) != `{"x":1}` || string(after.Sections["b"]) != `2` || string(before.Sections["a"]) != `1` {
		t.Errorf("after %s, before %s, %v", after.Sections, before.Sections, err)
	}
	if removed, err := after.Apply(cdc.Change{Section: "b"}); err != nil || removed.Sections["b"] != nil || after.Sections["b"] == nil {
		t.Errorf("removed %s, after %s, %v", removed.Sections, after.Sections, err)
	}
	for _, name := range []string{"", "version", "lsn", "incarnation"} {
		if _, err := before.Apply(cdc.Change{Section: name, Value: json.RawMessage(`1`)}); err == nil {
			t.Errorf("section %q was accepted", name)
		}
	}
	if _, err := before.Apply(cdc.Change{Section: "a", Value: json.RawMessage(`{`)}); err == nil {
		t.Error("damaged JSON was accepted")
	}
}

func TestSnapshot(t *testing.T) {
	b := Bookmark{Sections: map[string]json.RawMessage{"snapshot": json.RawMessage(`{"complete":false,"kind":"all","since":7,"token":"x"}`)}}
	if s, err := b.Snapshot(); err != nil || s != (cdc.Snapshot{Kind: cdc.SnapshotAll, Since: 7}) {
		t.Errorf("have %+v, %v", s, err)
	}
	if s, err := (Bookmark{}).Snapshot(); err != nil || s != (cdc.Snapshot{}) {
		t.Errorf("have %+v, %v", s, err)
	}
	b.Sections["snapshot"] = json.RawMessage(`"yes"`)
	if _, err := b.Snapshot(); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("error %v", err)
	}
}

func TestEveryPartOfAnIncarnationIsCompared(t *testing.T) {
	if d := whole.Diff(whole); len(d) > 0 {
		t.Errorf("equal ones differ in %v", d)
	}
	breaking := map[string]bool{"partitions": true, "format": true, "key_format": true, "key_schema_id": true}
	v := reflect.TypeFor[Incarnation]()
	for i := range v.NumField() {
		other := whole
		f := reflect.ValueOf(&other).Elem().Field(i)
		if f.Kind() == reflect.String {
			f.SetString("other")
		} else {
			f.SetInt(99)
		}
		name, _, _ := strings.Cut(v.Field(i).Tag.Get("json"), ",")
		d := whole.Diff(other)
		if name == "masked_since" { // says how far the work is, not what it depends on
			if len(d) > 0 {
				t.Errorf("%s: %v", name, d)
			}
			continue
		}
		if len(d) != 1 || d[0].Field != name || d[0].Breaking() != breaking[name] || !strings.Contains(d[0].String(), name) {
			t.Errorf("%s: %v", name, d)
		}
	}
}

func TestKeys(t *testing.T) {
	if got := string(Key("default", "stages")); got != `["default",{"table":"stages"}]` {
		t.Errorf("key %s", got)
	}
	if got := string(OwnerKey("a&b")); got != `["a&b",{"owner":true}]` {
		t.Errorf("key %s", got)
	}
	for _, bad := range []string{``, `{}`, `["a"]`, `["a",{}]`, `["",{"table":"x"}]`, `["a",{"table":""}]`, `["a",{"table":"x","owner":true}]`, `["a",{"other":1}]`, `[1,{"table":"x"}]`} {
		if k, err := ParseKey([]byte(bad)); err == nil {
			t.Errorf("%s was read as %+v", bad, k)
		}
	}
}

func TestAnOwnerIsFreshWhileItRenews(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	owner := func(age time.Duration, released bool) Owner {
		return Owner{Instance: "x", Renewed: now.Add(-age).UnixMilli(), Released: released}
	}
	for _, test := range []struct {
		name  string
		owner Owner
		want  bool
	}{
		{"just renewed", owner(0, false), true},
		{"nearly too old", owner(44*time.Second, false), true},
		{"too old", owner(45*time.Second, false), false},
		{"released", owner(0, true), false},
		{"from a clock that is ahead", owner(-30*time.Second, false), true},
		{"from a clock that is wrong", owner(-time.Hour, false), false},
	} {
		if got := test.owner.FreshAt(now, 45*time.Second); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	raw, err := owner(0, true).Marshal()
	if got, perr := ParseOwner(raw); err != nil || perr != nil || got != owner(0, true) {
		t.Errorf("%s: %+v %v %v", raw, got, err, perr)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"instance":5}`} {
		if _, err := ParseOwner([]byte(bad)); err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"lsn":5,"incarnation":{"topic_id":"a","partitions":6},"snapshot":{"complete":true},"children.offers":{"lsn":5,"retry":{"x":1}}}`))
	f.Add([]byte(`{"version":1,"":null," ":[{}],"a":1e999}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		b, err := Parse(value)
		if err != nil {
			return
		}
		raw, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if second, err := again.Marshal(); err != nil || !bytes.Equal(raw, second) {
			t.Errorf("%s becomes %s (%v)", raw, second, err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(Key("default", "stages"))
	f.Add(OwnerKey("default"))
	f.Add([]byte(`["a",{"table":"x"}] `))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := ParseKey(raw)
		if err != nil {
			return
		}
		again := Key(k.Account, k.Table)
		if k.Owner {
			again = OwnerKey(k.Account)
		}
		if got, err := ParseKey(again); err != nil || got != k {
			t.Errorf("%+v becomes %+v (%v)", k, got, err)
		}
	})
}
