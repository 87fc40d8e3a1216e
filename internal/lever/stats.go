package lever

import (
	"maps"
	"sync"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Stats says what the client did since it was made, and what it is doing. It holds no
// ids and no secrets.
type Stats struct {
	// Requests are those sent, by the name of their class. A retry is a request.
	Requests map[string]int64 `json:"requests"`
	// Endpoints are those sent, by path with ids replaced by ":id".
	Endpoints map[string]int64 `json:"endpoints"`
	// Outcomes are those that ended: "2xx" to "5xx"; "unusable" for an answer that
	// came with a good status but is not a page; "network" without an answer;
	// "cancelled" if the caller stopped waiting.
	Outcomes map[string]int64 `json:"outcomes"`
	// Retries are requests sent because one before was in vain.
	Retries int64 `json:"retries"`
	// RateLimited are answers of 429.
	RateLimited int64 `json:"rate_limited"`
	// Pauses are how often all requests waited because of a 429.
	Pauses int64 `json:"pauses"`
	// Rate is how many requests per second may be sent now; RateLimit is what it
	// climbs back to after a 429.
	Rate      float64 `json:"rate"`
	RateLimit float64 `json:"rate_limit"`
	// Paused says that all requests wait because of a 429.
	Paused bool `json:"paused"`
	// InFlight are requests sent and not yet answered.
	InFlight int `json:"in_flight"`
	// Waiting are requests that wait for their turn, by the name of their class.
	Waiting map[string]int `json:"waiting"`
}

// Total returns the number of requests sent.
func (s Stats) Total() int64 {
	var n int64
	for _, of := range s.Requests {
		n += of
	}
	return n
}

// Stats returns a snapshot. Classes without requests are there with 0.
func (c *Client) Stats() Stats {
	s := c.counts.snapshot()
	c.limiter.describe(&s)
	return s
}

// counts counts requests.
type counts struct {
	mu        sync.Mutex
	requests  [cdc.Classes]int64
	endpoints map[string]int64
	outcomes  map[string]int64
	retries   int64
	limited   int64
	pauses    int64
}

func newCounts() *counts {
	return &counts{endpoints: map[string]int64{}, outcomes: map[string]int64{}}
}

func (c *counts) sent(class cdc.Class, endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[class]++
	c.endpoints[endpoint]++
}

func (c *counts) ended(outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[outcome]++
}

func (c *counts) retried() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retries++
}

func (c *counts) rateLimited() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limited++
}

func (c *counts) paused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pauses++
}

func (c *counts) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{
		Requests:  make(map[string]int64, cdc.Classes),
		Endpoints: maps.Clone(c.endpoints), Outcomes: maps.Clone(c.outcomes),
		Retries: c.retries, RateLimited: c.limited, Pauses: c.pauses,
	}
	for class, n := range c.requests {
		s.Requests[cdc.Class(class).String()] = n
	}
	return s
}
