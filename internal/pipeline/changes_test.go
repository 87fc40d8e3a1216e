package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// What changes without moving updatedAt, and without any feed, is found by the sweep.
func TestSilentChangesAreFoundByTheSweep(t *testing.T) {
	w := newWorld(t, kafkatest.Best(t), sandbox.Options{Opportunities: 60, Seed: 8})
	w.env["SWEEP_INTERVAL"] = "1s"
	w.once()
	w.check("first pass")
	w.silence()
	w.eventually("silent changes", func() {})
}

// silence makes one change of every kind that leaves no trace in lists and feeds.
func (w *world) silence() {
	w.t.Helper()
	ids := w.lever.IDs("opportunities")
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	must(w.lever.SilentEdit(ids[0]))
	_, err := w.lever.AddOffer(ids[1])
	must(err)
	_, err = w.lever.AddReferral(ids[2])
	must(err)
	_, err = w.lever.AddResume(ids[3])
	must(err)
	for kind, change := range map[string]func(string) error{
		"offers": w.lever.EditOffer, "resumes": w.lever.RemoveResume, "referrals": w.lever.RemoveReferral,
	} {
		if list := w.lever.IDs(kind); len(list) > 0 {
			must(change(list[0]))
		}
	}
}

func TestAPassFindsEverySilentChangeThatIsOverdue(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 9})
	w.env["SWEEP_INTERVAL"] = "1ms"
	w.once()
	w.silence()
	w.once()
	w.check("after one more pass")

	w.env["SWEEP_INTERVAL"] = "24h"
	before := events(w.histories())
	w.silence()
	w.lever.ResetRequests()
	w.once()
	if n := events(w.histories()); n != before {
		t.Errorf("%d events, and nothing was overdue", n-before)
	}
	if n := w.lever.Requests()["/opportunities/:id/offers"]; n > 0 {
		t.Errorf("%d offer lists were read, and none was overdue", n)
	}
}

// Rows that vanish without a feed: the producer was away longer than the feed reaches. What
// Lever's clock says does not matter.
func TestRowsThatVanishWithoutAFeedAreDeleted(t *testing.T) {
	for name, skew := range map[string]time.Duration{"clocks agree": 0, "Lever is ahead": time.Hour, "Lever is behind": -time.Hour} {
		t.Run(name, func(t *testing.T) { vanishWithoutAFeed(t, skew) })
	}
}

func vanishWithoutAFeed(t *testing.T, skew time.Duration) {
	t.Helper()
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 10, Now: func() time.Time { return time.Now().Add(skew) }})
	w.env["SWEEP_INTERVAL"] = "1ms"
	w.once()
	ids := w.lever.IDs("opportunities")
	for _, id := range ids[:3] {
		if err := w.lever.DeleteOpportunity(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.lever.DeletePosting(w.lever.IDs("postings")[0]); err != nil {
		t.Fatal(err)
	}
	w.lever.SetFaults(sandbox.Faults{Status: map[string]int{"/opportunities/deleted": 403, "/postings/deleted": 403}})
	if _, err := w.run(t.Context(), Options{Once: true}); err == nil {
		t.Error("the feeds could not be read")
	}
	h := w.check("without the feeds")
	if h["opportunities"].Ops["d"] != 3 || h["postings"].Ops["d"] != 1 {
		t.Errorf("opportunities %v, postings %v", h["opportunities"].Ops, h["postings"].Ops)
	}
}

// One row that has vanished cannot be asked for: it is kept, and the others go all the same.
func TestABrokenRowThatVanishesDoesNotHoldUpTheOthers(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 11})
	w.env["SWEEP_INTERVAL"] = "1ms"
	w.once()
	ids := w.lever.IDs("opportunities")[:6]
	slices.Sort(ids)
	postings := w.lever.IDs("postings")[:3]
	slices.Sort(postings)
	for _, id := range ids {
		w.must(w.lever.DeleteOpportunity(id))
	}
	for _, id := range postings {
		w.must(w.lever.DeletePosting(id))
	}
	broken := []string{"/v1/opportunities/" + ids[0], "/v1/postings/" + postings[0]}
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/deleted"):
			_, _ = rw.Write([]byte(`{"data":[],"hasNext":false}`))
		case slices.Contains(broken, r.URL.Path):
			rw.WriteHeader(http.StatusInternalServerError)
		default:
			lever.ServeHTTP(rw, r)
		}
	})
	_, err := w.run(t.Context(), Options{Once: true})
	h := w.histories()
	if o, p := h["opportunities"], h["postings"]; o.Ops["d"] != 5 || o.Rows[ids[0]] == nil || p.Ops["d"] != 2 || p.Rows[postings[0]] == nil {
		t.Errorf("opportunities %v, postings %v", o.Ops, p.Ops)
	}
	if err == nil || !strings.Contains(err.Error(), "2 single records could not be read") {
		t.Errorf("error %v", err)
	}
	w.between(nil)
	w.once()
	w.check("when it can be asked for")
}

// A deletion feed names a row that is there again, and that cannot be asked for. The deletions
// beside it are heard of all the same.
func TestABrokenRowInAFeedDoesNotHoldUpTheOthers(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 12})
	w.env["SWEEP_INTERVAL"] = "0"
	w.once()
	ids := w.lever.IDs("opportunities")
	w.must(w.lever.DeleteOpportunity(ids[1]))
	feed := edited(map[string]func(map[string]any){"/opportunities/deleted": func(body map[string]any) {
		again := map[string]any{"id": ids[0], "deletedAt": time.Now().AddDate(0, 0, -1).UnixMilli()}
		body["data"] = append([]any{again}, data(body)...)
	}})
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		if r.URL.Path == "/v1/opportunities/"+ids[0] {
			rw.WriteHeader(http.StatusInternalServerError)
			return
		}
		feed(rw, r, lever)
	})
	if _, err := w.run(t.Context(), Options{Once: true}); err == nil || !strings.Contains(err.Error(), "1 single records could not be read") {
		t.Errorf("error %v", err)
	}
	if h := w.check("beside the broken one"); h["opportunities"].Ops["d"] != 1 {
		t.Errorf("opportunities %v", h["opportunities"].Ops)
	}
}

