package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// The tests run this binary as the program.
func TestMain(m *testing.M) {
	if os.Getenv("PRODUCER_TEST_RUN") != "" {
		armCrash()
		limitFiles()
		main()
		return
	}
	os.Exit(m.Run())
}

// process is the program, running.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    output
	ended  chan struct{}
	status int
}

// output is what it prints on both streams.
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

func start(t *testing.T, env map[string]string, args ...string) *process {
	t.Helper()
	p := &process{t: t, ended: make(chan struct{})}
	p.cmd = exec.CommandContext(t.Context(), os.Args[0], args...)
	p.cmd.Env = []string{"PRODUCER_TEST_RUN=1", "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "HTTP_ADDR=off"}
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		err := p.cmd.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			p.status = exit.ExitCode()
		}
		close(p.ended)
	}()
	return p
}

// patience is how long a test waits for what must come, however slow the machine is.
const patience = 2 * time.Minute

// says waits until the output matches.
func (p *process) says(pattern string) {
	p.t.Helper()
	p.saysWithin(pattern, patience)
}

// saysWithin is for what is promised to come within a time.
func (p *process) saysWithin(pattern string, within time.Duration) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(within)
	for !re.MatchString(p.out.String()) {
		select {
		case <-deadline:
			p.t.Fatalf("it did not say %q within %s:\n%s", pattern, within, p.out.String())
		case <-p.ended:
			if !re.MatchString(p.out.String()) {
				p.t.Fatalf("it ended with %d and did not say %q:\n%s", p.status, pattern, p.out.String())
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exits waits for the end.
func (p *process) exits(status int) {
	p.t.Helper()
	p.exitsWithin(status, patience)
}

func (p *process) exitsWithin(status int, within time.Duration) {
	p.t.Helper()
	select {
	case <-p.ended:
		if p.status != status {
			p.t.Fatalf("exit status %d, want %d:\n%s", p.status, status, p.out.String())
		}
	case <-time.After(within):
		p.t.Fatalf("it did not end within %s:\n%s", within, p.out.String())
	}
}

func TestWrongUseIsExplained(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		env  map[string]string
		says []string
	}{
		{"an unknown command", []string{"frobnicate"}, nil, []string{"unknown command", "producer --help"}},
		{"help for an unknown command", []string{"help", "frobnicate"}, nil, []string{"no command", "frobnicate"}},
		{"help for an unknown command of a command", []string{"help", "bookmarks", "frobnicate"}, nil, []string{"no command", "bookmarks frobnicate"}},
		{"completion for an unknown shell", []string{"completion", "frobnicate"}, nil, []string{"unknown command", "completion --help"}},
		{"completion with an argument", []string{"completion", "bash", "x"}, nil, []string{"unknown command", "completion bash --help"}},
		{"an unknown flag", []string{"run", "--onc"}, nil, []string{"unknown flag", "run --help"}},
		{"no configuration", []string{"run"}, nil, []string{"LEVER_TOKEN", "KAFKA_BROKERS", "SCHEMA_REGISTRY_URL"}},
		{
			"many mistakes", []string{"run"},
			map[string]string{"LEVER_TOKN": "secret", "LEVER_RATE": "fast", "LEVER_TABLES": "opportunity_offers", "KAFKA_BROKERS": "nohost"},
			[]string{"did you mean LEVER_TOKEN", "LEVER_RATE", "opportunity_offers needs its parent opportunities", "KAFKA_BROKERS"},
		},
		{"embedded without a directory", []string{"run", "--embedded"}, nil, []string{"--data-dir"}},
		{"an unknown table", []string{"schemas", "print", "nope"}, nil, []string{"no table", "opportunities"}},
		{"a bad start", []string{"tail", "stages", "--from", "yesterday"}, nil, []string{"--from", "beginning"}},
		{"a negative account", []string{"demo", "--opportunities", "-1"}, nil, []string{"--opportunities"}},
		{"a demo that a network could steer", []string{"demo"}, map[string]string{"HTTP_ADDR": "0.0.0.0:0"}, []string{"ADMIN_TOKEN", "127.0.0.1"}},
		{"a rate that is no number", []string{"sandbox", "--rate", "NaN"}, nil, []string{"--rate"}},
		{"a share that is no number", []string{"sandbox", "--error-rate", "NaN"}, nil, []string{"--error-rate"}},
		{"changes without end", []string{"demo", "--changes-per-minute", "inf"}, nil, []string{"--changes-per-minute", "infinite"}},
		{"a bad fault", []string{"sandbox", "--fail", "users=500"}, nil, []string{"--fail", "/opportunities/:id/offers"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := start(t, test.env, test.args...)
			p.exits(exitUsage)
			for _, s := range test.says {
				if !strings.Contains(p.out.String(), s) {
					t.Errorf("it does not say %q:\n%s", s, p.out.String())
				}
			}
			if strings.Contains(p.out.String(), "secret") {
				t.Errorf("it shows a value:\n%s", p.out.String())
			}
		})
	}
}

func TestPrintingCommands(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"version"}, `go1\.`},
		{[]string{"tables"}, `opportunity_offers +CDC +id +opportunities +/opportunities/:id/offers +yes +lever.opportunity_offers`},
		{[]string{"schemas", "print", "stages"}, `"name":"Envelope","namespace":"lever.stages"`},
		{[]string{"schemas", "print", "--key", "sources"}, `"name":"Key".*"name":"text"`},
		{[]string{"help", "config"}, `LEVER_TOKEN\[_FILE\]`},
		{[]string{"help", "run"}, `--take-over`},
		{[]string{"help", "bookmarks", "set"}, `--section`},
		{[]string{"help"}, `Available Commands`},
		{[]string{"completion"}, `completion \[command\]`},
	} {
		p := start(t, nil, test.args...)
		p.says(test.says)
		p.exits(exitDone)
	}
}

