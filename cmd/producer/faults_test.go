package main

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/failpoint"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// These tests break the program, Kafka, the registry and Lever while it works. The
// verdict is always the same: an independent reader folds the topics, compares them with
// what Lever serves, and looks for breaks and repetitions in every key's chain of events.
//
// Those that break a broker need a Kafka that can be broken: TEST_KAFKA_CONTROL names a
// program that takes "kill N", "stop N", "start N", "freeze N", "thaw N" for broker N and
// "kill registry", "start registry", and "wipe registry", which comes back empty. "logs" is
// for internal/kafkatest.

var (
	kills = flag.Int("kills", 6, "how often TestKillsAtRandomMoments kills the program")
	long  = flag.Bool("long", false, "run the tests that wait for timeouts of a minute")
)

// crashAt makes the program kill itself, in TestMain, at the n-th visit of a point.
const crashAt = "PRODUCER_TEST_CRASH"

func armCrash() {
	name, count, ok := strings.Cut(os.Getenv(crashAt), ":")
	if !ok {
		return
	}
	left, err := strconv.Atoi(count)
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	failpoint.Hook(func(p failpoint.Point) {
		mu.Lock()
		defer mu.Unlock()
		if string(p) != name {
			return
		}
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
}

// fixture is a simulated Lever behind a front that can be changed, and a cluster.
type fixture struct {
	t     *testing.T
	c     kafkatest.Cluster
	lever *sandbox.Lever
	env   map[string]string

	mu    sync.Mutex
	front func(http.ResponseWriter, *http.Request, http.Handler)
}

func newFixture(t *testing.T, c kafkatest.Cluster, o sandbox.Options) *fixture {
	t.Helper()
	f := &fixture{t: t, c: c, lever: sandbox.New(o)}
	server := httptest.NewServer(f)
	t.Cleanup(server.CloseClientConnections)
	t.Cleanup(func() { f.between(nil) })
	f.env = map[string]string{
		"LEVER_API_URL": server.URL + "/v1", "LEVER_TOKEN": "token", "LEVER_RATE": "2000", "LEVER_BURST": "100",
		"KAFKA_BROKERS": strings.Join(c.Brokers, ","), "SCHEMA_REGISTRY_URL": c.RegistryURL,
		"KAFKA_TOPIC_PREFIX": "f" + uuid.NewString()[:8], "KAFKA_REPLICATION_FACTOR": "1", "KAFKA_PARTITIONS": "3",
		"POLL_INTERVAL": "100ms", "REFRESH_INTERVAL": "300ms", "SWEEP_INTERVAL": "1s", "STATE_DIR": t.TempDir(),
	}
	return f
}

func (f *fixture) between(front func(http.ResponseWriter, *http.Request, http.Handler)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.front = front
}

func (f *fixture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	front := f.front
	f.mu.Unlock()
	if front == nil {
		f.lever.ServeHTTP(w, r)
		return
	}
	front(w, r, f.lever)
}

// beside has the test run beside others, unless they break the Kafka that it uses.
func beside(t *testing.T) {
	t.Helper()
	if os.Getenv("TEST_KAFKA_CONTROL") == "" {
		t.Parallel()
	}
}

// start starts the program with the fixture's environment and more.
func (f *fixture) start(more map[string]string, args ...string) *process {
	f.t.Helper()
	env := maps.Clone(f.env)
	maps.Copy(env, more)
	return start(f.t, env, args...)
}

// differences is the verdict: nothing if the topics equal Lever and nothing was repeated.
func (f *fixture) differences() (out []string) {
	f.t.Helper()
	for _, table := range extractor.Tables() {
		h := kafkatest.Fold(f.c.Read(f.t, f.env["KAFKA_TOPIC_PREFIX"]+"."+table.Name))
		for _, d := range append(h.Problems, kafkatest.Differences(h.Rows, f.lever.Truth(table.Name))...) {
			out = append(out, table.Name+": "+d)
		}
	}
	return out
}

// converges waits until there are no differences.
func (f *fixture) converges(p *process, within time.Duration) {
	f.t.Helper()
	var diffs []string
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if diffs = f.differences(); len(diffs) == 0 {
			return
		}
		select {
		case <-p.ended:
			f.t.Fatalf("it ended with %d:\n%s", p.status, p.out.String())
		default:
		}
	}
	f.t.Fatalf("not equal after %s: %d differences, %q\n%s", within, len(diffs), diffs[:min(3, len(diffs))], p.out.String())
}

// finish runs one clean pass and gives the verdict.
func (f *fixture) finish() {
	f.t.Helper()
	f.start(nil, "run", "--once").exits(exitDone)
	if diffs := f.differences(); len(diffs) > 0 {
		f.t.Errorf("%d differences, %q", len(diffs), diffs[:min(5, len(diffs))])
	}
}

// The process dies between any two steps of a commit, or of becoming the owner.
func TestACrashAtAnyPoint(t *testing.T) {
	beside(t)
	for _, point := range failpoint.Points() {
		t.Run(string(point), func(t *testing.T) {
			f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 60, Seed: 51})
			crashes := 0
			crash := func(n int, more map[string]string) {
				env := map[string]string{crashAt: fmt.Sprintf("%s:%d", point, n)}
				maps.Copy(env, more)
				p := f.start(env, "run", "--once")
				select {
				case <-p.ended:
				case <-time.After(patience):
					t.Fatalf("it did not end:\n%s", p.out.String())
				}
				if p.status != exitDone {
					crashes++
				}
			}
			crash(1, nil)
			crash(3, nil)
			f.lever.Mutate(20)
			crash(1, nil)
			crash(2, map[string]string{"STATE_DIR": t.TempDir()}) // rebuilds
			f.lever.Mutate(20)
			f.finish()
			if crashes == 0 {
				t.Error("the point was never reached")
			}
		})
	}
}