// The producer was down for 40 days: the feed is read in windows that Lever allows.
func TestDeletionsOfAPauseOfFortyDays(t *testing.T) {
	var later atomic.Bool
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 15, Now: func() time.Time {
		if later.Load() {
			return time.Now().AddDate(0, 0, 40)
		}
		return time.Now()
	}})
	w.env["SWEEP_INTERVAL"] = "0"
	w.once()
	ids := w.lever.IDs("opportunities")
	w.must(w.lever.DeleteOpportunity(ids[0]))
	later.Store(true)
	w.must(w.lever.DeleteOpportunity(ids[1]))
	w.must(w.lever.DeletePosting(w.lever.IDs("postings")[0]))
	w.lever.ResetRequests()
	w.once()
	if n := w.check("after the pause")["opportunities"].Ops["d"]; n != 2 {
		t.Errorf("%d deletes, want 2", n)
	}
	if n := w.lever.Requests()["/opportunities/deleted"]; n != 2 {
		t.Errorf("the feed was read in %d windows, want 2", n)
	}
}

// A backend that is broken shows empty lists and answers 404, with status 200 or not.
func TestMassDeletesAreHeld(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 20, Seed: 11})
	w.env["REFRESH_INTERVAL"] = "1ms"
	for range 60 {
		w.lever.AddArchiveReason()
	}
	w.once()
	gone := w.lever.IDs("archive_reasons")
	for _, id := range gone[:50] {
		if err := w.lever.RemoveArchiveReason(id); err != nil {
			t.Fatal(err)
		}
	}
	kept := len(gone) - 50
	for round := 1; round <= 3; round++ {
		s, err := w.run(t.Context(), Options{Once: true})
		rows := len(w.histories()["archive_reasons"].Rows)
		switch {
		case round < 3 && (err == nil || !strings.Contains(err.Error(), "table archive_reasons") || !strings.Contains(err.Error(), "LEVER_DELETE_GUARD")):
			t.Errorf("round %d ended with %v", round, err)
		case round < 3 && rows != len(gone)-20:
			t.Errorf("round %d: %d of %d rows left, 20 may be deleted at once", round, rows, len(gone))
		case round == 3 && (err != nil || rows != kept):
			t.Errorf("the third round says the same: %d rows left, want %d (%v)", rows, kept, err)
		}
		for _, table := range s.Tables {
			if table.Table == "archive_reasons" && (table.Phase == extractor.PhaseHolding) != (round < 3) {
				t.Errorf("round %d: phase %s", round, table.Phase)
			}
		}
	}
	w.check("in the end")
}

func TestAnOperatorCanAgreeToMassDeletes(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 10, Seed: 12})
	w.env["LEVER_DELETE_GUARD"] = "100%"
	for range 60 {
		w.lever.AddArchiveReason()
	}
	w.once()
	for _, id := range w.lever.IDs("archive_reasons")[:50] {
		if err := w.lever.RemoveArchiveReason(id); err != nil {
			t.Fatal(err)
		}
	}
	w.once()
	w.check("agreed")
}

func TestAnotherAccountIsRecognised(t *testing.T) {
	c := kafkatest.Embedded(t)
	w := newWorld(t, c, sandbox.Options{Opportunities: 20, Seed: 1})
	w.once()
	before := events(w.histories())
	other := sandbox.New(sandbox.Options{Opportunities: 20, Seed: 2})
	w.between(func(rw http.ResponseWriter, r *http.Request, _ http.Handler) { other.ServeHTTP(rw, r) })
	for _, once := range []bool{true, false} {
		if _, err := w.run(t.Context(), Options{Once: once}); !errors.Is(err, extractor.ErrOtherAccount) || !strings.Contains(err.Error(), "LEVER_TOKEN") {
			t.Errorf("once %v: %v", once, err)
		}
	}
	if n := events(w.histories()); n != before {
		t.Errorf("%d events were written", n-before)
	}
	w.between(nil)
	w.once()
	w.check("with the right account")
}

func TestOnlyRowsSinceTheStartDateAreReplicated(t *testing.T) {
	w := newWorld(t, kafkatest.Best(t), sandbox.Options{Opportunities: 200, Seed: 13})
	start := time.Now().AddDate(-1, 0, 0).UTC().Truncate(24 * time.Hour)
	w.env["LEVER_START_DATE"] = start.Format("01/02/2006")
	w.env["SWEEP_INTERVAL"] = "1ms"
	inRange := func(r map[string]any) bool {
		return !leverTime(r["createdAt"]).Before(start) || !leverTime(r["updatedAt"]).Before(start)
	}
	check := func(when string) {
		t.Helper()
		h := w.histories()
		parents := map[string]bool{}
		for _, table := range extractor.Tables() {
			truth := w.lever.Truth(table.Name)
			for key, r := range truth {
				id, _ := r["opportunityId"].(string)
				switch {
				case table.Parent != "":
					if !parents[id] {
						delete(truth, key)
					}
				case table.Method == "CDC" && !inRange(r):
					delete(truth, key)
				case table.Name == "opportunities":
					parents[key] = true
				}
			}
			for _, d := range slices.Concat(h[table.Name].Problems, kafkatest.Differences(h[table.Name].Rows, truth)) {
				t.Fatalf("%s: %s: %s", when, table.Name, d)
			}
		}
		if n := len(h["opportunities"].Rows); n == 0 || n == 200 || h["opportunities"].Ops["r"] == 0 {
			t.Errorf("%s: %d opportunities, events %v", when, n, h["opportunities"].Ops)
		}
	}
	w.once()
	check("first pass")
	for key, r := range w.lever.Truth("opportunities") {
		if !inRange(r) {
			if err := w.lever.Touch(key); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	w.once()
	check("a row came into the range")
	if ops := w.histories()["opportunities"].Ops; ops["c"] != 1 || ops["d"] != 0 {
		t.Errorf("events %v", ops)
	}
}

func leverTime(v any) time.Time {
	n, _ := v.(json.Number)
	ms, _ := n.Int64()
	return time.UnixMilli(ms)
}

func TestFlatEventsWithPlainKeys(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 30, Seed: 14})
	w.env["EVENT_FORMAT"], w.env["EVENT_KEY"] = "flat", "string"
	w.once()
	w.lever.Mutate(60)
	w.once()
	for _, table := range extractor.Tables() {
		rows := map[string]map[string]any{}
		deleted := map[string]bool{}
		for _, r := range w.c.ReadPlain(t, w.env["KAFKA_TOPIC_PREFIX"]+"."+table.Name) {
			if r.Value == nil {
				if !deleted[r.Key] {
					t.Errorf("%s %s: tombstone without a delete", table.Name, r.Key)
				}
				delete(deleted, r.Key)
				continue
			}
			if r.Value["__deleted"] == true {
				deleted[r.Key] = true
				delete(rows, r.Key)
				continue
			}
			row := maps.Clone(r.Value)
			for _, name := range []string{"__op", "__deleted", "__lsn", "__source_ts_ms"} {
				if row[name] == nil {
					t.Errorf("%s %s: no %s", table.Name, r.Key, name)
				}
				delete(row, name)
			}
			rows[r.Key] = row
		}
		for _, d := range kafkatest.Differences(rows, w.lever.Truth(table.Name)) {
			t.Errorf("%s: %s", table.Name, d)
		}
	}
}

