package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// tryOnce makes one pass and returns its error.
func (v *virtual) tryOnce() error {
	v.t.Helper()
	return v.try(func(e *extractor.Extractor) error { return e.Once(context.Background()) })
}

// sel selects the tables to replicate.
func (v *virtual) sel(names ...string) {
	v.config.Tables = slices.DeleteFunc(extractor.Tables(), func(t cdc.Table) bool { return !slices.Contains(names, t.Name) })
	for _, t := range v.desk.tables {
		t.Children = slices.DeleteFunc(t.Children, func(c string) bool { return !slices.Contains(names, c) })
	}
}

// edit edits a section of a bookmark.
func (d *desk) edit(table, section string, edit func(map[string]any)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.bookmarks[table]
	raw := b.Sections[section]
	m := map[string]any{}
	if raw != nil {
		dec := json.NewDecoder(strings.NewReader(string(raw)))
		dec.UseNumber()
		_ = dec.Decode(&m)
	}
	edit(m)
	out, _ := json.Marshal(m)
	b, err := b.Apply(cdc.Change{Table: table, Section: section, Value: out})
	if err != nil {
		d.t.Fatal(err)
	}
	d.bookmarks[table] = b
	d.tables[table].Snapshot, _ = b.Snapshot()
}

// front puts f before Lever.
func (v *virtual) front(f func(rw http.ResponseWriter, r *http.Request, lever http.Handler)) {
	v.wire.lever = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { f(rw, r, v.lever) })
}

// noFeeds is a front without feeds of deletions.
func noFeeds(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
	if strings.HasSuffix(r.URL.Path, "/deleted") {
		_, _ = rw.Write([]byte(`{"data":[],"hasNext":false}`))
		return
	}
	lever.ServeHTTP(rw, r)
}

// missing names the differences between the tables and Lever.
func (v *virtual) missing(tables ...string) (out []string) {
	for _, t := range tables {
		truth := v.lever.Truth(t)
		for key := range truth {
			if _, known, _ := v.desk.Row(t, key); !known {
				out = append(out, t+" lacks "+key)
			}
		}
		for _, key := range v.desk.sorted(t) {
			if _, known, _ := v.desk.Row(t, key); known && truth[key] == nil {
				out = append(out, t+" has extra "+key)
			}
		}
	}
	return out
}

// The machine's clock was ahead when the sweep's pass was opened, and then set right.
func TestAClockThatWasSetBackDoesNotStopTheSweep(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 60, Seed: 3}, 50*time.Millisecond)
		v.config.SweepInterval = time.Hour
		v.once()
		ahead := time.Now().Add(365 * 24 * time.Hour).UnixMilli()
		for _, table := range extractor.Tables() {
			if v.desk.Section(table.Name, "sweep") != nil {
				v.desk.edit(table.Name, "sweep", func(m map[string]any) { m["began"] = ahead })
			}
		}
		for _, id := range v.lever.IDs("offers")[:3] {
			if err := v.lever.RemoveOffer(id); err != nil {
				t.Fatal(err)
			}
		}
		v.during(func() { time.Sleep(12 * time.Hour) })
		if d := v.missing("opportunity_offers"); len(d) > 0 {
			t.Errorf("after twelve hours with a sweep interval of one: %v", d)
		}
	})
}

// A program that runs once an hour, or restarts that often, makes no pass in one piece.
func TestPassesMoreOftenThanASweepFindWhatVanished(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 2500, Seed: 4}, 10*time.Millisecond)
		v.config.Confidentiality, v.config.ExcludeConfidential = "non-confidential", true
		v.once()
		id := v.lever.IDs("opportunities")[7]
		if err := v.lever.SetConfidential(id, true); err != nil {
			t.Fatal(err)
		}
		for range 24 * 4 {
			time.Sleep(time.Hour)
			v.once()
		}
		if _, known, _ := v.desk.Row("opportunities", id); known {
			t.Errorf("a row that became confidential is still there after four sweep intervals")
		}
	})
}

// The guard lets opportunities go and holds candidates: their applications are counted there.
func TestCandidatesThatTheGuardHeldAreAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 60, Seed: 5}, 10*time.Millisecond)
		v.sel("users", "opportunities", "candidates", "candidate_applications")
		v.config.SweepInterval = time.Hour
		ids := v.lever.IDs("opportunities")[:15]
		for _, id := range ids {
			for range 3 {
				if _, err := v.lever.AddApplication(id); err != nil {
					t.Fatal(err)
				}
			}
		}
		v.once()
		v.front(noFeeds)
		for _, id := range ids {
			if err := v.lever.DeleteOpportunity(id); err != nil {
				t.Fatal(err)
			}
		}
		v.during(func() { time.Sleep(48 * time.Hour) })
		if d := v.missing("opportunities", "candidates", "candidate_applications"); len(d) > 0 {
			t.Errorf("after 48 sweeps: %d differences: %v", len(d), d[:min(3, len(d))])
		}
		if err := v.tryOnce(); err != nil {
			t.Errorf("a pass: %v", err)
		}
	})
}

