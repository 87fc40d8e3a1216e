package lever

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Stats says what the client did since it was made, and what it is doing. It holds no
// ids and no secrets.
type Stats struct {
	// Requests are those sent, by the name of their class. A retry is a request.
	Requests map[string]int64 `json:"requests"`
	// LastMinute are those sent within the last minute, by the name of their class: in
	// relation to 60 * RateLimit, the part of the budget that the class uses.
	LastMinute map[string]int64 `json:"requests_last_minute"`
	// Endpoints are those sent, by path with ids replaced by ":id".
	Endpoints map[string]int64 `json:"endpoints"`
	// Outcomes are those that ended: "2xx" to "5xx"; "unusable" for an answer that
	// came with a good status but is not a page; "network" without an answer;
	// "cancelled" if the caller stopped waiting.
	Outcomes map[string]int64 `json:"outcomes"`
	// ByClass are the same, by the name of their class and then by outcome.
	ByClass map[string]map[string]int64 `json:"outcomes_by_class"`
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
	// Tokens is how many requests may be sent at once now.
	Tokens float64 `json:"tokens"`
	// Paused says that all requests wait because of a 429.
	Paused bool `json:"paused"`
	// InFlight are requests sent and not yet answered.
	InFlight int `json:"in_flight"`
	// LastSent is when a request was sent last, LastGood when one was answered with a page;
	// unset until then.
	LastSent time.Time `json:"last_sent,omitzero"`
	LastGood time.Time `json:"last_good_answer,omitzero"`
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
	recent    recent
	endpoints map[string]int64
	outcomes  [cdc.Classes]map[string]int64
	retries   int64
	limited   int64
	pauses    int64
	lastSent  time.Time
	lastGood  time.Time
	took      prometheus.Histogram
}

func newCounts() *counts {
	c := &counts{endpoints: map[string]int64{}, took: newTook()}
	for class := range c.outcomes {
		c.outcomes[class] = map[string]int64{}
	}
	return c
}

func (c *counts) sent(class cdc.Class, endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[class]++
	c.endpoints[endpoint]++
	c.lastSent = time.Now()
	c.recent.add(c.lastSent, class)
}

func (c *counts) ended(class cdc.Class, outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[class][outcome]++
	if outcome == outcomeGood {
		c.lastGood = time.Now()
	}
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
		Requests: make(map[string]int64, cdc.Classes), LastMinute: make(map[string]int64, cdc.Classes),
		Endpoints: maps.Clone(c.endpoints), Outcomes: map[string]int64{},
		ByClass: make(map[string]map[string]int64, cdc.Classes),
		Retries: c.retries, RateLimited: c.limited, Pauses: c.pauses,
		LastSent: c.lastSent, LastGood: c.lastGood,
	}
	lastMinute := c.recent.sum(time.Now())
	for class, n := range c.requests {
		name := cdc.Class(class).String()
		s.Requests[name], s.LastMinute[name] = n, lastMinute[class]
		s.ByClass[name] = maps.Clone(c.outcomes[class])
		for outcome, n := range c.outcomes[class] {
			s.Outcomes[outcome] += n
		}
	}
	return s
}

// recent counts the requests of the last minute, second by second.
type recent [60]struct {
	second int64
	sent   [cdc.Classes]int64
}

func (r *recent) add(now time.Time, class cdc.Class) {
	s := &r[now.Unix()%int64(len(r))]
	if s.second != now.Unix() {
		s.second, s.sent = now.Unix(), [cdc.Classes]int64{}
	}
	s.sent[class]++
}

func (r *recent) sum(now time.Time) (sum [cdc.Classes]int64) {
	for _, s := range r {
		if age := now.Unix() - s.second; age < 0 || age >= int64(len(r)) {
			continue
		}
		for class, n := range s.sent {
			sum[class] += n
		}
	}
	return sum
}
