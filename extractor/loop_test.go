package extractor

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Ticks make no loop later: a read begins an interval after the one before at the latest, or when that
// one ends. They bring loops together, whenever these began. And who is told to stop reads no more.
func TestLoopsThatWakeTogetherAreNeverLate(t *testing.T) {
	for _, interval := range []time.Duration{time.Millisecond, 100 * time.Millisecond, 7 * time.Second, time.Hour} {
		t.Run(interval.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const reads = 50
				e := newTestExtractor(t, known{})
				random := rand.New(rand.NewPCG(1, uint64(interval)))
				began := make([]map[time.Time]bool, 2)
				var loops sync.WaitGroup
				for i, most := range []time.Duration{interval / 2, 3 * interval / 2} { // that a read takes
					time.Sleep(interval / 3)
					took := make([]time.Duration, reads)
					for n := range took {
						took[n] = time.Duration(random.Int64N(int64(most)))
					}
					began[i] = map[time.Time]bool{}
					loops.Go(func() {
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						var last time.Time
						err := e.repeat(ctx, loop{name: "full"}, interval, func(context.Context) error {
							n := len(began[i])
							if n == reads {
								t.Fatal("a read after the end")
							}
							if gap := time.Since(last); n > 0 && gap > max(interval, took[n-1]) {
								t.Errorf("a read began %v after one that took %v", gap, took[n-1])
							}
							last = time.Now()
							began[i][last] = true
							if time.Sleep(took[n]); n == reads-1 {
								cancel()
							}
							return nil
						})
						if err != nil {
							t.Error(err)
						}
					})
				}
				loops.Wait()
				together := 0
				for at := range began[0] {
					if began[1][at] {
						together++
					}
				}
				if together < reads/5 {
					t.Errorf("%d of %d reads began together", together, reads)
				}
			})
		})
	}
}
