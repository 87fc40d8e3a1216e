package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/embedded"
	"github.com/leverstream/leverstream/internal/logs"
	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/internal/server"
)

// newLogger returns the logger that the configuration asks for: text on a terminal,
// JSON elsewhere.
func newLogger(p config.Program, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: p.Level()}
	if p.LogFormat == "text" || p.LogFormat == "auto" && isTerminal(w) {
		return slog.New(logs.Limit(slog.NewTextHandler(w, o)))
	}
	return slog.New(logs.Limit(slog.NewJSONHandler(w, o)))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// startEmbedded starts the embedded broker and registry and points the configuration
// at them.
func startEmbedded(ctx context.Context, c *config.Config, dir string, log *slog.Logger) (*embedded.Cluster, error) {
	cluster, err := embedded.Start(ctx, embedded.Options{DataDir: dir, Logger: log})
	if err != nil {
		return nil, err
	}
	// Whatever is set for others: these two need no login, and know no schema yet.
	k := &c.Kafka
	k.TLS, k.CAFile, k.CertFile, k.KeyFile = false, "", "", ""
	k.SASLMechanism, k.SASLUsername, k.SASLPassword, k.SASLToken = "", "", config.Secret{}, config.Secret{}
	c.Registry = config.Registry{Register: true}
	c.Kafka.Brokers = cluster.Brokers
	c.Registry.URL = config.URL(cluster.RegistryURL)
	c.Kafka.ReplicationFactor = 1
	if !c.IsSet("STATE_DIR") {
		c.Program.StateDir = filepath.Join(dir, "state")
	}
	return cluster, nil
}

// replicate runs the pipeline with its health server and progress, and says at the
// end what was done.
func replicate(ctx context.Context, c *config.Config, o pipeline.Options, show func(context.Context, *pipeline.Pipeline)) error {
	o.Version, o.Instance = version(), uuid.NewString()
	o.Fatal = func(err error) {
		o.Logger.Error("stopping at once", "error", err)
		os.Exit(exitFailed)
	}
	p, err := pipeline.New(*c, o)
	if err != nil {
		return err
	}
	stop, err := serveHealth(ctx, c, p, o.Logger)
	if err != nil {
		return err
	}
	defer stop()
	showing, stopShowing := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { show(showing, p) })
	began := time.Now()
	err = p.Run(ctx)
	stopShowing()
	wg.Wait()
	s := p.Snapshot()
	o.Logger.Info("stopped", "events", s.Totals.Events, "rows_compared", s.Totals.Rows, "dead_letters", s.Totals.Letters,
		"transactions", s.Totals.Transactions, "requests", s.Requests.Total(), "lsn", s.Totals.LSN, "took", time.Since(began).Round(time.Millisecond).String())
	return err
}

// serveHealth starts the health server. The default address may be taken by another
// program, or by another producer; then there is none. An address that was asked for
// must work.
func serveHealth(ctx context.Context, c *config.Config, p *pipeline.Pipeline, log *slog.Logger) (stop func(), err error) {
	if c.Program.HTTPAddr == "" {
		return func() {}, nil
	}
	s, err := server.Listen(ctx, string(c.Program.HTTPAddr))
	if err != nil {
		if c.IsSet("HTTP_ADDR") || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
		log.Warn("no health and status pages: the default address is taken; set HTTP_ADDR", "addr", c.Program.HTTPAddr)
		return func() {}, nil
	}
	log.Info("serving status page, metrics and admin", "addr", s.Addr())
	done := make(chan error, 1)
	served := server.Config{Source: p, Metrics: p.Metrics(), Steering: p, Logger: log}
	if c.Program.AdminToken.IsSet() {
		served.AdminToken = c.Program.AdminToken.Read
	}
	go func() { done <- s.Serve(served) }()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-done); err != nil {
			log.Warn("stop the health server", "error", err)
		}
	}, nil
}

// freeAddr returns a loopback address with a port of the system's choice.
func freeAddr(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", "127.0.0.1:0")
}

// sameAddr returns the loopback address that is noted in the file, or a free one, and notes
// it: another address of Lever's API is another account.
func sameAddr(ctx context.Context, file string) (net.Listener, error) {
	var lc net.ListenConfig
	if noted, err := os.ReadFile(file); err == nil {
		if l, err := lc.Listen(ctx, "tcp", string(noted)); err == nil {
			return l, nil
		}
	}
	l, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	err = os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = os.WriteFile(file, []byte(l.Addr().String()), 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--data-dir: %w; choose a directory that can be written to", err), l.Close())
	}
	return l, nil
}
