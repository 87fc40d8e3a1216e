package lever

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

func TestARequestLooksAsLeverWantsIt(t *testing.T) {
	var got *http.Request
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		io.WriteString(w, emptyPage)
	}, nil)
	ask(t, c, cdc.Request{
		Path: "/opportunities/a%2Fb/offers", Limit: 50,
		Query: url.Values{"expand": {"applications", "stage"}, "tag": {"a b&c"}},
	})
	if user, password, ok := got.BasicAuth(); !ok || user != testKey || password != "" {
		t.Errorf("credentials %q, %q", user, password)
	}
	if got.URL.EscapedPath() != "/v1/opportunities/a%2Fb/offers" {
		t.Errorf("path %q", got.URL.EscapedPath())
	}
	if want := "expand=applications&expand=stage&limit=50&tag=a+b%26c"; got.URL.RawQuery != want {
		t.Errorf("query %q, want %q", got.URL.RawQuery, want)
	}
	for name, want := range map[string]string{"User-Agent": "leverstream/test", "Accept": "application/json", "Accept-Encoding": "gzip"} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	ask(t, c, cdc.Request{Path: "/stages"})
	if got.URL.RawQuery != "" {
		t.Errorf("query %q, want none", got.URL.RawQuery)
	}
}

func TestThePageTokenIsEncodedOnceMoreAndComesBackUnchanged(t *testing.T) {
	const token = `%5B230.5%2C1491435120000%2C%225599cc20-1111%22%5D`
	var raw, twice string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if raw = r.URL.RawQuery; raw != "" {
			once := r.URL.Query().Get("offset")
			twice, _ = url.QueryUnescape(once)
			io.WriteString(w, emptyPage)
			return
		}
		io.WriteString(w, `{"data":[],"hasNext":true,"next":"`+token+`"}`)
	}, nil)
	query := url.Values{}
	p := ask(t, c, cdc.Request{Path: "/opportunities", Query: query})
	ask(t, c, cdc.Request{Path: "/opportunities", Query: query, Offset: p.Next})
	if !strings.HasPrefix(raw, "offset=%255B230.5%252C") {
		t.Errorf("on the wire: %s", raw)
	}
	if twice != `[230.5,1491435120000,"5599cc20-1111"]` {
		t.Errorf("decoded twice: %s", twice)
	}
	if len(query) != 0 {
		t.Errorf("the caller's query was changed: %v", query)
	}
}

func TestAPageHasItsRecordsAndTimes(t *testing.T) {
	clock := cdc.NewClock()
	var served cdc.Instant
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		served = clock.Now()
		w.Header().Set("Date", "Thu, 06 Apr 2017 00:12:00 GMT")
		io.WriteString(w, onePage)
	}, func(c *Config) { c.Clock = clock })
	before := clock.Now()
	p := ask(t, c, listing)
	if len(p.Data) != 1 || p.Data[0]["id"] != "a" || p.Next != "" {
		t.Errorf("page %v", p)
	}
	if !(before < p.Sent && p.Sent < served && served < p.Arrived) {
		t.Errorf("sent %d, served %d, arrived %d", p.Sent, served, p.Arrived)
	}
	if want := time.Date(2017, 4, 6, 0, 12, 0, 0, time.UTC); !p.Date.Equal(want) {
		t.Errorf("date %v, want %v", p.Date, want)
	}
}

func TestAnAnswerWithoutDateGetsOurs(t *testing.T) {
	for _, date := range []string{"", "yesterday"} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, configFor(roundTrip(func(*http.Request) (*http.Response, error) {
				return respond(200, onePage, "Date", date), nil
			})))
			if p := ask(t, c, listing); !p.Date.Equal(time.Now()) {
				t.Errorf("date %v", p.Date)
			}
		})
	}
}

func TestSentBelongsToTheAttemptThatSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := configFor(nil)
		var last cdc.Instant
		n := 0
		cfg.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			if n++; n < 3 {
				last = cfg.Clock.Now()
				return respond(500, ""), nil
			}
			return respond(200, onePage), nil
		})
		if p := ask(t, newClient(t, cfg), listing); p.Sent <= last {
			t.Errorf("sent %d, but the attempt before was answered at %d", p.Sent, last)
		}
	})
}

