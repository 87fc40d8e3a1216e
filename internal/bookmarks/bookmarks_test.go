package bookmarks

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/leverstream/leverstream/internal/publish"
	"github.com/leverstream/leverstream/offsets"
)

func entry(t *testing.T, value string) publish.Entry {
	t.Helper()
	b, err := offsets.Parse([]byte(value))
	return publish.Entry{Bookmark: b, Value: []byte(value), Err: err}
}

func apply(t *testing.T, e Edit, entries map[string]publish.Entry) map[string]string {
	t.Helper()
	edited, err := e(entries)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for table, b := range edited {
		if b == nil {
			out[table] = "reset"
			continue
		}
		raw, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		out[table] = string(raw)
	}
	return out
}

func TestSetKeepsWhatItIsNotTold(t *testing.T) {
	now := map[string]publish.Entry{"stages": entry(t, `{"version":1,"lsn":9,"incarnation":{"format":"flat"},"full":{"at":1},"paused":true}`)}
	for _, test := range []struct{ section, value, want string }{
		{"full", `{"at": 2}`, `"full":{"at":2},"paused":true`},
		{"paused", `null`, `"full":{"at":1}}`},
		{"", `{"version":1,"snapshot":{"complete":true}}`, `"snapshot":{"complete":true}}`},
	} {
		edit, err := Set("stages", test.section, []byte(test.value))
		if err != nil {
			t.Fatal(err)
		}
		got := apply(t, edit, now)["stages"]
		if !strings.HasPrefix(got, `{"version":1,"lsn":9,"incarnation":{`) || !strings.Contains(got, test.want) {
			t.Errorf("%s %s: got %s", test.section, test.value, got)
		}
	}
}

func TestSetRefusesWhatNobodyWouldRead(t *testing.T) {
	for _, test := range []struct{ table, section, value, says string }{
		{"stage", "", `{"version":1}`, "there is no table"},
		{"stages", "ful", `{"at":1}`, "there is no section"},
		{"stages", "full", `{"att":1}`, "unknown field"},
		{"stages", "full", `{"at":"x"}`, "cannot unmarshal"},
		{"stages", "full", `{`, "no JSON"},
		{"stages", "children.notes", `{}`, "there is no section"},
		{"stages", "pausedd", `null`, "there is no section"},
		{"stages", "incarnation", `null`, "there is no section"},
		{"stages", "", `{"lsn":1}`, "has no version"},
		{"stages", "", `{"version":1,"snapshott":{}}`, "there is no section"},
	} {
		if _, err := Set(test.table, test.section, []byte(test.value)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: got %v", test, err)
		}
	}
}

func TestAnEmptyListIsAList(t *testing.T) {
	if text, err := json.Marshal(List(nil)); err != nil || string(text) != "[]" {
		t.Errorf("%s, %v", text, err)
	}
}

func TestADamagedBookmarkIsShownAndCanBeReset(t *testing.T) {
	now := map[string]publish.Entry{"stages": entry(t, `{`), "users": entry(t, `{"version":1,"lsn":3,"snapshot":{"complete":true}}`)}
	lines := List(now)
	if len(lines) != 2 || lines[0].Table != "stages" || lines[0].Snapshot != "damaged" || lines[0].Err == "" || lines[1].Snapshot != "complete" {
		t.Errorf("%+v", lines)
	}
	edit, err := Reset([]string{"stages"})
	if err != nil {
		t.Fatal(err)
	}
	if got := apply(t, edit, now); got["stages"] != "reset" || len(got) != 1 {
		t.Error(got)
	}
	if _, err := Export("a", now); err == nil {
		t.Error("it was exported")
	}
	section, err := Set("stages", "paused", []byte("true"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := section(now); err == nil {
		t.Error("a section of it was set")
	}
}

func TestImportReadsWhatExportWrote(t *testing.T) {
	now := map[string]publish.Entry{"users": entry(t, `{"version":1,"lsn":3,"snapshot":{"complete":true}}`)}
	d, err := Export("a", now)
	if err != nil {
		t.Fatal(err)
	}
	text, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	edit, notes, err := Import("a", text)
	if err != nil || len(notes) != 1 {
		t.Fatal(notes, err)
	}
	if got := apply(t, edit, nil); got["users"] != string(now["users"].Value) {
		t.Error(got)
	}
	if _, _, err := Import("b", text); err == nil || !strings.Contains(err.Error(), "LEVER_ACCOUNT") {
		t.Errorf("another account's: %v", err)
	}
}

func TestASingerStateMovesTheCursorsOfItsListings(t *testing.T) {
	edit, notes, err := Import("a", []byte(`{"bookmarks":{
		"opportunities":{"last_record":"2026-01-31T00:00:00Z"},"candidates":{"last_record":"2026-01-24T00:00:00Z"},
		"requisitions":{"last_record":"2026-01-20T00:00:00Z"},"stages":{"last_record":"2026-01-20T00:00:00Z"},"notes":{"last_record":"2026-01-20T00:00:00Z"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	got := apply(t, edit, map[string]publish.Entry{"requisitions": entry(t, `{"version":1,"lsn":3,"full":{"at":1}}`)})
	for table, want := range map[string]string{
		"opportunities":          `"deletions":{"cursor":1769212800000},"increment":{"cursor":1769212800000,`,
		"candidates":             `"increment":{"cursor":1769212800000,`,
		"candidate_applications": `"deletions":{"cursor":1769212800000},"increment":{"cursor":1769212800000,`,
		"requisitions":           `"lsn":3,"full":{"at":1},"increment":{"cursor":1768867200000,`,
	} {
		if !strings.Contains(got[table], want) {
			t.Errorf("%s: got %s, want %s", table, got[table], want)
		}
	}
	if len(got) != 5 {
		t.Errorf("got bookmarks of %d tables: %v", len(got), got)
	}
	if all := strings.Join(notes, "\n"); !strings.Contains(all, "stages: read whole") || !strings.Contains(all, "notes: no such table") {
		t.Error(all)
	}
	for table, text := range got {
		b, err := offsets.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := checkSections(b); err != nil {
			t.Errorf("%s: %v", table, err)
		}
	}
	if _, _, err := Import("a", []byte(`{"bookmarks":{"users":{}}}`)); err == nil {
		t.Error("a state that says nothing was taken")
	}
}

func TestWhatIsNoImportIsRefused(t *testing.T) {
	for _, text := range []string{`{}`, `[]`, ``, `{"account":"a","offsets":[{"partition":{"table":"nope"},"offset":null}]}`} {
		if _, _, err := Import("a", []byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