// pagesOnce finds pages of a snapshot that a later life of the program asks for although
// the bookmark had passed them: that lags behind by the pages which wait for their commit,
// four at a time.
type pagesOnce struct {
	mu        sync.Mutex
	life      []string
	committed map[string]bool
	again     []string
}

func (p *pagesOnce) between(w http.ResponseWriter, r *http.Request, lever http.Handler) {
	if q := r.URL.Query(); r.URL.Path == "/v1/opportunities" && !q.Has("updated_at_start") && q.Get("limit") == "100" {
		p.mu.Lock()
		page := q.Encode()
		if p.committed[page] {
			p.again = append(p.again, page)
		}
		p.life = append(p.life, page)
		const lag = 10
		if n := len(p.life); n > lag {
			defer func(page string) {
				p.mu.Lock()
				p.committed[page] = true
				p.mu.Unlock()
			}(p.life[n-1-lag])
		}
		p.mu.Unlock()
	}
	lever.ServeHTTP(w, r)
}

func (p *pagesOnce) died() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life = nil
}

// The process is killed at random moments while Lever changes. No scan begins again that
// was more than a page, or a window, into its work.
func TestKillsAtRandomMoments(t *testing.T) {
	beside(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 500 + 20**kills, Seed: seed})
	f.env["LEVER_RATE"], f.env["SWEEP_INTERVAL"] = "400", "0"
	pages := pagesOnce{committed: map[string]bool{}}
	f.between(pages.between)
	changes := 0
	for range *kills {
		p := f.start(nil, "run")
		lives := time.Duration(300+random.IntN(2500)) * time.Millisecond
		for began := time.Now(); time.Since(began) < lives; time.Sleep(20 * time.Millisecond) {
			n := random.IntN(2)
			f.lever.Mutate(n)
			changes += n
		}
		p.signal(syscall.SIGKILL)
		p.exits(-1)
		pages.died()
		if random.IntN(5) == 0 {
			f.env["STATE_DIR"] = t.TempDir()
		}
	}
	f.between(nil)
	if len(pages.again) > 0 {
		t.Errorf("%d pages were read again that were committed before, %q", len(pages.again), pages.again[0])
	}
	f.env["SWEEP_INTERVAL"] = "1s"
	p := f.start(nil, "run")
	f.converges(p, 2*time.Minute+time.Duration(*kills)*time.Second)
	p.signal(syscall.SIGTERM)
	p.exits(exitDone)
	if diffs := f.differences(); len(diffs) > 0 {
		t.Errorf("%d differences, %q", len(diffs), diffs[:min(5, len(diffs))])
	}
	t.Logf("%d kills, %d changes, %d pages of the snapshot committed", *kills, changes, len(pages.committed))
}

