package lever

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"

	"github.com/leverstream/leverstream/internal/cdc"
)

// authority is a token endpoint that takes each refresh token once.
type authority struct {
	t *testing.T
	*httptest.Server

	mu sync.Mutex
	// valid is the only refresh token that is taken; issued counts those handed out.
	valid  string
	issued int
	asked  int
	// lifetime is expires_in, in seconds; fail answers with a status and a body.
	lifetime int
	fail     int
	body     string
	reused   bool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, valid: "refresh-secret-0", lifetime: 3600}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	w.Header().Set("Content-Type", "application/json")
	got := r.PostFormValue("refresh_token")
	switch {
	case a.fail != 0:
		w.WriteHeader(a.fail)
		_, _ = w.Write([]byte(a.body))
	case r.PostFormValue("grant_type") != "refresh_token" || r.PostFormValue("client_id") != "client" || r.PostFormValue("client_secret") != "client-secret":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"invalid_client","error_description":"client-secret"}`))
	case got != a.valid:
		a.reused = true
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"error":"invalid_grant","error_description":%q}`, got)
	default:
		a.issued++
		a.valid = fmt.Sprintf("refresh-secret-%d", a.issued)
		fmt.Fprintf(w, `{"access_token":"access-secret-%d","refresh_token":%q,"token_type":"Bearer","expires_in":%d}`, a.issued, a.valid, a.lifetime)
	}
}

// count returns how often the endpoint was asked.
func (a *authority) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func (a *authority) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func text(s string) func() (string, error) { return func() (string, error) { return s, nil } }

// config is a client of the authority whose tokens are in the file.
func (a *authority) config(file string) OAuthConfig {
	return OAuthConfig{ClientID: "client", ClientSecret: text("client-secret"), RefreshToken: text("refresh-secret-0"), TokenFile: file, TokenURL: a.URL + "/oauth/token"}
}

func header(t *testing.T, o *OAuth) string {
	t.Helper()
	h, err := o.Header(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The process may be killed whenever Lever has seen a token: the file has its successor.
func TestATokenIsKeptBeforeItIsUsed(t *testing.T) {
	a := newAuthority(t)
	a.lifetime = 1 // each request needs a new token
	file := filepath.Join(t.TempDir(), "tokens")
	var used []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		kept, err := readTokenFile(file)
		if err != nil {
			t.Error(err)
		}
		got := r.Header.Get("Authorization")
		used = append(used, got)
		a.mu.Lock()
		valid := a.valid
		a.mu.Unlock()
		if got != "Bearer "+kept.AccessToken || kept.RefreshToken != valid {
			t.Errorf("Lever sees a token while the file holds another")
		}
		_, _ = w.Write([]byte(onePage))
	}, func(c *Config) { c.OAuth = NewOAuth(a.config(file)) })
	for range 3 {
		ask(t, c, listing)
	}
	if len(used) != 3 || used[0] == used[1] || used[1] == used[2] {
		t.Errorf("used %d tokens of which some are equal", len(used))
	}
	// After a restart, with nothing but the file.
	a.set(func() { a.lifetime = 3600 })
	for range 3 {
		header(t, NewOAuth(a.config(file)))
	}
	if a.reused || a.count() != 4 {
		t.Errorf("a refresh token was used twice: %v; asked %d times, want 4", a.reused, a.count())
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := filepath.Glob(file + ".new-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestANewRefreshTokenOfAPersonCounts(t *testing.T) {
	a := newAuthority(t)
	file := filepath.Join(t.TempDir(), "tokens")
	header(t, NewOAuth(a.config(file)))
	a.set(func() { a.valid = "granted-anew" }) // the one in the file is void
	conf := a.config(file)
	conf.RefreshToken = text("granted-anew")
	if got := header(t, NewOAuth(conf)); got != "Bearer access-secret-2" {
		t.Errorf("got %s", got)
	}
	conf.RefreshToken = text("")
	header(t, NewOAuth(conf)) // the file is enough
	if a.reused {
		t.Error("the void one was used")
	}
}

func TestA401GetsOneNewTokenForAll(t *testing.T) {
	a := newAuthority(t)
	var mu sync.Mutex
	revoked := "Bearer access-secret-1"
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") == revoked {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(onePage))
	}, func(c *Config) { c.OAuth = NewOAuth(a.config(filepath.Join(t.TempDir(), "tokens"))) })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Get(context.Background(), listing); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := a.count(); n != 2 || a.reused {
		t.Errorf("asked for tokens %d times, want 2", n)
	}
}

