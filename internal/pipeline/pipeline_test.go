package pipeline

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// output collects a log.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// world is a simulated Lever and a cluster with a prefix of its own.
type world struct {
	t     *testing.T
	c     kafkatest.Cluster
	lever *sandbox.Lever
	log   *output
	env   map[string]string
}

func newWorld(t *testing.T, c kafkatest.Cluster, o sandbox.Options) *world {
	t.Helper()
	w := &world{t: t, c: c, lever: sandbox.New(o), log: &output{}}
	server := httptest.NewServer(w.lever)
	t.Cleanup(server.Close)
	w.env = map[string]string{
		"LEVER_API_URL": server.URL + "/v1", "LEVER_TOKEN": "a-secret-token", "LEVER_RATE": "10000", "LEVER_BURST": "1000",
		"KAFKA_BROKERS": strings.Join(c.Brokers, ","), "SCHEMA_REGISTRY_URL": c.RegistryURL,
		"KAFKA_TOPIC_PREFIX": "t" + uuid.NewString()[:8], "KAFKA_REPLICATION_FACTOR": "1", "KAFKA_PARTITIONS": "3",
		"STATE_DIR": t.TempDir(), "POLL_INTERVAL": "50ms", "REFRESH_INTERVAL": "200ms",
	}
	return w
}

// pipeline makes a pipeline of the world's environment.
func (w *world) pipeline(o Options) *Pipeline {
	w.t.Helper()
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "KAFKA_") || strings.HasPrefix(name, "LEVER_") || strings.HasPrefix(name, "SCHEMA_REGISTRY_") {
			w.t.Setenv(name, "")
		}
	}
	for k, v := range w.env {
		w.t.Setenv(k, v)
	}
	c, err := config.Load(extractor.Tables(), config.NeedLever|config.NeedKafka|config.NeedRegistry)
	if err != nil {
		w.t.Fatal(err)
	}
	o.Version, o.Instance = "test", uuid.NewString()
	o.Logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := New(*c, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// run runs a pipeline until ctx ends or, with Once, one pass is done.
func (w *world) run(ctx context.Context, o Options) (Status, error) {
	w.t.Helper()
	p := w.pipeline(o)
	err := p.Run(ctx)
	return p.Snapshot(), err
}

// start runs a pipeline until ctx ends.
func (w *world) start(ctx context.Context) <-chan error {
	w.t.Helper()
	p := w.pipeline(Options{})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return done
}

func (w *world) once() Status {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	s, err := w.run(ctx, Options{Once: true})
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.log.String())
	}
	return s
}

// histories reads all topics.
func (w *world) histories() map[string]*kafkatest.History {
	w.t.Helper()
	out := map[string]*kafkatest.History{}
	for _, t := range extractor.Tables() {
		out[t.Name] = kafkatest.Fold(w.c.Read(w.t, w.env["KAFKA_TOPIC_PREFIX"]+"."+t.Name))
	}
	return out
}

// differences compares all tables with Lever.
func (w *world) differences(h map[string]*kafkatest.History) (out []string) {
	for _, t := range extractor.Tables() {
		for _, p := range h[t.Name].Problems {
			out = append(out, t.Name+": "+p)
		}
		for _, d := range kafkatest.Differences(h[t.Name].Rows, w.lever.Truth(t.Name)) {
			out = append(out, t.Name+": "+d)
		}
	}
	return out
}

func (w *world) check(when string) map[string]*kafkatest.History {
	w.t.Helper()
	h := w.histories()
	diffs := w.differences(h)
	for _, d := range diffs[:min(len(diffs), 20)] {
		w.t.Errorf("%s: %s", when, d)
	}
	if len(diffs) > 0 {
		w.t.Fatalf("%s: %d differences", when, len(diffs))
	}
	return h
}

func events(h map[string]*kafkatest.History) (n int) {
	for _, t := range h {
		for _, c := range t.Ops {
			n += c
		}
	}
	return n
}

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

// eventually runs a pipeline until the topics equal Lever, then stops it.
func (w *world) eventually(when string, during func()) map[string]*kafkatest.History {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	done := w.start(ctx)
	during()
	for {
		select {
		case err := <-done:
			w.t.Fatalf("%s: it ended: %v\n%s", when, err, w.log.String())
		case <-time.After(300 * time.Millisecond):
		}
		if !w.topics() {
			continue
		}
		if h := w.histories(); len(w.differences(h)) == 0 {
			break
		} else if ctx.Err() != nil {
			w.check(when)
			w.t.Fatalf("%s: not within two minutes\n%s", when, w.log.String())
		}
	}
	cancel()
	if err := <-done; err != nil {
		w.t.Fatalf("%s: stopped with %v", when, err)
	}
	return w.check(when)
}

// topics says that the topics are there.
func (w *world) topics() bool { return strings.Contains(w.log.String(), "created topics") }

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
	for !w.topics() && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	second := *w
	second.env = maps.Clone(w.env)
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