// A stop with work in flight, a backlog, and a Lever that does not answer.
func TestAStopIsShort(t *testing.T) {
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 400, Seed: 52})
	var answered sync.Map
	f.between(func(w http.ResponseWriter, r *http.Request, lever http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/offers") {
			if _, again := answered.LoadOrStore("offers", true); again {
				<-r.Context().Done() // hangs until the client gives up
				return
			}
		}
		lever.ServeHTTP(w, r)
	})
	p := f.start(nil, "run")
	p.says("owner of the account")
	for range 50 {
		f.lever.Mutate(1)
		time.Sleep(20 * time.Millisecond)
	}
	p.signal(syscall.SIGTERM)
	p.exitsWithin(exitDone, 10*time.Second)
	f.between(nil)
	f.finish()
}

// Lever in all kinds of trouble, alone and all at once. Afterwards everything converges by
// itself.
func TestALeverInTrouble(t *testing.T) {
	beside(t)
	hang := func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		select {
		case <-r.Context().Done():
		case <-time.After(3 * time.Second):
		}
	}
	status := func(code int, header map[string]string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			for k, v := range header {
				w.Header().Set(k, v)
			}
			w.WriteHeader(code)
		}
	}
	troubles := map[string]func(http.ResponseWriter, *http.Request, http.Handler){
		"500":            status(http.StatusInternalServerError, nil),
		"429":            status(http.StatusTooManyRequests, map[string]string{"Retry-After": "0"}),
		"a redirect":     status(http.StatusFound, map[string]string{"Location": "/v1/opportunities"}),
		"no content":     status(http.StatusNoContent, nil),
		"hangs":          hang,
		"HTML with 200":  func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fmt.Fprint(w, "<html>Welcome</html>") },
		"empty JSON":     func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fmt.Fprint(w, "{}") },
		"JSON of a list": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fmt.Fprint(w, "[]") },
		"a cut body": func(w http.ResponseWriter, r *http.Request, lever http.Handler) {
			rec := httptest.NewRecorder()
			lever.ServeHTTP(rec, r)
			w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
			_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		},
		"a reset": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_ = conn.Close()
			}
		},
		"a slow drip": func(w http.ResponseWriter, r *http.Request, lever http.Handler) {
			rec := httptest.NewRecorder()
			lever.ServeHTTP(rec, r)
			for i, b := range rec.Body.Bytes() {
				if i > 20 || r.Context().Err() != nil {
					return
				}
				_, _ = w.Write([]byte{b})
				w.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		},
	}
	if *long { // after this the program asks only once a minute
		troubles["unauthorized"] = status(http.StatusUnauthorized, nil)
	}
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 60, Seed: 53})
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	var mu sync.Mutex
	sometimes := func(trouble func(http.ResponseWriter, *http.Request, http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, lever http.Handler) {
			mu.Lock()
			hit := random.IntN(4) == 0
			mu.Unlock()
			if hit {
				trouble(w, r, lever)
				return
			}
			lever.ServeHTTP(w, r)
		}
	}
	p := f.start(nil, "run")
	p.says("owner of the account")
	for name, trouble := range troubles {
		f.between(sometimes(trouble))
		f.lever.Mutate(10)
		time.Sleep(300 * time.Millisecond)
		t.Log(name)
	}
	all := make([]func(http.ResponseWriter, *http.Request, http.Handler), 0, len(troubles))
	for _, trouble := range troubles {
		all = append(all, trouble)
	}
	f.between(sometimes(func(w http.ResponseWriter, r *http.Request, lever http.Handler) {
		mu.Lock()
		trouble := all[random.IntN(len(all))]
		mu.Unlock()
		trouble(w, r, lever)
	}))
	for range 10 {
		f.lever.Mutate(5)
		time.Sleep(100 * time.Millisecond)
	}
	f.between(nil)
	f.converges(p, 3*time.Minute)
	p.signal(syscall.SIGTERM)
	p.exits(exitDone)
}

