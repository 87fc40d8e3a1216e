package lever

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// keyBucket is Lever's own bucket of a key: ten requests a second, twenty at once.
type keyBucket struct {
	mu     sync.Mutex
	tokens float64
	filled time.Time
}

func (b *keyBucket) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(20, b.tokens+10*now.Sub(b.filled).Seconds())
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// TestWhatAnotherProgramLeavesIsFoundAndTheRestComesBack runs a client with a backlog
// beside another program that uses the same key at a steady pace for a while and takes
// no notice of 429.
func TestWhatAnotherProgramLeavesIsFoundAndTheRestComesBack(t *testing.T) {
	for _, tt := range []struct {
		name    string
		other   float64 // requests per second of the other program
		latency time.Duration
	}{
		{"half", 5, 200 * time.Millisecond},
		{"most", 8, 200 * time.Millisecond},
		{"little", 2, 200 * time.Millisecond},
		{"half, slowly", 5, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &keyBucket{tokens: 20, filled: time.Now()}
				var mu sync.Mutex
				var served []time.Time
				refused := 0
				way := func() { time.Sleep(tt.latency*2/5 + rand.N(tt.latency/5)) }
				c := newClient(t, configFor(roundTrip(func(*http.Request) (*http.Response, error) {
					way() // simulated, as is all time here
					ok := b.take()
					mu.Lock()
					if ok {
						served = append(served, time.Now())
					} else {
						refused++
					}
					mu.Unlock()
					way()
					if !ok {
						return respond(429, "{}"), nil
					}
					return respond(200, emptyPage), nil
				})))
				ctx, cancel := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						for ctx.Err() == nil {
							_, _ = c.Get(ctx, cdc.Request{Class: cdc.ClassLoad, Path: "/opportunities"})
						}
					})
				}
				const window = 20 * time.Second
				// in returns how many requests a second were served in each window of a period.
				in := func(from, to time.Time) (perSecond []float64) {
					mu.Lock()
					defer mu.Unlock()
					for at := from; at.Before(to); at = at.Add(window) {
						n := 0
						for _, s := range served {
							if !s.Before(at) && s.Before(at.Add(window)) {
								n++
							}
						}
						perSecond = append(perSecond, float64(n)/window.Seconds())
					}
					return perSecond
				}
				mean := func(x []float64) (m float64) {
					for _, v := range x {
						m += v / float64(len(x))
					}
					return m
				}
				time.Sleep(time.Minute)
				mu.Lock()
				if refused > 0 {
					t.Errorf("%s: %d answers of 429 without another program", tt.name, refused)
				}
				mu.Unlock()
				storm, stop := context.WithCancel(ctx)
				var granted atomic.Int64
				wg.Go(func() {
					for storm.Err() == nil {
						if b.take() {
							granted.Add(1)
						}
						time.Sleep(time.Duration((0.5 + rand.Float64()) * float64(time.Second) / tt.other))
					}
				})
				time.Sleep(time.Minute)
				settled, pauses, taken := time.Now(), c.Stats().Pauses, granted.Load()
				time.Sleep(10 * time.Minute)
				during := in(settled, time.Now())
				left := 10 - float64(granted.Load()-taken)/600
				pauses = c.Stats().Pauses - pauses
				stop()
				calm := time.Now()
				time.Sleep(2 * time.Minute)
				back := time.Now()
				time.Sleep(time.Minute)
				after := in(back, time.Now())
				cancel()
				wg.Wait()
				t.Logf("%s: %.2f of %.2f/s that are left, %.1f to %.1f/s, %d pauses in ten minutes; 2 minutes after it: %.1f/s, rising %v",
					tt.name, mean(during), left, slices.Min(during), slices.Max(during), pauses, mean(after), in(calm, back))
				// There is no upper bound: the bucket lets nobody have more, but for the 20 it may hold at first.
				if share := mean(during) / left; share < 0.9 {
					t.Errorf("%s: %.0f%% of what is left", tt.name, 100*share)
				}
				if lowest := slices.Min(during); lowest < left/3 {
					t.Errorf("%s: fell to %.1f/s", tt.name, lowest)
				}
				if pauses > 30 { // one every 20 s; at most 19 were seen in 150 runs
					t.Errorf("%s: %d pauses", tt.name, pauses)
				}
				if mean(after) < 9.8 {
					t.Errorf("%s: only %.1f/s after the storm", tt.name, mean(after))
				}
			})
		})
	}
}