func TestProgramsOfOneMachineShareTokens(t *testing.T) {
	a := newAuthority(t)
	file := filepath.Join(t.TempDir(), "tokens")
	var wg sync.WaitGroup
	for range 6 {
		o := NewOAuth(a.config(file))
		wg.Go(func() {
			for range 5 {
				h, err := o.Header(context.Background())
				if err != nil || !o.Renew(context.Background(), h) {
					t.Error("no token", err)
				}
			}
		})
	}
	wg.Wait()
	if a.reused {
		t.Error("a refresh token was used twice")
	}
}

func TestWhatTheTokenEndpointRefusesIsExplainedAndNotRepeated(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spoil  func(*authority, *OAuthConfig)
		kind   error
		says   string
		repeat int // requests that a second try sends
	}{
		{"a void token", func(_ *authority, c *OAuthConfig) { c.RefreshToken = text("void-secret") }, cdc.ErrUnauthorized, "invalid_grant", 0},
		{"another client", func(_ *authority, c *OAuthConfig) { c.ClientSecret = text("wrong-secret") }, cdc.ErrUnauthorized, "LEVER_OAUTH_CLIENT_SECRET", 0},
		{"an error that is none of OAuth's", func(a *authority, _ *OAuthConfig) { a.fail, a.body = 400, "refresh-secret-0" }, cdc.ErrUnauthorized, "400 Bad Request", 0},
		{"trouble", func(a *authority, _ *OAuthConfig) { a.fail, a.body = 503, "refresh-secret-0" }, cdc.ErrUnavailable, "503", 1},
		{"too many requests", func(a *authority, _ *OAuthConfig) { a.fail = 429 }, cdc.ErrUnavailable, "429", 1},
		{"no token in the answer", func(a *authority, _ *OAuthConfig) { a.fail, a.body = 200, `{"secret":1}` }, cdc.ErrUnavailable, "no token", 1},
		{"nobody there", func(a *authority, _ *OAuthConfig) { a.Close() }, cdc.ErrUnavailable, "cannot be reached", 0},
		{"a redirect", func(a *authority, _ *OAuthConfig) { a.fail = 307 }, cdc.ErrUnauthorized, "307", 0},
		{"no place for tokens", func(_ *authority, c *OAuthConfig) { c.TokenFile = "/does/not/exist/tokens" }, cdc.ErrUnauthorized, "LEVER_OAUTH_TOKEN_FILE", 0},
		{"no token at all", func(_ *authority, c *OAuthConfig) { c.RefreshToken = text("") }, cdc.ErrUnauthorized, "LEVER_OAUTH_REFRESH_TOKEN", 0},
		{"a file of something else", func(_ *authority, c *OAuthConfig) { _ = os.WriteFile(c.TokenFile, []byte("hunter2-secret"), 0o600) }, cdc.ErrUnauthorized, "is not a token file", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAuthority(t)
			conf := a.config(filepath.Join(t.TempDir(), "tokens"))
			tt.spoil(a, &conf)
			c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("Lever was asked") }, func(c *Config) { c.OAuth = NewOAuth(conf) })
			_, err := c.Get(t.Context(), listing)
			wantKind(t, err, tt.kind)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "-secret") {
				t.Errorf("got %v", err)
			}
			before := a.count()
			_, err = c.Get(t.Context(), listing)
			wantKind(t, err, tt.kind)
			if n := a.count() - before; n != tt.repeat {
				t.Errorf("a second try sent %d requests, want %d", n, tt.repeat)
			}
		})
	}
}

func TestADirectoryThatCannotBeWrittenCostsNoToken(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("as root every directory can be written; the lock's file is made a directory instead")
	}
	a := newAuthority(t)
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.Mkdir(file+".lock", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := NewOAuth(a.config(file)).Header(t.Context()); !errors.Is(err, cdc.ErrUnauthorized) {
		t.Errorf("got %v", err)
	}
	if a.count() != 0 {
		t.Error("a refresh token was spent")
	}
}