// Rows that the guard held went with their parent.
func TestRowsThatAreHeldAndDeletedOtherwiseAreHeldNoLonger(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 40, Seed: 6}, 10*time.Millisecond)
		v.config.SweepInterval = time.Hour
		id := v.lever.IDs("opportunities")[0]
		var offers []string
		for range 30 {
			o, err := v.lever.AddOffer(id)
			if err != nil {
				t.Fatal(err)
			}
			offers = append(offers, o)
		}
		v.once()
		for _, o := range offers {
			if err := v.lever.RemoveOffer(o); err != nil {
				t.Fatal(err)
			}
		}
		v.during(func() {
			v.waitFor("some are held", func() bool { return strings.Contains(string(v.desk.Section("opportunity_offers", "guard")), "held") })
			if err := v.lever.DeleteOpportunity(id); err != nil {
				t.Fatal(err)
			}
			time.Sleep(48 * time.Hour)
		})
		if d := v.missing("opportunities", "opportunity_offers"); len(d) > 0 {
			t.Fatalf("%v", d)
		}
		for _, s := range v.status.Tables(v.desk) {
			if s.Phase == extractor.PhaseHolding {
				t.Errorf("%s holds %d rows, and there are none that Lever lacks", s.Table, s.Held)
			}
		}
		if err := v.tryOnce(); err != nil {
			t.Errorf("a pass two days later: %v", err)
		}
	})
}

// Only Lever's default stages are known, and one is added.
func TestANewStageIsNoOtherAccount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 10, Seed: 7}, 10*time.Millisecond)
		v.sel("stages", "opportunities")
		added := false
		v.front(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
			if r.URL.Path != "/v1/stages" || added {
				lever.ServeHTTP(rw, r)
				return
			}
			rec := httptest.NewRecorder()
			lever.ServeHTTP(rec, r)
			body := map[string]any{}
			_ = json.Unmarshal(rec.Body.Bytes(), &body)
			body["data"] = slices.DeleteFunc(body["data"].([]any), func(x any) bool { return len(x.(map[string]any)["id"].(string)) == 36 })
			_ = json.NewEncoder(rw).Encode(body)
		})
		v.once()
		added = true
		if err := v.tryOnce(); err != nil {
			t.Errorf("after a stage was added: %v", err)
		}
	})
}

// One opportunity cannot be asked for alone, and one of its applications is gone.
func TestARecordThatCannotBeConfirmedDoesNotHoldUpItsListing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 1200, Seed: 8}, 10*time.Millisecond)
		v.once()
		var app, id string
		for _, a := range v.lever.IDs("applications") {
			row, ok, _ := v.desk.Row("opportunity_applications", a)
			if ok {
				app, id = a, row.Parent
				break
			}
		}
		v.front(noFeeds)
		answers := v.wire.answer(func(r *http.Request) bool { return r.URL.Path == "/v1/opportunities/"+id })
		defer answers()
		if err := v.lever.DeleteApplication(app); err != nil {
			t.Fatal(err)
		}
		if err := v.lever.Touch(id); err != nil {
			t.Fatal(err)
		}
		v.during(func() {
			time.Sleep(10 * time.Minute)
			for _, o := range v.lever.IDs("opportunities")[:900] {
				if o != id {
					_ = v.lever.Touch(o)
				}
			}
			time.Sleep(10 * time.Minute)
			var fresh []string
			for range 5 {
				fresh = append(fresh, v.lever.NewOpportunity())
			}
			time.Sleep(6 * time.Hour)
			var s struct {
				Cursor int64 `json:"cursor"`
			}
			_ = json.Unmarshal(v.desk.Section("opportunities", "increment"), &s)
			if behind := time.Since(time.UnixMilli(s.Cursor)); behind > 10*time.Minute {
				t.Errorf("the increment of all opportunities is %s behind", behind)
			}
			for _, o := range fresh {
				if _, known, _ := v.desk.Row("opportunities", o); !known {
					t.Errorf("a new opportunity is not there after six hours")
				}
			}
		})
	})
}

