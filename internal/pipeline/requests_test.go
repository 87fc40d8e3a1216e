package pipeline

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/change"
	"github.com/leverstream/leverstream/internal/sandbox"
)

func total(requests map[string]int64) (n int64) {
	for _, of := range requests {
		n += of
	}
	return n
}

// reference is what the lists cost that are read whole.
func reference(requests map[string]int64) (n int64) {
	for _, path := range []string{"/archive_reasons", "/sources", "/stages", "/users", "/postings", "/requisitions"} {
		n += requests[path]
	}
	return n
}

func TestAFirstLoadAsksThreeTimesForEachOpportunityAndOnceForEachHundred(t *testing.T) {
	for _, n := range []int{1_000, 3_000} {
		bubble(t, func(t *testing.T) {
			v := newVirtual(t, sandbox.Options{Opportunities: n, Seed: 1}, 0)
			v.once()
			r := v.lever.Requests()
			if !v.complete() || v.desk.Count("opportunities") != int64(n) {
				t.Fatalf("not complete: %d opportunities", v.desk.Count("opportunities"))
			}
			most := 1.02 * float64(3*n+n/100+int(reference(r)))
			t.Logf("%d opportunities: %d requests, %.4f of 3N + N/100 + %d for reference tables", n, total(r), float64(total(r))/float64(3*n+n/100+int(reference(r))), reference(r))
			if float64(total(r)) > most {
				t.Errorf("%d requests, want at most %.0f: %v", total(r), most, r)
			}
		})
	}
}

func TestAChangedOpportunityCostsThreeRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 1_000, Seed: 1}, 200*time.Millisecond)
		v.once()
		v.during(func() {
			time.Sleep(time.Minute)
			v.lever.ResetRequests()
			ids := v.lever.IDs("opportunities")
			const changes = 100
			for i := range changes {
				if err := v.lever.EditOpportunity(ids[i*7]); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
			time.Sleep(time.Minute)
			children := int64(0)
			for path, n := range v.lever.Requests() {
				if strings.Contains(path, "/:id") {
					children += n
				}
			}
			t.Logf("%d changed opportunities: %d requests for them", changes, children)
			// The sweep of the same minutes is in it: 3N a day.
			if sweep := int64(math.Ceil(3 * 1000 * 160. / 86400)); children < 3*changes || children > 3*changes+sweep+3 {
				t.Errorf("%d requests for %d changed opportunities", children, changes)
			}
		})
	})
}

func TestAnIdlePollCostsSixRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 300, Seed: 1}, 200*time.Millisecond)
		v.config.SweepInterval = 0
		v.once()
		v.during(func() {
			time.Sleep(time.Minute + v.config.PollInterval/2) // between two polls
			v.lever.ResetRequests()
			before := v.client.Stats()
			time.Sleep(time.Hour)
			polls := int64(time.Hour / v.config.PollInterval)
			live := v.client.Stats().Requests["live"] - before.Requests["live"]
			refresh := v.client.Stats().Requests["refresh"] - before.Requests["refresh"]
			t.Logf("%.2f requests a poll, %d for full lists in an hour, %d in all: %v", float64(live)/float64(polls), refresh, total(v.lever.Requests()), v.lever.Requests())
			if live > 6*polls || live+refresh != total(v.lever.Requests()) {
				t.Errorf("%d requests in %d polls; all requests %v", live, polls, v.lever.Requests())
			}
		})
	})
}

func TestABacklogUsesTheAllowedRateAndLeverNeverSaysTooMany(t *testing.T) {
	for _, latency := range []time.Duration{200 * time.Millisecond, time.Second} {
		bubble(t, func(t *testing.T) {
			v := newVirtual(t, sandbox.Options{Opportunities: 3_000, Seed: 1, Rate: 10, Burst: 20}, latency)
			v.during(func() {
				time.Sleep(30 * time.Second)
				from := time.Now()
				time.Sleep(10 * time.Minute)
				n := len(v.wire.between(from, time.Now()))
				if v.complete() {
					t.Fatal("the backlog ended too early")
				}
				use := float64(n) / (10 * time.Minute.Seconds() * 10)
				t.Logf("latency %v: %.2f%% of the rate, %d in flight at most", latency, 100*use, v.wire.most)
				if use < 0.98 || use > 1.001 {
					t.Errorf("%.2f%% of the allowed rate used", 100*use)
				}
				if n := v.wire.refused(); n > 0 {
					t.Errorf("%d answers of 429", n)
				}
			})
		})
	}
}

