package pipeline

import (
	"context"
	"flag"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

var (
	sequences = flag.Int("sequences", 2, "random sequences of changes that TestRandomSequences runs")
	seed      = flag.Uint64("seed", 0, "seed of the first of them; 0 takes one from the clock")
)

// A random sequence of all kinds of changes, between and during passes, continuous runs
// and restarts, at random page boundaries. Whenever it has come to rest the topics equal
// Lever and their chains are unbroken; and after a pass over changes that were made while
// nothing ran, there is exactly one event for each of them.
func TestRandomSequences(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c kafkatest.Cluster) {
		first := *seed
		if first == 0 {
			first = uint64(time.Now().UnixNano())
		}
		changes, events := 0, 0
		for n := range *sequences {
			s := &sequence{t: t, seed: first + uint64(n)}
			s.run(c)
			changes, events = changes+s.changes, events+s.events
			if t.Failed() {
				t.Fatalf("to repeat it: go test ./internal/pipeline -run TestRandomSequences -sequences 1 -seed %d", s.seed)
			}
		}
		t.Logf("%d sequences from seed %d, %d changes, %d events", *sequences, first, changes, events)
	})
}

type sequence struct {
	t               *testing.T
	seed            uint64
	w               *world
	r               *rand.Rand
	changes, events int
}

func (s *sequence) run(c kafkatest.Cluster) {
	s.t.Logf("seed %d", s.seed)
	s.r = rand.New(rand.NewPCG(s.seed, 0))
	s.w = newWorld(s.t, c, sandbox.Options{Opportunities: s.r.IntN(1 << s.r.IntN(7)), Seed: s.seed}) // 0 to 63
	s.w.env["LEVER_DELETE_GUARD"] = "100%"
	s.w.env["SWEEP_INTERVAL"] = "1ms" // a pass finds all that leaves no trace
	limits := rand.New(rand.NewPCG(s.seed, 1))
	s.w.between(func(w http.ResponseWriter, r *http.Request, lever http.Handler) {
		q := r.URL.Query()
		if limit, err := strconv.Atoi(q.Get("limit")); err == nil && limit > 1 {
			s.w.mu.Lock()
			q.Set("limit", strconv.Itoa(1+limits.IntN(limit)))
			s.w.mu.Unlock()
			r.URL.RawQuery = q.Encode()
		}
		lever.ServeHTTP(w, r)
	})
	s.w.once()
	s.rest("the first pass")
	for range 4 + s.r.IntN(4) {
		if s.r.IntN(4) == 0 {
			s.w.env["STATE_DIR"] = s.t.TempDir()
		}
		if s.r.IntN(2) == 0 {
			s.exactly()
		} else {
			s.meanwhile()
		}
		if s.t.Failed() {
			return
		}
	}
	s.events = events(s.w.histories())
}

// rest checks the topics after a pass over a Lever that did not change meanwhile.
func (s *sequence) rest(when string) map[string]*kafkatest.History {
	s.t.Helper()
	h := s.w.histories()
	for i, d := range s.w.differences(h) {
		if i < 10 {
			s.t.Errorf("seed %d, %s: %s", s.seed, when, d)
		}
	}
	return h
}

// exactly makes changes, then a pass.
func (s *sequence) exactly() {
	s.t.Helper()
	before := map[string]map[string]map[string]any{}
	was := ops(s.w.histories())
	for _, t := range extractor.Tables() {
		before[t.Name] = s.w.lever.Truth(t.Name)
	}
	s.change(1 + s.r.IntN(30))
	s.w.once()
	got := ops(s.rest("a pass over changes"))
	want := map[string]int{}
	people := s.w.lever.Truth("opportunities")
	for _, t := range extractor.Tables() {
		for op, n := range s.visible(before[t.Name], s.w.lever.Truth(t.Name), people) {
			want[t.Name+" "+op] += n
		}
	}
	for k, n := range was {
		if got[k] -= n; got[k] == 0 {
			delete(got, k)
		}
	}
	if !maps.Equal(got, want) {
		s.t.Errorf("seed %d: events %v, changes %v", s.seed, got, want)
	}
}

