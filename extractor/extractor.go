package extractor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Config is what an Extractor works with. All fields are required unless they say
// otherwise.
type Config struct {
	// Tables are the selected tables. A child's parent must be among them.
	Tables []cdc.Table
	Lever  Lever
	State  State
	Sink   cdc.Sink
	Clock  *cdc.Clock
	// Confidentiality is sent with every list that takes it: "all" or
	// "non-confidential" (see Confidentiality).
	Confidentiality string
	// ExcludeConfidential leaves confidential records out although the key may see them.
	ExcludeConfidential bool
	// NativeCandidates has candidates and their children read from Lever's deprecated
	// /candidates endpoints, instead of from those of opportunities, which serve the same
	// records.
	NativeCandidates bool
	// PollInterval is the time between two reads of increments and deletion feeds.
	PollInterval time.Duration
	// RefreshInterval is the time between two reads of full lists.
	RefreshInterval time.Duration
	// SweepInterval is the time of one pass over everything that can change unseen; 0
	// means none.
	SweepInterval time.Duration
	// Overlap is how far before its scan a cursor starts.
	Overlap time.Duration
	// StartDate is the beginning of what is replicated of CDC tables: rows created or
	// updated since then. Zero means everything.
	StartDate time.Time
	// DeleteGuard is the share of a table, from 0 to 1, that may vanish without a
	// deletion feed within a sweep interval, if it is more than 20 rows.
	DeleteGuard float64
	// Rate is the number of requests per second that Lever allows.
	Rate float64
	// Concurrency is how many lists of one kind of children may be read at once.
	Concurrency int
	Logger      *slog.Logger
	// Status is told what the loops do. Optional.
	Status *Status
	// Rereads are the rows that somebody wants to have read again. Optional.
	Rereads *Rereads
}

// Extractor reads one Lever account and submits units to a sink. It lives for one
// ownership: when the sink stops, make a new one; it goes on from the bookmarks.
type Extractor struct {
	Config
	// began is when its clock began to tick.
	began     time.Time
	selected  map[string]cdc.Table
	listings  []*listingReader
	full      []*fullReader
	followers []*follower
	guard     *guard
	witnesses witnesses
	// unread counts the records that could not be read for their own reasons.
	unread atomic.Int64
}

// New returns an extractor for the selected tables.
func New(c Config) (*Extractor, error) {
	if c.Status == nil {
		c.Status = NewStatus(c.Tables)
	}
	c.Lever = &sameKey{Lever: c.Lever}
	e := &Extractor{Config: c, began: time.Now(), selected: map[string]cdc.Table{}}
	for _, t := range c.Tables {
		e.selected[t.Name] = t
	}
	var err error
	if e.guard, err = newGuard(e); err != nil {
		return nil, err
	}
	for _, t := range c.Tables {
		if t.Parent == "" {
			continue
		}
		if _, ok := e.selected[t.Parent]; !ok {
			return nil, fmt.Errorf("table %s needs its parent table %s to be selected as well", t.Name, t.Parent)
		}
	}
	e.followers = e.allFollowers()
	for _, l := range listings(c.NativeCandidates) {
		l.tables = e.selection(l.tables)
		if len(l.tables) == 0 {
			continue
		}
		l.nested = slices.Clone(l.nested)
		for i := range l.nested {
			l.nested[i].tables = e.selection(l.nested[i].tables)
		}
		e.listings = append(e.listings, newListingReader(e, l))
	}
	for _, f := range fullLists() {
		if _, ok := e.selected[f.table]; ok {
			e.full = append(e.full, &fullReader{e: e, fullList: f})
		}
	}
	e.Status.scheduled(e)
	return e, nil
}

// selection keeps those names that are selected.
func (e *Extractor) selection(names []string) []string {
	var out []string
	for _, n := range names {
		if _, ok := e.selected[n]; ok {
			out = append(out, n)
		}
	}
	return out
}

// Run reads until ctx ends (nil is returned) or the sink stops. A list that fails
// is tried again for ever, visibly (see Status), and does not hold up the others.
func (e *Extractor) Run(ctx context.Context) error {
	for {
		err := e.run(ctx)
		if !errors.Is(err, errInStep) || ctx.Err() != nil {
			return err
		}
		e.followers = e.allFollowers()
		e.Status.scheduled(e)
	}
}