const private = "Rowan-Example-private"

func TestEachStatusIsOneError(t *testing.T) {
	body := func(code, message string) string {
		return fmt.Sprintf(`{"code":%q,"message":%q}`, code, message)
	}
	for _, tt := range []struct {
		name   string
		status int
		body   string
		offset string
		want   error
		text   string
		sent   int64
	}{
		{"not found", 404, body("ResourceNotFound", "stages x was not found"), "", cdc.ErrNotFound, "404 Not Found: ResourceNotFound", 1},
		{"forbidden", 403, body("Forbidden", private), "", cdc.ErrForbidden, "403 Forbidden: Forbidden", 1},
		{"unauthorized", 401, body("UnauthorizedError", private), "", cdc.ErrUnauthorized, "401 Unauthorized: UnauthorizedError: Lever does not accept the credentials; check LEVER_TOKEN, or authorise again if OAuth is used", 1},
		{"bad parameter", 400, body("BadRequest", private), "", cdc.ErrRejected, "400 Bad Request: BadRequest", 1},
		{"invalid token", 400, body("BadRequest", "Invalid offset token: "+private), "t", cdc.ErrInvalidOffset, "400 Bad Request: BadRequest: Lever no longer accepts the page token; read the list again from its first page", 1},
		{"invalid token with an undocumented status", 422, `{"message":"invalid offset token"}`, "t", cdc.ErrInvalidOffset, "422 Unprocessable Entity: Lever no longer accepts the page token; read the list again from its first page", 1},
		{"invalid token where none was sent", 400, body("BadRequest", "Invalid offset token"), "", cdc.ErrRejected, "400 Bad Request: BadRequest", 1},
		{"something else wrong with a token sent", 400, body("BadRequest", private), "t", cdc.ErrRejected, "400 Bad Request: BadRequest", 1},
		{"forbidden with a token sent", 403, `{}`, "t", cdc.ErrForbidden, "403 Forbidden", 1},
		{"gone", 410, private, "", cdc.ErrRejected, "410 Gone", 1},
		{"code that is a text", 404, body(private+" was not found", ""), "", cdc.ErrNotFound, "404 Not Found", 1},
		{"code that is too long", 404, body(strings.Repeat("x", 41), ""), "", cdc.ErrNotFound, "404 Not Found", 1},
		{"code of another type", 404, `{"code":404,"message":["x"]}`, "", cdc.ErrNotFound, "404 Not Found", 1},
		{"not found, says a proxy", 404, "<html>" + private, "", cdc.ErrUnavailable, "404 Not Found: the answer is not Lever's; check LEVER_API_URL, and the proxy if there is one (last of 3 attempts)", 3},
		{"not found, says a gateway in JSON", 404, `{"message":"no Route matched with those values"}`, "", cdc.ErrUnavailable, "404 Not Found: the answer is not Lever's; check LEVER_API_URL, and the proxy if there is one (last of 3 attempts)", 3},
		{"not found, says nobody", 404, "", "", cdc.ErrUnavailable, "404 Not Found: the answer is not Lever's; check LEVER_API_URL, and the proxy if there is one (last of 3 attempts)", 3},
		{"unknown status", 499, private, "", cdc.ErrRejected, "499", 1},
		{"request timeout", 408, private, "", cdc.ErrUnavailable, "408 Request Timeout (last of 3 attempts)", 3},
		{"server error", 500, body("Oops", private), "", cdc.ErrUnavailable, "500 Internal Server Error: Oops (last of 3 attempts)", 3},
		{"maintenance", 503, "<html>" + private, "", cdc.ErrUnavailable, "503 Service Unavailable (last of 3 attempts)", 3},
		{"unknown server error", 599, "", "", cdc.ErrUnavailable, "599 (last of 3 attempts)", 3},
		{"no content", 204, "", "", cdc.ErrUnavailable, "204 No Content: a page was expected with status 200 (last of 3 attempts)", 3},
		{"HTML with a good status", 200, "<html>" + private, "", cdc.ErrUnavailable, "200 OK: the answer is not JSON (last of 3 attempts)", 3},
		{"no data", 200, body("x", private), "", cdc.ErrUnavailable, "200 OK: the answer has no data (last of 3 attempts)", 3},
		{"list of texts", 200, `{"data":["` + private + `"]}`, "", cdc.ErrUnavailable, "200 OK: the answer has a list with nothing in it that is an object (last of 3 attempts)", 3},
		{"no next", 200, `{"data":[],"hasNext":true}`, "", cdc.ErrUnavailable, "200 OK: the answer says that there is a next page, but not which (last of 3 attempts)", 3},
		{"not modified", 304, "", "", cdc.ErrUnavailable, "304 Not Modified: a page was expected with status 200", 1},
		{"redirect to nowhere", 301, "", "", cdc.ErrUnavailable, "301 Moved Permanently: a redirect without a usable Location", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := configFor(roundTrip(func(*http.Request) (*http.Response, error) {
					return respond(tt.status, tt.body), nil
				}))
				cfg.Attempts = 3
				c := newClient(t, cfg)
				_, err := c.Get(context.Background(), cdc.Request{
					Path: "/opportunities", Offset: tt.offset, Query: url.Values{"email": {private}},
				})
				wantKind(t, err, tt.want)
				if got := fmt.Sprint(err); got != "GET /opportunities: "+tt.text {
					t.Errorf("error  %s\nwant   GET /opportunities: %s", got, tt.text)
				}
				if got := c.Stats().Total(); got != tt.sent {
					t.Errorf("sent %d requests, want %d", got, tt.sent)
				}
			})
		})
	}
}