// visible counts the changes between two states of a table, as events show them: a row
// of an anonymised person is deleted and created.
func (s *sequence) visible(before, after, people map[string]map[string]any) map[string]int {
	n := kinds(before, after)
	for key, row := range after {
		was, there := before[key]
		if !there || kinds(map[string]map[string]any{key: was}, map[string]map[string]any{key: row})["u"] == 0 {
			continue
		}
		person := row
		if parent, ok := row["opportunityId"].(string); ok {
			person = people[parent]
		}
		if person["isAnonymized"] == true {
			n["u"]--
			n["d"]++
			n["c"]++
		}
	}
	maps.DeleteFunc(n, func(_ string, count int) bool { return count == 0 })
	return n
}

// meanwhile runs the pipeline for a while and makes changes meanwhile, then a pass.
func (s *sequence) meanwhile() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Duration(100+s.r.IntN(900))*time.Millisecond)
	defer cancel()
	done := s.w.start(ctx)
	for ctx.Err() == nil {
		s.change(1 + s.r.IntN(5))
		time.Sleep(time.Duration(s.r.IntN(50)) * time.Millisecond)
	}
	if err := <-done; err != nil && !strings.Contains(err.Error(), "stopped before everything was committed") {
		s.t.Errorf("seed %d: %v", s.seed, err)
		return
	}
	s.w.once()
	s.w.once() // what a pass itself found may have children
	s.rest("changes during a run")
}

// change makes random changes. Some are not possible where they hit; they count as none.
func (s *sequence) change(n int) {
	l := s.w.lever
	one := func(kind string, f func(string) error) func() error {
		return func() error {
			ids := l.IDs(kind)
			if len(ids) == 0 {
				return context.Canceled
			}
			return f(ids[s.r.IntN(len(ids))])
		}
	}
	under := func(f func(string) (string, error)) func() error {
		return one("opportunities", func(id string) error { _, err := f(id); return err })
	}
	always := func(f func() string) func() error { return func() error { f(); return nil } }
	all := []func() error{
		always(l.NewOpportunity), one("opportunities", l.EditOpportunity), one("opportunities", l.Touch), one("opportunities", l.SilentEdit),
		one("opportunities", l.AdvanceStage), one("opportunities", l.Archive), one("opportunities", l.Anonymize), one("opportunities", l.DeleteOpportunity),
		one("opportunities", func(id string) error { return l.SetConfidential(id, s.r.IntN(2) == 0) }),
		under(l.AddApplication), one("applications", l.DeleteApplication),
		under(l.AddOffer), one("offers", l.EditOffer), one("offers", l.RemoveOffer),
		under(l.AddReferral), one("referrals", l.RemoveReferral),
		under(l.AddResume), one("resumes", l.EditResume), one("resumes", l.RemoveResume),
		always(l.NewPosting), one("postings", l.EditPosting), one("postings", l.RenamePosting), one("postings", l.DeletePosting),
		always(l.NewRequisition), one("requisitions", l.EditRequisition), one("requisitions", l.DeleteRequisition),
		always(l.AddStage), one("stages", l.EditStage), one("stages", l.RemoveStage),
		always(l.AddSource), one("sources", l.RemoveSource),
		always(l.AddUser), one("users", l.EditUser), one("users", l.DeactivateUser), one("users", l.RemoveUser),
		always(l.AddArchiveReason), one("archive_reasons", l.EditArchiveReason), one("archive_reasons", l.RemoveArchiveReason),
		func() error { l.Mutate(1); return nil },
	}
	for range n {
		if all[s.r.IntN(len(all))]() == nil {
			s.changes++
		}
	}
}
