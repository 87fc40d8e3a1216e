package pipeline

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

func TestTopicsFoldedEqualLeverAfterEachPass(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c kafkatest.Cluster) {
		w := newWorld(t, c, sandbox.Options{Opportunities: 230, Seed: 7})
		first := w.once()
		h := w.check("first pass")
		rows := 0
		for _, table := range extractor.Tables() {
			n := len(h[table.Name].Rows)
			if rows += n; n == 0 {
				t.Errorf("%s has no rows", table.Name)
			}
			if h[table.Name].Ops["r"] != n || len(h[table.Name].Ops) > 1 {
				t.Errorf("%s: %d rows, events %v", table.Name, n, h[table.Name].Ops)
			}
		}
		if first.Totals.Events != int64(rows) {
			t.Errorf("%d events were reported, %d written", first.Totals.Events, rows)
		}

		second := w.once()
		if n := events(w.check("second pass")); n != rows || second.Totals.Events != 0 {
			t.Errorf("nothing changed in Lever, and %d events were written", n-rows)
		}

		w.lever.Mutate(80)
		w.once()
		h = w.check("third pass")
		if events(h) == rows {
			t.Error("no change arrived")
		}
		kinds := map[string]int{}
		for _, x := range h {
			for op, n := range x.Ops {
				kinds[op] += n
			}
		}
		for _, op := range []string{"c", "u", "d"} {
			if kinds[op] == 0 {
				t.Errorf("no %s among %v", op, kinds)
			}
		}
		if kinds["r"] != rows {
			t.Errorf("%d r events, the first snapshot had %d", kinds["r"], rows)
		}
	})
}

func TestContinuousReplicationFollowsChanges(t *testing.T) {
	c := kafkatest.Best(t)
	w := newWorld(t, c, sandbox.Options{Opportunities: 60, Seed: 3})
	w.eventually("changes during the first load", func() {
		for range 10 {
			w.lever.Mutate(3)
			time.Sleep(20 * time.Millisecond)
		}
	})
	w.eventually("changes after a restart", func() { w.lever.Mutate(40) })
	if text := w.log.String(); strings.Contains(text, "a-secret-token") || strings.Contains(text, "@") {
		t.Error("the log holds the token or an address")
	}
}

// A single pass that was stopped is not done.
func TestOnePassThatIsStoppedSaysSo(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 29})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/offers") {
			cancel()
		}
		lever.ServeHTTP(rw, r)
	})
	if _, err := w.run(ctx, Options{Once: true}); !errors.Is(err, ErrIncomplete) {
		t.Errorf("error %v", err)
	}
	w.between(nil)
	w.once()
	w.check("the rest")
}

// A pass that is stopped anywhere goes on where it was, and writes nothing twice.
func TestStopsAtAnyMomentLoseAndRepeatNothing(t *testing.T) {
	c := kafkatest.Best(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, c, sandbox.Options{Opportunities: 300, Seed: seed})
	for range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+random.IntN(400))*time.Millisecond)
		_, err := w.run(ctx, Options{})
		cancel()
		if err != nil && !strings.Contains(err.Error(), "stopped before everything was committed") {
			t.Fatal(err)
		}
		w.lever.Mutate(random.IntN(10))
		if random.IntN(3) == 0 {
			w.env["STATE_DIR"] = t.TempDir()
		}
	}
	w.once()
	h := w.check("after the stops")
	for table, x := range h {
		for key, e := range x.Events {
			if n := len(e); n > 60 {
				t.Errorf("%s %s has %d events", table, key, n)
			}
		}
	}
}

func TestAWrongTokenIsReported(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 5, Token: "another"})
	_, err := w.run(t.Context(), Options{Once: true})
	if err == nil || !strings.Contains(err.Error(), "LEVER_TOKEN") || strings.Contains(err.Error(), "a-secret-token") {
		t.Errorf("error %v", err)
	}
}

func TestAForbiddenEndpointDoesNotStopTheOthers(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Faults: sandbox.Faults{Status: map[string]int{"/opportunities/:id/referrals": 403}}})
	s, err := w.run(t.Context(), Options{Once: true})
	if err == nil || !strings.Contains(err.Error(), "opportunity_referrals") || !strings.Contains(err.Error(), "forbidden") && !strings.Contains(err.Error(), "403") {
		t.Errorf("error %v", err)
	}
	for _, table := range s.Tables {
		forbidden := strings.HasSuffix(table.Table, "_referrals")
		if (table.Phase == extractor.PhaseForbidden) != forbidden {
			t.Errorf("%s is %s", table.Table, table.Phase)
		}
	}
	h := w.histories()
	for _, table := range extractor.Tables() {
		diffs := kafkatest.Differences(h[table.Name].Rows, w.lever.Truth(table.Name))
		if len(diffs) > 0 && !strings.HasSuffix(table.Name, "_referrals") {
			t.Errorf("%s: %s", table.Name, diffs[0])
		}
	}
	w.lever.SetFaults(sandbox.Faults{})
	w.once()
	w.check("with the permission")
}