// brokenBody ends with an error after a few bytes.
type brokenBody struct{ io.Reader }

func (brokenBody) Close() error { return nil }

func TestTroubleThatPassesIsNotSeen(t *testing.T) {
	for _, tt := range []struct {
		name    string
		trouble func(*http.Request) (*http.Response, error)
		outcome string
	}{
		{"server error", func(*http.Request) (*http.Response, error) { return respond(502, "<html>"), nil }, "5xx"},
		{"connection error", func(*http.Request) (*http.Response, error) { return nil, errors.New(private) }, "network"},
		{"cancelled by the transport, not by the caller", func(*http.Request) (*http.Response, error) { return nil, context.Canceled }, "network"},
		{"cut body", func(*http.Request) (*http.Response, error) {
			r := respond(200, "")
			r.Body = brokenBody{io.MultiReader(strings.NewReader(onePage[:9]), errReader{io.ErrUnexpectedEOF})}
			return r, nil
		}, "network"},
		{"cut body of an error", func(*http.Request) (*http.Response, error) {
			r := respond(404, "")
			r.Body = brokenBody{errReader{io.ErrUnexpectedEOF}}
			return r, nil
		}, "network"},
		{"no answer in time", func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, "network"},
		{"HTML", func(*http.Request) (*http.Response, error) { return respond(200, "<html>"), nil }, "unusable"},
		{"half a page with a good ending", func(*http.Request) (*http.Response, error) { return respond(200, onePage[:9]), nil }, "unusable"},
		{"rate limit", func(*http.Request) (*http.Response, error) { return respond(429, ""), nil }, "4xx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				cfg := configFor(roundTrip(func(r *http.Request) (*http.Response, error) {
					if n++; n < DefaultAttempts {
						return tt.trouble(r)
					}
					return respond(200, onePage), nil
				}))
				c := newClient(t, cfg)
				if p := ask(t, c, listing); len(p.Data) != 1 {
					t.Errorf("page %v", p)
				}
				s := c.Stats()
				want := map[string]int64{tt.outcome: DefaultAttempts - 1}
				want["2xx"]++
				if !maps.Equal(s.Outcomes, want) || s.Retries != DefaultAttempts-1 {
					t.Errorf("outcomes %v, want %v; %d retries", s.Outcomes, want, s.Retries)
				}
			})
		})
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestTroubleThatStaysIsUnavailableAndKeepsItsSecrets(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		text string
	}{
		{"words of the answer", errors.New("malformed HTTP response " + private), "the connection failed, or what came was not a proper HTTP answer"},
		{"URL", &url.Error{Op: "Get", URL: "https://lever.test/?email=" + private, Err: io.EOF}, "the connection was closed in the middle of an answer"},
		{"timeout", context.DeadlineExceeded, "no complete answer in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logs strings.Builder
				cfg := configFor(roundTrip(func(*http.Request) (*http.Response, error) { return nil, tt.err }))
				cfg.Logger = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
				c := newClient(t, cfg)
				_, err := c.Get(context.Background(), cdc.Request{Path: "/stages", Query: url.Values{"email": {private}}})
				wantKind(t, err, cdc.ErrUnavailable)
				if want := "GET /stages: " + tt.text + " (last of 6 attempts)"; fmt.Sprint(err) != want {
					t.Errorf("error %q, want %q", err, want)
				}
				if errors.Is(err, context.DeadlineExceeded) {
					t.Error("looks as if the caller's time were over")
				}
				if logs.Len() == 0 || strings.Contains(logs.String(), private) || strings.Contains(logs.String(), testKey) {
					t.Errorf("log: %s", logs.String())
				}
				if got := c.Stats().Outcomes["network"]; got != DefaultAttempts {
					t.Errorf("%d network errors", got)
				}
			})
		})
	}
}

func TestAttemptsEndAfterAMinuteEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := configFor(roundTrip(func(r *http.Request) (*http.Response, error) {
			resp := respond(200, "")
			resp.Body = brokenBody{drip{r.Context()}}
			return resp, nil
		}))
		cfg.Attempts = 2
		began := time.Now()
		_, err := newClient(t, cfg).Get(context.Background(), listing)
		wantKind(t, err, cdc.ErrUnavailable)
		if took := time.Since(began); took < 2*time.Minute || took > 2*time.Minute+2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// drip is a body that sends a space now and then, and never ends.
type drip struct{ ctx context.Context }

func (d drip) Read(b []byte) (int, error) {
	if err := sleep(d.ctx, time.Second); err != nil {
		return 0, err
	}
	return copy(b, " "), nil
}

func TestPausesBetweenAttemptsGrowAndAreRandom(t *testing.T) {
	for failures := 1; failures < 20; failures++ {
		ceiling := min(200*time.Millisecond<<(failures-1), 30*time.Second)
		var longest time.Duration
		distinct := map[time.Duration]bool{}
		for range 200 {
			d := backoff(failures)
			if d <= 0 || d > ceiling {
				t.Fatalf("pause after %d failures: %v, at most %v", failures, d, ceiling)
			}
			longest = max(longest, d)
			distinct[d] = true
		}
		if longest < ceiling/2 || len(distinct) < 100 {
			t.Errorf("pauses after %d failures: longest %v of %v, %d distinct", failures, longest, ceiling, len(distinct))
		}
	}
}

func TestA503CanAskForALongerPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		r.answer = func(n int, _ *http.Request) *http.Response {
			if n == 0 {
				return respond(503, "", "Retry-After", "20")
			}
			return nil
		}
		ask(t, newClient(t, configFor(r)), listing)
		if d := r.times[1] - r.times[0]; d < 20*time.Second || d > 21*time.Second {
			t.Errorf("waited %v", d)
		}
	})
}

func TestTheCallersContextEndsEverything(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(*http.Request) (*http.Response, error)
	}{
		{"in flight", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }},
		{"between attempts", func(*http.Request) (*http.Response, error) { return respond(503, "", "Retry-After", "60"), nil }},
		{"during a pause", func(*http.Request) (*http.Response, error) { return respond(429, "", "Retry-After", "60"), nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, configFor(roundTrip(tt.answer)))
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				began := time.Now()
				_, err := c.Get(ctx, listing)
				wantKind(t, err, nil)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
					t.Errorf("error %v after %v", err, time.Since(began))
				}
				s := c.Stats()
				if s.InFlight != 0 || s.Waiting["live"] != 0 || s.Total() != 1 {
					t.Errorf("left behind: %+v", s)
				}
				if tt.name == "in flight" && s.Outcomes["cancelled"] != 1 {
					t.Errorf("outcomes %v", s.Outcomes)
				}
			})
		})
	}
}

