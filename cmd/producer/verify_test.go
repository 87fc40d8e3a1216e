package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// freePort returns an address of this machine that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestVerifyTellsALossFromALagAndHasItRepaired(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 30, Seed: 81})
	s.env["SWEEP_INTERVAL"], s.env["REFRESH_INTERVAL"] = "0", "200ms"
	s.does(exitDone, "run", "--once")
	for _, args := range [][]string{{"verify"}, {"verify", "--sample", "5"}} {
		if out := s.does(exitDone, args...); !strings.Contains(out, "opportunity_resumes") || strings.Contains(out, "VERDICT") {
			t.Errorf("%v: %s", args, out)
		}
	}

	// Nobody replicates: nothing is lost, and nothing can arrive.
	s.lever.Mutate(40)
	out := s.does(exitFailed, "verify")
	if !strings.Contains(out, "unattended") || strings.Contains(out, "loss") {
		t.Error(out)
	}
	for text := range s.personal() {
		if strings.Contains(out, text) {
			t.Fatal("a difference shows a value")
		}
	}

	// What a running producer has not read yet is a lag.
	producer := start(t, s.env, "run")
	producer.says("owner of the account")
	s.lever.Mutate(40)
	if out := s.does(exitDone, "verify", "--wait", "30s"); strings.Contains(out, "VERDICT") {
		t.Error(out)
	}
	producer.signal(syscall.SIGTERM)
	producer.exits(exitDone)

	// An edit without a trace is lost to a producer that does not sweep. Its token is for
	// nobody else, least of all a proxy.
	_, port, err := net.SplitHostPort(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	s.env["HTTP_ADDR"], s.env["ADMIN_TOKEN"], s.env["HTTP_PROXY"] = "0.0.0.0:"+port, "admin-secret", "http://127.0.0.1:1"
	producer = start(t, s.env, "run")
	producer.says("owner of the account")
	id := ""
	for key, row := range s.lever.Truth("opportunities") {
		if row["updatedAt"] == nil {
			id = key // no increment ever lists it
		}
	}
	if err := s.lever.SilentEdit(id); err != nil {
		t.Fatal(err)
	}
	p := start(t, s.env, "verify", "--json", "--wait", "3s", "--repair")
	p.exits(exitFailed)
	var report struct {
		Differences []struct {
			Table   string   `json:"table"`
			Key     string   `json:"key"`
			What    string   `json:"what"`
			Fields  []string `json:"fields"`
			Verdict string   `json:"verdict"`
		} `json:"differences"`
	}
	if err := json.NewDecoder(strings.NewReader(p.out.String())).Decode(&report); err != nil || len(report.Differences) != 2 {
		t.Fatalf("%v: %s", err, p.out.String())
	}
	for _, d := range report.Differences {
		if d.Key != id || d.What != "differs" || d.Verdict != "loss" || len(d.Fields) == 0 {
			t.Errorf("%+v", d)
		}
	}
	if out := s.does(exitDone, "verify", "--wait", "30s"); strings.Contains(out, "VERDICT") {
		t.Errorf("not repaired: %s", out)
	}
	producer.signal(syscall.SIGTERM)
	producer.exits(exitDone)
}