func TestATroubledLeverIsReadInTheEnd(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 5, Faults: sandbox.Faults{ErrorRate: 0.1}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, err := w.run(ctx, Options{Once: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, w.log.String())
	}
	w.lever.SetFaults(sandbox.Faults{})
	w.check("after trouble")
}

// A page token that no longer works costs the scan, or the window, that it belonged
// to, and nothing else.
func TestScansBeginAgainWhenTheirPageTokenIsRefused(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 350, Seed: 6, Faults: sandbox.Faults{InvalidTokens: true}})
	if _, err := w.run(t.Context(), Options{Once: true}); err == nil || !strings.Contains(err.Error(), "/opportunities") {
		t.Errorf("no page but the first can be read, and the pass ended with %v", err)
	}
	w.lever.SetFaults(sandbox.Faults{})
	w.once()
	w.check("after the tokens work again")
	rows := len(w.histories()["opportunities"].Rows)
	for _, id := range w.lever.IDs("opportunities") {
		if err := w.lever.Touch(id); err != nil {
			t.Fatal(err)
		}
	}
	w.lever.SetFaults(sandbox.Faults{InvalidTokens: true})
	if _, err := w.run(t.Context(), Options{Once: true}); err == nil {
		t.Errorf("an increment over %d rows needs tokens", rows)
	}
	w.lever.SetFaults(sandbox.Faults{})
	w.once()
	w.check("after an increment whose tokens were refused")
}

func TestTablesCanBeSelectedAndAddedLater(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 2})
	w.env["LEVER_TABLES"] = "opportunities,opportunity_offers,stages"
	w.once()
	w.lever.Mutate(10)
	delete(w.env, "LEVER_TABLES")
	w.once()
	h := w.check("all tables")
	if h["opportunities"].Ops["r"] == 0 || h["candidates"].Ops["c"] > 0 {
		t.Errorf("opportunities %v, candidates %v", h["opportunities"].Ops, h["candidates"].Ops)
	}
}

func TestAnIdlePollCostsFewRequests(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 150, Seed: 4})
	w.env["POLL_INTERVAL"], w.env["REFRESH_INTERVAL"] = "10m", "10m"
	w.once()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.env["POLL_INTERVAL"] = "100ms"
	done := w.start(ctx)
	polls := func() int64 { return w.lever.Requests()["/postings/deleted"] }
	deadline := time.Now().Add(time.Minute)
	for polls() < 3 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	w.lever.ResetRequests()
	for polls() < 20 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	requests, n := w.lever.Requests(), polls()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, c := range requests {
		total += c
	}
	if n < 20 || total > 6*n+6 {
		t.Errorf("%d polls cost %d requests: %v", n, total, requests)
	}
}

func TestASecondProducerIsToldWhoOwnsTheAccount(t *testing.T) {
	c := kafkatest.Best(t)
	w := newWorld(t, c, sandbox.Options{Opportunities: 10})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := w.start(ctx)
	deadline := time.Now().Add(time.Minute)
	for !w.owns() && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	second := &world{t: t, c: c, lever: w.lever, log: &output{}, env: maps.Clone(w.env)}
	second.env["STATE_DIR"] = t.TempDir()
	_, err := second.run(t.Context(), Options{Once: true, TakeOver: true})
	if err != nil {
		t.Fatal(err)
	}
	// The first one finds out with its next commit, unless the other has released the
	// account by then.
	select {
	case err := <-first:
		if err != nil && !strings.Contains(err.Error(), "another producer owns") {
			t.Errorf("the first ended with %v", err)
		}
	case <-time.After(time.Second):
		cancel()
		if err := <-first; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the first ended with %v", err)
		}
	}
	if h := w.histories(); len(slices.Collect(maps.Keys(h["opportunities"].Rows))) == 0 || len(h["opportunities"].Problems) > 0 {
		t.Errorf("problems %v", h["opportunities"].Problems)
	}
}