// must fails the test on an error of the sandbox.
func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// ops counts the events by table and operation, for example "opportunities u".
func ops(h map[string]*kafkatest.History) map[string]int {
	n := map[string]int{}
	for table, x := range h {
		for op, count := range x.Ops {
			n[table+" "+op] += count
		}
	}
	return n
}

// parent returns an opportunity that has a row in the child table, and the row's key.
func (w *world) parent(table string) (opportunity, key string) {
	w.t.Helper()
	truth := w.lever.Truth(table)
	keys := slices.Sorted(maps.Keys(truth))
	if len(keys) == 0 {
		w.t.Fatalf("no rows in %s", table)
	}
	opportunity, _ = truth[keys[0]]["opportunityId"].(string)
	return opportunity, keys[0]
}

// Every kind of change arrives as exactly the events that it is.
func TestEveryKindOfChangeArrives(t *testing.T) {
	w := newWorld(t, kafkatest.Best(t), sandbox.Options{Opportunities: 40, Seed: 21})
	w.env["SWEEP_INTERVAL"] = "1ms" // every pass finds what leaves no trace
	l := w.lever
	first := func(kind string) string { return l.IDs(kind)[0] }
	both := func(tables, op string, n int) map[string]int {
		return map[string]int{"opportunity_" + tables + " " + op: n, "candidate_" + tables + " " + op: n}
	}
	parents := map[string]int{"opportunities u": 1, "candidates u": 1}
	deleted := first("opportunities")
	changes := []struct {
		name   string
		change func() error
		want   map[string]int // nil: whatever makes the topics equal Lever
	}{
		{"opportunity edited", func() error { return l.EditOpportunity(first("opportunities")) }, parents},
		{"opportunity touched", func() error { return l.Touch(first("opportunities")) }, parents},
		{"opportunity edited without a trace", func() error { return l.SilentEdit(first("opportunities")) }, parents},
		{"opportunity moved to the next stage", func() error { return l.AdvanceStage(first("opportunities")) }, parents},
		{"opportunity archived", func() error { return l.Archive(first("opportunities")) }, nil},
		{"opportunity deleted", func() error { return l.DeleteOpportunity(deleted) }, nil},
		{"application deleted", func() error { return l.DeleteApplication(first("applications")) }, nil},
		{"posting edited", func() error { return l.EditPosting(first("postings")) }, map[string]int{"postings u": 1}},
		{"posting renamed", func() error { return l.RenamePosting(first("postings")) }, nil},
		{"posting deleted", func() error { return l.DeletePosting(first("postings")) }, map[string]int{"postings d": 1}},
		{"offer added without a trace", func() error { _, err := l.AddOffer(first("opportunities")); return err }, both("offers", "c", 1)},
		{"offer edited without a trace", func() error { return l.EditOffer(first("offers")) }, both("offers", "u", 1)},
		{"offer removed", func() error { return l.RemoveOffer(first("offers")) }, both("offers", "d", 1)},
		{"referral added", func() error { _, err := l.AddReferral(first("opportunities")); return err }, both("referrals", "c", 1)},
		{"referral removed", func() error { return l.RemoveReferral(first("referrals")) }, both("referrals", "d", 1)},
		{"resume added", func() error { _, err := l.AddResume(first("opportunities")); return err }, both("resumes", "c", 1)},
		{"resume edited", func() error { return l.EditResume(first("resumes")) }, both("resumes", "u", 1)},
		{"resume removed", func() error { return l.RemoveResume(first("resumes")) }, both("resumes", "d", 1)},
		{"requisition added", func() error { l.NewRequisition(); return nil }, nil},
		{"requisition edited", func() error { return l.EditRequisition(first("requisitions")) }, map[string]int{"requisitions u": 1}},
		{"requisition deleted", func() error { return l.DeleteRequisition(first("requisitions")) }, nil},
		{"archive reason added", func() error { l.AddArchiveReason(); return nil }, map[string]int{"archive_reasons c": 1}},
		{"archive reason edited", func() error { return l.EditArchiveReason(first("archive_reasons")) }, map[string]int{"archive_reasons u": 1}},
		{"archive reason removed", func() error { return l.RemoveArchiveReason(first("archive_reasons")) }, map[string]int{"archive_reasons d": 1}},
		{"source added", func() error { l.AddSource(); return nil }, map[string]int{"sources c": 1}},
		{"source removed", func() error { return l.RemoveSource(first("sources")) }, map[string]int{"sources d": 1}},
		{"stage added", func() error { l.AddStage(); return nil }, map[string]int{"stages c": 1}},
		{"stage edited", func() error { return l.EditStage(first("stages")) }, map[string]int{"stages u": 1}},
		{"user added", func() error { l.AddUser(); return nil }, map[string]int{"users c": 1}},
		{"user edited", func() error { return l.EditUser(first("users")) }, map[string]int{"users u": 1}},
		{"user deactivated", func() error { return l.DeactivateUser(l.AddUser()) }, map[string]int{"users c": 1}},
		{"a known user deactivated", func() error { return l.DeactivateUser(l.IDs("users")[1]) }, map[string]int{"users u": 1}},
		{"user removed", func() error { return l.RemoveUser(first("users")) }, map[string]int{"users d": 1}},
		{"person anonymised", func() error {
			parent, _ := w.parent("opportunity_applications")
			return l.Anonymize(parent)
		}, map[string]int{"opportunities d": 1, "opportunities c": 1, "candidates d": 1, "candidates c": 1,
			"opportunity_applications d": 1, "opportunity_applications c": 1, "candidate_applications d": 1, "candidate_applications c": 1}},
	}
	w.once()
	before := w.check("first pass")
	for _, c := range changes {
		truth := map[string]map[string]map[string]any{}
		for _, table := range extractor.Tables() {
			truth[table.Name] = l.Truth(table.Name)
		}
		w.must(c.change())
		w.once()
		after := w.check(c.name)
		got := ops(after)
		for k, n := range ops(before) {
			if got[k] -= n; got[k] == 0 {
				delete(got, k)
			}
		}
		want := c.want
		if want == nil {
			want = map[string]int{}
			for table, rows := range truth {
				for op, n := range kinds(rows, l.Truth(table)) {
					want[table+" "+op] += n
				}
			}
		}
		if len(got) == 0 || !maps.Equal(got, want) {
			t.Errorf("%s: events %v, want %v", c.name, got, want)
		}
		before = after
	}
	for _, r := range w.histories()["opportunities"].Events[deleted] {
		if r["op"] == "d" {
			return
		}
	}
	t.Error("the deleted opportunity has no d")
}

