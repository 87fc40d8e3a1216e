package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
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

	mu    sync.Mutex
	front front // between the producer and Lever
}

// A front answers requests in Lever's place, or lets Lever answer.
type front func(w http.ResponseWriter, r *http.Request, lever http.Handler)

// between puts a front before Lever; nil removes it.
func (w *world) between(f front) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.front = f
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	f := w.front
	w.mu.Unlock()
	if f == nil {
		w.lever.ServeHTTP(rw, r)
		return
	}
	f(rw, r, w.lever)
}

// edited is a front that changes the bodies of successful answers to requests whose
// path (behind /v1) is one of the keys.
func edited(edits map[string]func(body map[string]any)) front {
	return func(w http.ResponseWriter, r *http.Request, lever http.Handler) {
		edit := edits[strings.TrimPrefix(r.URL.Path, "/v1")]
		if edit == nil {
			lever.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		lever.ServeHTTP(rec, r)
		body := map[string]any{}
		d := json.NewDecoder(rec.Body)
		d.UseNumber()
		if d.Decode(&body) == nil && rec.Code == http.StatusOK {
			edit(body)
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Del("Content-Length")
		w.WriteHeader(rec.Code)
		json.NewEncoder(w).Encode(body)
	}
}

// data returns the records of an answer.
func data(body map[string]any) []any {
	list, _ := body["data"].([]any)
	return list
}

func newWorld(t *testing.T, c kafkatest.Cluster, o sandbox.Options) *world {
	t.Helper()
	w := &world{t: t, c: c, lever: sandbox.New(o), log: &output{}}
	server := httptest.NewServer(w)
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
	o.Version, o.Instance, o.Attempts = "test", uuid.NewString(), 2
	o.Fatal = func(err error) { panic(err) }
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

// start runs a pipeline until ctx or the test ends; nothing is removed under it before.
func (w *world) start(ctx context.Context) <-chan error {
	w.t.Helper()
	p := w.pipeline(Options{})
	ctx, cancel := context.WithCancel(ctx)
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		done <- p.Run(ctx)
	}()
	w.t.Cleanup(func() {
		cancel()
		<-ended
	})
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

// owns says that a pipeline has become the owner of the account.
func (w *world) owns() bool {
	return strings.Contains(w.log.String(), "owner of the account; replicating")
}

// topics says that the topics are there.
func (w *world) topics() bool { return strings.Contains(w.log.String(), "created topics") }
