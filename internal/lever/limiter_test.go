package lever

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// A recorder is a transport that notes when which path was asked for.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	times []time.Duration
	paths []string
	most  int // requests in flight at once
	now   int
	// takes is how long an answer takes.
	takes time.Duration
	// answer may be nil.
	answer func(n int, r *http.Request) *http.Response
}

func newRecorder() *recorder { return &recorder{start: time.Now()} }

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	n := len(r.times)
	r.times = append(r.times, time.Since(r.start))
	r.paths = append(r.paths, req.URL.Path)
	r.now++
	r.most = max(r.most, r.now)
	r.mu.Unlock()
	if r.takes > 0 {
		time.Sleep(r.takes) // simulated time
	}
	r.mu.Lock()
	r.now--
	r.mu.Unlock()
	if r.answer != nil {
		if a := r.answer(n, req); a != nil {
			return a, nil
		}
	}
	return respond(200, emptyPage), nil
}

// many starts n requests and returns a function that waits for all of them.
func many(t *testing.T, c *Client, n int, r cdc.Request) (wait func()) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, err := c.Get(context.Background(), r); err != nil {
				t.Errorf("%s: %v", r.Path, err)
			}
		})
	}
	synctest.Wait()
	return wg.Wait
}

// checkRate checks every period between two requests.
func checkRate(t *testing.T, times []time.Duration, rate float64, burst int) {
	t.Helper()
	for i := range times {
		for j := i; j < len(times); j++ {
			n, allowed := j-i+1, float64(burst)+rate*(times[j]-times[i]).Seconds()
			if float64(n) > allowed+1e-6 {
				t.Fatalf("%d requests from %v to %v, %.2f allowed", n, times[i], times[j], allowed)
			}
		}
	}
}

func TestTheBucketStartsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		c := newClient(t, configFor(r))
		many(t, c, 3, listing)()
		want := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond}
		if !slices.Equal(r.times, want) {
			t.Errorf("sent at %v, want %v", r.times, want)
		}
	})
}

func TestNoPeriodHasMoreThanBurstPlusRateAndNothingIsWasted(t *testing.T) {
	for _, tt := range []struct {
		rate  float64
		burst int
	}{{10, 10}, {10, 1}, {3.7, 4}, {1000, 50}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder()
			cfg := configFor(r)
			cfg.Rate, cfg.Burst, cfg.Concurrency = tt.rate, tt.burst, 1000
			c := newClient(t, cfg)
			many(t, c, 100, listing)()
			time.Sleep(time.Minute) // simulated: the bucket fills
			many(t, c, 100, listing)()
			checkRate(t, r.times, tt.rate, tt.burst)
			ideal := time.Duration(100 / tt.rate * float64(time.Second))
			if got := r.times[99]; got > ideal+ideal/100+time.Microsecond {
				t.Errorf("100 requests took %v at %v/s", got, tt.rate)
			}
			if at := r.times[100]; r.times[100+tt.burst-1] != at {
				t.Errorf("burst of %d was not sent at once: %v", tt.burst, r.times[100:100+tt.burst])
			}
			if r.times[100+tt.burst] == r.times[100] {
				t.Errorf("more than the burst of %d was sent at once", tt.burst)
			}
		})
	}
}

func TestUrgentClassesGoFirstAndEachClassInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		c := newClient(t, configFor(r))
		var waits []func()
		for _, q := range []cdc.Request{
			{Class: cdc.ClassSweep, Path: "/sweep1"}, {Class: cdc.ClassSweep, Path: "/sweep2"},
			{Class: cdc.ClassLoad, Path: "/load"}, {Class: cdc.ClassLive, Path: "/live1"},
			{Class: cdc.ClassRefresh, Path: "/refresh"}, {Class: cdc.ClassLive, Path: "/live2"},
			{Class: cdc.ClassChildren, Path: "/children"}, {Class: cdc.ClassCheck, Path: "/check"},
		} {
			waits = append(waits, many(t, c, 1, q))
		}
		s := c.Stats()
		if s.Waiting["sweep"] != 2 || s.Waiting["live"] != 2 || s.Waiting["check"] != 1 {
			t.Errorf("waiting: %v", s.Waiting)
		}
		for _, wait := range waits {
			wait()
		}
		want := []string{"/check", "/live1", "/live2", "/children", "/refresh", "/load", "/sweep1", "/sweep2"}
		for i := range want {
			want[i] = "/v1" + want[i]
		}
		if !slices.Equal(r.paths, want) {
			t.Errorf("order %v, want %v", r.paths, want)
		}
	})
}

