package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/avro"
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
	p.exits(status)
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
	p.exits(exitFailed)
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
	producer.says("owner of the account")
	if out := s.does(exitOwned, "bookmarks", "set", "stages", "--section", "paused", "true"); !strings.Contains(out, "--take-over") {
		t.Error(out)
	}
	if out := s.does(exitDone, "bookmarks", "list"); !strings.Contains(out, "is owned by instance") {
		t.Error(out)
	}
	s.does(exitDone, "bookmarks", "set", "stages", "--section", "paused", "true", "--take-over")
	s.lever.Mutate(20)
	producer.says("going back to what Kafka says")
	producer.says("(?s)owner of the account.*owner of the account")
	producer.signal(syscall.SIGTERM)
	producer.exits(exitDone)
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
		{[]string{"bookmarks", "set", "stages", "--section", "incarnation", "null"}, "the sections are"},
		{[]string{"bookmarks", "set", "stages", "--section", "pausedd", "null"}, "the sections are"},
		{[]string{"bookmarks", "reset"}, "--all"},
		{[]string{"bookmarks", "import", "/does/not/exist"}, "no such file"},
	} {
		p := start(t, map[string]string{"KAFKA_BROKERS": "127.0.0.1:1"}, test.args...)
		p.exits(exitUsage)
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

// personal returns the longer texts in fields that the schemas tag as a person's data.
func (s *station) personal() map[string]bool {
	s.t.Helper()
	out := map[string]bool{}
	for _, t := range extractor.Tables() {
		fields, err := avro.Fields(t.Name)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, row := range s.lever.Truth(t.Name) {
			collect(out, fields, row, false)
		}
	}
	// What stands in an untagged field as well, or in the name of a table, says nothing.
	open := map[string]bool{}
	for _, t := range extractor.Tables() {
		open[t.Name] = true
		fields, err := avro.Fields(t.Name)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, row := range s.lever.Truth(t.Name) {
			collectOpen(open, fields, row)
		}
	}
	all := strings.Join(slices.Collect(maps.Keys(open)), "\n")
	maps.DeleteFunc(out, func(text string, _ bool) bool { return strings.Contains(all, text) })
	return out
}

func collect(into map[string]bool, fields []avro.Field, row map[string]any, tagged bool) {
	for _, f := range fields {
		switch v := row[f.Name]; {
		case tagged || f.PII:
			texts(into, v)
		case f.Fields != nil:
			for _, r := range records(v) {
				collect(into, f.Fields, r, false)
			}
		}
	}
}

func collectOpen(into map[string]bool, fields []avro.Field, row map[string]any) {
	for _, f := range fields {
		switch v := row[f.Name]; {
		case f.PII:
		case f.Fields != nil:
			for _, r := range records(v) {
				collectOpen(into, f.Fields, r)
			}
		default:
			texts(into, v)
		}
	}
}

func records(v any) (out []map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		return []map[string]any{v}
	case []any:
		for _, x := range v {
			if r, ok := x.(map[string]any); ok {
				out = append(out, r)
			}
		}
	}
	return out
}

func texts(into map[string]bool, v any) {
	const tooShort = 8
	switch v := v.(type) {
	case string:
		if len(v) >= tooShort {
			into[v] = true
		}
	case []any:
		for _, x := range v {
			texts(into, x)
		}
	case map[string]any:
		for _, x := range v {
			texts(into, x)
		}
	}
}

// finds says how many of the texts are in what was written to any topic behind the
// offsets, and moves those to the end.
func (s *station) finds(wanted map[string]bool, from map[string]int64) (n int) {
	s.t.Helper()
	prefix := s.env["KAFKA_TOPIC_PREFIX"]
	topics := []string{prefix + ".state", prefix + ".dlq", prefix + ".bookmarks"}
	for _, t := range extractor.Tables() {
		topics = append(topics, prefix+"."+t.Name)
	}
	for _, topic := range topics {
		for _, r := range s.c.Raw(s.t, topic) {
			at := topic + "/" + strconv.Itoa(int(r.Partition))
			if r.Offset < from[at] {
				continue
			}
			from[at] = r.Offset + 1
			value := string(r.RawKey) + string(r.RawValue)
			for _, h := range r.Headers {
				value += h
			}
			for text := range wanted {
				if strings.Contains(value, text) {
					n++
				}
			}
		}
	}
	return n
}

