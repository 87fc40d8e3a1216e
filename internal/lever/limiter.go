package lever

import (
	"container/list"
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

const (
	// share is the guaranteed part of the classes that others go before: every
	// share-th request sent while they wait is theirs.
	share = 20
	// One slot of reserved is kept for live requests and checks: answers that do not come
	// may hold all others.
	reserved = 8
	// climb is the time in which the rate would go from 0 to its limit. It goes with the
	// third power of the time (as in CUBIC, RFC 9438): first it stays where there was room,
	// because Lever's bucket shows only after many requests that they are too many.
	climb = 90 * time.Second
	// below is how far under what was served the rate begins after a 429, so that the
	// bucket, which is empty then, fills up again.
	below = 0.95
	// slowest is the rate below which a 429 does not push it, unless the limit
	// itself is lower; nor does it go below a slowestPart-th of the limit.
	slowest     = 0.5
	slowestPart = 16
	// firstPause is the longest pause after a 429. It doubles, up to mostPause, as
	// long as nothing succeeds between two of them.
	firstPause = time.Second
	mostPause  = 30 * time.Second
)

// A limiter says when a request may be sent: when there is a token for it, a slot
// (one per request in flight), and nobody of a more urgent class waits.
//
// It has no goroutine. Whoever comes, leaves or stops waiting hands out what can be
// handed out; for tokens that fill up in between there is a timer, which runs only
// while somebody waits for one.
type limiter struct {
	mu      sync.Mutex
	limit   float64 // tokens per second at best
	burst   float64
	slots   int
	used    int // slots
	waiting [cdc.Classes]list.List
	passed  int // requests sent in a row while others of a lower class waited
	timer   *time.Timer

	// tokens are as of the time last, which lies in the future during a pause: then
	// nothing fills up.
	tokens float64
	last   time.Time
	// base is the rate at the time climbing, from which on it climbs to the limit.
	base     float64
	climbing time.Time

	pauseBegan time.Time
	pauses     int // in a row, without a success between them
	served     int // requests since the last pause began
}

// A waiter waits for its turn. ready is closed when it has come.
type waiter struct {
	class   cdc.Class
	since   time.Time
	ready   chan struct{}
	granted time.Time
	place   *list.Element // nil when it no longer waits
}

// newLimiter returns a limiter whose bucket is empty: the process before this one may
// just have spent the budget.
func newLimiter(rate float64, burst, slots int) *limiter {
	now := time.Now()
	return &limiter{limit: rate, base: rate, climbing: now, burst: float64(burst), slots: slots, last: now}
}

// acquire waits for a token and a slot, and returns when they were granted. The slot
// must be released. The error is the context's.
func (l *limiter) acquire(ctx context.Context, class cdc.Class) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, err
	}
	w := &waiter{class: class, since: time.Now(), ready: make(chan struct{})}
	l.mu.Lock()
	w.place = l.waiting[class].PushBack(w)
	l.grant()
	l.mu.Unlock()
	select {
	case <-w.ready:
		return w.granted, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.place != nil {
		l.waiting[class].Remove(w.place)
	} else {
		l.used--
		l.tokens = min(l.tokens+1, l.burst)
	}
	l.grant()
	return time.Time{}, ctx.Err()
}

// release gives the slot back.
func (l *limiter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used--
	l.grant()
}

// grant serves whoever can be served and sets the timer for the next. The caller
// holds the lock.
func (l *limiter) grant() {
	now := time.Now()
	l.refill(now)
	for l.used < l.slots {
		w := l.next()
		if w != nil && w.class > cdc.ClassLive && l.used >= l.slots-l.slots/reserved {
			w = l.urgent()
		}
		if w == nil {
			break
		}
		if wait := l.wait(now); wait > 0 {
			if l.timer == nil {
				l.timer = time.AfterFunc(wait, l.tick)
			} else {
				l.timer.Reset(wait)
			}
			return
		}
		l.tokens = max(l.tokens-1, 0)
		l.used++
		l.count(w)
		l.waiting[w.class].Remove(w.place)
		w.place, w.granted = nil, now
		close(w.ready)
	}
	if l.timer != nil {
		l.timer.Stop()
	}
}

func (l *limiter) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grant()
}

// next returns who is next, nil if nobody waits: the first of the most urgent class,
// or, when that one's turn has come, whoever waited longest in the others.
func (l *limiter) next() *waiter {
	var first, longest *waiter
	for i := range l.waiting {
		e := l.waiting[i].Front()
		if e == nil {
			continue
		}
		w, _ := e.Value.(*waiter)
		switch {
		case first == nil:
			first = w
		case longest == nil || w.since.Before(longest.since):
			longest = w
		}
	}
	if longest != nil && l.passed >= share-1 {
		return longest
	}
	return first
}