// An offer is served under two opportunities, and one of them cannot be asked for its offers when
// the other is deleted. That one waits, and no other deletion does.
func TestAClaimantThatCannotBeReadHoldsUpNoOtherDeletion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 40, Seed: 29}, 10*time.Millisecond)
		v.config.SweepInterval = time.Hour
		v.once()
		offer := v.desk.sorted("opportunity_offers")[0]
		row, _, _ := v.desk.Row("opportunity_offers", offer)
		owner := row.Parent
		others := slices.DeleteFunc(v.lever.IDs("opportunities"), func(id string) bool { return id == owner })
		claimant, third := others[0], others[1]
		record := maps.Clone(v.lever.Truth("opportunity_offers")[offer])
		delete(record, "opportunityId")
		shared := edited(map[string]func(map[string]any){
			"/opportunities/" + claimant + "/offers": func(body map[string]any) { body["data"] = append(data(body), record) },
		})
		v.front(shared)
		v.during(func() {
			time.Sleep(2 * time.Hour) // the sweep finds that it claims the offer
			answers := v.wire.answer(func(r *http.Request) bool { return r.URL.Path == "/v1/opportunities/"+claimant+"/offers" })
			for _, id := range []string{owner, third} {
				if err := v.lever.DeleteOpportunity(id); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(20 * time.Minute)
			for _, table := range []string{"opportunities", "candidates"} {
				if _, known, _ := v.desk.Row(table, third); known {
					t.Errorf("%s: another one that was deleted is still there", table)
				}
			}
			if _, known, _ := v.desk.Row("opportunity_offers", offer); !known {
				t.Error("the offer is gone, and nobody knows who serves it")
			}
			later := v.lever.NewOpportunity()
			time.Sleep(10 * time.Minute)
			if err := v.lever.DeleteOpportunity(later); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			if _, known, _ := v.desk.Row("opportunities", later); known {
				t.Error("one that was deleted later is still there")
			}
			answers()
			time.Sleep(3 * time.Hour)
			if row, _, _ := v.desk.Row("opportunity_offers", offer); row.Parent != claimant {
				t.Errorf("the offer belongs to %s, not to the one that serves it, %s", row.Parent, claimant)
			}
			if _, known, _ := v.desk.Row("opportunities", owner); known {
				t.Error("the owner is still there")
			}
		})
	})
}

// What one follower's sweep put aside is in the bookmark although another's failed.
func TestWhatASweepPutAsideIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 40, Seed: 9}, 10*time.Millisecond)
		v.config.SweepInterval = time.Hour
		v.once()
		id := v.lever.IDs("opportunities")[3]
		time.Sleep(2 * time.Hour)
		v.front(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
			switch {
			case r.URL.Path == "/v1/opportunities/"+id+"/offers":
				rw.WriteHeader(500)
			case strings.HasSuffix(r.URL.Path, "/referrals"), strings.HasSuffix(r.URL.Path, "/resumes"):
				rw.WriteHeader(403)
			default:
				lever.ServeHTTP(rw, r)
			}
		})
		err := v.tryOnce()
		t.Log(err)
		if err == nil {
			t.Fatal("no error")
		}
		for _, list := range []string{"offers", "referrals", "resumes"} {
			if !strings.Contains(err.Error(), "/"+list+" for") {
				t.Errorf("the error does not name the %s", list)
			}
		}
		if s := string(v.desk.Section("opportunity_offers", "children.offers")); !strings.Contains(s, id) {
			t.Errorf("the parent that was put aside is not in the bookmark: %s; sweep %s", s, v.desk.Section("opportunity_offers", "sweep"))
		}
	})
}

// A snapshot section that somebody has written, without a width.
func TestASnapshotWithoutAWidthEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 150, Seed: 10}, 10*time.Millisecond)
		for _, table := range []string{"opportunities", "candidates", "opportunity_applications", "candidate_applications"} {
			v.desk.edit(table, "snapshot", func(m map[string]any) {
				m["complete"], m["began"] = false, time.Now().UnixMilli()
			})
		}
		v.during(func() { time.Sleep(30 * time.Minute) })
		if !v.desk.complete("opportunities") {
			t.Errorf("after half an hour: %s, %d requests", v.desk.Section("opportunities", "snapshot"), len(v.wire.sent))
		}
	})
}

// An operator has removed a section, as the error about a damaged one advises.
func TestARemovedSectionIsReadAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 60, Seed: 11}, 10*time.Millisecond)
		v.once()
		v.desk.mu.Lock()
		for _, table := range []string{"opportunities", "candidates", "postings"} {
			for _, section := range []string{"increment", "deletions"} {
				b, err := v.desk.bookmarks[table].Apply(cdc.Change{Table: table, Section: section})
				if err != nil {
					t.Error(err)
				}
				v.desk.bookmarks[table] = b
			}
		}
		v.desk.mu.Unlock()
		v.lever.NewOpportunity()
		v.lever.NewPosting()
		if err := v.lever.DeleteOpportunity(v.lever.IDs("opportunities")[4]); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		v.during(func() { time.Sleep(time.Hour) })
		t.Log(len(v.wire.between(began, time.Now())), "requests in an hour")
		if d := v.missing("opportunities", "candidates", "postings"); len(d) > 0 {
			t.Errorf("an hour later, with POLL_INTERVAL=10s: %v", d)
		}
		for _, s := range v.status.Tables(v.desk) {
			if s.Table == "opportunities" {
				t.Logf("phase %s, error %q, staleness %v", s.Phase, s.Error, s.Staleness)
			}
		}
	})
}