func TestWhatIsMaskedLeavesLeverNoMore(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 30, Seed: 61})
	from := map[string]int64{}
	s.does(exitDone, "run", "--once")
	if n := s.finds(s.personal(), from); n < 100 {
		t.Fatalf("only %d values of persons in the topics: the test sees nothing", n)
	}
	everything := s.personal()
	s.lever.Mutate(30)
	for text := range s.personal() {
		everything[text] = true
	}
	s.env["LEVER_HASH_FIELDS"], s.env["LEVER_HASH_KEY"] = "*.emails", "0123456789abcdef"
	s.env["LEVER_EXCLUDE_FIELDS"] = "*.name,*.headline,*.location,*.phones,*.links,*._extra,opportunity_*.@pii,candidate_*.@pii,users.@pii,requisitions.@pii"
	out := s.does(exitDone, "run", "--once")
	if !strings.Contains(out, "masking none -> sha256:") {
		t.Error(out)
	}
	if n := s.finds(everything, from); n > 0 {
		t.Errorf("%d values of persons were written although they are masked", n)
	}
	// All rows were written again: nothing older is a key's last record.
	latest := map[string][]byte{}
	for _, r := range s.c.Raw(t, s.env["KAFKA_TOPIC_PREFIX"]+".state") {
		latest[string(r.RawKey)] = r.RawValue
	}
	for key, value := range latest {
		for text := range everything {
			if strings.Contains(string(value), text) {
				t.Fatalf("the state of %s was not written again", key)
			}
		}
	}
	s.lever.Mutate(30)
	for text := range s.personal() {
		everything[text] = true
	}
	if out := s.does(exitDone, "run", "--once"); !strings.Contains(out, `"events":`) || strings.Contains(out, `"events":0,`) {
		t.Error(out)
	}
	// A bookmark that was reset leaves nobody to say by which rules rows were written.
	s.does(exitDone, "bookmarks", "reset", "--all")
	s.env["LEVER_EXCLUDE_FIELDS"] = "@pii"
	delete(s.env, "LEVER_HASH_FIELDS")
	if out := s.does(exitDone, "run", "--once"); !strings.Contains(out, "not known which fields were left out") {
		t.Error(out)
	}
	if n := s.finds(everything, from); n > 0 {
		t.Errorf("%d values of persons were written although they are masked", n)
	}
}

func TestTailShowsWhatWasAskedFor(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 10})
	for _, from := range []string{"beginning", "now", "1h"} {
		if out := s.does(exitFailed, "tail", "opportunities", "--from", from); !strings.Contains(out, "KAFKA_TOPIC_PREFIX") {
			t.Errorf("a topic that is not there: %s", out)
		}
	}
	s.does(exitDone, "run", "--once")
	lines := func(args ...string) []string {
		t.Helper()
		return strings.Split(strings.TrimSuffix(s.does(exitDone, append([]string{"tail", "opportunities"}, args...)...), "\n"), "\n")
	}
	all := lines()
	var first struct {
		Key   map[string]string `json:"key"`
		Value map[string]any    `json:"value"`
	}
	if err := json.Unmarshal([]byte(all[0]), &first); err != nil || first.Value["op"] != "r" || len(all) != 10 {
		t.Fatalf("%v, %d lines, the first %s", err, len(all), all[0])
	}
	if got := lines("--key", first.Key["id"]); len(got) != 1 || got[0] != all[0] {
		t.Errorf("by key: %d lines", len(got))
	}
	for _, args := range [][]string{{"--op", "u,d,tombstone"}, {"--key", "nobody"}, {"--from", "2999-01-01T00:00:00Z"}} {
		if got := lines(args...); len(got) != 1 || got[0] != "" {
			t.Errorf("%v: %d lines", args, len(got))
		}
	}
	if got := lines("--from", "1h", "--op", "r"); len(got) != len(all) {
		t.Errorf("the last hour: %d lines, want %d", len(got), len(all))
	}
	following := start(t, s.env, "tail", "stages", "--from", "now")
	s.lever.Mutate(300)
	s.does(exitDone, "run", "--once")
	following.signal(os.Interrupt)
	following.exits(exitDone)
	s.env["EVENT_FORMAT"], s.env["EVENT_KEY"], s.env["KAFKA_TOPIC_PREFIX"] = "flat", "string", s.env["KAFKA_TOPIC_PREFIX"]+"f"
	s.does(exitDone, "run", "--once")
	if got := lines("--op", "r"); len(got) < 5 || !strings.Contains(got[0], `"key":"`) || !strings.Contains(got[0], `"__op":"r"`) {
		t.Errorf("flat: %d lines, the first %s", len(got), got[0])
	}
}