// A file that cannot be put in its place keeps the tokens from being used, not from being
// kept when it can.
func TestTokensThatCouldNotBeWrittenAreWrittenLater(t *testing.T) {
	a := newAuthority(t)
	file := filepath.Join(t.TempDir(), "tokens")
	o := NewOAuth(a.config(file))
	conf := a.config(file)
	inTheWay := func() (string, error) {
		// The secret is read right before the token is spent.
		return "client-secret", os.MkdirAll(filepath.Join(file, "in-the-way"), 0o700)
	}
	conf.ClientSecret = inTheWay
	o.c = conf
	if _, err := o.Header(t.Context()); !errors.Is(err, cdc.ErrUnauthorized) {
		t.Fatalf("got %v", err)
	}
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	o.c = a.config(file)
	if got := header(t, o); got != "Bearer access-secret-1" || a.reused {
		t.Errorf("got %s", got)
	}
	if kept, err := readTokenFile(file); err != nil || kept.RefreshToken != "refresh-secret-1" {
		t.Errorf("kept %v", err)
	}
}

// Another program renews the tokens, and the caller does not wait for that: nobody has to
// act, and nothing is wrong with the file.
func TestWaitingForAnotherProgramEndsWithTheCaller(t *testing.T) {
	a := newAuthority(t)
	file := filepath.Join(t.TempDir(), "tokens")
	o := NewOAuth(a.config(file))
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, func(c *Config) { c.OAuth = o })
	lock := flock.New(file + ".lock")
	taken := func(t *testing.T) {
		t.Helper()
		if err := lock.Lock(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := c.Get(ctx, listing)
		wantKind(t, err, nil)
		if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "TOKEN_FILE") {
			t.Errorf("error %q", err)
		}
		if err := lock.Unlock(); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("for the first token", taken)
	header(t, o)
	t.Run("after a 401", taken)
}

func TestRefusedCredentialsAreTriedAgainSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sends, good, missing := 0, "new", false
		cfg := configFor(roundTrip(func(r *http.Request) (*http.Response, error) {
			sends++
			if key, _, _ := r.BasicAuth(); key != good {
				return respond(401, `{}`), nil
			}
			if missing {
				return respond(404, `{"code":"ResourceNotFound"}`), nil
			}
			return respond(200, onePage), nil
		}))
		key := "old"
		cfg.Token = func() (string, error) { return key, nil }
		c := newClient(t, cfg)
		for range 20 {
			if _, err := c.Get(t.Context(), listing); !errors.Is(err, cdc.ErrUnauthorized) {
				t.Fatal(err)
			}
		}
		if sends != 1 {
			t.Errorf("%d requests at once, want 1", sends)
		}
		time.Sleep(gatePause)
		for range 20 {
			_, _ = c.Get(t.Context(), listing)
		}
		if sends != 2 {
			t.Errorf("%d requests after a minute, want 2", sends)
		}
		key = "new" // another key is used at once
		if _, err := c.Get(t.Context(), listing); err != nil || sends != 3 {
			t.Errorf("%v, %d requests", err, sends)
		}
		good = "old"
		key = "old" // was refused, and is good now, which a 404 shows as well
		missing = true
		time.Sleep(gatePause)
		if _, err := c.Get(t.Context(), listing); !errors.Is(err, cdc.ErrNotFound) {
			t.Error(err)
		}
		missing = false
		if _, err := c.Get(t.Context(), listing); err != nil {
			t.Error(err)
		}
		time.Sleep(gatePause)
		for range 3 {
			if _, err := c.Get(t.Context(), listing); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestATokenFileIsReadable(t *testing.T) {
	a := newAuthority(t)
	file := filepath.Join(t.TempDir(), "tokens")
	header(t, NewOAuth(a.config(file)))
	b, err := os.ReadFile(file)
	var m map[string]any
	if err != nil || json.Unmarshal(b, &m) != nil || m["refresh_token"] != "refresh-secret-1" || !strings.HasSuffix(string(b), "}\n") {
		t.Errorf("%v", err)
	}
	if strings.Contains(fmt.Sprint(m["seed"]), "secret") {
		t.Error("the seed is the token itself")
	}
}