func TestAFullDiskUnderTheOutputIsAFailure(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = full.Close() })
	_, env := world(t, sandbox.Options{Opportunities: 5})
	for k, v := range env {
		t.Setenv(k, v)
	}
	for _, args := range [][]string{{"schemas", "print"}, {"tables"}, {"plan"}, {"plan", "--json"}} {
		if code := run(t.Context(), args, full, io.Discard); code != exitFailed {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}

func TestTheDemoShowsEventsAndStopsInGoodOrder(t *testing.T) {
	p := start(t, nil, "demo", "--opportunities", "30", "--changes-per-minute", "600")
	p.says(`(?m)^\d\d:\d\d:\d\d\.\d{3}  opportunities +r  [0-9a-f-]{36}`)
	p.says(`(?m)^--  snapshot \d+%`)
	p.says(`(?m)^\d\d:\d\d:\d\d\.\d{3}  \S+ +u  \S+ +\w+`)
	p.signal(os.Interrupt)
	p.exits(exitDone)
	p.says(`(?m)^opportunities +\d+ +\d+ +\d+ +\d+`)
}

// A pipe that nobody reads any more (demo | head) ends it as Ctrl-C does.
func TestTheDemoIntoAClosedPipeLeavesNothingBehind(t *testing.T) {
	temporary := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "demo", "--opportunities", "5")
	cmd.Env = []string{"PRODUCER_TEST_RUN=1", "HOME=" + t.TempDir(), "TMPDIR=" + temporary, "HTTP_ADDR=off"}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := pipe.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := pipe.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) > 0 {
		t.Errorf("%v, and it left %v", err, left)
	}
}

func TestTheDemoSaysWhichDirectoryCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, "demo", "--data-dir", file)
	p.exits(exitFailed)
	if out := p.out.String(); !strings.Contains(out, "--data-dir") || strings.Count(out, "not a directory") != 1 {
		t.Error(out)
	}
}

// What is set for a real account, registry or cluster is not the demo's: least of all a
// refresh token, which is used up by whoever sends it. What --data-dir keeps is gone on from.
func TestTheDemoUsesNothingOfARealAccountAndGoesOnFromItsData(t *testing.T) {
	real := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("it asked %s", r.URL.Path)
	}))
	defer real.Close()
	dir := filepath.Join(t.TempDir(), "data")
	state := filepath.Join(t.TempDir(), "state")
	env := map[string]string{
		"LEVER_OAUTH_CLIENT_ID": "id", "LEVER_OAUTH_CLIENT_SECRET": "secret", "LEVER_OAUTH_REFRESH_TOKEN": "token", "LEVER_OAUTH_TOKEN_URL": real.URL,
		"KAFKA_BROKERS": "127.0.0.1:1", "KAFKA_TLS": "true", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "p",
		"SCHEMA_REGISTRY_URL": real.URL, "SCHEMA_REGISTRY_REGISTER": "false", "STATE_DIR": state,
	}
	for _, rows := range []string{`\d+`, "0"} {
		p := start(t, env, "demo", "--opportunities", "10", "--changes-per-minute", "0", "--data-dir", dir)
		p.says(`(?m)^--  snapshot complete: ` + rows + ` rows`)
		p.signal(os.Interrupt)
		p.exits(exitDone)
		if shown := regexp.MustCompile(`(?m)^opportunities +10 `).MatchString(p.out.String()); shown != (rows != "0") {
			t.Errorf("rows %s, and it says\n%s", rows, p.out.String())
		}
		if strings.Contains(p.out.String(), "WARN") {
			t.Error(p.out.String())
		}
	}
	if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
		t.Error("it used the state directory of a real account", err)
	}
}