// units counts what is submitted.
type units struct {
	cdc.Sink
	n map[string]int
}

func (u *units) Submit(ctx context.Context, x *cdc.Unit) (<-chan cdc.Result, error) {
	if len(x.Rows)+len(x.Gone)+len(x.Lists) == 0 && x.Scan == "offers of opportunities" {
		u.n[x.Scan]++ // one extractor's followers only
	}
	return u.Sink.Submit(ctx, x)
}

// While a parent is set aside during the first load, the cursor of its list stands.
func TestACursorThatStandsIsNotWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 60, Seed: 12}, 10*time.Millisecond)
		v.sel("users", "stages", "opportunities", "opportunity_offers", "sources")
		u := &units{Sink: v.desk, n: map[string]int{}}
		v.config.Sink = u
		id := v.lever.IDs("opportunities")[0]
		v.front(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
			if r.URL.Path == "/v1/opportunities/"+id+"/offers" {
				rw.WriteHeader(500)
				return
			}
			lever.ServeHTTP(rw, r)
		})
		v.during(func() {
			time.Sleep(10 * time.Minute)
			before := u.n["offers of opportunities"]
			for range 120 { // new sources say nothing of offers
				v.lever.AddSource()
				time.Sleep(5 * time.Minute)
			}
			if n := u.n["offers of opportunities"] - before; n > 10 {
				t.Errorf("%d transactions for a cursor that stands at %s", n, v.desk.Section("opportunity_offers", "children.offers"))
			}
		})
	})
}

// After candidates were paused for a while, each list is read once for both tables again.
func TestListsAreReadOnceAfterAPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 60, Seed: 13}, 10*time.Millisecond)
		v.once()
		all := v.config.Tables
		v.config.Tables = nil
		for _, table := range all {
			if !strings.HasPrefix(table.Name, "candidate") {
				v.config.Tables = append(v.config.Tables, table)
			}
		}
		v.during(func() { time.Sleep(10 * time.Minute) }) // as the pipeline does while they are paused
		v.config.Tables = all
		v.during(func() {
			time.Sleep(24 * time.Hour)
			began := time.Now()
			for _, id := range v.lever.IDs("opportunities")[:10] {
				if err := v.lever.EditOpportunity(id); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
			n := 0
			for _, s := range v.wire.between(began, time.Now()) {
				if strings.HasSuffix(s.endpoint, "/offers") {
					n++
				}
			}
			if n > 12 { // the sweep may have read one or two
				t.Errorf("%d requests for the offers of ten opportunities, a day after candidates were resumed", n)
			}
		})
	})
}

// Subsets of tables, tiny accounts, pages of one record: all converge, and no pass goes on for ever.
func TestAnySelectionOfTablesOfATinyAccount(t *testing.T) {
	for _, n := range []int{0, 1, 7} {
		for i, names := range []string{
			"candidates", "opportunities", "opportunities,opportunity_resumes", "candidates,candidate_offers,candidate_applications",
			"opportunities,candidates,candidate_resumes", "postings", "requisitions", "candidates,candidate_referrals,opportunities,opportunity_offers", "stages,users,sources,archive_reasons",
		} {
			for _, native := range []bool{false, true} {
				t.Run(fmt.Sprint(n, names, native), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						v := newVirtual(t, sandbox.Options{Opportunities: n, Seed: uint64(20 + i)}, 10*time.Millisecond)
						v.config.NativeCandidates, v.config.SweepInterval = native, time.Hour
						tables := strings.Split(names, ",")
						v.sel(tables...)
						v.front(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
							q := r.URL.Query()
							if q.Has("limit") {
								q.Set("limit", "1")
								r.URL.RawQuery = q.Encode()
							}
							lever.ServeHTTP(rw, r)
						})
						v.once()
						for range 3 {
							v.lever.Mutate(10)
							v.during(func() { time.Sleep(150 * time.Minute) })
							if d := v.missing(tables...); len(d) > 0 {
								t.Errorf("%v", d)
							}
							v.lever.Mutate(10)
							time.Sleep(3 * time.Hour)
							began := time.Now()
							if err := v.tryOnce(); err != nil {
								t.Error(err)
							}
							if took := time.Since(began); took > 10*time.Minute {
								t.Errorf("a pass took %s", took)
							}
							if d := v.missing(tables...); len(d) > 0 {
								t.Errorf("once: %v", d)
							}
						}
					})
				})
			}
		}
	}
}