func TestTheKeyIsReadForEachRequestAndAgainAfterA401(t *testing.T) {
	for _, tt := range []struct {
		name  string
		keys  []string // as read, one after another; the last one stays
		good  string
		sends []string
		want  error
	}{
		{"replaced", []string{"old", "new"}, "new", []string{"old", "new"}, nil},
		{"unchanged", []string{"old"}, "new", []string{"old"}, cdc.ErrUnauthorized},
		{"replaced twice", []string{"old", "bad", "bad", "new"}, "new", []string{"old", "bad", "new"}, nil},
		{"replaced by bad ones", []string{"old", "1", "1", "2", "2", "3", "3", "new"}, "new", []string{"old", "1", "2", "3"}, cdc.ErrUnauthorized},
		{"replaced by a bad one that stays", []string{"old", "bad"}, "new", []string{"old", "bad"}, cdc.ErrUnauthorized},
		{"emptied", []string{"old", ""}, "new", []string{"old"}, cdc.ErrUnauthorized},
		{"empty from the start", []string{""}, "new", nil, cdc.ErrUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sends []string
				cfg := configFor(roundTrip(func(r *http.Request) (*http.Response, error) {
					key, _, _ := r.BasicAuth()
					sends = append(sends, key)
					if key != tt.good {
						return respond(401, `{"code":"UnauthorizedError"}`), nil
					}
					return respond(200, onePage), nil
				}))
				keys := tt.keys
				cfg.Token = func() (string, error) {
					key := keys[0]
					keys = keys[min(1, len(keys)-1):]
					return key, nil
				}
				_, err := newClient(t, cfg).Get(context.Background(), listing)
				if !errors.Is(err, tt.want) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
				if !slices.Equal(sends, tt.sends) {
					t.Errorf("sent %v, want %v", sends, tt.sends)
				}
			})
		})
	}
}

func TestAKeyThatCannotBeReadSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := configFor(roundTrip(func(*http.Request) (*http.Response, error) {
			t.Error("something was sent")
			return respond(200, onePage), nil
		}))
		cause := errors.New("LEVER_TOKEN_FILE: no such file")
		cfg.Token = func() (string, error) { return "", cause }
		c := newClient(t, cfg)
		_, err := c.Get(context.Background(), listing)
		wantKind(t, err, cdc.ErrUnauthorized)
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), cause.Error()) {
			t.Errorf("error %v", err)
		}
		if s := c.Stats(); s.Total() != 0 || s.InFlight != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestRedirectsStayOnTheHost(t *testing.T) {
	for _, tt := range []struct {
		name, location, text string
		sent                 int64
	}{
		{"absolute", "https://lever.test/v1/moved", "", 2},
		{"relative", "/v1/moved", "", 2},
		{"upper case", "https://LEVER.test/v1/moved", "", 2},
		{"another host", "https://evil.test/v1/moved?email=" + private, "another host", 1},
		{"another port", "https://lever.test:444/v1/moved", "another host", 1},
		{"without TLS", "http://lever.test/v1/moved", "another host", 1},
		{"no URL", "https://[", "without a usable Location", 1},
		{"in circles", "/v1/opportunities", "more than 3 redirects", 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, configFor(roundTrip(func(r *http.Request) (*http.Response, error) {
					if !strings.EqualFold(r.URL.Host, "lever.test") {
						t.Errorf("the key went to %s", r.URL)
					}
					if r.URL.Path == "/v1/moved" {
						return respond(200, onePage), nil
					}
					return respond(301, private, "Location", tt.location), nil
				})))
				_, err := c.Get(context.Background(), listing)
				if tt.text == "" && err != nil {
					t.Fatal(err)
				}
				if tt.text != "" {
					wantKind(t, err, cdc.ErrUnavailable)
					if got := fmt.Sprint(err); !strings.Contains(got, tt.text) || strings.Contains(got, private) {
						t.Errorf("error %q, want %q in it", got, tt.text)
					}
				}
				if s := c.Stats(); s.Total() != tt.sent || s.Retries != 0 {
					t.Errorf("sent %d, want %d; retries %d", s.Total(), tt.sent, s.Retries)
				}
			})
		})
	}
}

func TestAfterAFailedRedirectTheFirstURLIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		r.answer = func(n int, req *http.Request) *http.Response {
			switch {
			case req.URL.Path != "/v1/opportunities":
				return respond(500, "")
			case n < 4:
				return respond(302, "", "Location", "/v1/moved")
			}
			return nil
		}
		ask(t, newClient(t, configFor(r)), listing)
		want := []string{"/v1/opportunities", "/v1/moved", "/v1/opportunities", "/v1/moved", "/v1/opportunities"}
		if !slices.Equal(r.paths, want) {
			t.Errorf("asked for %v", r.paths)
		}
	})
}

