package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/lever"
	"github.com/leverstream/leverstream/internal/publish"
	"github.com/leverstream/leverstream/internal/state"
	"github.com/leverstream/leverstream/offsets"
)

const (
	// drainTimeout is how long the writer may take to commit what is queued when the
	// program was told to stop.
	drainTimeout = 8 * time.Second
	// oncePatience is how long a single pass waits for systems that are away.
	oncePatience = time.Minute
	// mostPause is the longest pause between two attempts to open the writer.
	mostPause = 30 * time.Second
)

// Options are what a run is asked to do, beside the configuration.
type Options struct {
	// Once ends the run after one complete pass over every table.
	Once bool
	// TakeOver deposes another owner instead of waiting for it.
	TakeOver bool
	// Version is the program's.
	Version string
	// Instance is unique to this process.
	Instance string
	// Attempts is how often a request to Lever that fails is sent; 0 means
	// lever.DefaultAttempts.
	Attempts int
	// EraseInterval is how often deleted rows are removed from the files of the local state;
	// 0 means every half hour.
	EraseInterval time.Duration
	// Fatal ends the process when the local state cannot be written. It must not return.
	Fatal  func(error)
	Logger *slog.Logger
}

// Pipeline replicates one account.
type Pipeline struct {
	c       config.Config
	o       Options
	tables  []cdc.Table
	lever   *lever.Client
	clock   *cdc.Clock
	status  *extractor.Status
	rereads *extractor.Rereads
	totals  totals
	started time.Time
	edits   chan edit
	owned   bool // this process has owned the account; only Run touches it
	passed  bool // the one pass was made, if that was asked for; only Run touches it

	stats *publish.Stats

	// looking is held by whoever looks into the writer, which is closed only after it
	// was replaced.
	looking sync.RWMutex
	writer  *publish.Writer // nil while there is none

	mu    sync.Mutex
	phase string    // what the supervisor is doing, for people
	beat  time.Time // last sign of progress
}

// New returns a pipeline for the selected tables of the configuration.
func New(c config.Config, o Options) (*Pipeline, error) {
	p := &Pipeline{c: c, o: o, edits: make(chan edit), clock: cdc.NewClock(), phase: "starting", beat: time.Now(), started: time.Now()}
	p.tables = Tables(&c)
	p.status, p.rereads = extractor.NewStatus(p.tables), extractor.NewRereads()
	p.stats = publish.NewStats(p.tables, func(table string) string { return string(c.Kafka.TopicPrefix) + "." + table })
	var err error
	p.lever, err = Lever(&c, p.clock, o.Version, o.Attempts, o.Logger)
	return p, err
}

// Run replicates until ctx ends, or until one pass is complete with Options.Once. It
// returns nil if everything asked for was done, ErrIncomplete if ctx ended before, and a
// *publish.OwnedError if another producer took the account over.
func (p *Pipeline) Run(ctx context.Context) error {
	err := p.run(ctx)
	if err == nil && p.o.Once && !p.passed {
		return ErrIncomplete
	}
	return err
}

// ErrIncomplete says that a single pass was stopped.
var ErrIncomplete = errors.New("stopped before the pass was complete; what was read is committed, and the next start goes on from there")