// control breaks Kafka.
func control(t *testing.T, args ...string) {
	t.Helper()
	name := os.Getenv("TEST_KAFKA_CONTROL")
	if name == "" {
		t.Skip("set TEST_KAFKA_CONTROL to a program that can kill and start brokers")
	}
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

func needControl(t *testing.T) {
	t.Helper()
	if os.Getenv("TEST_KAFKA_CONTROL") == "" {
		t.Skip("set TEST_KAFKA_CONTROL to a program that can kill and start brokers")
	}
}

// The brokers are killed and started, one after the other, while Lever changes.
func TestBrokersThatDie(t *testing.T) {
	needControl(t)
	c := kafkatest.Best(t)
	f := newFixture(t, c, sandbox.Options{Opportunities: 300, Seed: 54})
	f.env["KAFKA_REPLICATION_FACTOR"] = strconv.Itoa(min(3, len(c.Brokers)))
	p := f.start(nil, "run")
	p.says("owner of the account")
	for round := range 2 {
		for broker := range c.Brokers {
			f.lever.Mutate(10)
			how := "kill"
			if round > 0 {
				how = "stop"
			}
			control(t, how, strconv.Itoa(broker+1))
			f.lever.Mutate(10)
			control(t, "start", strconv.Itoa(broker+1))
		}
	}
	f.lever.Mutate(10)
	f.converges(p, 3*time.Minute)
	p.signal(syscall.SIGTERM)
	p.exits(exitDone)
}

// The topics want more replicas in sync than there are.
func TestTooFewReplicas(t *testing.T) {
	needControl(t)
	c := kafkatest.Best(t)
	if len(c.Brokers) < 3 {
		t.Skip("needs three brokers")
	}
	f := newFixture(t, c, sandbox.Options{Opportunities: 100, Seed: 61})
	f.env["KAFKA_REPLICATION_FACTOR"], f.env["KAFKA_TOPIC_CONFIG"] = "3", "min.insync.replicas=3"
	p := f.start(nil, "run")
	p.says("owner of the account")
	control(t, "kill", "3")
	f.lever.Mutate(20)
	f.stalls()
	control(t, "start", "3")
	f.lever.Mutate(20)
	f.converges(p, 3*time.Minute)
	p.signal(syscall.SIGTERM)
	p.exits(exitDone)
}

// asked is the number of requests that Lever has answered.
func (f *fixture) asked() (n int64) {
	for _, count := range f.lever.Requests() {
		n += count
	}
	return n
}

// stalls waits until Lever is not asked any more: nothing is read that cannot be written.
func (f *fixture) stalls() {
	f.t.Helper()
	const still = 5 * time.Second
	last, since := f.asked(), time.Now()
	for deadline := time.Now().Add(patience); time.Since(since) < still; time.Sleep(100 * time.Millisecond) {
		if n := f.asked(); n != last {
			last, since = n, time.Now()
		}
		if time.Now().After(deadline) {
			f.t.Fatal("Lever is still asked after a minute without Kafka")
		}
	}
}

// While Kafka does not answer, the program reads no more than it can hold.
func TestNothingIsReadThatCannotBeWritten(t *testing.T) {
	needControl(t)
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 20_000, Seed: 62})
	f.env["LEVER_TABLES"] = "opportunities,candidates,opportunity_applications,candidate_applications"
	p := f.start(nil, "run")
	p.says("owner of the account")
	control(t, "freeze", "1")
	f.stalls()
	if asked := f.asked(); asked > 190 {
		t.Errorf("%d requests: the whole listing was read, although nothing could be written", asked)
	}
	control(t, "thaw", "1")
	p.signal(syscall.SIGTERM)
	p.exits(exitDone)
}