func TestALiveChangeDoesNotWaitForTheFirstLoad(t *testing.T) {
	for _, latency := range []time.Duration{200 * time.Millisecond, time.Second} {
		bubble(t, func(t *testing.T) {
			v := newVirtual(t, sandbox.Options{Opportunities: 2_500, Seed: 1, Rate: 10, Burst: 20}, latency)
			pending := map[string]time.Time{}
			var took []time.Duration
			v.desk.committed = func(e change.Event) {
				at, ok := pending[e.Key]
				if ok && e.Table.Name == "opportunities" && e.SourceTime.UnixMilli() >= at.UnixMilli() {
					took = append(took, time.Since(at))
					delete(pending, e.Key)
				}
			}
			v.during(func() {
				v.waitFor("all opportunities", func() bool { return v.desk.Count("opportunities") == 2500 })
				ids := v.lever.IDs("opportunities")
				for i := range 300 {
					time.Sleep(1370 * time.Millisecond)
					id := ids[(i*37)%len(ids)]
					if _, waits := pending[id]; waits {
						continue
					}
					pending[id] = time.Now()
					if err := v.lever.EditOpportunity(id); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Minute)
				if v.complete() {
					t.Fatal("the first load ended too early")
				}
			})
			if len(pending) > 0 || len(took) < 290 {
				t.Fatalf("%d changes committed, %d not", len(took), len(pending))
			}
			slices.Sort(took)
			p99, most := took[len(took)*99/100], v.config.PollInterval+2*latency+time.Second
			t.Logf("latency %v: p50 %v, p99 %v, longest %v; allowed %v", latency, took[len(took)/2], p99, took[len(took)-1], most)
			if p99 > most {
				t.Errorf("p99 %v, allowed %v", p99, most)
			}
		})
	}
}

func TestTheSweepIsSpreadEvenly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 1_500, Seed: 1, Rate: 10, Burst: 20}, 200*time.Millisecond)
		v.config.SweepInterval = time.Hour
		v.once()
		v.during(func() {
			time.Sleep(time.Minute)
			from, saved := time.Now(), v.desk.sweepsSaved.Load()
			time.Sleep(time.Hour)
			saved = v.desk.sweepsSaved.Load() - saved
			perMinute := map[int]int{}
			n := 0
			for _, s := range v.wire.between(from, time.Now()) {
				if strings.Count(s.endpoint, "/") > 3 {
					perMinute[int(s.at.Sub(from)/time.Minute)]++
					n++
				}
			}
			least, most := n, 0
			for m := range 60 {
				least, most = min(least, perMinute[m]), max(most, perMinute[m])
			}
			t.Logf("%d lists in an hour, %d to %d a minute; %d times a bookmark moved", n, least, most, saved)
			if kinds := int64(3); saved > kinds*6*60+100 {
				t.Errorf("%d times a bookmark moved, more often than once in ten seconds for each kind of lists", saved)
			}
			if mean := 3 * 1500 / 60; n < 3*1500*98/100 || most > mean*11/10+3 || least < mean*9/10-3 {
				t.Errorf("%d lists in an hour, %d to %d a minute, want %d", n, least, most, mean)
			}
		})
	})
}

// A sweep that was due many times while the program was away is made once. That holds for an
// account without a single parent, too, whose lists cost no request.
func TestASweepThatWasMissedManyTimesIsMadeOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Seed: 1}, 200*time.Millisecond)
		for _, kind := range []string{"opportunities", "postings"} {
			for key := range v.lever.Truth(kind) {
				remove := v.lever.DeleteOpportunity
				if kind == "postings" {
					remove = v.lever.DeletePosting
				}
				if err := remove(key); err != nil {
					t.Fatal(err)
				}
			}
		}
		v.config.SweepInterval = time.Minute
		v.once()
		time.Sleep(24 * time.Hour) // simulated
		began := time.Now()
		v.once()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("a pass over an empty account took %s after a day without one", took)
		}
	})
}

