package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// station is a simulated Lever and a cluster, for commands to be run against.
type station struct {
	t     *testing.T
	lever *sandbox.Lever
	c     kafkatest.Cluster
	env   map[string]string
}

func newStation(t *testing.T, o sandbox.Options) *station {
	t.Helper()
	lever, env := world(t, o)
	c := kafkatest.Best(t)
	maps.Copy(env, map[string]string{
		"KAFKA_BROKERS": strings.Join(c.Brokers, ","), "SCHEMA_REGISTRY_URL": c.RegistryURL,
		"KAFKA_TOPIC_PREFIX": "s" + uuid.NewString()[:8], "STATE_DIR": t.TempDir(),
	})
	return &station{t: t, lever: lever, c: c, env: env}
}

// does runs a command to its end, checks the exit status and returns its output.
func (s *station) does(status int, args ...string) string {
	s.t.Helper()
	p := start(s.t, s.env, args...)
	p.exits(status, time.Minute)
	return p.out.String()
}

func TestCheckExitsByWhatItFinds(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 5})
	if out := s.does(exitDone, "check"); !strings.Contains(out, "credentials: accepted") || strings.Contains(out, "failed") {
		t.Error(out)
	}
	s.lever.SetFaults(sandbox.Faults{Status: map[string]int{"/users": 403}})
	var report struct {
		Failed int `json:"failed"`
	}
	p := start(t, s.env, "check", "--json")
	p.exits(exitFailed, time.Minute)
	document, _, _ := strings.Cut(p.out.String(), "\nproducer:")
	if err := json.Unmarshal([]byte(document), &report); err != nil || report.Failed != 1 {
		t.Errorf("%v, %d failed:\n%s", err, report.Failed, document)
	}
}

// differences compares all topics with Lever.
func (s *station) differences() (out []string) {
	s.t.Helper()
	for _, table := range extractor.Tables() {
		h := kafkatest.Fold(s.c.Read(s.t, s.env["KAFKA_TOPIC_PREFIX"]+"."+table.Name))
		for _, d := range append(h.Problems, kafkatest.Differences(h.Rows, s.lever.Truth(table.Name))...) {
			out = append(out, table.Name+": "+d)
		}
	}
	return out
}

func TestBookmarksAreEditedThroughTheProducersGate(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 20})
	if out := s.does(exitDone, "bookmarks", "list"); !strings.Contains(out, "nothing was replicated yet") {
		t.Error(out)
	}
	s.does(exitDone, "run", "--once")
	if out := s.does(exitDone, "bookmarks", "list"); strings.Count(out, "complete") != len(extractor.Tables()) || !strings.Contains(out, "has no owner") {
		t.Error(out)
	}
	export := filepath.Join(t.TempDir(), "bookmarks.json")
	if err := os.WriteFile(export, []byte(s.does(exitDone, "bookmarks", "export")), 0o600); err != nil {
		t.Fatal(err)
	}

	// A live producer is not disturbed, unless that is asked for.
	producer := start(t, s.env, "run")
	producer.says("owner of the account", time.Minute)
	if out := s.does(exitOwned, "bookmarks", "set", "stages", "--section", "paused", "true"); !strings.Contains(out, "--take-over") {
		t.Error(out)
	}
	if out := s.does(exitDone, "bookmarks", "list"); !strings.Contains(out, "is owned by instance") {
		t.Error(out)
	}
	s.does(exitDone, "bookmarks", "set", "stages", "--section", "paused", "true", "--take-over")
	s.lever.Mutate(20)
	producer.says("going back to what Kafka says", time.Minute)
	producer.says("(?s)owner of the account.*owner of the account", time.Minute)
	producer.signal(syscall.SIGTERM)
	producer.exits(exitDone, 20*time.Second)
	if out := s.does(exitDone, "bookmarks", "get", "stages"); !strings.Contains(out, `"paused":true`) {
		t.Error(out)
	}

	// What was known makes no event when it is read again.
	s.does(exitDone, "bookmarks", "import", export)
	if out := s.does(exitDone, "bookmarks", "get", "stages"); strings.Contains(out, "paused") {
		t.Error(out)
	}
	s.does(exitDone, "run", "--once")
	s.does(exitDone, "bookmarks", "reset", "--all")
	if out := s.does(exitDone, "run", "--once"); !strings.Contains(out, `"events":0,`) {
		t.Error(out)
	}
	if diffs := s.differences(); len(diffs) > 0 {
		t.Errorf("%d differences, %q", len(diffs), diffs[:min(5, len(diffs))])
	}
}

func TestMistakesWithBookmarksAreExplained(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"bookmarks", "get", "nope"}, "the tables are"},
		{[]string{"bookmarks", "set", "stages", "--section", "ful", "{}"}, "the sections are"},
		{[]string{"bookmarks", "reset"}, "--all"},
		{[]string{"bookmarks", "import", "/does/not/exist"}, "no such file"},
	} {
		p := start(t, map[string]string{"KAFKA_BROKERS": "127.0.0.1:1"}, test.args...)
		p.exits(exitUsage, 20*time.Second)
		if out := p.out.String(); !strings.Contains(out, test.says) {
			t.Errorf("%v: %s", test.args, out)
		}
	}
}

func TestUsersOfTheSingerTapMoveWithoutAGap(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 20})
	const since = 1700000000000 // 2023-11-14T22:13:20Z
	var earliest atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at, err := strconv.ParseInt(r.URL.Query().Get("updated_at_start"), 10, 64); err == nil && r.URL.Path == "/v1/opportunities" {
			earliest.CompareAndSwap(0, at)
		}
		s.lever.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.env["LEVER_API_URL"] = front.URL + "/v1"
	state := filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(state, []byte(`{"bookmarks":{"opportunities":{"field":"updated_at","last_record":"2023-11-14T22:13:20Z"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.does(exitDone, "bookmarks", "import", state); !strings.Contains(out, "opportunities: what changed since 2023-11-14T22:13:20Z is read first") {
		t.Error(out)
	}
	s.does(exitDone, "run", "--once")
	if got := earliest.Load(); got != since {
		t.Errorf("the first increment began at %d, want %d", got, int64(since))
	}
	if diffs := s.differences(); len(diffs) > 0 {
		t.Errorf("%d differences, %q", len(diffs), diffs[:min(5, len(diffs))])
	}
}