// A topic that has lost rows, and holds some that it should not, is repaired row by row:
// about a request for each, and no event but theirs.
func TestVerifyRepairsRowByRow(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 60, Seed: 84})
	maps.Copy(s.env, map[string]string{"SWEEP_INTERVAL": "0", "POLL_INTERVAL": "1h", "REFRESH_INTERVAL": "1h"})
	s.does(exitDone, "run", "--once")
	read := func(table string) []kafkatest.Record {
		return s.c.Read(t, s.env["KAFKA_TOPIC_PREFIX"]+"."+table)
	}
	// Rows of three kinds of tables: a single object, a list of a parent, a list with no single objects.
	tables := []string{"postings", "opportunity_resumes", "sources"}
	lost, ghosts := map[string]string{}, map[string]string{}
	client := s.c.Client(t)
	for _, table := range tables {
		records := read(table)
		lost[table], ghosts[table] = records[0].Key, records[1].Key+"x"
		plant := func(key, value []byte) {
			record := &kgo.Record{Topic: s.env["KAFKA_TOPIC_PREFIX"] + "." + table, Key: key, Value: value}
			if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		plant(records[0].RawKey, nil)
		// The key with one more letter: five bytes of the registry's, a length, the text.
		key := slices.Clone(records[1].RawKey[:5])
		key = binary.AppendVarint(key, int64(len(ghosts[table])))
		plant(append(key, ghosts[table]...), records[1].RawValue)
	}
	s.env["HTTP_ADDR"], s.env["ADMIN_TOKEN"] = freePort(t), "admin-secret"
	producer := start(t, s.env, "run")
	producer.says("owner of the account")
	p := start(t, s.env, "verify", "--wait", "1s")
	p.exits(exitFailed)
	if out := p.out.String(); strings.Count(out, "loss") != 6 {
		t.Fatal(out)
	}
	size := func() (n map[string]int) {
		n = map[string]int{}
		for _, table := range extractor.Tables() {
			n[table.Name] = len(read(table.Name))
		}
		return n
	}
	before := size()
	p = start(t, s.env, "verify", "--wait", "1s", "--repair")
	p.exits(exitFailed)
	if out := p.out.String(); strings.Count(out, "(repaired)") != 6 || !strings.Contains(out, "6 rows differed, 6 of them were repaired") {
		t.Error(out)
	}
	s.does(exitDone, "verify", "--wait", "1s")
	for table, n := range size() {
		want := 0
		if slices.Contains(tables, table) {
			want = 2 // a row, and a tombstone
		}
		if n-before[table] != want {
			t.Errorf("%s: %d records were written, want %d", table, n-before[table], want)
		}
	}
	// The producer's own requests for single rows: twice two of postings, two lists for each
	// resume and two more to confirm that one does not exist.
	var status struct {
		Requests struct {
			Endpoints map[string]int64 `json:"endpoints"`
		} `json:"requests"`
	}
	if err := json.Unmarshal([]byte(s.get("/status")), &status); err != nil {
		t.Fatal(err)
	}
	e := status.Requests.Endpoints
	if e["/postings/:id"] != 4 || e["/opportunities/:id/resumes"] > 6 || e["/sources"] > 5 || e["/opportunities"] != 1 {
		t.Errorf("requests to Lever: %v", e)
	}
	producer.signal(syscall.SIGTERM)
	producer.exits(exitDone)
}

// get asks the running producer.
func (s *station) get(path string) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.env["HTTP_ADDR"]+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(body)
}

