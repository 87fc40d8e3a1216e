package avro

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
)

// ErrRefused says that the registry holds something else under a subject, or may not
// be given what is missing: trying again will not help.
var ErrRefused = errors.New("schema registry refuses")

// Registry is a Confluent-compatible schema registry.
//
// It keeps one connection open, idle or not: when that ends, the registry may have been
// restarted, and may have lost what it knew (see [Registry.Losses]).
type Registry struct {
	client   *sr.Client
	register bool
	log      *slog.Logger
	losses   atomic.Int64
	mu       sync.Mutex
	texts    map[int]string
}

// requestTimeout bounds a request to the registry.
const requestTimeout = 5 * time.Second

// NewRegistry returns a client of the registry that the options name. trust says before
// each request whom it trusts (nil: the system's authorities); while that is the same
// configuration, connections are kept. With register false it only looks up what others
// have registered.
func NewRegistry(register bool, log *slog.Logger, trust func() (*tls.Config, error), opts ...sr.ClientOpt) (*Registry, error) {
	r := &Registry{register: register, log: log, texts: map[int]string{}}
	if trust == nil {
		trust = func() (*tls.Config, error) { return nil, nil }
	}
	transport := &trusting{trust: trust, dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &countedConn{Conn: conn, closed: sync.OnceFunc(func() { r.losses.Add(1) })}, nil
	}}
	var err error
	r.client, err = sr.NewClient(append(opts[:len(opts):len(opts)], sr.HTTPClient(&http.Client{Transport: transport, Timeout: requestTimeout}))...)
	if err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	return r, nil
}

// trusting is a transport that connects anew when it is to trust others than before.
type trusting struct {
	trust func() (*tls.Config, error)
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)

	mu   sync.Mutex
	now  *tls.Config
	with *http.Transport // nil until there was a request
}

// RoundTrip sends a request.
func (t *trusting) RoundTrip(r *http.Request) (*http.Response, error) {
	with, err := t.transport()
	if err != nil {
		return nil, err
	}
	return with.RoundTrip(r)
}

func (t *trusting) transport() (*http.Transport, error) {
	trust, err := t.trust()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.with != nil && t.now == trust {
		return t.with, nil
	}
	t.closeIdle()
	t.now, t.with = trust, &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust, MaxIdleConnsPerHost: 1, DialContext: t.dial}
	return t.with, nil
}

// CloseIdleConnections is what http.Client calls.
func (t *trusting) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closeIdle()
}

func (t *trusting) closeIdle() {
	if t.with != nil {
		t.with.CloseIdleConnections()
	}
}

// countedConn says when it is closed. The transport closes a connection as soon as the
// server does.
type countedConn struct {
	net.Conn

	closed func()
}

// Close closes the connection.
func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// Losses returns how many connections to the registry have ended. While the number
// stays the same, the registry is the one that has answered before.
func (r *Registry) Losses() int64 { return r.losses.Load() }

// Register returns the id of the schema under the subject, and registers it if it is
// missing. A subject that it creates becomes FULL_TRANSITIVE: schemas may only gain
// or lose optional fields. ErrRefused means that a person must act.
func (r *Registry) Register(ctx context.Context, subject, schema string) (id int, err error) {
	s := sr.Schema{Schema: schema}
	found, err := r.client.LookupSchema(ctx, subject, s)
	switch {
	case err == nil:
		return found.ID, nil
	case !notFound(err):
		return 0, fmt.Errorf("look up subject %s in the schema registry%s: %w", subject, hint(err), err)
	case !r.register:
		return 0, fmt.Errorf("%w: subject %s does not have this program's schema, and SCHEMA_REGISTRY_REGISTER=false; register it with \"producer schemas register\"", ErrRefused, subject)
	}
	versions, err := r.client.SubjectVersions(ctx, subject)
	if err != nil && !notFound(err) {
		return 0, fmt.Errorf("look up subject %s in the schema registry%s: %w", subject, hint(err), err)
	}
	if len(versions) > 0 {
		// A subject without a compatibility level takes anything.
		latest, err := r.client.SchemaByVersion(ctx, subject, -1)
		if err != nil {
			return 0, fmt.Errorf("look up subject %s in the schema registry%s: %w", subject, hint(err), err)
		}
		if theirs, ours := recordName(latest.Schema.Schema), recordName(schema); theirs != ours {
			return 0, fmt.Errorf("%w: subject %s holds the schema of another record (%q, this program's is %q); use another KAFKA_TOPIC_PREFIX, or delete the subject if nothing reads it", ErrRefused, subject, theirs, ours)
		}
	}
	created, err := r.client.CreateSchema(ctx, subject, s)
	var answer *sr.ResponseError
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusConflict || answer.StatusCode == http.StatusUnprocessableEntity) {
		return 0, fmt.Errorf("%w: subject %s already holds a schema with which this program's is not compatible (%s); use another KAFKA_TOPIC_PREFIX, or delete the subject if nothing reads it", ErrRefused, subject, answer.Message)
	}
	if err != nil {
		return 0, fmt.Errorf("register a schema under subject %s%s: %w", subject, hint(err), err)
	}
	if len(versions) == 0 {
		for _, c := range r.client.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatFullTransitive}, subject) {
			if c.Err != nil {
				r.log.Warn("cannot set the compatibility of a new subject; set it to FULL_TRANSITIVE by hand", "subject", subject, "error", c.Err)
			}
		}
	}
	r.log.Debug("registered a schema", "subject", subject, "id", created.ID)
	return created.ID, nil
}

// recordName is the full name of the record that the schema describes, empty for other
// schemas.
func recordName(schema string) string {
	var s struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	}
	if json.Unmarshal([]byte(schema), &s) != nil || s.Namespace == "" {
		return s.Name
	}
	return s.Namespace + "." + s.Name
}

// Schema returns the text of the schema with the id. Answers are kept.
func (r *Registry) Schema(ctx context.Context, id int) (string, error) {
	r.mu.Lock()
	text, ok := r.texts[id]
	r.mu.Unlock()
	if ok {
		return text, nil
	}
	s, err := r.client.SchemaByID(ctx, id)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	r.texts[id] = s.Schema
	r.mu.Unlock()
	return s.Schema, nil
}

// hint says what to check.
func hint(err error) string {
	var answer *sr.ResponseError
	switch {
	case !errors.As(err, &answer):
		return " (check SCHEMA_REGISTRY_URL, and that a registry runs there)"
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden:
		return " (check SCHEMA_REGISTRY_USERNAME, SCHEMA_REGISTRY_PASSWORD and the user's rights)"
	case answer.StatusCode == http.StatusNotFound && answer.ErrorCode == 0:
		return " (SCHEMA_REGISTRY_URL is not the root of a Confluent-compatible API; it may lack a path)"
	}
	return ""
}

// notFound says that the registry does not know the subject or the schema.
func notFound(err error) bool {
	var answer *sr.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