// kinds counts what has changed between two states of a table.
func kinds(before, after map[string]map[string]any) map[string]int {
	n := map[string]int{}
	for key, row := range after {
		if was, ok := before[key]; !ok {
			n["c"]++
		} else if !reflect.DeepEqual(was, row) {
			n["u"]++
		}
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			n["d"]++
		}
	}
	return n
}

// A deleted opportunity takes everything under it along in one transaction: their
// events follow each other.
func TestADeletedOpportunityTakesItsChildrenInOneTransaction(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 22})
	w.once()
	id, _ := w.parent("opportunity_offers")
	_, err := w.lever.AddReferral(id)
	w.must(err)
	w.must(w.lever.Touch(id))
	w.once()
	rows := 0
	for _, table := range extractor.Tables() {
		for _, r := range w.lever.Truth(table.Name) {
			if r["opportunityId"] == id || r["id"] == id {
				rows++
			}
		}
	}
	w.must(w.lever.DeleteOpportunity(id))
	w.once()
	var lsns []int64
	for _, x := range w.check("deleted") {
		for _, events := range x.Events {
			for _, e := range events {
				if e["op"] == "d" {
					lsns = append(lsns, e["source"].(map[string]any)["lsn"].(int64))
				}
			}
		}
	}
	slices.Sort(lsns)
	if len(lsns) != rows || lsns[len(lsns)-1]-lsns[0] != int64(rows-1) {
		t.Errorf("%d rows were deleted, their events have the numbers %v", rows, lsns)
	}
}

// The feed says that a record is deleted, the listing has it again.
func TestDeletedAndRestoredSettles(t *testing.T) {
	var later atomic.Bool
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 30, Seed: 23, Now: func() time.Time {
		if later.Load() {
			return time.Now().Add(10 * time.Second)
		}
		return time.Now()
	}})
	w.once()
	id := w.lever.IDs("opportunities")[3]
	at := time.Now().Add(5 * time.Second).UnixMilli()
	later.Store(true)
	w.between(edited(map[string]func(map[string]any){
		"/opportunities/deleted": func(body map[string]any) {
			body["data"] = append(data(body), map[string]any{"id": id, "deletedAt": at})
		},
	}))
	w.once()
	if n := w.histories()["opportunities"].Ops["d"]; n != 1 {
		t.Errorf("%d deletes; the feed says that one row is deleted", n)
	}
	w.must(w.lever.Touch(id))
	w.once()
	h := w.check("restored")
	n := events(h)
	if d := h["opportunities"].Ops["d"]; d > 1 {
		t.Errorf("%d deletes", d)
	}
	for range 3 {
		w.once()
	}
	if more := events(w.check("at rest")) - n; more != 0 {
		t.Errorf("%d more events, and nothing changed", more)
	}
}

// An answer that Lever gave before a row was deleted arrives after the deletion.
func TestAnOlderAnswerDoesNotBringADeletedRowBack(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 30, Seed: 24})
	w.once()
	id, _ := w.parent("opportunity_offers")
	w.must(w.lever.Touch(id))
	reached, release := make(chan struct{}), make(chan struct{})
	var hold sync.Once
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		rec := httptest.NewRecorder()
		lever.ServeHTTP(rec, r)
		if strings.HasSuffix(r.URL.Path, "/opportunities") && r.URL.Query().Has("updated_at_start") && strings.Contains(rec.Body.String(), id) {
			hold.Do(func() { close(reached); <-release })
		}
		maps.Copy(rw.Header(), rec.Header())
		rw.WriteHeader(rec.Code)
		rw.Write(rec.Body.Bytes())
	})
	w.eventually("an older answer", func() {
		<-reached
		w.must(w.lever.DeleteOpportunity(id))
		for deadline := time.Now().Add(time.Minute); w.histories()["opportunities"].Ops["d"] == 0; {
			if time.Now().After(deadline) {
				t.Fatal("the deletion did not arrive")
			}
		}
		close(release)
	})
	for _, table := range []string{"opportunities", "candidate_offers"} {
		if n := w.histories()[table].Ops["c"]; n > 0 {
			t.Errorf("%d rows of %s were created", n, table)
		}
	}
}

// A row is deleted while the page on which it first appears is still under way, and the
// feed of deletions has moved on before that page arrives.
func TestARowDeletedBeforeItsFirstPageArrives(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 250, Seed: 25})
	w.env["SWEEP_INTERVAL"], w.env["LEVER_OVERLAP"] = "0", "0s"
	reached, passed, release := make(chan string, 1), make(chan struct{}), make(chan struct{})
	var hold, pass sync.Once
	var deleted atomic.Int64
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		rec := httptest.NewRecorder()
		lever.ServeHTTP(rec, r)
		q := r.URL.Query()
		switch at, _ := strconv.ParseInt(q.Get("deleted_at_start"), 10, 64); {
		case strings.HasSuffix(r.URL.Path, "/opportunities/deleted"):
			if d := deleted.Load(); d > 0 && at > d {
				pass.Do(func() { close(passed) })
			}
		case strings.HasSuffix(r.URL.Path, "/opportunities") && q.Has("created_at_start"):
			if ids := idsOf(rec); len(ids) > 0 && rec.Code == http.StatusOK {
				last := ids[len(ids)-1]
				if !slices.Contains(firstPage(w.lever), last) {
					hold.Do(func() { reached <- last; <-release })
				}
			}
		}
		maps.Copy(rw.Header(), rec.Header())
		rw.WriteHeader(rec.Code)
		rw.Write(rec.Body.Bytes())
	})
	h := w.eventually("a first page under way", func() {
		id := <-reached
		w.must(w.lever.DeleteOpportunity(id))
		deleted.Store(time.Now().UnixMilli())
		<-passed
		close(release)
	})
	if len(h["opportunities"].Rows) != 249 {
		t.Errorf("%d opportunities", len(h["opportunities"].Rows))
	}
}