// While Lever is away, for longer than a sweep takes, nothing piles up: not in the bookmarks,
// which would outgrow what a message may be, nor in requests. Afterwards all is as before.
func TestNothingPilesUpWhileLeverIsAway(t *testing.T) {
	for name, away := range map[string]func(path string) bool{
		"all of it": func(string) bool { return true },
		"one list":  func(path string) bool { return strings.HasSuffix(path, "/offers") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v := newVirtual(t, sandbox.Options{Opportunities: 600, Seed: 91}, 0)
				v.config.SweepInterval = time.Hour
				v.once()
				answers := v.wire.answer(func(r *http.Request) bool { return away(r.URL.Path) })
				v.during(func() {
					for range 10 {
						time.Sleep(36 * time.Minute) // simulated time
						v.lever.Mutate(10)
					}
					for _, table := range v.status.Tables(v.desk) {
						if table.Aside > 0 {
							t.Errorf("%s: %d parents set aside", table.Table, table.Aside)
						}
					}
					if size := v.desk.bookmarkSize(); size > 4<<10 {
						t.Errorf("a bookmark of %d bytes", size)
					}
					answers()
					v.converges()
				})
			})
		})
	}
}

// A good part of the parents cannot be read: so many are set aside as a bookmark may hold, and
// the others' lists are read all the same.
func TestSoManyParentsAreSetAsideAsABookmarkMayHold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, sandbox.Options{Opportunities: 2_500, Seed: 92}, 0)
		broken := func(r *http.Request) bool {
			path := strings.TrimSuffix(r.URL.Path, "/offers")
			return path != r.URL.Path && path[len(path)-1] < '8'
		}
		v.config.SweepInterval = time.Hour
		v.once()
		answers := v.wire.answer(broken)
		v.during(func() {
			time.Sleep(3 * time.Hour) // simulated time
			if n := v.aside(); n < 100 || n > 1_000 {
				t.Errorf("%d parents set aside", n)
			}
			if size := v.desk.bookmarkSize(); size > 100<<10 {
				t.Errorf("a bookmark of %d bytes", size)
			}
			answers()
			v.lever.Mutate(100)
			v.converges()
		})
	})
}

// More parents than there are slots cannot be read, and all change at once. Another parent's
// change does not wait until they can be.
func TestManyBrokenParentsDoNotHoldUpAnother(t *testing.T) {
	for name, code := range map[string]int{"500": 500, "no answer": 0} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v := newVirtual(t, sandbox.Options{Opportunities: 200, Seed: 93}, 0)
				v.config.SweepInterval = time.Hour
				v.once()
				ids := v.lever.IDs("opportunities")
				good, broken := ids[0], ids[1:41]
				v.wire.code = code
				defer v.wire.answer(func(r *http.Request) bool {
					id, list := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v1/opportunities/"), "/offers")
					return list && slices.Contains(broken, id)
				})()
				v.during(func() {
					for round := range 4 {
						for _, id := range broken {
							if err := v.lever.Touch(id); err != nil {
								t.Fatal(err)
							}
						}
						time.Sleep(15 * time.Second) // simulated time
						offer, err := v.lever.AddOffer(good)
						if err == nil {
							err = v.lever.Touch(good)
						}
						if err != nil {
							t.Fatal(err)
						}
						began := time.Now()
						v.waitFor("the offer", func() bool { _, known, _ := v.desk.Row("opportunity_offers", offer); return known })
						t.Logf("round %d: %s", round, time.Since(began))
						if took := time.Since(began); took > 90*time.Second || round > 0 && took > 45*time.Second {
							t.Errorf("round %d: the offer came after %s", round, took)
						}
						time.Sleep(25 * time.Minute) // simulated time
					}
					if late := v.status.Tables(v.desk); slices.ContainsFunc(late, func(s extractor.TableStatus) bool { return s.SweepBehind > 600 }) {
						t.Errorf("the sweep is behind: %+v", late)
					}
					if n := v.aside(); n != len(broken) {
						t.Errorf("%d parents are set aside", n)
					}
				})
			})
		})
	}
}

// Something on the way answers 404 to everything, for days. That tells nothing of any record.
func TestA404ForEverythingDeletesNothing(t *testing.T) {
	for name, spared := range map[string]string{"for everything": "-", "but for the tables that are read whole": "/users"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v := newVirtual(t, sandbox.Options{Opportunities: 150, Seed: 94}, 0)
				v.config.SweepInterval = time.Hour
				v.once()
				events := v.desk.events
				v.wire.code = http.StatusNotFound
				answers := v.wire.answer(func(r *http.Request) bool { return !strings.HasSuffix(r.URL.Path, spared) })
				v.during(func() {
					time.Sleep(12 * time.Hour) // simulated time
					if n := v.differences(); n > 0 || v.desk.events != events {
						t.Errorf("%d differences, %d events", n, v.desk.events-events)
					}
					answers()
					v.lever.Mutate(20)
					v.converges()
				})
			})
		})
	}
}