func (e *Extractor) run(ctx context.Context) error {
	recognise := loop{name: "account", path: "/users"}
	if err := e.untilDone(ctx, recognise, e.sameAccount); err != nil || ctx.Err() != nil {
		return err
	}
	if err := e.dropOrphans(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	defer e.Status.forget()
	g, ctx := errgroup.WithContext(ctx)
	if e.Rereads != nil {
		g.Go(func() error { return e.rereadWaiting(ctx) })
	}
	if e.SweepInterval > 0 {
		for _, l := range e.listings {
			if !l.noSnapshot {
				g.Go(func() error { return e.sweepAlways(ctx, l.loop("sweep"), l.sweep) })
			}
		}
		for _, f := range e.followers {
			g.Go(func() error { return e.sweepAlways(ctx, f.sweepLoop, f.sweep) })
		}
	}
	for _, f := range e.full {
		g.Go(func() error { return e.repeat(ctx, f.loop(), e.RefreshInterval, f.read) })
	}
	for _, l := range e.listings {
		if !l.noSnapshot {
			g.Go(func() error {
				defer e.Status.ends(l.loop("snapshot"))
				return e.untilDone(ctx, l.loop("snapshot"), e.alive(l.loop("snapshot"), l.snapshot))
			})
		}
		g.Go(func() error { return e.repeat(ctx, l.loop("increment"), e.PollInterval, l.increment) })
		for _, d := range l.feeds {
			g.Go(func() error { return e.repeat(ctx, d.loop(), e.PollInterval, d.read) })
		}
	}
	for _, f := range e.followers {
		g.Go(func() error { return f.run(ctx, nil) })
	}
	if e.apart() {
		g.Go(func() error { return e.untilInStep(ctx) })
	}
	return ignoreEnd(ctx, g.Wait())
}

// Once makes one complete pass: snapshots or increments, full lists, deletion
// feeds, and the children of every parent that these have changed. It returns the
// errors of all lists that could not be read; what could be read is committed.
func (e *Extractor) Once(ctx context.Context) error {
	if err := e.attempt(ctx, loop{name: "account", path: "/users"}, e.sameAccount); err != nil {
		return err
	}
	if err := e.dropOrphans(ctx); err != nil {
		return err
	}
	passing := ctx
	g, ctx := errgroup.WithContext(ctx)
	failed := make(chan error, 128)
	note := func(l loop, err error) error {
		if err == nil || fatal(ctx, err) {
			return err
		}
		failed <- fmt.Errorf("%s: %w", l.subject(), err)
		return nil
	}
	parentsDone := make(chan struct{})
	var parents errgroup.Group
	for _, f := range e.full {
		g.Go(func() error { return note(f.loop(), e.attempt(ctx, f.loop(), f.read)) })
	}
	for _, l := range e.listings {
		parents.Go(func() error {
			if !l.noSnapshot {
				if err := e.attempt(ctx, l.loop("snapshot"), l.snapshot); err != nil {
					return note(l.loop("snapshot"), err)
				}
			}
			if err := e.attempt(ctx, l.loop("increment"), l.increment); err != nil {
				return note(l.loop("increment"), err)
			}
			for _, d := range l.feeds {
				if err := note(d.loop(), e.attempt(ctx, d.loop(), d.read)); err != nil {
					return err
				}
			}
			if e.SweepInterval > 0 && !l.noSnapshot {
				return note(l.loop("sweep"), e.sweepOnce(ctx, l.loop("sweep"), l.sweep))
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(parentsDone)
		return parents.Wait()
	})
	for _, f := range e.followers {
		g.Go(func() error { return note(f.loop, f.run(ctx, parentsDone)) })
	}
	err := g.Wait()
	ctx = passing // that of the group has ended, and every error would look fatal
	if err == nil && e.SweepInterval > 0 {
		var sweeps errgroup.Group
		for _, f := range e.followers {
			sweeps.Go(func() error { return note(f.sweepLoop, e.sweepOnce(passing, f.sweepLoop, f.sweepWhole)) })
		}
		err = sweeps.Wait()
	}
	if err == nil {
		// What the sweeps could not read goes into the bookmarks, and is asked for once more.
		var asides errgroup.Group
		for _, f := range e.followers {
			if f.hasAside() {
				asides.Go(func() error { return note(f.loop, f.run(passing, parentsDone)) })
			}
		}
		err = asides.Wait()
	}
	if n := e.unread.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d single records could not be read, while others could; they are kept as they were, and the log names them", cdc.ErrUnavailable, n))
	}
	err = errors.Join(err, e.guard.errors())
	close(failed)
	for f := range failed {
		err = errors.Join(err, f)
	}
	return err
}

// sweepOnce sweeps what is overdue now.
func (e *Extractor) sweepOnce(ctx context.Context, l loop, sweep func(context.Context, time.Time) (time.Time, error)) error {
	now := time.Now()
	return e.attempt(ctx, l, func(ctx context.Context) error {
		_, err := sweep(ctx, now)
		return err
	})
}

// query returns the parameters of a list that takes confidentiality.
func (e *Extractor) query(expand []string) url.Values {
	q := url.Values{"confidentiality": {e.Confidentiality}}
	for _, x := range expand {
		q.Add("expand", x)
	}
	return q
}

// Confidentiality finds out whether the key may see confidential rows, with one
// cheap request to the first endpoint that takes the parameter. It returns the
// value to send ("all" or "non-confidential"); for an endpoint that the key may
// not read at all the next one is asked. mode is "auto", "include" or "exclude".
func Confidentiality(ctx context.Context, api Lever, tables []cdc.Table, mode string) (string, error) {
	const all, visible = "all", "non-confidential"
	if mode == "exclude" {
		return visible, nil
	}
	asked := map[string]bool{}
	var unavailable error
	for _, t := range tables {
		path := t.Endpoint
		if !slices.Contains([]string{"/opportunities", "/postings", "/requisitions"}, path) || asked[path] {
			continue
		}
		asked[path] = true
		probe := func(value string) error {
			_, err := api.Get(ctx, cdc.Request{Class: cdc.ClassCheck, Path: path, Limit: 1, Query: url.Values{"confidentiality": {value}}})
			return err
		}
		err := probe(all)
		if errors.Is(err, cdc.ErrForbidden) {
			if mode == "include" {
				return "", fmt.Errorf("LEVER_CONFIDENTIAL=include, but this key may not see confidential rows (%w): use a key that was created with the confidential grant, or LEVER_CONFIDENTIAL=auto", err)
			}
			// For all rows, or for this list?
			if err = probe(visible); err == nil {
				return visible, nil
			}
		}
		switch {
		case err == nil:
			return all, nil
		case errors.Is(err, cdc.ErrUnavailable):
			unavailable = err // another list may answer
		case !errors.Is(err, cdc.ErrForbidden):
			return "", err
		}
	}
	if unavailable != nil {
		return "", unavailable
	}
	return all, nil
}