func TestSchemasAreCheckedAndRegisteredByAPipeline(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 3})
	if out := s.does(exitDone, "schemas", "check"); strings.Count(out, "missing") != 2*len(extractor.Tables()) {
		t.Error(out)
	}
	s.env["SCHEMA_REGISTRY_REGISTER"] = "false"
	if out := s.does(exitUsage, "run", "--once"); !strings.Contains(out, "schemas register") {
		t.Error(out)
	}
	s.does(exitDone, "schemas", "register", "stages")
	if out := s.does(exitDone, "schemas", "check"); strings.Count(out, "registered") != 2 {
		t.Error(out)
	}
	s.does(exitDone, "schemas", "register")
	s.does(exitDone, "run", "--once")
	s.env["EVENT_FORMAT"] = "flat"
	if out := s.does(exitFailed, "schemas", "check", "stages"); !strings.Contains(out, "incompatible") || !strings.Contains(out, "KAFKA_TOPIC_PREFIX") {
		t.Error(out)
	}
}

func TestShellsComplete(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		p := start(t, nil, "completion", shell)
		p.exits(exitDone)
		if !strings.Contains(p.out.String(), "producer") {
			t.Errorf("%s: nothing", shell)
		}
	}
	for _, args := range [][]string{{"tail"}, {"schemas", "print"}, {"schemas", "check"}, {"bookmarks", "get"}} {
		p := start(t, nil, append(append([]string{"__complete"}, args...), "")...)
		p.exits(exitDone)
		if !strings.Contains(p.out.String(), "opportunity_offers") {
			t.Error(args, p.out.String())
		}
	}
}

// Every command explains itself and shows how it is used.
func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		topic := !c.Runnable() // "help config"
		if c.Short == "" || c.Long == "" || !topic && c.Example == "" {
			t.Errorf("%s: short %q, %d bytes of long help, example %q", c.CommandPath(), c.Short, len(c.Long), c.Example)
		}
		for line := range strings.SplitSeq(c.Long+"\n"+c.Example, "\n") {
			if len(line) > 100 && !topic {
				t.Errorf("%s: a line of %d characters: %s", c.CommandPath(), len(line), line)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot())
}

// The token endpoint takes each refresh token once. The program is killed between two
// requests and gets in again; a command beside it shares its tokens.
func TestOAuthSurvivesKills(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 10})
	var mu sync.Mutex
	valid, issued, reused := "seed-secret", 0, false
	access := func() string { return "access-secret-" + strconv.Itoa(issued) }
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if r.PostFormValue("refresh_token") != valid {
			reused = true
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
			return
		}
		issued++
		valid = "refresh-secret-" + strconv.Itoa(issued)
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": access(), "refresh_token": valid, "expires_in": 3600, "token_type": "Bearer"})
	}))
	t.Cleanup(tokens.Close)
	requests, calm := 0, false
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests++
		if requests%40 == 0 && !calm { // Lever revokes it now and then
			issued++
		}
		ok := r.Header.Get("Authorization") == "Bearer "+access()
		mu.Unlock()
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.lever.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	delete(s.env, "LEVER_TOKEN")
	maps.Copy(s.env, map[string]string{
		"LEVER_API_URL": front.URL + "/v1", "LEVER_OAUTH_TOKEN_URL": tokens.URL + "/oauth/token", "LEVER_OAUTH_CLIENT_ID": "client",
		"LEVER_OAUTH_CLIENT_SECRET": "client-secret", "LEVER_OAUTH_REFRESH_TOKEN": "seed-secret", "LEVER_OAUTH_TOKEN_FILE": filepath.Join(t.TempDir(), "oauth.json"),
		"SWEEP_INTERVAL": "1s",
	})
	for range 3 {
		p := start(t, s.env, "run")
		p.says("owner of the account")
		if out := s.does(exitDone, "check"); strings.Contains(out, "-secret") {
			t.Error("a token was printed")
		}
		// An answer of the token endpoint that is lost with the process is the one exception.
		deadline := time.Now().Add(2 * time.Minute)
		for kept := false; !kept; time.Sleep(5 * time.Millisecond) {
			mu.Lock()
			calm = true
			b, _ := os.ReadFile(s.env["LEVER_OAUTH_TOKEN_FILE"])
			if kept = strings.Contains(string(b), `"`+access()+`"`); kept {
				p.signal(syscall.SIGKILL)
				calm = false
			}
			mu.Unlock()
			if time.Now().After(deadline) {
				t.Fatal("the newest token is not in the file")
			}
		}
		<-p.ended
	}
	s.does(exitDone, "run", "--once")
	if diffs := s.differences(); len(diffs) > 0 {
		t.Errorf("%d differences, %q", len(diffs), diffs[:min(3, len(diffs))])
	}
	mu.Lock()
	defer mu.Unlock()
	if reused || issued < 2 {
		t.Errorf("a refresh token was used twice: %v; %d were issued", reused, issued)
	}
}
