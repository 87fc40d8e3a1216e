package offsets

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestADocumentSurvivesARoundTrip(t *testing.T) {
	d := Document{Account: "a<b", Bookmarks: map[string]*Bookmark{
		"stages": {Version: 1, LSN: 7, Incarnation: &whole, Sections: map[string]json.RawMessage{"full": json.RawMessage(`{"at":1}`)}},
		"users":  nil,
	}}
	text, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"a<b"`, `"table": "stages"`, `"offset": null`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if got, err := ParseDocument(text); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestADocumentThatIsNoneIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":             `x`,
		"another object":      `{"a":1}`,
		"something behind":    `{"account":"a","offsets":[]}{}`,
		"no table":            `{"account":"a","offsets":[{"partition":{},"offset":null}]}`,
		"a table twice":       `{"account":"a","offsets":[{"partition":{"table":"t"},"offset":null},{"partition":{"table":"t"},"offset":null}]}`,
		"no bookmark":         `{"account":"a","offsets":[{"partition":{"table":"t"},"offset":{"lsn":1}}]}`,
		"a newer bookmark":    `{"account":"a","offsets":[{"partition":{"table":"t"},"offset":{"version":99}}]}`,
		"another partition":   `{"account":"a","offsets":[{"partition":{"stream":"t"},"offset":null}]}`,
		"an offset of a kind": `{"account":"a","offsets":[{"partition":{"table":"t"},"offset":5}]}`,
	} {
		if d, err := ParseDocument([]byte(text)); err == nil {
			t.Errorf("%s: got %+v", name, d)
		}
	}
}

func TestTheStateOfASingerTapSaysHowFarItRead(t *testing.T) {
	want := map[string]time.Time{
		"opportunities": time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		"candidates":    time.Date(2026, 1, 30, 22, 0, 0, 0, time.UTC),
		"postings":      time.Date(2026, 1, 29, 12, 30, 0, 5000, time.UTC),
	}
	const state = `{"bookmarks":{
		"opportunities":{"field":"updated_at","last_record":"2026-01-31T00:00:00Z","offset":"%5B1%5D","next_page":3},
		"candidates":{"field":"updated_at","last_record":"2026-01-31T00:00:00+02:00"},
		"postings":{"last_record":"2026-01-29T12:30:00.000005"},
		"users":{}},"currently_syncing":"x"}`
	for name, text := range map[string]string{
		"alone": state, "in a message": `{"type":"STATE","value":` + state + `}`, "of Meltano": `{"singer_state":` + state + `}`,
	} {
		if got, ok, err := ParseSinger([]byte(text)); !ok || err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v, %v", name, got, ok, err)
		}
	}
	for _, text := range []string{`x`, `{}`, `[]`, `{"account":"a","offsets":[]}`, `{"type":"RECORD","value":{}}`} {
		if _, ok, err := ParseSinger([]byte(text)); ok || err != nil {
			t.Errorf("%s was taken for a Singer state (%v)", text, err)
		}
	}
	for _, text := range []string{`{"bookmarks":5}`, `{"bookmarks":{"a":{"last_record":"yesterday"}}}`} {
		if _, ok, err := ParseSinger([]byte(text)); !ok || err == nil {
			t.Errorf("%s: got %v, %v", text, ok, err)
		}
	}
}

func FuzzImports(f *testing.F) {
	f.Add([]byte(`{"account":"a","offsets":[{"partition":{"table":"t"},"offset":{"version":1,"lsn":5}}]}`))
	f.Add([]byte(`{"bookmarks":{"a":{"last_record":"2026-01-31T00:00:00Z"}}}`))
	f.Add([]byte(`{"type":"STATE","value":{"type":"STATE","value":{}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _, _ = ParseSinger(text)
		d, err := ParseDocument(text)
		if err != nil {
			return
		}
		again, err := d.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if e, err := ParseDocument(again); err != nil || len(e.Bookmarks) != len(d.Bookmarks) {
			t.Errorf("%s: %v", again, err)
		}
	})
}
