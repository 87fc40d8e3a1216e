package lever

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/oauth2"

	"github.com/leverstream/leverstream/internal/cdc"
)

// OAuthConfig says how to get access tokens. All fields are required unless they say
// otherwise.
type OAuthConfig struct {
	ClientID string
	// ClientSecret and RefreshToken are read when they are needed. The refresh token is
	// the one that a person was given; it counts until it has been used once.
	ClientSecret, RefreshToken func() (string, error)
	// TokenFile is where the tokens are kept.
	TokenFile string
	// TokenURL is the token endpoint.
	TokenURL string
	// Transport may be nil.
	Transport http.RoundTripper
}

// OAuth gets access tokens from a refresh token (RFC 6749, section 6), which Lever
// replaces with each use (lever-api.md 1.2): an access token lives an hour, a refresh
// token ends after a year, or after 90 days without use.
//
// A refresh token that was replaced is worth nothing any more, so the new one is written
// to the token file (in the same directory, fsync, rename, fsync of the directory) before
// anything is done with the access token that came with it. Whether the file can be
// written is tried before the old token is spent. So the process may be killed at any
// moment between two requests and the next start gets in; what cannot be recovered is an
// answer of the token endpoint that never arrives.
//
// The access token is in the file, too: a restart spends nothing, and several programs on
// a machine share it. They take turns by a lock on a file beside it.
type OAuth struct {
	c    OAuthConfig
	http *http.Client

	mu     sync.Mutex
	tokens tokens
	// unsaved are new tokens that could not be written; they are written before
	// anything else is tried.
	unsaved *tokens
	// dead is the refresh token that the endpoint refused, and until when it is not
	// tried again.
	dead  string
	until time.Time
}

// tokens is what the token file holds, as JSON.
type tokens struct {
	RefreshToken string    `json:"refresh_token"`
	AccessToken  string    `json:"access_token,omitempty"`
	Expiry       time.Time `json:"expiry,omitzero"`
	// Seed identifies the refresh token of the configuration from which these came: when a
	// person sets another one, it counts.
	Seed string `json:"seed"`
}

const (
	// expiryMargin is how long before its end an access token is replaced.
	expiryMargin = 2 * time.Minute
	// tokenTimeout bounds a request to the token endpoint.
	tokenTimeout = 30 * time.Second
	// tokenGrace is how long such a request may go on after the program was told to stop.
	tokenGrace = 5 * time.Second
	// maxTokenFile bounds what is read of a token file.
	maxTokenFile = 64 << 10
	// lockPatience is how often a lock that is taken is tried for again.
	lockPatience = 50 * time.Millisecond
)

// NewOAuth returns credentials. Nothing is sent yet.
func NewOAuth(c OAuthConfig) *OAuth {
	return &OAuth{c: c, http: &http.Client{
		Transport: c.Transport, Timeout: tokenTimeout,
		// The secrets go to no other address.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Header returns the access token as a bearer token, a new one if need be.
func (o *OAuth) Header(ctx context.Context) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.tokens.fresh(time.Now()) {
		if err := o.refresh(ctx, ""); err != nil {
			return "", err
		}
	}
	return bearer(o.tokens), nil
}

// Identity is the refresh token that a person has given: those that Lever gave for it
// belong to the same account.
func (o *OAuth) Identity(string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tokens.Seed
}

// Renew gets another access token, unless that has happened already.
func (o *OAuth) Renew(ctx context.Context, refused string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tokens.fresh(time.Now()) && bearer(o.tokens) != refused {
		return true
	}
	return o.refresh(ctx, refused) == nil && bearer(o.tokens) != refused
}

func bearer(t tokens) string { return "Bearer " + t.AccessToken }

func (t tokens) fresh(now time.Time) bool {
	return t.AccessToken != "" && now.Before(t.Expiry.Add(-expiryMargin))
}

// refresh takes what is in the file, or spends the refresh token. refused is a header
// that Lever no longer accepts.
func (o *OAuth) refresh(ctx context.Context, refused string) (err error) {
	lock := flock.New(o.c.TokenFile+".lock", flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPatience); err != nil {
		return o.unwritable(err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if o.unsaved != nil {
		return o.save(*o.unsaved)
	}
	t, err := o.load()
	if err != nil {
		return err
	}
	if t.fresh(time.Now()) && bearer(t) != refused {
		o.tokens = t
		return nil
	}
	if t.RefreshToken == o.dead && time.Now().Before(o.until) {
		return o.rejected("")
	}
	secret, err := o.c.ClientSecret()
	if err != nil {
		return &credentialError{"LEVER_OAUTH_CLIENT_SECRET_FILE: " + err.Error(), err}
	}
	file, err := newTokenFile(o.c.TokenFile)
	if err != nil {
		return o.unwritable(err)
	}
	defer func() { err = errors.Join(err, file.discard()) }()
	// A token that is spent must arrive, also when the program is told to stop.
	asking, stop := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, o.http))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(tokenGrace, stop) })()
	conf := oauth2.Config{ClientID: o.c.ClientID, ClientSecret: secret, Endpoint: oauth2.Endpoint{TokenURL: o.c.TokenURL, AuthStyle: oauth2.AuthStyleInParams}}
	got, err := conf.TokenSource(asking, &oauth2.Token{RefreshToken: t.RefreshToken}).Token()
	if err != nil {
		return o.explain(t.RefreshToken, err)
	}
	t.AccessToken, t.RefreshToken, t.Expiry = got.AccessToken, got.RefreshToken, got.Expiry
	if t.Expiry.IsZero() { // it does not say: Lever's last an hour
		t.Expiry = time.Now().Add(time.Hour)
	}
	o.dead = ""
	if err := file.replace(t); err != nil {
		o.unsaved = &t
		return o.unwritable(err)
	}
	o.tokens = t
	return nil
}