// The registry is away when the program starts, then dies under it, and in the end comes
// back empty.
func TestARegistryThatDies(t *testing.T) {
	needControl(t)
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 60, Seed: 63})
	control(t, "wipe", "registry") // no other test is under way; so ids come again
	control(t, "kill", "registry")
	p := f.start(map[string]string{"LOG_LEVEL": "debug"}, "run")
	p.says("SCHEMA_REGISTRY_URL.*retry_in|retry_in.*SCHEMA_REGISTRY_URL")
	control(t, "start", "registry")
	f.converges(p, 2*time.Minute)
	control(t, "kill", "registry")
	f.lever.Mutate(20)
	p.says("the schema registry is away")
	control(t, "start", "registry")
	f.lever.Mutate(20)
	p.says("the schema registry is back")
	f.converges(p, 2*time.Minute)
	control(t, "wipe", "registry")
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		n := len(f.c.Subjects(t, f.env["KAFKA_TOPIC_PREFIX"]+"."))
		if n == 2*len(extractor.Tables()) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the registry has %d of the schemas again", n)
		}
	}
	f.lever.Mutate(20)
	f.converges(p, 2*time.Minute)
	p.signal(syscall.SIGTERM)
	p.exits(exitDone)
}

// A broker hangs for longer than a transaction may take.
func TestABrokerThatHangs(t *testing.T) {
	needControl(t)
	if !*long {
		t.Skip("-long")
	}
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 200, Seed: 55})
	p := f.start(nil, "run")
	p.says("owner of the account")
	f.lever.Mutate(10)
	control(t, "freeze", "1")
	f.lever.Mutate(20)
	time.Sleep(60 * time.Second)
	control(t, "thaw", "1")
	f.lever.Mutate(10)
	f.converges(p, 3*time.Minute)
	p.signal(syscall.SIGTERM)
	p.exits(exitDone)
}

// The program is frozen until its ownership is over, and thawed: the standby has taken
// over, and it stops.
func TestAFrozenOwnerStopsWhenItThaws(t *testing.T) {
	beside(t)
	if !*long {
		t.Skip("-long")
	}
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 100, Seed: 56})
	owner := f.start(nil, "run")
	owner.says("owner of the account")
	other := f.start(map[string]string{"STATE_DIR": t.TempDir()}, "run")
	other.says("standby")
	owner.signal(syscall.SIGSTOP)
	other.saysWithin("owner of the account", 70*time.Second)
	f.lever.Mutate(20)
	f.converges(other, patience)
	owner.signal(syscall.SIGCONT)
	owner.exits(exitOwned)
	f.lever.Mutate(20)
	f.converges(other, patience)
	other.signal(syscall.SIGTERM)
	other.exits(exitDone)
}

// Frozen for longer than the transaction timeout without any other: it goes on.
func TestAFrozenProgramGoesOn(t *testing.T) {
	beside(t)
	if !*long {
		t.Skip("-long")
	}
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 300, Seed: 57})
	p := f.start(nil, "run")
	p.says("owner of the account")
	p.signal(syscall.SIGSTOP)
	time.Sleep(75 * time.Second)
	f.lever.Mutate(20)
	p.signal(syscall.SIGCONT)
	f.converges(p, 2*time.Minute)
	p.signal(syscall.SIGTERM)
	p.exits(exitDone)
}

