package pipeline

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// reread has rows read again and waits until they were.
func (w *world) reread(p *Pipeline, table string, write bool, rows ...RowKey) {
	w.t.Helper()
	before := p.Snapshot().Rereads
	q, err := p.Reread(w.t.Context(), table, rows, write)
	w.must(err)
	if q.Rows != len(rows) {
		w.t.Errorf("%+v for %d rows", q, len(rows))
	}
	w.until("read again", func() bool { return p.Snapshot().Rereads.Waiting == 0 })
	if after := p.Snapshot().Rereads; after.Read != before.Read+int64(len(rows)) || after.Failed != before.Failed {
		w.t.Errorf("%s: %+v after %+v for %d rows\n%s", table, after, before, len(rows), w.log.String())
	}
}

// running runs a pipeline that follows nothing but what it is told to read, calls during
// with it, and stops it.
func (w *world) running(during func(p *Pipeline)) {
	w.t.Helper()
	w.env["SWEEP_INTERVAL"], w.env["POLL_INTERVAL"], w.env["REFRESH_INTERVAL"] = "0", "1h", "1h"
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	p := w.pipeline(Options{})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	w.until("running", func() bool {
		s := p.Snapshot()
		return p.Ready() == nil && !slices.ContainsFunc(s.Tables, func(t extractor.TableStatus) bool {
			return t.Phase != extractor.PhaseStreaming || t.LastRead.IsZero() && !strings.Contains(t.Table, "_")
		})
	})
	during(p)
	cancel()
	w.must(<-done)
}

// singles counts the requests for single objects and lists under them, without those that
// the followers of changed opportunities send.
func (w *world) singles() (n int64) {
	for path, count := range w.lever.Requests() {
		if strings.Contains(path, "/:id") {
			n += count
		}
	}
	return n
}

// grown returns the events that have come since.
func grown(before, after map[string]int) map[string]int {
	out := map[string]int{}
	for what, n := range after {
		if n != before[what] {
			out[what] = n - before[what]
		}
	}
	return out
}

func TestSingleRowsAreReadAgain(t *testing.T) {
	w := newWorld(t, kafkatest.Best(t), sandbox.Options{Opportunities: 150, Seed: 51})
	w.once()
	before := ops(w.check("first pass"))
	w.running(func(p *Pipeline) {
		owner, removed := w.parent("opportunity_offers")
		ids := slices.DeleteFunc(w.lever.IDs("opportunities"), func(id string) bool { return id == owner })
		added, err := w.lever.AddOffer(ids[1])
		w.must(err)
		w.must(w.lever.RemoveOffer(removed))
		w.must(w.lever.SilentEdit(ids[2]))
		gone := ids[3]
		carried := 0
		for _, table := range []string{"opportunity_offers", "opportunity_referrals", "opportunity_resumes", "opportunity_applications"} {
			for _, row := range w.lever.Truth(table) {
				if row["opportunityId"] == gone {
					carried++
				}
			}
		}
		w.must(w.lever.DeleteOpportunity(gone))
		stage := w.lever.AddStage()
		source := slices.Sorted(maps.Keys(w.lever.Truth("sources")))[0]

		w.lever.ResetRequests()
		w.reread(p, "opportunity_offers", false, RowKey{added, ids[1]}, RowKey{Key: removed})
		if w.singles() != 3 { // the removed one is confirmed by a second list
			t.Errorf("two rows of two parents took %d requests: %v", w.singles(), w.lever.Requests())
		}
		w.reread(p, "opportunities", false, RowKey{Key: ids[2]}, RowKey{Key: gone}, RowKey{Key: ids[4]})
		w.reread(p, "stages", false, RowKey{Key: stage})
		w.reread(p, "sources", false, RowKey{Key: source})
		// The followers read the three lists of the one that has changed.
		w.until("followed", func() bool { return w.singles() == 3+3+3+1 })
		// That a row is gone is believed when the list is served.
		if n := w.lever.Requests()["/opportunities"]; n > 1 {
			t.Errorf("the whole table was read: %v", w.lever.Requests())
		}
		w.until("equal", func() bool { return len(w.differences(w.histories())) == 0 })
		h := w.check("read again")
		got := grown(before, ops(h))
		delete(got, "sources u") // they count opportunities, and are read whole
		for what, want := range map[string]int{
			"opportunities u": 1, "candidates u": 1, "opportunities d": 1, "candidates d": 1, "stages c": 1,
			"opportunity_offers c": 1, "candidate_offers c": 1,
		} {
			if got[what] != want {
				t.Errorf("%d %s, want %d: %v", got[what], what, want, got)
			}
		}
		events := 0
		for _, n := range got {
			events += n
		}
		if want := 7 + 2 + 2*carried; events != want {
			t.Errorf("%d events, want %d: %v", events, want, got)
		}
	})
}

