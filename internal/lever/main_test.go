package lever

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/leverstream/leverstream/internal/cdc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testKey must not show up anywhere but in the Authorization header.
const testKey = "key-that-nobody-may-see"

// roundTrip is a transport in memory, for tests in which time is simulated.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// respond returns an answer; headers are names and values in turn.
func respond(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

const (
	emptyPage = `{"data":[],"hasNext":false}`
	onePage   = `{"data":[{"id":"a"}],"hasNext":false}`
)

func configFor(transport http.RoundTripper) Config {
	return Config{
		BaseURL: "https://lever.test/v1", Token: func() (string, error) { return testKey, nil },
		Rate: 10, Burst: 10, Concurrency: 16, Clock: cdc.NewClock(), UserAgent: "leverstream/test",
		Transport: transport,
	}
}

func newClient(t *testing.T, c Config) *Client {
	t.Helper()
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// serve starts a server and a fast client of it that uses real connections.
func serve(t *testing.T, h http.HandlerFunc, change func(*Config)) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := configFor(nil)
	c.BaseURL, c.Rate, c.Burst, c.Attempts = s.URL+"/v1", 1e4, 100, 2
	if change != nil {
		change(&c)
	}
	return newClient(t, c)
}

var kinds = []error{cdc.ErrNotFound, cdc.ErrForbidden, cdc.ErrUnauthorized, cdc.ErrInvalidOffset, cdc.ErrUnavailable, cdc.ErrRejected}

// wantKind checks that the error matches this one of package cdc's errors and no other.
func wantKind(t *testing.T, err, want error) {
	t.Helper()
	for _, kind := range kinds {
		if got := errors.Is(err, kind); got != (kind == want) {
			t.Errorf("error %q: is %q = %v", err, kind, got)
		}
	}
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

var listing = cdc.Request{Class: cdc.ClassLive, Path: "/opportunities", Limit: 100}

func ask(t *testing.T, c *Client, r cdc.Request) cdc.Page {
	t.Helper()
	p, err := c.Get(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
