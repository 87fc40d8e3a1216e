package lever

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

const (
	// requestTimeout bounds an attempt from sending to the last byte.
	requestTimeout = 60 * time.Second
	// headerTimeout bounds the wait for the first byte of the answer.
	headerTimeout = 45 * time.Second
	// maxBody bounds a decompressed page. The largest pages seen have a few MiB.
	maxBody = 64 << 20
	// maxErrorBody bounds the answer that goes with an error status.
	maxErrorBody = 64 << 10
)

// newTransport returns a pool that can keep as many connections as requests may be in
// flight, so that none is opened anew in steady state.
func newTransport(connections int) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          connections,
		MaxIdleConnsPerHost:   connections,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: headerTimeout,
		// A dead HTTP/2 connection would otherwise be used again and again.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// An answer is what came of one attempt: a status with a body, or err.
type answer struct {
	status int
	header http.Header
	body   []byte
	// buffer is that of the body, until free.
	buffer *bytes.Buffer
	// err says why there is no usable answer; the other fields above are then unset.
	err error
	// authorization is the header that was sent.
	authorization string
	// key is the number of the credentials.
	key           int
	granted       time.Time
	sent, arrived cdc.Instant
}

// errTooLarge says that a body exceeded maxBody.
var errTooLarge = errors.New("larger than 64 MiB")

// send waits for its turn and makes one attempt. The error says that nothing was sent.
func (c *Client) send(ctx context.Context, k *call) (answer, error) {
	granted, err := c.limiter.acquire(ctx, k.class)
	if err != nil {
		return answer{}, k.stopped(err)
	}
	defer c.limiter.release()
	authorization, err := c.authorize(ctx, k)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	req := (&http.Request{
		Method: http.MethodGet, URL: k.url, Host: k.url.Host, Header: c.header(authorization),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	a := answer{authorization: authorization, key: c.keys.number(c.credentials.Identity(authorization)), granted: granted}
	c.counts.sent(k.class, k.endpoint)
	a.sent = c.clock.Now()
	a.receive(c.transport.RoundTrip(req)) //nolint:bodyclose // receive closes it
	a.arrived = c.clock.Now()
	return a, nil
}

// header returns the header of a request. It is shared by all with the same credentials: a
// RoundTripper does not change it.
func (c *Client) header(authorization string) http.Header {
	if h := c.lastHeader.Load(); h != nil && h.Get("Authorization") == authorization {
		return *h
	}
	h := http.Header{"Authorization": {authorization}, "Accept": {"application/json"}}
	if c.userAgent != "" {
		h.Set("User-Agent", c.userAgent)
	}
	c.lastHeader.Store(&h)
	return h
}

// bodies are buffers of answers, which are needed until they are decoded.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// mostKept is the largest answer, in bytes, whose buffers are used again: larger ones are rare.
const mostKept = 1 << 20

// free says that the answer's body is no longer needed.
func (a *answer) free() {
	if a.buffer != nil && a.buffer.Cap() <= mostKept {
		bodies.Put(a.buffer)
	}
	a.buffer, a.body = nil, nil
}

// receive reads the response. Decoding waits until the slot is free again.
func (a *answer) receive(resp *http.Response, err error) {
	if err != nil {
		a.err = err
		return
	}
	defer func() { _ = resp.Body.Close() }()
	limit := int64(maxErrorBody)
	if resp.StatusCode == http.StatusOK {
		limit = maxBody
	}
	a.buffer, _ = bodies.Get().(*bytes.Buffer)
	a.buffer.Reset()
	if n := resp.ContentLength; n > 0 && n <= mostKept {
		a.buffer.Grow(int(n) + bytes.MinRead) // so that it does not grow step by step
	}
	_, err = a.buffer.ReadFrom(io.LimitReader(resp.Body, limit+1))
	body := a.buffer.Bytes()
	switch {
	case err != nil:
		a.err = err
	case int64(len(body)) > limit && resp.StatusCode == http.StatusOK:
		a.err = errTooLarge
	default:
		a.status, a.header, a.body = resp.StatusCode, resp.Header, body
	}
}