// What a topic has lost, or should never have held, is put right, and nothing else is
// written.
func TestRowsThatTheTopicHasLostAreWrittenAgain(t *testing.T) {
	for _, format := range []string{"debezium", "flat"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t, kafkatest.Best(t), sandbox.Options{Opportunities: 60, Seed: 52})
			w.env["EVENT_FORMAT"] = format
			w.once()
			// A row that is gone from Lever and from the state will be in the topic once more.
			opportunity, resume := w.parent("opportunity_resumes")
			ghosts := map[string]string{"opportunity_resumes": resume, "stages": w.lever.AddStage()}
			w.once()
			topics := []string{"stages", "sources", "opportunities", "opportunity_resumes", "opportunity_applications"}
			records := map[string][]kafkatest.Record{}
			for _, table := range topics {
				records[table] = w.c.Read(t, w.env["KAFKA_TOPIC_PREFIX"]+"."+table)
			}
			w.must(w.lever.RemoveResume(resume))
			w.must(w.lever.RemoveStage(ghosts["stages"]))
			w.env["SWEEP_INTERVAL"] = "1ns"
			w.once()
			lost := map[string]RowKey{}
			client := w.c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			for _, table := range topics {
				topic := w.env["KAFKA_TOPIC_PREFIX"] + "." + table
				for _, r := range records[table] {
					_, there := w.lever.Truth(table)[r.Key]
					value := r.RawValue
					switch {
					case r.Value == nil:
						continue
					case r.Key == ghosts[table]:
					case there && lost[table].Key == "":
						lost[table] = RowKey{Key: r.Key}
						value = nil
					default:
						continue
					}
					w.must(client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: r.Partition, Key: r.RawKey, Value: value}).FirstErr())
				}
			}
			count := func() (n map[string]int) {
				n = map[string]int{}
				for _, table := range extractor.Tables() {
					n[table.Name] = len(w.c.Raw(t, w.env["KAFKA_TOPIC_PREFIX"]+"."+table.Name))
				}
				return n
			}
			before := count()
			w.running(func(p *Pipeline) {
				w.lever.ResetRequests()
				for _, write := range []bool{false, true} {
					for _, table := range topics {
						rows := []RowKey{lost[table]}
						if ghost := ghosts[table]; ghost != "" {
							key := RowKey{Key: ghost}
							if table == "opportunity_resumes" {
								key.Parent = opportunity
							}
							rows = append(rows, key)
						}
						w.reread(p, table, write, rows...)
					}
					if write {
						break
					}
					if got := grown(before, count()); len(got) > 0 {
						t.Errorf("what has not changed was written: %v", got)
					}
				}
				if n := w.singles(); n > 15 || w.lever.Requests()["/sources"] != 2 {
					t.Errorf("%d requests: %v", n, w.lever.Requests())
				}
			})
			if got, want := grown(before, count()), (map[string]int{"stages": 2, "sources": 1, "opportunities": 1, "opportunity_resumes": 2, "opportunity_applications": 1}); !maps.Equal(got, want) {
				t.Errorf("written %v, want %v", got, want)
			}
			for _, table := range topics {
				topic := w.c.Read(t, w.env["KAFKA_TOPIC_PREFIX"]+"."+table)
				last := map[string]kafkatest.Record{}
				for _, r := range topic {
					last[r.Key] = r
				}
				ghost, back := last[ghosts[table]], last[lost[table].Key]
				if ghosts[table] != "" && ghost.Value != nil {
					t.Errorf("%s: the row that is not in Lever is still there", table)
				}
				if op := back.Value["op"]; format == "debezium" && op != "r" || back.Value == nil {
					t.Errorf("%s: the row that was lost is back as %v", table, op)
				}
			}
		})
	}
}

func TestRereadIsRefusedWithAReason(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 20, Seed: 53})
	w.once()
	w.running(func(p *Pipeline) {
		ask := func(table string, rows ...RowKey) error {
			_, err := p.Reread(t.Context(), table, rows, false)
			return err
		}
		for name, test := range map[string]struct {
			err      error
			conflict bool
			says     string
		}{
			"no rows":           {err: ask("stages"), says: "no rows"},
			"too many":          {err: ask("stages", slices.Repeat([]RowKey{{Key: "a"}}, MostReread+1)...), says: "resnapshot"},
			"no key":            {err: ask("stages", RowKey{Key: "a"}, RowKey{}), says: "row 2"},
			"a parent for none": {err: ask("stages", RowKey{"a", "b"}), says: "no parent table"},
			"unknown parent":    {err: ask("opportunity_offers", RowKey{Key: "a"}), says: "parent in opportunities must be given"},
		} {
			var wrong *RequestError
			if !errors.As(test.err, &wrong) || wrong.Conflict || !strings.Contains(test.err.Error(), test.says) {
				t.Errorf("%s: %v", name, test.err)
			}
		}
		if err := ask("nothing", RowKey{Key: "a"}); !errors.Is(err, ErrUnknownTable) {
			t.Error(err)
		}
		w.must(p.Pause(t.Context(), "opportunities"))
		var wrong *RequestError
		if err := ask("opportunity_offers", RowKey{"a", "b"}); !errors.As(err, &wrong) || !wrong.Conflict {
			t.Errorf("a paused table: %v", err)
		}
	})
}

// Reading rows again is no way around the guard, and what waits survives a change of bookmarks.
func TestRereadIsGuarded(t *testing.T) {
	w := newWorld(t, kafkatest.Best(t), sandbox.Options{Opportunities: 60, Seed: 54})
	w.once()
	w.running(func(p *Pipeline) {
		w.between(edited(map[string]func(map[string]any){"/opportunities/deleted": func(body map[string]any) { body["data"] = []any{} }}))
		var rows []RowKey
		for _, id := range w.lever.IDs("opportunities")[:30] {
			w.must(w.lever.DeleteOpportunity(id))
			rows = append(rows, RowKey{Key: id})
		}
		_, err := p.Reread(t.Context(), "opportunities", rows, false)
		w.must(err)
		w.must(p.Pause(t.Context(), "users"))
		w.until("read again", func() bool { return p.Snapshot().Rereads.Waiting == 0 })
		s := p.Snapshot()
		i := slices.IndexFunc(s.Tables, func(t extractor.TableStatus) bool { return t.Table == "opportunities" })
		if s.Rereads.Read != 30 || s.Rereads.Failed != 0 || s.Tables[i].Phase != extractor.PhaseHolding || s.Tables[i].Known != 40 {
			t.Errorf("%+v, %+v", s.Rereads, s.Tables[i])
		}
	})
}