func TestNoClassStarvesAndWhoWaitedLongestGetsTheShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		cfg := configFor(r)
		cfg.Concurrency = 4
		c := newClient(t, cfg)
		sweep := many(t, c, 3, cdc.Request{Class: cdc.ClassSweep, Path: "/sweep"})
		time.Sleep(time.Millisecond)
		load := many(t, c, 3, cdc.Request{Class: cdc.ClassLoad, Path: "/load"})
		live := many(t, c, 300, cdc.Request{Class: cdc.ClassLive, Path: "/live"})
		sweep()
		load()
		live()
		for i, got := range r.paths[:140] {
			want := "/v1/live"
			switch n := (i + 1) / share; {
			case (i+1)%share != 0 || n > 6:
			case n <= 3:
				want = "/v1/sweep"
			default:
				want = "/v1/load"
			}
			if got != want {
				t.Errorf("request %d went to %s, want %s", i+1, got, want)
			}
		}
	})
}

func TestNoMoreRequestsAreInFlightThanAllowedAndAFreeSlotGoesToTheMostUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		r.takes = 10 * time.Second
		cfg := configFor(r)
		cfg.Concurrency = 3
		c := newClient(t, cfg)
		first := many(t, c, 6, cdc.Request{Class: cdc.ClassSweep, Path: "/sweep"})
		time.Sleep(5 * time.Second)
		if s := c.Stats(); s.InFlight != 3 || s.Waiting["sweep"] != 3 || s.Total() != 3 {
			t.Errorf("in flight %d, waiting %v, sent %d", s.InFlight, s.Waiting, s.Total())
		}
		second := many(t, c, 1, cdc.Request{Class: cdc.ClassCheck, Path: "/check"})
		first()
		second()
		if r.most != 3 {
			t.Errorf("%d in flight at once, want 3", r.most)
		}
		if r.paths[3] != "/v1/check" {
			t.Errorf("the free slot went to %s", r.paths[3])
		}
		if s := c.Stats(); s.InFlight != 0 || s.Waiting["sweep"] != 0 {
			t.Errorf("at rest: in flight %d, waiting %v", s.InFlight, s.Waiting)
		}
	})
}

func TestWhoStopsWaitingCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		c := newClient(t, configFor(r))
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, err := c.Get(ctx, listing); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		many(t, c, 1, listing)()
		if len(r.times) != 1 || r.times[0] != 100*time.Millisecond {
			t.Errorf("sent at %v, want one request after 100ms", r.times)
		}
		if _, err := c.Get(ctx, listing); !errors.Is(err, context.DeadlineExceeded) || len(r.times) != 1 {
			t.Errorf("error %v, sent at %v", err, r.times)
		}
	})
}

func TestManyAnswersOf429HalveTheRateOnceAndItClimbsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		r.takes = 300 * time.Millisecond
		r.answer = func(n int, _ *http.Request) *http.Response {
			if n < 8 {
				return respond(429, "{}")
			}
			return nil
		}
		c := newClient(t, configFor(r))
		time.Sleep(time.Second)
		wait := many(t, c, 8, listing)
		time.Sleep(400 * time.Millisecond)
		if s := c.Stats(); s.Rate != 5 || !s.Paused || s.Pauses != 1 || s.RateLimited != 8 {
			t.Errorf("after 8 answers of 429: %+v", s)
		}
		wait()
		// Sent at 1 s, answered at 1.3 s; the pause takes between half a second and
		// one; then the bucket is empty.
		if at := r.times[8]; at < 1900*time.Millisecond || at > 2500*time.Millisecond {
			t.Errorf("asked again at %v", at)
		}
		if s := c.Stats(); s.Rate < 5 || s.Rate > 6 || s.Paused {
			t.Errorf("rate %v, paused %v", s.Rate, s.Paused)
		}
		half := r.times[8:]
		checkRate(t, half, 5.5, 1)
		time.Sleep(15 * time.Second)
		if rate := c.Stats().Rate; rate < 5 || rate > 5.5 {
			t.Errorf("rate %v, although it may be too much already", rate)
		}
		time.Sleep(35 * time.Second)
		if rate := c.Stats().Rate; rate < 6.5 || rate > 8 {
			t.Errorf("rate %v while it climbs", rate)
		}
		time.Sleep(25 * time.Second)
		if s := c.Stats(); s.Rate != 10 || s.Retries != 8 || s.Total() != 16 {
			t.Errorf("in the end: %+v", s)
		}
	})
}

func TestEverybodyWaitsAfterA429(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		r.answer = func(n int, _ *http.Request) *http.Response {
			if n == 0 {
				return respond(429, "", "Retry-After", "7")
			}
			return nil
		}
		c := newClient(t, configFor(r))
		time.Sleep(time.Second)
		wait := many(t, c, 1, listing)
		more := many(t, c, 5, cdc.Request{Class: cdc.ClassCheck, Path: "/check"})
		wait()
		more()
		if r.times[1] < 8*time.Second || r.times[1] > 9*time.Second {
			t.Errorf("the next request was sent at %v", r.times[1])
		}
	})
}

func TestAServerCannotStopUsForLongerThanAMinute(t *testing.T) {
	for _, after := range []string{"86400", "Wed, 01 Jan 2200 00:00:00 GMT"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder()
			r.answer = func(n int, _ *http.Request) *http.Response {
				if n == 0 {
					return respond(429, "", "Retry-After", after)
				}
				return nil
			}
			c := newClient(t, configFor(r))
			ask(t, c, listing)
			if d := r.times[1] - r.times[0]; d < time.Minute || d > 61*time.Second {
				t.Errorf("waited %v", d)
			}
		})
	}
}

