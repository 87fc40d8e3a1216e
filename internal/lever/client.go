package lever

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// DefaultAttempts is how often a request that fails is sent unless Config says
// otherwise. With the pauses between them, six attempts outlast a restart on Lever's
// side but not an outage, which the caller should know of.
const DefaultAttempts = 6

// mostRenewals is how often one request is sent with other credentials after a 401: those may
// have been revoked, too, by the time they arrive.
const mostRenewals = 3

// Config says which account is read, and how fast.
type Config struct {
	// BaseURL is the root of the API, for example "https://api.lever.co/v1".
	BaseURL string
	// Token returns the API key. It is called for every request, so that a key that
	// was replaced is used at once.
	Token func() (string, error)
	// OAuth is used instead of Token if it is set.
	OAuth *OAuth
	// Rate is the budget in requests per second.
	Rate float64
	// Burst is how many requests may be sent at once after a pause. In any period of
	// t seconds at most Burst + Rate*t requests are sent.
	Burst int
	// Concurrency is the most requests in flight.
	Concurrency int
	// Clock gives pages their instants.
	Clock *cdc.Clock
	// UserAgent names the program to Lever; empty sends Go's own.
	UserAgent string
	// Logger may be nil.
	Logger *slog.Logger
	// Transport sends the requests; nil for a pool of kept-alive connections with
	// the system's proxy settings. It must not follow redirects.
	Transport http.RoundTripper
	// Attempts is how often a failing request is sent, at least 1; 0 means
	// DefaultAttempts. An answer of 429 does not count as an attempt.
	Attempts int
}

// Client reads from Lever. Its methods may be called at the same time.
type Client struct {
	base        *url.URL
	credentials Credentials
	gate        gate
	keys        keys
	clock       *cdc.Clock
	userAgent   string
	log         *slog.Logger
	transport   http.RoundTripper
	attempts    int
	limiter     *limiter
	counts      *counts
	lastHeader  atomic.Pointer[http.Header]
}

// New returns a client. The error says which part of the configuration is unusable.
// Nothing is sent.
func New(c Config) (*Client, error) {
	base, err := parseBase(c.BaseURL)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Token == nil && c.OAuth == nil:
		return nil, errors.New("lever client: no source for the API key")
	case c.Clock == nil:
		return nil, errors.New("lever client: no clock")
	case c.Rate <= 0, math.IsNaN(c.Rate), math.IsInf(c.Rate, 0):
		return nil, fmt.Errorf("lever client: rate %v: must be above 0 requests per second", c.Rate)
	case c.Burst < 1:
		return nil, fmt.Errorf("lever client: burst %d: must be at least 1", c.Burst)
	case c.Concurrency < 1:
		return nil, fmt.Errorf("lever client: concurrency %d: must be at least 1", c.Concurrency)
	case c.Attempts < 0:
		return nil, fmt.Errorf("lever client: %d attempts: must be at least 1, or 0 for the default", c.Attempts)
	}
	client := &Client{
		base: base, credentials: apiKey{c.Token}, clock: c.Clock, userAgent: c.UserAgent,
		log: c.Logger, transport: c.Transport, attempts: c.Attempts,
		limiter: newLimiter(c.Rate, c.Burst, c.Concurrency), counts: newCounts(),
		keys: keys{numbers: map[[sha256.Size]byte]int{}},
	}
	if c.OAuth != nil {
		client.credentials = c.OAuth
	}
	if client.log == nil {
		client.log = slog.New(slog.DiscardHandler)
	}
	if client.transport == nil {
		client.transport = newTransport(c.Concurrency)
	}
	if client.attempts == 0 {
		client.attempts = DefaultAttempts
	}
	return client, nil
}

// parseBase checks the API's root. Its errors do not repeat it: a key that was pasted
// into the wrong variable must not be printed.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(raw, "/"))
	switch {
	case err != nil:
		return nil, errors.New("lever client: the API's URL cannot be parsed")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return nil, errors.New("lever client: the API's URL must look like https://api.lever.co/v1")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("lever client: the API's URL must have no user, query or fragment; the key is given separately")
	}
	u.Host = strings.TrimSuffix(u.Host, ":") // a port that is empty
	return u, nil
}

// Close drops idle connections. Requests under way are not touched, and the client
// can still be used.
func (c *Client) Close() {
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// Get asks Lever for a page and waits until the budget allows it. The error is the
// context's if it ended, otherwise it matches exactly one of the errors of package
// cdc. Get sends again what may succeed another time, up to Config.Attempts; after
// that the error matches cdc.ErrUnavailable.
func (c *Client) Get(ctx context.Context, r cdc.Request) (cdc.Page, error) {
	k, err := c.newCall(r)
	if err != nil {
		return cdc.Page{}, err
	}
	for {
		a, err := c.send(ctx, k)
		if err != nil {
			return cdc.Page{}, err
		}
		c.counts.took.Observe(time.Since(a.granted).Seconds())
		if err := ctx.Err(); err != nil && a.err != nil {
			c.counts.ended(k.class, outcomeCancelled)
			return cdc.Page{}, k.stopped(err)
		}
		v := k.judge(a)
		a.free()
		c.counts.ended(k.class, v.outcome)
		switch v.next {
		case giveBack:
			c.limiter.succeeded(a.granted)
			c.gate.open(a.authorization)
			v.page.Sent, v.page.Arrived, v.page.Key = a.sent, a.arrived, a.key
			return v.page, nil
		case giveUp:
			if a.err == nil { // 404 is an answer, too, and to somebody whom Lever knows
				c.limiter.succeeded(a.granted)
				c.gate.open(a.authorization)
			}
			return cdc.Page{Key: a.key}, v.err
		case follow:
			k.url = v.location
			k.hops++
			continue
		case renewKey:
			if k.renewals == mostRenewals || !c.credentials.Renew(ctx, a.authorization) {
				if err := ctx.Err(); err != nil { // there may be others, for somebody who waits
					return cdc.Page{}, k.stopped(err)
				}
				c.gate.shut(a.authorization)
				return cdc.Page{}, v.err
			}
			k.renewals++
		case slowDown:
			c.counts.rateLimited()
			if pause, began := c.limiter.throttled(a.granted, v.after); began {
				c.counts.paused()
				c.log.Warn("Lever answers 429 Too Many Requests; all requests wait, then go on more slowly; does another program use the same key?",
					"path", k.path, "retry_in", pause.Round(time.Millisecond).String())
			}
		case tryAgain:
			k.failures++
			if k.failures >= k.attempts {
				return cdc.Page{}, k.exhausted(v.err)
			}
			pause := max(backoff(k.failures), v.after)
			c.log.Debug("ask Lever again", "path", k.path, "failures", k.failures, "retry_in", pause.Round(time.Millisecond).String(), "error", v.err)
			if err := sleep(ctx, pause); err != nil {
				return cdc.Page{}, k.stopped(err)
			}
		}
		// A redirect is forgotten: the next attempt starts where the caller asked.
		k.url, k.hops = k.first, 0
		c.counts.retried()
	}
}