// firstPage are the ids on the first page of the listing, which a snapshot begins with.
func firstPage(l *sandbox.Lever) (ids []string) {
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/v1/opportunities?confidentiality=all&limit=100", nil)
	r.SetBasicAuth("token", "")
	l.ServeHTTP(rec, r)
	return idsOf(rec)
}

// idsOf are the ids on a page.
func idsOf(page *httptest.ResponseRecorder) (ids []string) {
	body := map[string]any{}
	_ = json.Unmarshal(page.Body.Bytes(), &body)
	for _, x := range data(body) {
		if record, ok := x.(map[string]any); ok {
			id, _ := record["id"].(string)
			ids = append(ids, id)
		}
	}
	return ids
}

// One parent's list cannot be read: the others are, and it is asked for again.
func TestAParentThatCannotBeReadIsSetAside(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 25})
	id, offer := w.parent("opportunity_offers")
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		if strings.HasSuffix(r.URL.Path, id+"/offers") {
			http.Error(rw, "", http.StatusInternalServerError)
			return
		}
		lever.ServeHTTP(rw, r)
	})
	s, err := w.run(t.Context(), Options{Once: true})
	if err == nil || !strings.Contains(err.Error(), "offers of 1 opportunities could not be read") {
		t.Errorf("error %v", err)
	}
	for _, table := range s.Tables {
		if want := strings.HasSuffix(table.Table, "_offers"); (table.Aside == 1) != want {
			t.Errorf("%s: %d parents set aside", table.Table, table.Aside)
		}
	}
	h := w.histories()
	missing := map[string]bool{}
	for _, table := range extractor.Tables() {
		for key := range w.lever.Truth(table.Name) {
			if h[table.Name].Rows[key] == nil {
				missing[table.Name] = true
				if r := w.lever.Truth(table.Name)[key]; r["opportunityId"] != id {
					t.Errorf("%s lacks %s", table.Name, key)
				}
			}
		}
	}
	if !missing["opportunity_offers"] || len(missing) != 2 {
		t.Errorf("rows are missing in %v (offer %s)", missing, offer)
	}
	w.between(nil)
	w.once()
	w.check("when it can be read again")
}

// The same, found by a sweep: the next pass asks for it, though nothing has changed.
func TestAParentThatASweepCannotReadIsSetAside(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 25})
	w.once()
	id, offer := w.parent("opportunity_offers")
	w.must(w.lever.RemoveOffer(offer))
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		if strings.HasSuffix(r.URL.Path, id+"/offers") {
			http.Error(rw, "", http.StatusInternalServerError)
			return
		}
		lever.ServeHTTP(rw, r)
	})
	w.env["SWEEP_INTERVAL"] = "1ms"
	_, err := w.run(t.Context(), Options{Once: true})
	if err == nil || !strings.Contains(err.Error(), "offers of 1 opportunities could not be read") {
		t.Errorf("error %v", err)
	}
	w.between(nil)
	w.env["SWEEP_INTERVAL"] = "0"
	w.once()
	if h := w.check("when it can be read again"); h["opportunity_offers"].Ops["d"] != 1 {
		t.Errorf("offers %v", h["opportunity_offers"].Ops)
	}
}

// Lever does not get a full page done in its time.
func TestAPageThatFailsIsReadInSmallerOnes(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 130, Seed: 26})
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		if n, _ := strconv.Atoi(r.URL.Query().Get("limit")); n > 30 && strings.HasSuffix(r.URL.Path, "/opportunities") {
			http.Error(rw, "", http.StatusGatewayTimeout)
			return
		}
		lever.ServeHTTP(rw, r)
	})
	w.once()
	w.check("in smaller pages")
}

// A listing that cannot be read at all is shown, and the other tables go on.
func TestAListingThatCannotBeReadDoesNotStopTheOthers(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 30, Seed: 27, Faults: sandbox.Faults{Status: map[string]int{"/postings": 500}}})
	s, err := w.run(t.Context(), Options{Once: true})
	if err == nil || !strings.Contains(err.Error(), "read /postings for postings") {
		t.Errorf("error %v", err)
	}
	for _, table := range s.Tables {
		if (table.Phase == extractor.PhaseDegraded) != (table.Table == "postings") {
			t.Errorf("%s is %s", table.Table, table.Phase)
		}
	}
	w.lever.SetFaults(sandbox.Faults{})
	w.once()
	w.check("when it can be read again")
}

// The same id, gone and there again: sources are named by their text.
func TestARowCreatedAgainWithTheSameKey(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 30, Seed: 28})
	w.once()
	text := w.lever.IDs("sources")[0]
	w.between(edited(map[string]func(map[string]any){
		"/sources": func(body map[string]any) {
			body["data"] = slices.DeleteFunc(data(body), func(r any) bool { return r.(map[string]any)["text"] == text })
		},
	}))
	w.once()
	if _, there := w.histories()["sources"].Rows[text]; there {
		t.Error("the source is still there")
	}
	w.between(nil)
	w.once()
	h := w.check("created again")
	var seen []any
	for _, e := range h["sources"].Events[text] {
		seen = append(seen, e["op"])
	}
	if !reflect.DeepEqual(seen, []any{"r", "d", "c"}) {
		t.Errorf("events %v", seen)
	}
}

