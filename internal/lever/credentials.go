package lever

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Credentials make the Authorization header of requests. Their methods may be called at
// the same time.
type Credentials interface {
	// Header returns the header for the next request. The error matches
	// cdc.ErrUnauthorized if a person must act, cdc.ErrUnavailable if trying again may
	// help. It holds no secret.
	Header(ctx context.Context) (string, error)
	// Identity is what tells them from others that may belong to another account. It
	// holds a secret, and is not kept.
	Identity(header string) string
	// Renew says whether there are others now, after Lever refused that header with 401.
	Renew(ctx context.Context, refused string) bool
}

// apiKey is an API key: the user name of HTTP Basic, without a password.
type apiKey struct {
	read func() (string, error)
}

func (k apiKey) Header(context.Context) (string, error) {
	key, err := k.read()
	if err != nil {
		return "", &credentialError{"cannot read the API key: " + err.Error(), err}
	}
	if key == "" {
		return "", &credentialError{"the API key is empty; set LEVER_TOKEN or LEVER_TOKEN_FILE", nil}
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(key+":")), nil
}

// Identity is the key itself.
func (apiKey) Identity(header string) string { return header }

// Renew reads the key again: its file may have been replaced.
func (k apiKey) Renew(ctx context.Context, refused string) bool {
	header, err := k.Header(ctx)
	return err == nil && header != refused
}

// credentialError says why there are no usable credentials.
type credentialError struct {
	text  string
	cause error // may be nil
}

func (e *credentialError) Error() string { return e.text }

func (e *credentialError) Unwrap() []error {
	if e.cause == nil {
		return []error{cdc.ErrUnauthorized}
	}
	return []error{cdc.ErrUnauthorized, e.cause}
}

// gatePause is how long nothing is sent after Lever has refused the credentials for good:
// a revoked key must not be tried by every loop of the program.
const gatePause = 55 * time.Second

// gate remembers credentials that Lever refused.
type gate struct {
	mu      sync.Mutex
	refused string
	until   time.Time
}

// shut notes that Lever refused the header.
func (g *gate) shut(header string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused, g.until = header, time.Now().Add(gatePause)
}

// pass says whether the header may be sent: it is another one, or long enough ago.
// Whoever passes after the pause is the only one until its answer is there.
func (g *gate) pass(header string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refused != header {
		return true
	}
	if time.Now().Before(g.until) {
		return false
	}
	g.until = time.Now().Add(gatePause)
	return true
}

// open notes that Lever accepted the header.
func (g *gate) open(header string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refused == header {
		g.refused = ""
	}
}

// keys numbers credentials.
type keys struct {
	mu      sync.Mutex
	numbers map[[sha256.Size]byte]int
}

// number returns the number of the credentials, from 1.
func (k *keys) number(identity string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	digest := sha256.Sum256([]byte(identity))
	n, ok := k.numbers[digest]
	if !ok {
		n = len(k.numbers) + 1
		k.numbers[digest] = n
	}
	return n
}

// authorize returns the header for a request.
func (c *Client) authorize(ctx context.Context, k *call) (string, error) {
	header, err := c.credentials.Header(ctx)
	if stopped := ctx.Err(); err != nil && stopped != nil {
		return "", k.stopped(stopped)
	}
	if err != nil {
		kind := cdc.ErrUnauthorized
		if errors.Is(err, cdc.ErrUnavailable) {
			kind = cdc.ErrUnavailable
		}
		f := k.fail(kind, "not sent: "+err.Error())
		f.cause = err
		return "", f
	}
	if !c.gate.pass(header) {
		return "", k.fail(cdc.ErrUnauthorized, fmt.Sprintf("not sent: Lever refused these credentials less than %s ago; %s", gatePause, credentialAdvice))
	}
	return header, nil
}

const credentialAdvice = "check LEVER_TOKEN, or authorise again if OAuth is used"