func TestVerifySeesRowsOfOneSideOnly(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 10, Seed: 82})
	s.does(exitDone, "run", "--once")
	gone, added := s.lever.IDs("opportunities")[0], s.lever.NewOpportunity()
	if err := s.lever.DeleteOpportunity(gone); err != nil {
		t.Fatal(err)
	}
	out := s.does(exitFailed, "verify")
	for _, want := range []string{gone + "  unattended  extra", added + "  unattended  missing"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// Nothing that the program prints or serves holds a secret or a person's data.
func TestNothingPrintedOrServedGivesAnythingAway(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 40, Seed: 83, Token: "lever-secret"})
	addr := freePort(t)
	for k, v := range map[string]string{
		"LEVER_TOKEN": "lever-secret", "HTTP_ADDR": addr, "ADMIN_TOKEN": "admin-secret", "LOG_LEVEL": "debug",
		"LEVER_HASH_FIELDS": "users.jobTitle", "LEVER_HASH_KEY": "hash-secret-0123456789", "SCHEMA_REGISTRY_USERNAME": "u", "SCHEMA_REGISTRY_PASSWORD": "registry-secret",
		"SWEEP_INTERVAL": "2s",
	} {
		s.env[k] = v
	}
	seen := strings.Builder{}
	values := s.personal()
	serve := func() {
		for _, path := range []string{"/", "/status", "/metrics", "/livez", "/readyz", "/debug/pprof/", "/debug/pprof/goroutine?debug=2", "/debug/vars", "/tables/stages/pause", "/nope"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				continue // between two starts
			}
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
			resp.Body.Close()
			seen.Write(body)
		}
	}
	producer := start(t, s.env, "run")
	producer.says("owner of the account")
	for _, faults := range []sandbox.Faults{{}, {ErrorRate: 0.3}, {Status: map[string]int{"/users": 403, "/opportunities/:id/offers": 500}}, {InvalidTokens: true}, {}} {
		s.lever.SetFaults(faults)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		for ctx.Err() == nil {
			s.lever.Mutate(5)
			serve()
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
		cancel()
	}
	for text := range s.personal() {
		values[text] = true
	}
	other := map[string]string{"HTTP_ADDR": "off"}
	for k, v := range other {
		s.env[k] = v
	}
	before := 0 // how often it has become the owner
	for _, args := range [][]string{{"check"}, {"check", "--json"}, {"verify", "--wait", "1s"}, {"verify", "--sample", "5", "--wait", "1s"}, {"bookmarks", "list"}, {"bookmarks", "export"}, {"bookmarks", "set", "stages", "{}"}, {"tables"}, {"schemas", "check"}, {"run", "--once", "--take-over"}} {
		before = strings.Count(producer.out.String(), "owner of the account; replicating")
		p := start(t, s.env, args...)
		select {
		case <-p.ended:
		case <-time.After(patience):
			t.Fatalf("%v did not end", args)
		}
		seen.WriteString(p.out.String())
	}
	// The last command took the account over for one pass. The producer noticed that meanwhile
	// and ended, or later, when the account was free again: then it went on.
	deadline := time.After(patience)
	for again := false; !again; {
		select {
		case <-producer.ended:
			again = true
			if producer.status != exitOwned {
				t.Errorf("the producer ended with %d", producer.status)
			}
		case <-deadline:
			t.Fatalf("the producer did not notice that it was replaced:\n%s", producer.out.String())
		case <-time.After(20 * time.Millisecond):
			if again = strings.Count(producer.out.String(), "owner of the account; replicating") > before; again {
				producer.signal(syscall.SIGTERM)
				producer.exits(0)
			}
		}
	}
	// A key that is refused, and a crash with the stacks of all goroutines.
	s.env["LEVER_TOKEN"] = "other-secret"
	p := start(t, s.env, "run", "--once")
	p.exits(exitFailed)
	seen.WriteString(p.out.String())
	s.env["LEVER_TOKEN"], s.env["GOTRACEBACK"] = "lever-secret", "all"
	p = start(t, s.env, "run")
	p.says("owner of the account")
	s.lever.Mutate(20)
	p.signal(syscall.SIGQUIT)
	<-p.ended
	seen.WriteString(p.out.String())
	seen.WriteString(producer.out.String())

	all := seen.String()
	if len(all) < 50_000 || !strings.Contains(all, "goroutine ") || !strings.Contains(all, `"level":"DEBUG"`) {
		t.Fatalf("%d bytes: the test sees too little", len(all))
	}
	for _, secret := range []string{"lever-secret", "other-secret", "admin-secret", "hash-secret", "registry-secret", "bGV2ZXItc2VjcmV0"} {
		if i := strings.Index(all, secret); i >= 0 {
			t.Errorf("%s was given away: %s", secret, all[max(0, i-200):min(len(all), i+200)])
		}
	}
	found := 0
	for text := range values {
		if i := strings.Index(all, text); i >= 0 {
			if found++; found < 5 {
				t.Errorf("a person's %q was given away: %s", text, all[max(0, i-200):min(len(all), i+100)])
			}
		}
	}
	if len(values) < 100 {
		t.Errorf("only %d values to look for", len(values))
	}
}