// Lever serves one offer under two opportunities.
func TestAnOfferOfTwoOpportunities(t *testing.T) {
	for _, how := range []string{"the owner is deleted", "the owner lets go"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 29})
			w.env["SWEEP_INTERVAL"] = "1ms"
			owner, offer := w.parent("opportunity_offers")
			var other string
			for _, id := range w.lever.IDs("opportunities") {
				if id != owner {
					other = id
				}
			}
			record := maps.Clone(w.lever.Truth("opportunity_offers")[offer])
			delete(record, "opportunityId")
			alsoThere := true
			w.once() // the owner is the one that served it first
			w.between(edited(map[string]func(map[string]any){
				"/opportunities/" + other + "/offers": func(body map[string]any) {
					if alsoThere {
						body["data"] = append(data(body), record)
					}
				},
			}))
			parent := func() any { return w.histories()["opportunity_offers"].Rows[offer]["opportunityId"] }
			w.once()
			n := events(w.histories())
			w.once()
			if more := events(w.histories()) - n; more != 0 || parent() != owner {
				t.Errorf("%d more events; the offer belongs to %v, it was %s", more, parent(), owner)
			}
			if how == "the owner is deleted" {
				w.must(w.lever.DeleteOpportunity(owner))
			} else {
				w.must(w.lever.RemoveOffer(offer))
			}
			w.once()
			if parent() != other {
				t.Errorf("the offer belongs to %v, want %s", parent(), other)
			}
			var seen []any
			h := w.histories()["opportunity_offers"]
			for _, e := range h.Events[offer] {
				seen = append(seen, e["op"])
			}
			if !reflect.DeepEqual(seen, []any{"r", "u"}) || len(h.Problems) > 0 {
				t.Errorf("events %v, problems %v", seen, h.Problems)
			}
			alsoThere = false
			w.once()
			w.once()
			w.check("nobody serves it")
		})
	}
}

// Pages that are empty or lack a row, for a while, delete nothing.
func TestBrokenAnswersDeleteNothing(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 30})
	w.env["SWEEP_INTERVAL"] = "1ms"
	w.once()
	n := events(w.check("first pass"))
	short := map[string]func(map[string]any){}
	var mu sync.Mutex
	seen := map[string]int{}
	lists := []string{"/stages", "/users", "/archive_reasons", "/sources", "/requisitions", "/postings", "/opportunities"}
	for i, path := range lists {
		short[path] = func(body map[string]any) {
			mu.Lock()
			defer mu.Unlock()
			if seen[path]++; seen[path] > 2 && path == "/sources" {
				return // its confirmation is a second list
			}
			if seen[path] == 2 && path == "/sources" {
				return
			}
			if list := data(body); i%2 == 0 && len(list) > 0 {
				body["data"] = list[1:]
			} else {
				body["data"] = []any{}
			}
		}
	}
	for _, id := range w.lever.IDs("opportunities") {
		for _, name := range []string{"offers", "referrals", "resumes"} {
			once := false
			short["/opportunities/"+id+"/"+name] = func(body map[string]any) {
				mu.Lock()
				defer mu.Unlock()
				if !once {
					body["data"] = []any{}
				}
				once = true
			}
		}
	}
	// The account is recognised by its users or stages, whatever else is broken.
	users := short["/users"]
	short["/users"] = func(body map[string]any) {
		mu.Lock()
		first := seen["/users"] == 0
		if first {
			seen["/users"]++
		}
		mu.Unlock()
		if !first {
			users(body)
		}
	}
	w.between(edited(short))
	_, err := w.run(t.Context(), Options{Once: true})
	if err != nil {
		t.Fatal(err)
	}
	w.between(nil)
	if more := events(w.check("broken answers")) - n; more != 0 {
		t.Errorf("%d events, and nothing changed", more)
	}
}

// Records that do not look as expected never stop a table.
func TestStrangeRecordsDoNotStopTheTable(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 20, Seed: 31})
	w.env["KAFKA_TOPIC_CONFIG"] = "max.message.bytes=100000"
	ids := w.lever.IDs("postings")
	strange := false
	w.between(edited(map[string]func(map[string]any){
		"/postings": func(body map[string]any) {
			if !strange {
				return
			}
			for _, r := range data(body) {
				r := r.(map[string]any)
				switch r["id"] {
				case ids[0]:
					r["brandNew"] = map[string]any{"deep": []any{json.Number("9007199254740993"), nil, "x"}}
				case ids[1]:
					r["createdAt"], r["tags"] = "not a time", map[string]any{"not": "a list"}
				case ids[2]:
					r["text"] = "half a pair: \xff"
				case ids[3]:
					r["content"] = strings.Repeat("x", 200_000)
				}
			}
			body["data"] = append(data(body), nil, map[string]any{"text": "no id"}, map[string]any{"id": "not a uuid", "text": "odd"})
		},
	}))
	w.once()
	strange = true
	w.env["SWEEP_INTERVAL"] = "1ms"
	w.once()
	w.once()
	h := w.histories()["postings"]
	if len(h.Problems) > 0 {
		t.Error(h.Problems)
	}
	extra := func(key, field string) any {
		text, _ := h.Rows[key]["_extra"].(string)
		all := map[string]any{}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&all); err != nil {
			t.Errorf("_extra of %s: %v", key, err)
		}
		return all[field]
	}
	brandNew, _ := extra(ids[0], "brandNew").(map[string]any)
	if deep, _ := brandNew["deep"].([]any); len(deep) != 3 || deep[0] != json.Number("9007199254740993") {
		t.Errorf("unknown field: %v", h.Rows[ids[0]])
	}
	if extra(ids[1], "createdAt") != "not a time" || h.Rows[ids[1]]["createdAt"] != nil {
		t.Errorf("field of another type: %v", h.Rows[ids[1]])
	}
	if h.Rows["not a uuid"]["text"] != "odd" {
		t.Error("the row with an odd id is missing")
	}
	var reasons []string
	for _, r := range w.c.Raw(t, w.env["KAFKA_TOPIC_PREFIX"]+".dlq") {
		reason := ""
		for name, v := range r.Headers {
			if strings.Contains(v, "primary key") || strings.Contains(v, "max.message.bytes") {
				reason = name + ": " + v
			}
		}
		reasons = append(reasons, reason)
	}
	slices.Sort(reasons)
	if len(reasons) != 3 || reasons[0] == "" {
		t.Errorf("dead letters %q, want one for each of two rows without a key and one for the row that is too large", reasons)
	}
}

