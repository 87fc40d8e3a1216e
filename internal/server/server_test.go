package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/offsets"
)

// fake is a Source that says what it is told.
type fake struct {
	live, ready atomic.Pointer[error]
	status      pipeline.Status
	progress    pipeline.Progress
	bookmarks   map[string]offsets.Bookmark
	// asked is closed, and release awaited, by Snapshot if they are set.
	asked, release chan struct{}
}

func (f *fake) Live() error  { return value(&f.live) }
func (f *fake) Ready() error { return value(&f.ready) }
func (f *fake) Bookmarks() (map[string]offsets.Bookmark, error) {
	if err := f.Ready(); err != nil {
		return nil, err
	}
	return f.bookmarks, nil
}
func (f *fake) Progress() pipeline.Progress { return f.progress }
func (f *fake) Snapshot() pipeline.Status {
	if f.asked != nil {
		close(f.asked)
		<-f.release
	}
	return f.status
}

func value(p *atomic.Pointer[error]) error {
	if err := p.Load(); err != nil {
		return *err
	}
	return nil
}

func config(source Source, steering Steering) Config {
	return Config{Source: source, Metrics: prometheus.NewRegistry(), Steering: steering, Logger: slog.New(slog.DiscardHandler)}
}

// serve returns a server that is running.
func serve(t *testing.T, addr string, source Source) *Server {
	t.Helper()
	s, err := Listen(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(config(source, &helm{})) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return s
}

func request(t *testing.T, method, url string) (status int, contentType, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	sick := errors.New("no progress for 5m0s")
	for name, test := range map[string]struct {
		live, ready  error
		method, path string
		want         int
		body         string
	}{
		"live":                            {path: "/livez", want: 200, body: "ok\n"},
		"not live says why":               {live: sick, path: "/livez", want: 503, body: "no progress for 5m0s\n"},
		"ready":                           {path: "/readyz", want: 200, body: "ok\n"},
		"not ready says why":              {ready: sick, path: "/readyz", want: 503, body: "no progress for 5m0s\n"},
		"not ready is live":               {ready: sick, path: "/livez", want: 200, body: "ok\n"},
		"status is JSON":                  {path: "/status", want: 200, body: "{\n  \"account\": \"demo\",\n"},
		"status while not live":           {live: sick, ready: sick, path: "/status", want: 200, body: "{\n"},
		"metrics":                         {path: "/metrics", want: 200, body: ""},
		"the page":                        {path: "/", want: 200, body: "<!DOCTYPE html>"},
		"the page while not live":         {live: sick, ready: sick, path: "/", want: 200, body: "<!DOCTYPE html>"},
		"HEAD has no body":                {method: http.MethodHead, path: "/livez", want: 200},
		"HEAD tells the state":            {live: sick, method: http.MethodHead, path: "/livez", want: 503},
		"POST is refused":                 {method: http.MethodPost, path: "/livez", want: 405, body: "Method Not Allowed"},
		"DELETE of the status is refused": {method: http.MethodDelete, path: "/status", want: 405, body: "Method Not Allowed"},
		"POST of the page is refused":     {method: http.MethodPost, path: "/", want: 405, body: "Method Not Allowed"},
		"an unknown path is not found":    {path: "/debug/pprof", want: 404, body: "404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &fake{status: pipeline.Status{Account: "demo"}}
			h.live.Store(&test.live)
			h.ready.Store(&test.ready)
			if test.method == "" {
				test.method = http.MethodGet
			}
			status, contentType, body := request(t, test.method, "http://"+serve(t, "127.0.0.1:0", h).Addr()+test.path)
			if status != test.want || !strings.HasPrefix(body, test.body) || (test.body == "") != (body == "") {
				t.Errorf("got %d %q, want %d %q", status, body, test.want, test.body)
			}
			if test.path == "/status" && status == 200 && contentType != "application/json" {
				t.Errorf("content type %s", contentType)
			}
		})
	}
}

func TestListenSaysThatTheAddressIsInUse(t *testing.T) {
	t.Parallel()
	addr := serve(t, "127.0.0.1:0", &fake{}).Addr()
	_, err := Listen(t.Context(), addr)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "HTTP_ADDR") {
		t.Errorf("got %v", err)
	}
}

func TestShutdownWaitsForRunningRequests(t *testing.T) {
	t.Parallel()
	h := &fake{asked: make(chan struct{}), release: make(chan struct{}), status: pipeline.Status{Account: "late"}}
	s := serve(t, "127.0.0.1:0", h)
	got := make(chan string, 1)
	go func() {
		_, _, body := request(t, http.MethodGet, "http://"+s.Addr()+"/status")
		got <- body
	}()
	<-h.asked
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	for { // until the port is closed
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	select {
	case err := <-stopped:
		t.Errorf("the shutdown ended before the request: %v", err)
	default:
	}
	close(h.release)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if body := <-got; !strings.Contains(body, `"late"`) {
		t.Errorf("got %q", body)
	}
}

func TestShutdownCutsOffWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	h := &fake{asked: make(chan struct{}), release: make(chan struct{})}
	defer close(h.release)
	s := serve(t, "127.0.0.1:0", h)
	go func() {
		resp, err := http.Get("http://" + s.Addr() + "/status")
		if err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-h.asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestShutdownWithoutServeFreesThePort(t *testing.T) {
	t.Parallel()
	s, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := Listen(t.Context(), s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	sick := errors.New("no progress")
	h := &fake{}
	_, port, err := net.SplitHostPort(serve(t, "0.0.0.0:0", h).Addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"127.0.0.1:" + port, "0.0.0.0:" + port, ":" + port, "localhost:" + port} {
		if err := Probe(t.Context(), addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for what, p := range map[string]*atomic.Pointer[error]{"/livez": &h.live, "/readyz": &h.ready} {
		p.Store(&sick)
		if err := Probe(t.Context(), ":"+port); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "no progress") {
			t.Errorf("%s: got %v", what, err)
		}
		p.Store(nil)
	}
}

func TestProbeWithoutAServer(t *testing.T) {
	t.Parallel()
	s, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{s.Addr(): "does not answer", "": "HTTP_ADDR is off", "8080": "HTTP_ADDR"} {
		if err := Probe(t.Context(), addr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", addr, err, want)
		}
	}
}
