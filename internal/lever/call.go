package lever

import (
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// A call is one Get with all its attempts.
type call struct {
	class    cdc.Class
	path     string
	endpoint string
	paged    bool // has an offset
	first    *url.URL
	url      *url.URL // of the next attempt; differs from first after a redirect
	hops     int      // redirects followed
	failures int
	attempts int // how many failures there may be
	timeout  time.Duration
	renewals int // how often the key was read again after a 401
}

// newCall checks the request. Ids are opaque and come from outside, so an id that is
// empty or a dot would silently address another resource.
func (c *Client) newCall(r cdc.Request) (*call, error) {
	// What follows a question mark would be a query's values, which errors must not show.
	path, _, _ := strings.Cut(r.Path, "?")
	k := &call{class: r.Class, path: path, endpoint: endpoint(path), paged: r.Offset != "", attempts: c.attempts, timeout: requestTimeout}
	if r.Attempts > 0 {
		k.attempts = r.Attempts
	}
	if r.Timeout > 0 {
		k.timeout = min(k.timeout, r.Timeout)
	}
	if r.Class < 0 || r.Class >= cdc.Classes {
		return nil, k.fail(cdc.ErrRejected, "not sent: no such class of requests")
	}
	rest, ok := strings.CutPrefix(r.Path, "/")
	if !ok || strings.ContainsAny(r.Path, "?#") {
		return nil, k.fail(cdc.ErrRejected, "not sent: a path begins with a slash and has no query")
	}
	for segment := range strings.SplitSeq(rest, "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil || plain == "" || plain == "." || plain == ".." {
			return nil, k.fail(cdc.ErrRejected, "not sent: the path has an empty, dotted or wrongly escaped part")
		}
	}
	u, err := url.Parse(c.base.String() + r.Path)
	if err != nil {
		return nil, k.fail(cdc.ErrRejected, "not sent: the path cannot be part of a URL")
	}
	u.RawQuery = query(r).Encode()
	k.first, k.url = u, u
	return k, nil
}

// query returns the request's parameters. Lever's page token is percent-encoded
// already and is encoded once more like any other value; Lever decodes it twice
// (lever-api.md 1.5).
func query(r cdc.Request) url.Values {
	q := make(url.Values, len(r.Query)+2)
	maps.Copy(q, r.Query)
	if r.Limit > 0 {
		q.Set("limit", strconv.Itoa(r.Limit))
	}
	if r.Offset != "" {
		q.Set("offset", r.Offset)
	}
	return q
}

// endpoint returns the path with ids replaced by ":id". Paths alternate between
// collections and ids. The only word in an id's place is "deleted", the feed of
// deletions. Ids cannot be told by their looks: default stages have names.
func endpoint(path string) string {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, part := range parts {
		if i%2 == 1 && part != "deleted" {
			parts[i] = ":id"
		}
	}
	return "/" + strings.Join(parts, "/")
}

// A failure is an error for people that also matches one of package cdc's, without
// repeating that one's words.
type failure struct {
	text  string
	kind  error
	cause error // may be nil
}

func (f *failure) Error() string { return f.text }

func (f *failure) Unwrap() []error {
	if f.cause == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.cause}
}

func (k *call) fail(kind error, text string) *failure {
	return &failure{text: "GET " + k.path + ": " + text, kind: kind}
}

// stopped says that the caller's context ended.
func (k *call) stopped(err error) error { return fmt.Errorf("GET %s: %w", k.path, err) }

// exhausted says that all attempts failed, and how the last one did.
func (k *call) exhausted(last *failure) error {
	text := last.text
	if k.failures > 1 {
		text = fmt.Sprintf("%s (last of %d attempts)", text, k.failures)
	}
	return &failure{text: text, kind: cdc.ErrUnavailable}
}