func TestTheTransportDoesNotFollowRedirectsItself(t *testing.T) {
	var elsewhere atomic.Int64
	other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }, nil)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.base.String()+"/opportunities", http.StatusFound)
	}, nil)
	_, err := c.Get(context.Background(), listing)
	wantKind(t, err, cdc.ErrUnavailable)
	if elsewhere.Load() != 0 {
		t.Error("another host was asked")
	}
}

func TestABodyThatIsCutOnTheWireIsAskedForAgain(t *testing.T) {
	var n atomic.Int64
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, onePage)
			return
		}
		io.WriteString(w, onePage)
	}, nil)
	if p := ask(t, c, listing); len(p.Data) != 1 || n.Load() != 2 {
		t.Errorf("page %v after %d requests", p, n.Load())
	}
}

func TestACompressedPageIsUnpackedButNotWithoutBound(t *testing.T) {
	var huge atomic.Bool
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
		defer z.Close()
		if huge.Load() {
			spaces := []byte(strings.Repeat(" ", 1<<20))
			for range 65 {
				z.Write(spaces)
			}
		}
		io.WriteString(z, onePage)
	}, nil)
	if p := ask(t, c, listing); len(p.Data) != 1 {
		t.Errorf("page %v", p)
	}
	huge.Store(true)
	_, err := c.Get(context.Background(), listing)
	wantKind(t, err, cdc.ErrUnavailable)
	if got := fmt.Sprint(err); got != "GET /opportunities: the answer is larger than 64 MiB; ask for smaller pages" {
		t.Errorf("error %q", got)
	}
	if s := c.Stats(); s.Total() != 2 || s.Outcomes["unusable"] != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestConnectionsAreKept(t *testing.T) {
	var mu sync.Mutex
	remotes := map[string]bool{}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		remotes[r.RemoteAddr] = true
		mu.Unlock()
		io.WriteString(w, onePage)
	}, func(c *Config) { c.Concurrency = 4 })
	for range 50 {
		ask(t, c, listing)
	}
	if len(remotes) != 1 {
		t.Errorf("%d connections for 50 requests one after another", len(remotes))
	}
	tr, ok := c.transport.(*http.Transport)
	if !ok || tr.MaxIdleConnsPerHost < 4 || tr.ResponseHeaderTimeout != 45*time.Second {
		t.Errorf("transport %+v", tr)
	}
}

func TestAServerThatIsAwayIsNamedInPlainWords(t *testing.T) {
	cfg := configFor(nil)
	cfg.BaseURL, cfg.Attempts = "http://127.0.0.1:1", 1
	_, err := newClient(t, cfg).Get(context.Background(), listing)
	wantKind(t, err, cdc.ErrUnavailable)
	if !strings.Contains(fmt.Sprint(err), "connection failed: dial tcp 127.0.0.1:1") {
		t.Errorf("error %q", err)
	}
}

func TestStatsCountWithoutNamingAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := configFor(roundTrip(func(r *http.Request) (*http.Response, error) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/offers"):
				return respond(404, `{"code":"ResourceNotFound"}`), nil
			case r.URL.Path == "/v1/users":
				return nil, errors.New(private)
			}
			return respond(200, onePage), nil
		}))
		cfg.Attempts = 2
		c := newClient(t, cfg)
		for _, r := range []cdc.Request{
			{Class: cdc.ClassLive, Path: "/opportunities"}, {Class: cdc.ClassLive, Path: "/opportunities/deleted"},
			{Class: cdc.ClassCheck, Path: "/opportunities/" + private}, {Class: cdc.ClassChildren, Path: "/opportunities/" + private + "/offers"},
			{Class: cdc.ClassChildren, Path: "/opportunities/deleted2/offers"}, {Class: cdc.ClassRefresh, Path: "/stages/lead-new"},
			{Class: cdc.ClassRefresh, Path: "/users", Query: url.Values{"email": {private}}},
		} {
			c.Get(context.Background(), r)
		}
		s := c.Stats()
		if since := time.Since(s.LastSent); since != 0 || !s.LastGood.Before(s.LastSent) {
			t.Errorf("last sent %s ago, last good answer at %s", since, s.LastGood)
		}
		if s.Tokens < 0 || s.Tokens > 1 {
			t.Errorf("%v tokens", s.Tokens)
		}
		s.LastSent, s.LastGood, s.Tokens = time.Time{}, time.Time{}, 0
		requests := map[string]int64{"check": 1, "live": 2, "children": 2, "refresh": 3, "load": 0, "sweep": 0}
		want := Stats{
			Requests: requests, LastMinute: requests,
			Endpoints: map[string]int64{
				"/opportunities": 1, "/opportunities/deleted": 1, "/opportunities/:id": 1,
				"/opportunities/:id/offers": 2, "/stages/:id": 1, "/users": 2,
			},
			Outcomes: map[string]int64{"2xx": 4, "4xx": 2, "network": 2},
			ByClass: map[string]map[string]int64{
				"check": {"2xx": 1}, "live": {"2xx": 2}, "children": {"4xx": 2}, "refresh": {"2xx": 1, "network": 2}, "load": {}, "sweep": {},
			},
			Retries: 1, Rate: 10, RateLimit: 10,
			Waiting: map[string]int{"check": 0, "live": 0, "children": 0, "refresh": 0, "load": 0, "sweep": 0},
		}
		got, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		wanted, _ := json.Marshal(want)
		if string(got) != string(wanted) {
			t.Errorf("stats %s\nwant  %s", got, wanted)
		}
		if s.Total() != 8 {
			t.Errorf("total %d, want 8", s.Total())
		}
		time.Sleep(time.Minute)
		if n := c.Stats().LastMinute["live"]; n != 0 {
			t.Errorf("%d requests of the last minute, a minute later", n)
		}
		s.Outcomes["2xx"] = 0
		if c.Stats().Outcomes["2xx"] != 4 {
			t.Error("a snapshot is not the caller's own")
		}
	})
}

func TestARequestThatCannotBeMeantIsNotSent(t *testing.T) {
	c := newClient(t, configFor(roundTrip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("sent %s", r.URL)
		return respond(200, onePage), nil
	})))
	for _, r := range []cdc.Request{
		{Path: ""}, {Path: "opportunities"}, {Path: "/"}, {Path: "/opportunities/"}, {Path: "/opportunities//offers"},
		{Path: "/opportunities/../users"}, {Path: "/opportunities/%2e%2E/offers"}, {Path: "/opportunities/."},
		{Path: "/opportunities?email=" + private}, {Path: "/opportunities#x"}, {Path: "/opportunities/%zz"},
		{Path: "/opportunities/\n"}, {Path: "/opportunities", Class: -1}, {Path: "/opportunities", Class: cdc.Classes},
	} {
		_, err := c.Get(context.Background(), r)
		if !errors.Is(err, cdc.ErrRejected) || strings.Contains(fmt.Sprint(err), private) {
			t.Errorf("%q, class %d: error %v", r.Path, r.Class, err)
		}
	}
}

func TestAnUnusableConfigurationIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no URL":           func(c *Config) { c.BaseURL = "" },
		"URL without host": func(c *Config) { c.BaseURL = "https:///v1" },
		"other scheme":     func(c *Config) { c.BaseURL = "ftp://lever.test/v1" },
		"key in the URL":   func(c *Config) { c.BaseURL = "https://" + testKey + "@lever.test/v1" },
		"key as URL":       func(c *Config) { c.BaseURL = testKey + "\n" },
		"query":            func(c *Config) { c.BaseURL = "https://lever.test/v1?x" + testKey },
		"no key":           func(c *Config) { c.Token = nil },
		"no clock":         func(c *Config) { c.Clock = nil },
		"no rate":          func(c *Config) { c.Rate = 0 },
		"NaN as rate":      func(c *Config) { c.Rate = math.NaN() },
		"no burst":         func(c *Config) { c.Burst = 0 },
		"no concurrency":   func(c *Config) { c.Concurrency = 0 },
		"attempts":         func(c *Config) { c.Attempts = -1 },
	} {
		c := configFor(nil)
		change(&c)
		if _, err := New(c); err == nil || strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