// save writes tokens that could not be written before.
func (o *OAuth) save(t tokens) (err error) {
	file, err := newTokenFile(o.c.TokenFile)
	if err != nil {
		return o.unwritable(err)
	}
	defer func() { err = errors.Join(err, file.discard()) }()
	if err := file.replace(t); err != nil {
		return o.unwritable(err)
	}
	o.tokens, o.unsaved = t, nil
	return nil
}

// load returns the tokens of the file, or those that begin with the configuration's
// refresh token if it is another than the one the file came from.
func (o *OAuth) load() (tokens, error) {
	seed, err := o.c.RefreshToken()
	if err != nil {
		return tokens{}, &credentialError{"LEVER_OAUTH_REFRESH_TOKEN_FILE: " + err.Error(), err}
	}
	digest := ""
	if seed != "" {
		sum := sha256.Sum256([]byte(seed))
		digest = hex.EncodeToString(sum[:8])
	}
	first := tokens{RefreshToken: seed, Seed: digest}
	t, err := readTokenFile(o.c.TokenFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && seed == "":
		return tokens{}, &credentialError{"there are no tokens in " + o.c.TokenFile + " and LEVER_OAUTH_REFRESH_TOKEN is not set: " + authorise, nil}
	case errors.Is(err, fs.ErrNotExist):
		return first, nil
	case err != nil:
		return tokens{}, &credentialError{"LEVER_OAUTH_TOKEN_FILE: " + err.Error(), err}
	case seed != "" && t.Seed != digest:
		return first, nil
	}
	return t, nil
}

const authorise = "authorise the application in Lever again and set LEVER_OAUTH_REFRESH_TOKEN to the refresh token that you get (docs/security.md)"

func readTokenFile(path string) (t tokens, err error) {
	f, err := os.Open(path)
	if err != nil {
		return t, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return t, err
	}
	if json.Unmarshal(text, &t) != nil || t.RefreshToken == "" {
		// The parser's error could quote it.
		return t, fmt.Errorf("%s is not a token file of this program; remove it if you want to start from LEVER_OAUTH_REFRESH_TOKEN", path)
	}
	return t, nil
}

// explain says what the token endpoint's answer means, without its text.
func (o *OAuth) explain(spent string, err error) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) || answer.Response.StatusCode >= 500 || answer.Response.StatusCode == http.StatusTooManyRequests {
		what := "it cannot be reached, or its answer is no token"
		if answer != nil {
			what = answer.Response.Status
		}
		return fmt.Errorf("%w: cannot get an access token from %s: %s", cdc.ErrUnavailable, o.c.TokenURL, what)
	}
	o.dead, o.until = spent, time.Now().Add(gatePause)
	code := answer.ErrorCode
	if !plainOAuthCode(code) {
		code = answer.Response.Status
	}
	return o.rejected(code)
}

// plainOAuthCode says that the error code is one of RFC 6749, section 5.2.
func plainOAuthCode(code string) bool {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope":
		return true
	}
	return false
}

func (o *OAuth) rejected(code string) error {
	if code == "invalid_client" || code == "unauthorized_client" {
		return &credentialError{"the token endpoint refuses the client (" + code + "); check LEVER_OAUTH_CLIENT_ID and LEVER_OAUTH_CLIENT_SECRET", nil}
	}
	if code == "" {
		code = "less than a minute ago"
	}
	return &credentialError{"the token endpoint refused the refresh token (" + code + "): it was used, revoked or not used for 90 days; " + authorise, nil}
}

func (o *OAuth) unwritable(err error) error {
	return &credentialError{"cannot keep tokens in LEVER_OAUTH_TOKEN_FILE, so none is asked for: " + err.Error(), err}
}

// tokenFile is a token file in the making.
type tokenFile struct {
	path string
	f    *os.File
}

// newTokenFile makes the file that will take the old one's place, with room for what it
// will hold: a disk that is full is noticed now.
func newTokenFile(path string) (*tokenFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-")
	if err != nil {
		return nil, err
	}
	t := &tokenFile{path: path, f: f}
	if _, err := f.Write(make([]byte, maxTokenFile/4)); err != nil {
		return nil, errors.Join(err, t.discard())
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, t.discard())
	}
	return t, nil
}

// replace writes the tokens and puts the file in its place, durably.
func (t *tokenFile) replace(content tokens) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	if _, err := t.f.WriteAt(append(text, '\n'), 0); err != nil {
		return err
	}
	if err := t.f.Truncate(int64(len(text)) + 1); err != nil {
		return err
	}
	if err := errors.Join(t.f.Sync(), t.f.Close()); err != nil {
		return err
	}
	if err := os.Rename(t.f.Name(), t.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(t.path))
	if err != nil {
		return err
	}
	return errors.Join(syncDir(dir), dir.Close())
}

// discard removes the file if it has not taken its place.
func (t *tokenFile) discard() error {
	err := t.f.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return errors.Join(err, os.Remove(t.f.Name()))
}