// urgent returns who is next of those for whom the last slots are kept.
func (l *limiter) urgent() *waiter {
	for i := range cdc.ClassLive + 1 {
		if e := l.waiting[i].Front(); e != nil {
			w, _ := e.Value.(*waiter)
			return w
		}
	}
	return nil
}

// count keeps account of the share. The caller is about to serve w.
func (l *limiter) count(w *waiter) {
	for i := range l.waiting {
		switch {
		case l.waiting[i].Len() == 0:
		case cdc.Class(i) < w.class: // w itself got the share
			l.passed = 0
			return
		case cdc.Class(i) > w.class:
			l.passed++
			return
		}
	}
}

// rate is how many tokens fill up per second at the given time.
func (l *limiter) rate(at time.Time) float64 {
	t := max(at.Sub(l.climbing), 0).Seconds() / climb.Seconds()
	return min(l.limit, l.base+l.limit*t*t*t)
}

// filled is the number of tokens that fill up from the beginning of the climb to the
// given time: the integral of rate.
func (l *limiter) filled(at time.Time) float64 {
	t := max(at.Sub(l.climbing), 0).Seconds()
	top := climb.Seconds() * math.Cbrt((l.limit-l.base)/l.limit) // when it arrives at the limit
	c := min(t, top)
	return l.base*c + l.limit*math.Pow(c/climb.Seconds(), 3)*c/4 + max(t-top, 0)*l.limit
}

// refill brings the tokens up to now.
func (l *limiter) refill(now time.Time) {
	if !now.After(l.last) {
		return
	}
	l.tokens = min(l.tokens+l.filled(now)-l.filled(l.last), l.burst)
	l.last = now
	if l.rate(now) >= l.limit {
		// Counted from here, so that a long time at the limit costs no precision.
		l.base, l.climbing = l.limit, now
	}
}

// wait returns how long it takes until a token is there, 0 if one is.
func (l *limiter) wait(now time.Time) time.Duration {
	pause := max(l.last.Sub(now), 0)
	missing := 1 - l.tokens
	// What is missing through rounding is not worth a timer.
	if missing < 1e-9 {
		return pause
	}
	// The bound keeps tiny rates from overflowing; the timer then looks again.
	return pause + time.Duration(min(math.Ceil(missing/l.rate(now)*float64(time.Second)), float64(time.Hour)))
}

// throttled notes that a request granted at the given time was answered with 429, and
// that the server asked to wait (0 if not). If this is news, everybody waits and the
// rate goes down; began is then true. Answers to requests from before the pause are not
// news: they only say the same thing again.
//
// How far down: the bucket was empty at the last 429 and is empty now, so what was served
// in between is what others who use the key have left for us. Slightly less is asked for
// from now on, at least half of what it was. If the last 429 was long ago, it says nothing
// of others now, and the rate halves.
func (l *limiter) throttled(granted time.Time, after time.Duration) (pause time.Duration, began bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.refill(now)
	began = granted.After(l.pauseBegan)
	switch {
	case began:
		pause = after
		if pause == 0 {
			pause = min(mostPause, firstPause<<min(l.pauses, 10))
			pause = pause/2 + rand.N(pause/2)
		} else {
			pause = min(pause+rand.N(pause/10+1), maxRetryAfter)
		}
		rate := l.rate(now)
		l.base = rate / 2
		if since := now.Sub(l.pauseBegan); since < 2*climb {
			left := float64(l.served) / since.Seconds()
			l.base = below * min(rate, max(left, l.base/below))
		}
		l.base = max(l.base, min(l.limit, max(slowest, l.limit/slowestPart)))
		l.pauses++
		l.pauseBegan, l.served = now, 0
	case after > 0:
		pause = after
	default:
		return 0, false
	}
	if until := now.Add(pause); until.After(l.last) {
		l.last, l.climbing = until, until
	}
	l.tokens = 0
	l.grant()
	return pause, began
}

// succeeded notes that a request granted at the given time was answered, so that
// the next pause is a short one again.
func (l *limiter) succeeded(granted time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served++
	if granted.After(l.pauseBegan) {
		l.pauses = 0
	}
}

// describe fills in the limiter's part of the statistics.
func (l *limiter) describe(s *Stats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.refill(now)
	s.Rate, s.RateLimit, s.Paused, s.InFlight = l.rate(now), l.limit, l.last.After(now), l.used
	s.Tokens = l.tokens
	s.Waiting = make(map[string]int, cdc.Classes)
	for i := range l.waiting {
		s.Waiting[cdc.Class(i).String()] = l.waiting[i].Len()
	}
}