// Two producers under a supervisor that starts them again at once: one works.
func TestTwoProducersUnderASupervisor(t *testing.T) {
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 60, Seed: 58})
	dirs := []string{t.TempDir(), t.TempDir()}
	run := func(i int) *process { return f.start(map[string]string{"STATE_DIR": dirs[i]}, "run") }
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	running := []*process{run(0), run(1)}
	for range 6 {
		i := random.IntN(2)
		f.lever.Mutate(5)
		time.Sleep(time.Duration(random.IntN(800)) * time.Millisecond)
		running[i].signal(syscall.SIGKILL)
		running[i].exits(-1)
		running[i] = run(i)
	}
	owners := func() (n int) {
		for _, p := range running {
			if strings.Contains(p.out.String(), "owner of the account") {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		diffs := f.differences()
		if len(diffs) == 0 && owners() > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d differences, %q\n%s\n%s", len(diffs), diffs[:min(3, len(diffs))], running[0].out.String(), running[1].out.String())
		}
	}
	for _, p := range running {
		select {
		case <-p.ended:
			t.Errorf("one ended with %d:\n%s", p.status, p.out.String())
		default:
		}
	}
	if n := owners(); n != 1 {
		t.Errorf("%d of two producers became owners in their last life", n)
	}
	for _, p := range running {
		p.signal(syscall.SIGTERM)
		p.exits(exitDone)
	}
}

// Two producers that both take over, under supervisors that start them again at once,
// whatever their exit code: they do not depose each other in turns.
func TestTwoProducersThatTakeOver(t *testing.T) {
	beside(t)
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 60, Seed: 64})
	dirs := []string{t.TempDir(), t.TempDir()}
	run := func(i int) *process {
		return f.start(map[string]string{"STATE_DIR": dirs[i]}, "run", "--take-over")
	}
	running := []*process{run(0), nil}
	running[0].says("owner of the account")
	running[1] = run(1)
	changes := 0
	for began := time.Now(); time.Since(began) < 15*time.Second; time.Sleep(50 * time.Millisecond) {
		f.lever.Mutate(1) // who was replaced finds out when it writes
		for i, p := range running {
			select {
			case <-p.ended:
				if p.status != exitOwned {
					t.Fatalf("exit status %d:\n%s", p.status, p.out.String())
				}
				changes++
				running[i] = run(i)
			default:
			}
		}
	}
	if changes > 2 {
		t.Errorf("they have deposed each other %d times", changes)
	}
	f.lever.Mutate(10)
	f.converges(running[0], patience)
	for _, p := range running {
		p.signal(syscall.SIGTERM)
		p.exits(exitDone)
	}
}

// The state directory is full: the program says so and stops, and goes on when it is not.
func TestAFullDiskUnderTheState(t *testing.T) {
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 500, Seed: 59})
	env := maps.Clone(f.env)
	env["PRODUCER_TEST_FILE_SIZE"] = strconv.Itoa(256 << 10) // a limit that does what a full disk does
	p := start(t, env, "run", "--once")
	p.exits(exitFailed)
	p.says("STATE_DIR")
	if strings.Contains(p.out.String(), "goroutine") {
		t.Errorf("it shows a stack trace:\n%s", p.out.String())
	}
	f.finish()
}

// limitFiles limits the size of the files that the program may write.
func limitFiles() {
	limit, err := strconv.ParseUint(os.Getenv("PRODUCER_TEST_FILE_SIZE"), 10, 64)
	if err != nil {
		return
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		panic(err)
	}
}

// The local state is damaged in its files: it is rebuilt, or refused, and nothing wrong
// is emitted.
func TestADamagedStateDirectory(t *testing.T) {
	f := newFixture(t, kafkatest.Best(t), sandbox.Options{Opportunities: 80, Seed: 60})
	f.finish()
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for range 5 {
		f.lever.Mutate(10)
		var files []string
		err := filepath.WalkDir(f.env["STATE_DIR"], func(path string, d os.DirEntry, err error) error {
			if info, e := d.Info(); err == nil && e == nil && info.Mode().IsRegular() && info.Size() > 0 {
				files = append(files, path)
			}
			return err
		})
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		name := files[random.IntN(len(files))]
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		switch random.IntN(3) {
		case 0:
			err = os.Remove(name)
		case 1:
			err = os.WriteFile(name, b[:len(b)/2], 0o600)
		default:
			for range 1 + len(b)/50 {
				b[random.IntN(len(b))] ^= byte(1 + random.IntN(255))
			}
			err = os.WriteFile(name, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.finish()
	}
}