// The two ways to read candidates differ in nothing but what only /candidates serves.
func TestNativeCandidatesEqualDerivedOnes(t *testing.T) {
	for _, expands := range []bool{true, false} {
		w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 32})
		w.env["LEVER_CANDIDATES"], w.env["SWEEP_INTERVAL"] = "native", "1ms"
		w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
			if strings.HasPrefix(r.URL.Path, "/v1/candidates") && !expands {
				q := r.URL.Query()
				q.Del("expand")
				r.URL.RawQuery = q.Encode()
			}
			lever.ServeHTTP(rw, r)
		})
		w.once()
		w.check("first pass")
		w.lever.Mutate(60)
		w.once()
		h := w.check("after changes")
		if h["candidates"].Ops["u"] == 0 || h["candidate_applications"].Ops["r"] == 0 {
			t.Errorf("candidates %v, applications %v", h["candidates"].Ops, h["candidate_applications"].Ops)
		}
		n := w.lever.Requests()
		if n["/candidates/:id/offers"] < 60 || expands != (n["/candidates/:id/applications"] == 0) {
			t.Errorf("requests %v", n)
		}
	}
}

// Where Lever does not expand applications, one list of them that cannot be read holds up
// neither its page nor the sweep.
func TestABrokenListOfApplicationsDoesNotHoldUpItsPage(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 34})
	w.env["LEVER_CANDIDATES"], w.env["SWEEP_INTERVAL"] = "native", "1ms"
	applications := w.lever.Truth("candidate_applications")
	var broken string
	for _, row := range applications {
		broken, _ = row["opportunityId"].(string)
	}
	front := func(failing bool) front {
		return func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
			if failing && r.URL.Path == "/v1/candidates/"+broken+"/applications" {
				rw.WriteHeader(http.StatusInternalServerError)
				return
			}
			if strings.HasPrefix(r.URL.Path, "/v1/candidates") {
				q := r.URL.Query()
				q.Del("expand")
				r.URL.RawQuery = q.Encode()
			}
			lever.ServeHTTP(rw, r)
		}
	}
	w.between(front(false))
	w.once()
	w.between(front(true))
	w.lever.Mutate(60)
	w.must(w.lever.Touch(broken))
	if _, err := w.run(t.Context(), Options{Once: true}); err == nil || !strings.Contains(err.Error(), "single records could not be read") {
		t.Errorf("error %v", err)
	}
	for _, d := range w.differences(w.histories()) {
		if !strings.HasPrefix(d, "candidate_applications") {
			t.Errorf("while it is broken: %s", d)
		}
	}
	w.between(front(false))
	w.once()
	w.check("when it can be read")
}

// A key that loses its right to see confidential rows: those rows go, one by one and
// confirmed.
func TestConfidentialRowsGoWithTheRight(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 33})
	w.env["SWEEP_INTERVAL"] = "1ms"
	ids := w.lever.IDs("opportunities")
	w.must(w.lever.SetConfidential(ids[5], true))
	w.once()
	w.check("first pass")
	w.must(w.lever.SetConfidential(ids[6], true))
	w.once()
	w.check("one became confidential, and the key may see it")
	w.lever.SetFaults(sandbox.Faults{NoConfidential: true})
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		if r.URL.Path == "/v1/opportunities/"+ids[5] || r.URL.Path == "/v1/opportunities/"+ids[6] {
			http.Error(rw, `{"code":"ResourceNotFound"}`, http.StatusNotFound)
			return
		}
		lever.ServeHTTP(rw, r)
	})
	w.once()
	w.once()
	h := w.histories()
	if len(h["opportunities"].Problems) > 0 {
		t.Error(h["opportunities"].Problems)
	}
	for i, id := range ids {
		if _, there := h["opportunities"].Rows[id]; there != (i != 5 && i != 6) {
			t.Errorf("row %d: there %v", i, there)
		}
	}
}

// Cursors are Lever's times: a machine whose clock is wrong reads the same.
func TestClocksThatDiffer(t *testing.T) {
	for _, skew := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 34, Now: func() time.Time { return time.Now().Add(skew) }})
		w.once()
		w.check("first pass")
		for range 3 {
			w.lever.Mutate(15)
			w.once()
			w.check("changes under " + skew.String())
		}
	}
}

// A table that is no longer selected keeps its topic, and goes on where it was when it
// is selected again.
func TestATableCanBeLeftOutForAWhile(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 35})
	w.once()
	before := ops(w.histories())
	w.env["LEVER_TABLES"] = "opportunities,opportunity_applications,stages,users,sources,postings"
	w.lever.Mutate(40)
	w.once()
	h := w.histories()
	for _, table := range []string{"candidates", "candidate_offers", "requisitions", "archive_reasons"} {
		for op := range h[table].Ops {
			if got := h[table].Ops[op]; got != before[table+" "+op] {
				t.Errorf("%s: %d events %s, %d before it was left out", table, got, op, before[table+" "+op])
			}
		}
	}
	delete(w.env, "LEVER_TABLES")
	w.once()
	h = w.check("selected again")
	if h["candidates"].Ops["r"] != before["candidates r"] {
		t.Errorf("candidates were snapshotted again: %v", h["candidates"].Ops)
	}
}

// steered runs a pipeline, calls during with it once it replicates, and stops it when
// the topics equal Lever.
func (w *world) steered(when string, during func(p *Pipeline)) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	p := w.pipeline(Options{})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	w.until(when, func() bool { return p.Ready() == nil })
	during(p)
	w.equal(when)
	cancel()
	w.must(<-done)
}

// equal waits until the topics equal Lever.
func (w *world) equal(when string) {
	w.t.Helper()
	var last []string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if last = w.differences(w.histories()); len(last) == 0 {
			return
		}
	}
	w.t.Fatalf("%s: not equal within a minute: %d differences, %q", when, len(last), last[:min(5, len(last))])
}

// until waits for a condition.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within a minute\n%s", what, w.log.String())
		}
	}
}

// complete says that the table's snapshot is.
func complete(p *Pipeline, table string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writer != nil && p.writer.Complete(table)
}

