package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/offsets"
)

// Source is what the server tells of. Its methods are called for every request, by
// several goroutines at once, and must answer at once from memory. What they return
// is shown to anybody who asks: no secrets, no field values of rows.
type Source interface {
	// Live returns nil while the program makes progress. An error means that only
	// a restart can help.
	Live() error
	// Ready returns nil while the program does its work. An error says what it
	// waits for.
	Ready() error
	// Snapshot returns what the program is doing, Progress how far its first load is.
	Snapshot() pipeline.Status
	Progress() pipeline.Progress
	// Bookmarks returns the committed bookmarks by table. The error says that there are
	// none to look at in this process.
	Bookmarks() (map[string]offsets.Bookmark, error)
}

// The timeouts bound what a slow or silent client can hold. Answers are small.
const (
	readTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
	idleTimeout  = time.Minute
)

// Server is an open port. Make one with Listen.
type Server struct {
	listener net.Listener
	http     http.Server
}

// Listen opens the address, host:port or :port; port 0 takes a free one. The error
// for an address in use matches syscall.EADDRINUSE.
func Listen(ctx context.Context, addr string) (*Server, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("HTTP_ADDR: %s is in use (%w); set another address, or off", addr, err)
	case err != nil:
		return nil, fmt.Errorf("HTTP_ADDR: cannot listen on %s: %w; set another address, or off", addr, err)
	}
	return &Server{listener: ln, http: http.Server{
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10,
	}}, nil
}

// Addr returns the address with the port that is open.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// maxBody bounds what a request may bring along.
const maxBody = 64 << 10

// Config is what a Server answers from.
type Config struct {
	Source Source
	// Metrics are served under /metrics.
	Metrics  prometheus.Gatherer
	Steering Steering
	// AdminToken returns the token without which nothing is steered. If it is nil, those
	// who are on this machine may steer.
	AdminToken func() (string, error)
	// Logger gets what goes wrong with single connections.
	Logger *slog.Logger
}

// Serve answers requests until Shutdown, and then returns nil.
func (s *Server) Serve(c Config) error {
	s.http.Handler = handler(c)
	s.http.ErrorLog = slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug)
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.Addr(), err)
	}
	return nil
}

// Shutdown closes the port, lets running requests end and returns when they have.
// When the context ends first it cuts them off and returns the context's error. It
// may be called before or without Serve.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	// Closed already if it was served.
	if closing := s.listener.Close(); !errors.Is(closing, net.ErrClosed) {
		err = errors.Join(err, closing)
	}
	return err
}

const textPlain = "text/plain; charset=utf-8"

func handler(c Config) http.Handler {
	mux := http.NewServeMux()
	admin(mux, c)
	bookmarks(mux, c)
	mux.HandleFunc("GET /livez", check(c.Source.Live))
	mux.HandleFunc("GET /readyz", check(c.Source.Ready))
	mux.HandleFunc("GET /{$}", statusPage(c.Source))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, newStatus(c.Source))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
		// A scrape that is late is of no use; many at once are a mistake.
		Timeout: writeTimeout / 2, MaxRequestsInFlight: 4, EnableOpenMetrics: true,
	}))
	return http.MaxBytesHandler(mux, maxBody)
}

// status is the body of /status.
type status struct {
	pipeline.Status
	Progress progress `json:"progress"`
}

// progress is how far the first load is.
type progress struct {
	Complete       bool  `json:"complete"`
	Tables         int   `json:"tables"`
	TablesComplete int   `json:"tables_complete"`
	ListsRead      int64 `json:"lists_read"`
	ListsKnown     int64 `json:"lists_known"`
	// ParentsComplete says that no more lists will become known.
	ParentsComplete bool `json:"parents_complete"`
}

func newStatus(s Source) status {
	p := s.Progress()
	return status{s.Snapshot(), progress{p.Complete, p.Tables, p.TablesComplete, p.ListsRead, p.ListsKnown, p.ParentsComplete}}
}

// check answers 200 or 503.
func check(healthy func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		status, text := http.StatusOK, "ok"
		if err := healthy(); err != nil {
			status, text = http.StatusServiceUnavailable, err.Error()
		}
		answer(w, status, textPlain, text)
	}
}

func answer(w http.ResponseWriter, status int, contentType, body string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body + "\n")) // a client that is gone needs no answer
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		answer(w, http.StatusInternalServerError, textPlain, "the answer cannot be shown as JSON: "+err.Error())
		return
	}
	answer(w, status, "application/json", string(body))
}