func Test429IsNoAttemptAndTheRateHasAFloor(t *testing.T) {
	for _, tt := range []struct{ limit, floor float64 }{{10, 0.625}, {2, 0.5}, {0.2, 0.2}} {
		synctest.Test(t, func(t *testing.T) {
			const refusals = 40
			r := newRecorder()
			r.answer = func(n int, _ *http.Request) *http.Response {
				if n < refusals {
					return respond(429, "")
				}
				return nil
			}
			cfg := configFor(r)
			cfg.Rate, cfg.Attempts = tt.limit, 1
			c := newClient(t, cfg)
			var lowest = tt.limit
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := c.Get(context.Background(), listing); err != nil {
					t.Error(err)
				}
			}()
			for {
				lowest = min(lowest, c.Stats().Rate)
				select {
				case <-done:
					if lowest < tt.floor || lowest > tt.limit*0.9 && tt.floor < tt.limit {
						t.Errorf("lowest rate %v, floor %v", lowest, tt.floor)
					}
					if s := c.Stats(); s.Pauses != refusals || s.Total() != refusals+1 {
						t.Errorf("pauses %d, sent %d", s.Pauses, s.Total())
					}
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
}

func TestA429OfARequestFromBeforeThePauseIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(10, 10, 10)
		time.Sleep(time.Second)
		early, err := l.acquire(context.Background(), cdc.ClassLive)
		if err != nil {
			t.Fatal(err)
		}
		if _, began := l.throttled(early, 0); !began {
			t.Error("the first 429 was no news")
		}
		time.Sleep(3 * time.Second)
		if _, began := l.throttled(early, 0); began {
			t.Error("a late answer to a request from before the pause halved the rate again")
		}
		late, err := l.acquire(context.Background(), cdc.ClassLive)
		if err != nil {
			t.Fatal(err)
		}
		if _, began := l.throttled(late, 0); !began {
			t.Error("a 429 after the pause was no news")
		}
	})
}

func TestPausesGrowUntilSomethingSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(10, 10, 10)
		again := func() time.Duration {
			at, err := l.acquire(context.Background(), cdc.ClassLive)
			if err != nil {
				t.Fatal(err)
			}
			defer l.release()
			pause, _ := l.throttled(at, 0)
			return pause
		}
		for i := range 8 {
			most := min(firstPause<<i, mostPause)
			if p := again(); p < most/2 || p > most {
				t.Errorf("pause %d took %v, want %v to %v", i+1, p, most/2, most)
			}
		}
		at, _ := l.acquire(context.Background(), cdc.ClassLive)
		l.release()
		l.succeeded(at)
		if p := again(); p > firstPause {
			t.Errorf("pause after a success took %v", p)
		}
	})
}

// A lateContext ends while its request is being served.
type lateContext struct {
	context.Context
	asked int
}

func (c *lateContext) Err() error {
	if c.asked++; c.asked == 1 {
		return nil
	}
	return c.Context.Err()
}

func TestATurnThatComesTooLateIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		l := newLimiter(10, 1, 1)
		time.Sleep(time.Second)
		late := 0
		// The turn has come and the context has ended: either may be seen first.
		for range 100 {
			if _, err := l.acquire(&lateContext{Context: ended}, cdc.ClassLive); err == nil {
				l.release()
				time.Sleep(time.Second)
				continue
			}
			late++
			if l.used != 0 || l.tokens != 1 || l.waiting[cdc.ClassLive].Len() != 0 {
				t.Fatalf("a turn was lost: %d slots in use, %v tokens", l.used, l.tokens)
			}
		}
		if late == 0 {
			t.Error("the context was never seen first")
		}
	})
}

func TestTheLongestRetryAfterOfAPauseCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		r.takes = time.Second
		r.answer = func(n int, _ *http.Request) *http.Response {
			if n < 3 {
				return respond(429, "", "Retry-After", []string{"5", "30", "1"}[n])
			}
			return nil
		}
		c := newClient(t, configFor(r))
		time.Sleep(time.Second)
		many(t, c, 3, listing)()
		// The answers come at once, in any order; the first may get a tenth on top.
		if r.times[3] < 32*time.Second || r.times[3] > 36*time.Second {
			t.Errorf("asked again at %v", r.times[3])
		}
		if s := c.Stats(); s.Pauses != 1 {
			t.Errorf("%d pauses", s.Pauses)
		}
	})
}

func TestATinyRateDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1e-300, 1, 1)
		ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
		defer cancel()
		if _, err := l.acquire(ctx, cdc.ClassLive); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

// BenchmarkLimiter is what a request that need not wait costs.
func BenchmarkLimiter(b *testing.B) {
	l := newLimiter(1e12, 1<<30, 16)
	time.Sleep(time.Millisecond)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.acquire(b.Context(), cdc.ClassLoad); err != nil {
			b.Fatal(err)
		}
		l.release()
	}
}