// The images' health check has the configuration of the producer beside it.
func TestTheHealthCheckTakesTheProducersConfiguration(t *testing.T) {
	p := start(t, map[string]string{"LEVER_TABLES": "stages,users", "HTTP_ADDR": "127.0.0.1:1"}, "healthcheck")
	p.exits(exitFailed)
	p.says("connection refused")
}

// world is a simulated Lever and a broker for the program to use.
func world(t *testing.T, o sandbox.Options) (*sandbox.Lever, map[string]string) {
	t.Helper()
	lever := sandbox.New(o)
	server := httptest.NewServer(lever)
	t.Cleanup(server.Close)
	return lever, map[string]string{
		"LEVER_API_URL": server.URL + "/v1", "LEVER_TOKEN": "token", "LEVER_RATE": "5000", "LEVER_BURST": "100",
		"KAFKA_REPLICATION_FACTOR": "1", "POLL_INTERVAL": "100ms", "REFRESH_INTERVAL": "300ms",
	}
}

func TestAnEmbeddedBrokerKeepsItsDataAndTheWorkGoesOn(t *testing.T) {
	lever, env := world(t, sandbox.Options{Opportunities: 40})
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, env, "run", "--once", "--embedded", "--data-dir", dir)
	first.exits(exitDone)
	first.says(`Kafka broker: +127\.0\.0\.1:\d+`)
	second := start(t, env, "run", "--once", "--embedded", "--data-dir", dir)
	second.exits(exitDone)
	second.says(`"events":0,`)
	lever.Mutate(5)
	third := start(t, env, "run", "--embedded", "--data-dir", dir)
	third.says(`Kafka broker`)
	broker := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(third.out.String())
	registry := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(third.out.String())
	c := kafkatest.Cluster{Brokers: []string{broker}, RegistryURL: registry}
	deadline := time.Now().Add(patience)
	for {
		h := kafkatest.Fold(c.Read(t, "lever.opportunities"))
		diffs := append(h.Problems, kafkatest.Differences(h.Rows, lever.Truth("opportunities"))...)
		if len(diffs) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(diffs[0])
		}
	}
	third.signal(syscall.SIGTERM)
	third.exits(exitDone)
}

func TestTwoProducersOfOneAccount(t *testing.T) {
	c := kafkatest.Best(t)
	lever, env := world(t, sandbox.Options{Opportunities: 10})
	env["KAFKA_BROKERS"], env["SCHEMA_REGISTRY_URL"] = strings.Join(c.Brokers, ","), c.RegistryURL
	env["KAFKA_TOPIC_PREFIX"] = "two" + filepath.Base(t.TempDir())
	with := func(dir string) map[string]string {
		e := map[string]string{"STATE_DIR": dir}
		for k, v := range env {
			e[k] = v
		}
		return e
	}
	first := start(t, with(t.TempDir()), "run")
	first.says(`owner of the account`)
	second := start(t, with(t.TempDir()), "run")
	second.says(`standby: another producer owns the account.*"pid":\d+`)
	third := start(t, with(t.TempDir()), "run", "--take-over")
	first.says(`another producer owns account`)
	first.exits(exitOwned)
	// Killed at any moment, the third leaves its work to the second.
	third.signal(syscall.SIGKILL)
	lever.Mutate(5)
	deadline := time.Now().Add(patience)
	for {
		var diffs []string
		for _, table := range extractor.Tables() {
			h := kafkatest.Fold(c.Read(t, env["KAFKA_TOPIC_PREFIX"]+"."+table.Name))
			diffs = append(append(diffs, h.Problems...), kafkatest.Differences(h.Rows, lever.Truth(table.Name))...)
		}
		if len(diffs) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d differences, the first: %s\n%s", len(diffs), diffs[0], second.out.String())
		}
	}
	second.signal(os.Interrupt)
	second.exits(exitDone)
}

func TestASystemThatIsAwayIsReportedAndTheProgramStopsWhenTold(t *testing.T) {
	_, env := world(t, sandbox.Options{Opportunities: 5})
	env["KAFKA_BROKERS"], env["SCHEMA_REGISTRY_URL"] = "127.0.0.1:1", "http://127.0.0.1:1"
	p := start(t, env, "run")
	p.says(`cannot start; trying again.*KAFKA_BROKERS`)
	p.signal(os.Interrupt)
	p.exits(exitDone)

	c := kafkatest.Embedded(t)
	env["KAFKA_BROKERS"] = c.Brokers[0]
	p = start(t, env, "run")
	p.says(`cannot start; trying again.*SCHEMA_REGISTRY_URL`)
	p.signal(os.Interrupt)
	p.exits(exitDone)

	env["SCHEMA_REGISTRY_URL"], env["LEVER_API_URL"] = c.RegistryURL, "http://127.0.0.1:1/v1"
	p = start(t, env, "run")
	p.says(`cannot read from Lever`)
	p.signal(os.Interrupt)
	p.exits(exitDone)
}
