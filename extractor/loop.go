package extractor

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// onceAttempts is how often Once tries a list that Lever does not serve. Each
// attempt has the client's own retries behind it.
const onceAttempts = 3

// A loop reads one source again and again.
type loop struct {
	// name is unique among the loops, for example "opportunities increment".
	name string
	// tables are the tables it feeds.
	tables []string
	// path is what it reads.
	path string
}

// subject names what a failed loop means to a user.
func (l loop) subject() string {
	return "read " + l.path + " for " + strings.Join(l.tables, ", ")
}

// fatal says that the extractor cannot go on: it was told to stop, or the sink has.
func fatal(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.Is(err, cdc.ErrStopped) || errors.Is(err, errState) || errors.Is(err, ErrBookmark) || errors.Is(err, ErrOtherAccount) || errors.Is(err, ErrKeyChanged))
}

// errState marks errors of the state and of bookmarks.
var errState = errors.New("state")

// ignoreEnd turns the error of a cancelled context into nil.
func ignoreEnd(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// toTick returns how long it is until the next tick, after a pause. Loops wake up at ticks of one
// clock, so that what they have for the writer is there together: an idle program wakes up once
// where it would do so for each of its loops, and makes one transaction.
func (e *Extractor) toTick(every, pause time.Duration) time.Duration {
	return pause + every - (time.Since(e.began)+pause)%every
}

// tick is the number of the tick at or before a time.
func (e *Extractor) tick(every time.Duration, at time.Time) int64 {
	return int64(at.Sub(e.began) / every)
}

// repeat reads until ctx ends: again at the first tick after the start of a read or, if the read was
// not done by then, at once. So no two starts are further apart than the interval, or than the read takes.
func (e *Extractor) repeat(ctx context.Context, l loop, interval time.Duration, read func(context.Context) error) error {
	for {
		began := time.Now()
		if err := e.untilDone(ctx, l, e.alive(l, read)); err != nil {
			return err
		}
		next := e.began.Add(time.Duration(e.tick(interval, began)+1) * interval)
		if !sleep(ctx, time.Until(next)) {
			return nil
		}
	}
}

// alive is the read with a sign of life before and after it.
func (e *Extractor) alive(l loop, read func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		e.Status.beat(l)
		defer e.Status.beat(l)
		return read(ctx)
	}
}

// untilDone reads until it has succeeded once. Failures are shown and tried again
// with growing pauses.
func (e *Extractor) untilDone(ctx context.Context, l loop, read func(context.Context) error) error {
	for failures := 1; ; failures++ {
		err := read(ctx)
		if err == nil {
			e.served(l)
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if fatal(ctx, err) {
			return err
		}
		pause := e.pause(err, failures)
		e.Status.failed(l, err)
		e.Logger.Warn("cannot read from Lever; the other tables go on", "scan", l.name, "affected", l.tables, "error", err, "retry_in", pause.Round(time.Second).String())
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// attempt reads once, with a few more tries if Lever is unavailable.
func (e *Extractor) attempt(ctx context.Context, l loop, read func(context.Context) error) error {
	for failures := 1; ; failures++ {
		err := read(ctx)
		if err == nil {
			e.served(l)
			return nil
		}
		if fatal(ctx, err) {
			return err
		}
		e.Status.failed(l, err)
		if failures == onceAttempts || !errors.Is(err, cdc.ErrUnavailable) {
			return err
		}
		pause := e.pause(err, failures)
		e.Logger.Warn("cannot read from Lever; trying again", "scan", l.name, "error", err, "retry_in", pause.Round(time.Second).String())
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// served notes that the loop's source answers, and says so if it did not before.
func (e *Extractor) served(l loop) {
	if since, was := e.Status.ok(l); was {
		e.Logger.Info("Lever serves it again", "scan", l.name, "affected", l.tables, "after", time.Since(since).Round(time.Second).String())
	}
}

// pause is how long to wait after a failure. What needs an operator (permissions,
// credentials) is asked for slowly.
func (e *Extractor) pause(err error, failures int) time.Duration {
	const most = time.Minute
	switch {
	case errors.Is(err, cdc.ErrForbidden), errors.Is(err, cdc.ErrRejected):
		return max(e.RefreshInterval, most)
	case errors.Is(err, cdc.ErrUnauthorized):
		// The client asks about once a minute for all loops together. As soon as Lever
		// accepts the credentials, all go on.
		return 5 * time.Second
	}
	d := min(most, min(time.Second, e.PollInterval)<<min(failures, 6))
	return d/2 + rand.N(d/2+1)
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
