package sandbox

import (
	"maps"
	"sync"
)

// Requests returns how many requests were answered since the last reset, well or badly, by
// endpoint (such as "/opportunities/:id/offers"). Those that the rate limit, or an
// injected fault, refused with 429 are counted under "429" instead.
func (l *Lever) Requests() map[string]int64 { return l.requests.all() }

// ResetRequests sets all counts to zero.
func (l *Lever) ResetRequests() { l.requests.reset() }

// requests counts requests by endpoint.
type requests struct {
	mu     sync.Mutex
	counts map[string]int64
}

func (r *requests) add(endpoint string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[string]int64{}
	}
	r.counts[endpoint]++
}

func (r *requests) all() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		return map[string]int64{}
	}
	return maps.Clone(r.counts)
}

func (r *requests) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts = nil
}
