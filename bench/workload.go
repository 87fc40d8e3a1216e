package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leverstream/leverstream/internal/sandbox"
)

// A workload is a load of one account, and the restarts after it.
type workload struct {
	o      options
	kafka  kafka
	binary string
	dir    string
	prefix string
	url    string
	polls  polls
}

// polls counts requests, and tells when the listing of opportunities is polled.
type polls struct {
	http.Handler
	requests atomic.Int64
	mu       sync.Mutex
	seen     chan struct{} // closed at the next poll; nil if nobody waits
}

func (p *polls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	if r.URL.Path == "/v1/opportunities" && r.URL.Query().Has("updated_at_start") {
		p.mu.Lock()
		if p.seen != nil {
			close(p.seen)
			p.seen = nil
		}
		p.mu.Unlock()
	}
	p.Handler.ServeHTTP(w, r)
}

// next returns a channel that is closed at the next poll.
func (p *polls) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = make(chan struct{})
	return p.seen
}

func (w *workload) run(ctx context.Context, n int) (f figure, err error) {
	f.opportunities = int64(n)
	w.polls.Handler = sandbox.New(sandbox.Options{Opportunities: n, Seed: 1})
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return f, err
	}
	server := &http.Server{Handler: &w.polls, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		err = errors.Join(err, server.Close())
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}()
	w.url = "http://" + l.Addr().String() + "/v1"

	began := time.Now()
	p, err := w.start(ctx, 1_000_000, "run", "--once")
	if err != nil {
		return f, err
	}
	if err := p.end(false); err != nil {
		return f, err
	}
	f.took, f.cpu, f.anonymous = time.Since(began), p.cpu(), p.peak()
	s, err := p.summary()
	if err != nil {
		return f, err
	}
	f.rows, f.requests = s.Events, s.Requests
	if f.disk, err = size(w.state()); err != nil {
		return f, err
	}
	if f.restart, f.idle, err = w.restart(ctx, w.o.idle); err != nil {
		return f, fmt.Errorf("restart: %w", err)
	}
	if w.o.rebuild {
		if err := os.RemoveAll(w.state()); err != nil {
			return f, err
		}
		if f.rebuild, _, err = w.restart(ctx, 0); err != nil {
			return f, fmt.Errorf("restart without the local state: %w", err)
		}
	}
	// What was measured before counts without it.
	var bareErr error
	if f.bare, bareErr = w.bare(ctx, int(s.Events/max(s.Transactions, 1))); bareErr != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "bench: the bare loop:", bareErr)
	}
	return f, ctx.Err()
}

func (w *workload) state() string { return filepath.Join(w.dir, "state") }

// env is the producer's environment. rate is the number of requests per second that it may make.
func (w *workload) env(rate int) []string {
	env := []string{
		"LEVER_API_URL=" + w.url, "LEVER_TOKEN=bench", "LEVER_RATE=" + strconv.Itoa(rate), "LEVER_BURST=" + strconv.Itoa(rate), "LEVER_CONCURRENCY=" + strconv.Itoa(w.o.concurrency),
		"KAFKA_BROKERS=" + w.kafka.brokers, "SCHEMA_REGISTRY_URL=" + w.kafka.registry, "KAFKA_TOPIC_PREFIX=" + w.prefix, "KAFKA_REPLICATION_FACTOR=1",
		"KAFKA_COMPRESSION=" + w.o.compression, "STATE_DIR=" + w.state(), "HTTP_ADDR=off", "LOG_FORMAT=json", "LOG_LEVEL=info",
	}
	if w.o.memory != "" {
		env = append(env, "GOMEMLIMIT="+w.o.memory)
	}
	return env
}

// leverRate is what Lever gives an account, in requests per second.
const leverRate = 10

// rest waits until the producer has done what a start leaves to do, in which it uses all of its
// rate: it reads the full tables, then what of the sweep became due meanwhile.
func (w *workload) rest(ctx context.Context) error {
	const window, atMost = 10 * time.Second, 10 * time.Minute
	for range atMost / window {
		before := w.polls.requests.Load()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(window):
		}
		if n := w.polls.requests.Load() - before; float64(n) < 0.8*leverRate*window.Seconds() {
			return nil
		}
	}
	return fmt.Errorf("the producer still uses all of its rate after %v", atMost)
}

// restart starts the producer, with the rate that Lever gives, and returns how long it took to
// its first poll, and what share of a core it needs while nothing changes.
func (w *workload) restart(ctx context.Context, idle time.Duration) (took time.Duration, share float64, err error) {
	poll := w.polls.next()
	began := time.Now()
	p, err := w.start(ctx, leverRate, "run")
	if err != nil {
		return 0, 0, err
	}
	select {
	case <-poll:
		took = time.Since(began)
	case err := <-p.ended:
		return 0, 0, fmt.Errorf("the producer ended (%w):\n%s", err, p.log.String())
	case <-ctx.Done():
		return 0, 0, errors.Join(ctx.Err(), p.end(true))
	}
	if idle > 0 {
		time.Sleep(10 * time.Second)
		if err := w.rest(ctx); err != nil {
			return took, 0, errors.Join(err, p.end(true))
		}
		before := computed(p.cmd.Process.Pid)
		time.Sleep(idle)
		share = (computed(p.cmd.Process.Pid) - before).Seconds() / idle.Seconds()
	}
	return took, share, p.end(true)
}