func (p *Pipeline) run(ctx context.Context) error {
	confidentiality, err := p.confidentiality(ctx)
	if err != nil {
		return ifAlive(ctx, err)
	}
	wc, err := Writer(&p.c, p.o.Version, p.o.Logger)
	if err != nil {
		return err
	}
	if wc.Registry, err = Registry(&p.c, p.o.Logger); err != nil {
		return err
	}
	wc.Confidentiality, wc.Instance, wc.TakeOver = confidentiality, p.o.Instance, p.o.TakeOver
	wc.Clock, wc.Committed, wc.Stats, wc.Opening = p.clock, p.committed, p.stats, p.note
	wc.Fatal, wc.EraseInterval = p.o.Fatal, p.o.EraseInterval
	wc.Owns = func() { p.owned = true }
	for failures := 0; ; {
		began := time.Now()
		done, err := p.own(ctx, wc, confidentiality)
		if done {
			return err
		}
		if time.Since(began) > 2*mostPause {
			failures = 0
		}
		failures++
		if p.o.Once && failures > 5 {
			return err
		}
		if errors.Is(err, extractor.ErrKeyChanged) { // other credentials may have other rights
			if confidentiality, err = p.confidentiality(ctx); err != nil {
				return ifAlive(ctx, err)
			}
			wc.Confidentiality, err = confidentiality, extractor.ErrKeyChanged
		}
		wc.WasOwner = p.owned
		pause := min(mostPause, 250*time.Millisecond<<min(failures, 10))
		pause = pause/2 + rand.N(pause/2)
		p.note("waiting after an error")
		what := "cannot start; trying again"
		if p.owned {
			what = "going back to what Kafka says, and on from there"
		}
		p.o.Logger.Warn(what, "error", err, "retry_in", pause.Round(10*time.Millisecond).String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// native is the value of LEVER_CANDIDATES for which candidates have endpoints of their own.
const native = "native"

// own owns the account once. done says that there is nothing to go on with.
func (p *Pipeline) own(ctx context.Context, wc publish.Config, confidentiality string) (done bool, err error) {
	p.note("connecting to Kafka and the schema registry")
	opening := ctx
	if p.o.Once {
		var cancel context.CancelFunc
		opening, cancel = context.WithCancel(ctx)
		defer cancel()
	}
	w, err := publish.Open(opening, wc)
	if err != nil && ctx.Err() != nil && !p.o.Once {
		return true, nil // a standby, for example, has nothing that it could leave undone
	}
	if err != nil {
		return p.failed(ctx, wc, err)
	}
	p.setWriter(w)
	p.note("running")
	p.o.Logger.Info("owner of the account; replicating", "account", wc.Account, "instance", wc.Instance, "tables", len(p.tables), "confidentiality", confidentiality, "lsn", w.LSN())

	extracting, stopExtracting := context.WithCancel(ctx)
	defer stopExtracting()
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	written := make(chan error, 1)
	go func() {
		err := w.Run(writing)
		stopExtracting()
		written <- err
	}()
	readErr := p.extract(extracting, w, confidentiality)
	w.Drain()
	patience := time.AfterFunc(drainTimeout, stopWriting)
	writeErr := <-written
	patience.Stop()
	p.setWriter(nil)
	closeErr := w.Close()
	switch {
	case writeErr != nil:
		return p.failed(ctx, wc, writeErr)
	case ctx.Err() != nil:
		return true, closeErr
	// A damaged copy of the state is rebuilt, and the pass made once more.
	case p.o.Once && !errors.Is(readErr, cdc.ErrStopped) && !errors.Is(readErr, extractor.ErrKeyChanged) && !errors.Is(readErr, state.ErrDamaged):
		p.passed = true
		return true, errors.Join(readErr, closeErr)
	}
	return p.failed(ctx, wc, errors.Join(readErr, closeErr))
}

// failed decides what an error of the writer means: whether another producer owns the
// account now, whether trying again can help.
func (p *Pipeline) failed(ctx context.Context, wc publish.Config, err error) (done bool, _ error) {
	var owned *publish.OwnedError
	var fatal *publish.ConfigError
	switch {
	case errors.As(err, &owned):
		p.deposed(wc, owned.Owner)
		return true, err
	case errors.As(err, &fatal), errors.Is(err, extractor.ErrOtherAccount), errors.Is(err, extractor.ErrBookmark):
		return true, err
	case ctx.Err() != nil && !p.owned:
		return true, nil // there was nothing to commit
	case ctx.Err() != nil:
		return true, fmt.Errorf("stopped before everything was committed; the next start goes on from the last commit: %w", err)
	}
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	owner, live, lookErr := publish.Owner(asking, wc)
	if lookErr == nil && live && owner.Instance != p.o.Instance && p.owned {
		p.deposed(wc, owner)
		return true, &publish.OwnedError{Account: wc.Account, Owner: owner}
	}
	return false, err
}

// deposed notes who has replaced this producer.
func (p *Pipeline) deposed(wc publish.Config, by offsets.Owner) {
	if err := publish.Deposed(wc, by); err != nil {
		p.o.Logger.Warn("cannot note in STATE_DIR who has replaced this producer", "error", err)
	}
}

// confidentiality finds out what may be read, with patience.
func (p *Pipeline) confidentiality(ctx context.Context) (string, error) {
	began := time.Now()
	for {
		value, err := extractor.Confidentiality(ctx, p.lever, p.tables, p.c.Lever.Confidential)
		if err == nil {
			if value != "all" && p.c.Lever.Confidential == "auto" {
				p.o.Logger.Warn("the key may not see confidential rows; replicating without them (LEVER_CONFIDENTIAL=auto)")
			}
			return value, nil
		}
		if errors.Is(err, cdc.ErrUnauthorized) {
			err = fmt.Errorf("the account cannot be read without valid credentials: %w", err)
		}
		if errors.Is(err, cdc.ErrNotFound) {
			err = fmt.Errorf("check LEVER_API_URL, which is the root of the API, such as https://api.lever.co/v1: Lever does not have the list: %w", err)
		}
		temporary := errors.Is(err, cdc.ErrUnavailable)
		if p.o.Once && (!temporary || time.Since(began) > oncePatience) || !temporary && !errors.Is(err, cdc.ErrUnauthorized) {
			return "", err
		}
		p.note("waiting for Lever")
		pause := 10 * time.Second
		if !temporary {
			pause = time.Minute
		}
		p.o.Logger.Warn("cannot read from Lever; waiting", "error", err, "retry_in", pause.String())
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(pause):
		}
	}
}

// ifAlive drops the error of a run that was told to stop.
func ifAlive(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
