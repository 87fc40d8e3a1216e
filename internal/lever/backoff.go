package lever

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = 200 * time.Millisecond
	mostBackoff  = 30 * time.Second
)

// backoff returns a random pause after the given number of failures: up to 200 ms
// after the first, up to twice as long after each further one, never above 30 s.
// All of the pause is random, so that requests that failed together come back apart.
func backoff(failures int) time.Duration {
	ceiling := min(mostBackoff, firstBackoff<<min(failures-1, 16))
	return rand.N(ceiling) + 1
}

// sleep waits, or returns the context's error if that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