// A table is read again while changes go on: only what differs is written.
func TestATableCanBeReadAgain(t *testing.T) {
	w := newWorld(t, kafkatest.Best(t), sandbox.Options{Opportunities: 150, Seed: 41})
	w.env["SWEEP_INTERVAL"] = "0"
	w.once()
	before := ops(w.check("first pass"))
	ids := w.lever.IDs("opportunities")
	w.must(w.lever.SilentEdit(ids[0]))
	_, err := w.lever.AddOffer(ids[1])
	w.must(err)
	w.must(w.lever.RemoveOffer(w.lever.IDs("offers")[0]))
	// Gone without a feed.
	w.must(w.lever.DeleteOpportunity(ids[2]))
	w.between(edited(map[string]func(map[string]any){"/opportunities/deleted": func(body map[string]any) { body["data"] = []any{} }}))
	w.steered("read again", func(p *Pipeline) {
		for _, table := range extractor.Tables() {
			if table.Parent == "" || strings.HasSuffix(table.Name, "_offers") {
				w.must(p.Resnapshot(t.Context(), table.Name, false))
			}
		}
		w.lever.Touch(ids[5])
		w.until("complete", func() bool {
			return complete(p, "opportunities") && complete(p, "opportunity_offers") && complete(p, "stages")
		})
	})
	h := w.check("read again")
	for table, x := range h {
		if got := x.Ops["r"]; got != before[table+" r"] {
			t.Errorf("%s: %d r, before %d", table, got, before[table+" r"])
		}
	}
	for table, want := range map[string][3]int{"opportunities": {0, 2, 1}, "opportunity_offers": {1, 0, 1}} {
		got := [3]int{h[table].Ops["c"], h[table].Ops["u"], h[table].Ops["d"]}
		if got[0] != want[0] || got[1] != want[1] || got[2] < want[2] {
			t.Errorf("%s: c, u, d %v, want %v", table, got, want)
		}
	}
	incremental := 0
	for _, events := range h["opportunities"].Events {
		for _, e := range events {
			if e["source"].(map[string]any)["snapshot"] == "incremental" {
				incremental++
			}
		}
	}
	if incremental == 0 {
		t.Error("no event says that it comes from the repeated snapshot")
	}
}

// All rows of a table are written again.
func TestATableCanBeWrittenAgain(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 120, Seed: 42})
	w.env["SWEEP_INTERVAL"] = "0"
	w.once()
	before := w.check("first pass")
	again := []string{"opportunities", "candidate_resumes", "opportunity_applications", "users", "requisitions", "postings"}
	w.steered("written again", func(p *Pipeline) {
		for _, table := range again {
			w.must(p.Resnapshot(t.Context(), table, true))
			w.must(p.Resnapshot(t.Context(), table, false)) // what was promised stays promised
		}
		w.until("complete", func() bool {
			return !slices.ContainsFunc(again, func(table string) bool { return !complete(p, table) })
		})
	})
	h := w.check("written again")
	for table, x := range h {
		want := before[table].Ops["r"]
		if slices.Contains(again, table) {
			want *= 2
		}
		if x.Ops["r"] != want || len(x.Ops) > 1 {
			t.Errorf("%s: events %v, want %d r", table, x.Ops, want)
		}
	}
}

// A paused table is left alone, by the next process, too, until it is resumed.
func TestATableCanBePaused(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 43})
	w.once()
	w.steered("pause", func(p *Pipeline) {
		w.must(p.Pause(t.Context(), "candidates"))
		w.must(p.Pause(t.Context(), "opportunity_offers"))
		if err := p.Pause(t.Context(), "nothing"); !errors.Is(err, ErrUnknownTable) {
			t.Errorf("error %v", err)
		}
		w.until("what was complete to stay so", func() bool { pr := p.Progress(); return pr.Complete && pr.TablesComplete == pr.Tables })
	})
	w.lever.Mutate(40)
	before := w.histories()
	s, err := w.run(t.Context(), Options{Once: true})
	w.must(err)
	after := w.histories()
	for _, table := range s.Tables {
		want := strings.HasPrefix(table.Table, "candidate") || table.Table == "opportunity_offers"
		if (table.Phase == extractor.PhasePaused) != want {
			t.Errorf("%s is %s", table.Table, table.Phase)
		}
		for _, op := range []string{"c", "u"} {
			if n := after[table.Table].Ops[op] - before[table.Table].Ops[op]; want && n != 0 {
				t.Errorf("%s: %d %s while it was paused", table.Table, n, op)
			}
		}
	}
	w.steered("resume", func(p *Pipeline) {
		w.must(p.Resume(t.Context(), "candidates"))
		w.must(p.Resume(t.Context(), "opportunity_offers"))
	})
	w.check("resumed")
}

// What a topic's content depends on has changed: everything is written again, and what
// is out of range is deleted.
func TestAChangedStartDate(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 150, Seed: 44})
	w.env["SWEEP_INTERVAL"] = "1ms"
	w.once()
	w.check("everything")
	start := time.Now().AddDate(-1, -6, 0).UTC().Truncate(time.Second)
	w.env["LEVER_START_DATE"] = start.Format(time.RFC3339)
	w.once()
	w.once()
	h := w.histories()
	for table, field := range map[string]string{"opportunities": "opportunities", "requisitions": "requisitions", "postings": "postings"} {
		for key, r := range w.lever.Truth(field) {
			inRange := !leverTime(r["createdAt"]).Before(start) || !leverTime(r["updatedAt"]).Before(start)
			if _, there := h[table].Rows[key]; there != inRange {
				t.Errorf("%s %s: in range %v, there %v", table, key, inRange, there)
			}
		}
		if len(h[table].Problems) > 0 {
			t.Errorf("%s: %v", table, h[table].Problems)
		}
	}
	if h["opportunities"].Ops["d"] == 0 {
		t.Error("no row left the range")
	}
	delete(w.env, "LEVER_START_DATE")
	w.once()
	w.check("everything again")
}

func TestAChangedWayToReadCandidates(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 45})
	w.once()
	before := ops(w.histories())
	w.env["LEVER_CANDIDATES"] = "native"
	w.once()
	h := w.check("native")
	for _, table := range extractor.Tables() {
		want := before[table.Name+" r"]
		if strings.HasPrefix(table.Name, "candidate") {
			want *= 2
		}
		if got := h[table.Name].Ops["r"]; got != want {
			t.Errorf("%s: %d r, want %d", table.Name, got, want)
		}
	}
}

// The topic was deleted, and is written anew.
func TestADeletedTopicIsWrittenAnew(t *testing.T) {
	c := kafkatest.Best(t)
	w := newWorld(t, c, sandbox.Options{Opportunities: 40, Seed: 46})
	w.once()
	adm := kadm.NewClient(c.Client(t))
	for _, table := range []string{"opportunities", "candidate_offers", "stages"} {
		_, err := adm.DeleteTopic(t.Context(), w.env["KAFKA_TOPIC_PREFIX"]+"."+table)
		w.must(err)
	}
	w.once()
	h := w.check("anew")
	if n := len(h["opportunities"].Rows); h["opportunities"].Ops["r"] != n {
		t.Errorf("%d rows, events %v", n, h["opportunities"].Ops)
	}
}
