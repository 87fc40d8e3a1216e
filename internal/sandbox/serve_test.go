package sandbox

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPageTokensArePercentEncodedJSONOfTheNextRow(t *testing.T) {
	l, _ := newTest(50, 1)
	v := values("limit", "10", "confidentiality", "all")
	a := get(l, "/opportunities", v)
	if strings.ContainsAny(*a.Next, `[]", `) {
		t.Errorf("the token %s is not encoded", *a.Next)
	}
	plain, err := url.PathUnescape(*a.Next)
	if err != nil {
		t.Fatal(err)
	}
	var parts []any
	if err := json.Unmarshal([]byte(plain), &parts); err != nil || len(parts) != 3 {
		t.Fatalf("the token is %s", plain)
	}
	v.Set("offset", *a.Next)
	next := decode(t, get(l, "/opportunities", v).Data)
	if next[0]["id"] != parts[2] || ms(next[0], "lastAdvancedAt") != int64(parts[1].(float64)) {
		t.Errorf("the token %s does not name the next row %v", plain, next[0]["id"])
	}
}

func TestInvalidTokensAndParametersAreBadRequests(t *testing.T) {
	l, _ := newTest(50, 2)
	for _, path := range []string{"/opportunities", "/candidates", "/postings", "/requisitions", "/users", "/stages", "/sources", "/archive_reasons",
		"/opportunities/deleted", "/opportunities/" + l.IDs("opportunities")[0] + "/applications"} {
		for _, token := range []string{"rubbish", "%5B%5D", "%zz", "%5Bnull%2C1%2C2%5D", "%7B%7D", `[{},{}]`} {
			a := get(l, path, values("offset", token))
			if a.status != http.StatusBadRequest || a.Code == "" || !strings.Contains(a.Message, "Invalid offset token") {
				t.Errorf("%s with token %s: %d %s", path, token, a.status, a.raw)
			}
		}
		for _, limit := range []string{"0", "101", "-1", "many"} {
			if a := get(l, path, values("limit", limit)); a.status != http.StatusBadRequest {
				t.Errorf("%s with limit %s: %d", path, limit, a.status)
			}
		}
	}
	if a := get(l, "/opportunities", values("updated_at_start", "yesterday")); a.status != http.StatusBadRequest {
		t.Errorf("a bad time gives %d", a.status)
	}
}

func TestThePageSizeIsAHundredIfNotGiven(t *testing.T) {
	l, _ := newTest(250, 3)
	if n := len(decode(t, get(l, "/opportunities", nil).Data)); n != 100 {
		t.Errorf("%d rows", n)
	}
}

func request(l *Lever, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	return w
}

func basic(user, password string) string {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func TestAKeyIsRequired(t *testing.T) {
	c := newClock()
	open, closed := New(Options{Now: c.now}), New(Options{Now: c.now, Token: "secret"})
	for _, tt := range []struct {
		l      *Lever
		header string
		want   int
	}{
		{open, "", 401},
		{open, basic("", ""), 401},
		{open, basic("anything", ""), 200},
		{open, "Bearer anything", 200},
		{closed, basic("anything", ""), 401},
		{closed, basic("secret", "password"), 401},
		{closed, basic("secret", ""), 200},
		{closed, "Bearer secret", 200},
		{closed, "Bearer other", 401},
	} {
		w := request(tt.l, http.MethodGet, "/v1/stages", "Authorization", tt.header)
		if w.Code != tt.want {
			t.Errorf("%q: %d, want %d", tt.header, w.Code, tt.want)
		}
		if w.Code == 401 && !strings.Contains(w.Body.String(), `"code":"UnauthorizedError"`) {
			t.Errorf("the body of a 401 is %s", w.Body)
		}
	}
}

func TestOnlyGetUnderV1IsServed(t *testing.T) {
	l, _ := newTest(5, 4)
	for _, x := range [][2]string{{http.MethodPost, "/v1/stages"}, {http.MethodGet, "/stages"}, {http.MethodGet, "/v1/"}, {http.MethodGet, "/v2/stages"}} {
		if w := request(l, x[0], x[1], "Authorization", basic("key", "")); w.Code != http.StatusNotFound {
			t.Errorf("%s %s: %d", x[0], x[1], w.Code)
		}
	}
}

func TestTheDateHeaderIsTheAccountsClock(t *testing.T) {
	l, c := newTest(5, 5)
	c.move(1000 * time.Hour)
	at, err := http.ParseTime(get(l, "/stages", nil).header.Get("Date"))
	if err != nil || !at.Equal(c.now().Truncate(time.Second)) {
		t.Errorf("Date is %v (%v), the clock %v", at, err, c.now())
	}
}

func TestTheRateLimitIsATokenBucket(t *testing.T) {
	c := newClock()
	l := New(Options{Rate: 10, Now: c.now})
	burst := func() (ok int) {
		for range 50 {
			switch a := get(l, "/stages", nil); a.status {
			case http.StatusOK:
				ok++
			case http.StatusTooManyRequests:
				if a.header.Get("Retry-After") != "" {
					t.Error("429 comes with Retry-After")
				}
			}
		}
		return ok
	}
	if n := burst(); n != 20 {
		t.Errorf("%d of a burst were answered, want 20", n)
	}
	c.move(500 * time.Millisecond)
	if n := burst(); n != 5 {
		t.Errorf("%d were answered after half a second, want 5", n)
	}
	c.move(time.Hour)
	if n := burst(); n != 20 {
		t.Errorf("%d were answered after an hour, want 20", n)
	}
	if r := l.Requests(); r["/stages"] != 45 || r["429"] != 105 {
		t.Errorf("counted %v", r)
	}
}

func TestRequestsAreCountedByEndpoint(t *testing.T) {
	l, _ := newTest(5, 6)
	id := l.IDs("opportunities")[0]
	for _, path := range []string{"/opportunities", "/opportunities", "/opportunities/" + id, "/opportunities/" + id + "/offers", "/opportunities/deleted", "/nothing"} {
		get(l, path, nil)
	}
	want := map[string]int64{"/opportunities": 2, "/opportunities/:id": 1, "/opportunities/:id/offers": 1, "/opportunities/deleted": 1}
	got := l.Requests()
	for endpoint, n := range want {
		if got[endpoint] != n {
			t.Errorf("%s: counted %d, want %d", endpoint, got[endpoint], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("counted %v", got)
	}
	l.ResetRequests()
	if n := len(l.Requests()); n != 0 {
		t.Errorf("%d counts after a reset", n)
	}
}

func TestFaultsCanBeSwitchedOnAndOff(t *testing.T) {
	l, _ := newTest(5, 7)
	referrals := "/opportunities/" + l.IDs("opportunities")[0] + "/referrals"
	status := func(path string) int { return get(l, path, nil).status }
	l.SetFaults(Faults{Status: map[string]int{"/opportunities/:id/referrals": 403}})
	if a, b := status(referrals), status("/stages"); a != 403 || b != 200 {
		t.Errorf("one endpoint at fault: %d and %d", a, b)
	}
	l.SetFaults(Faults{Down: true})
	if a := status("/stages"); a != 503 {
		t.Errorf("down: %d", a)
	}
	l.SetFaults(Faults{Unauthorized: true})
	if a := status("/stages"); a != 401 {
		t.Errorf("revoked: %d", a)
	}
	l.SetFaults(Faults{NoConfidential: true})
	if a, b := get(l, "/postings", values("confidentiality", "all")).status, status("/postings"); a != 403 || b != 200 {
		t.Errorf("without the grant: %d with confidential rows, %d without", a, b)
	}
	hidden, shown, requisition := l.IDs("opportunities")[0], l.IDs("opportunities")[1], l.IDs("requisitions")[0]
	for _, id := range []string{hidden, requisition} {
		if err := l.SetConfidential(id, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.SetConfidential(shown, false); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/opportunities/" + hidden: 403, "/candidates/" + hidden: 403, "/requisitions/" + requisition: 403, "/opportunities/" + shown: 200,
	} {
		if a := status(path); a != want {
			t.Errorf("without the grant, %s: %d, want %d", path, a, want)
		}
	}
	token := get(l, "/opportunities", values("limit", "2")).Next
	l.SetFaults(Faults{InvalidTokens: true})
	if a, b := get(l, "/opportunities", values("offset", *token)), status("/opportunities"); a.status != 400 || !strings.Contains(a.Message, "Invalid offset token") || b != 200 {
		t.Errorf("with tokens invalid: %d with a token, %d without", a.status, b)
	}
	l.SetFaults(Faults{})
	if a := status(referrals); a != 200 {
		t.Errorf("healthy again: %d", a)
	}
}

func TestRandomFaultsComeInAllSortsAtTheirRate(t *testing.T) {
	l, _ := newTest(5, 8)
	srv := httptest.NewServer(l)
	defer srv.Close()
	l.SetFaults(Faults{ErrorRate: 0.5})
	sorts := map[string]int{}
	for range 400 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/v1/stages", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("key", "")
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			sorts["reset"]++
			continue
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		switch {
		case err != nil:
			sorts["cut"]++
		case res.StatusCode != http.StatusOK:
			sorts[res.Status]++
		case strings.HasPrefix(string(body), "<html>"):
			sorts["html"]++
		default:
			sorts["fine"]++
		}
	}
	if len(sorts) != 7 || sorts["fine"] < 120 || sorts["fine"] > 280 {
		t.Errorf("answers: %v", sorts)
	}
}

func TestLatencyIsAddedAndEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Latency: time.Second})
		began := time.Now()
		if a := get(l, "/stages", nil); a.status != http.StatusOK || time.Since(began) != time.Second {
			t.Errorf("%d after %v", a.status, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began = time.Now()
		l.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/stages", nil))
		if time.Since(began) != time.Millisecond {
			t.Errorf("a request that ended was held for %v", time.Since(began))
		}
	})
}

func TestRunChangesAtItsPaceUntilItsContextEnds(t *testing.T) {
	for _, pace := range []float64{0, 30, 60_000} {
		synctest.Test(t, func(t *testing.T) {
			l := New(Options{Opportunities: 50, ChangesPerMinute: pace})
			before := l.edits + len(l.opportunities.rows) + int(l.dice)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			l.Run(ctx)
			if changed := l.edits+len(l.opportunities.rows)+int(l.dice) != before; changed != (pace > 0) {
				t.Errorf("at %g changes a minute, changed: %t", pace, changed)
			}
		})
	}
}

func TestReadersAndChangesDoNotDisturbEachOther(t *testing.T) {
	l := New(Options{Opportunities: 100, Seed: 9})
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 5 {
				list(t, l, "/opportunities", values("expand", "applications", "limit", "20"), nil)
				l.Truth("opportunity_offers")
				l.IDs("resumes")
			}
		})
	}
	all.Go(func() { l.Mutate(200) })
	all.Wait()
	checkAll(t, l, 100)
}

func TestAMillionOpportunitiesNeedLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c := newClock()
	l := New(Options{Opportunities: 1_000_000, Seed: 1, Now: c.now})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 32<<20 {
		t.Errorf("an account of a million keeps %d MB", kept>>20)
	}
	l.Mutate(100)
	if a := get(l, "/opportunities", values("updated_at_start", "1")); a.status != http.StatusOK {
		t.Error(a.status)
	}
	runtime.KeepAlive(l)
}

func BenchmarkMillion(b *testing.B) {
	c := newClock()
	for b.Loop() {
		New(Options{Opportunities: 1_000_000, Seed: 1, Now: c.now})
	}
}

func text(ms int64) string { return strconv.FormatInt(ms, 10) }

func BenchmarkPages(b *testing.B) {
	c := newClock()
	l := New(Options{Opportunities: 1_000_000, Seed: 1, Now: c.now})
	c.move(time.Hour)
	start := c.now().UnixMilli()
	l.Mutate(100)
	month := (30 * day).Milliseconds()
	for name, v := range map[string]url.Values{
		"all":        values("confidentiality", "all", "expand", "applications"),
		"increment":  values("confidentiality", "all", "updated_at_start", text(start)),
		"changed":    values("confidentiality", "all", "updated_at_start", "1"),
		"one month":  values("confidentiality", "all", "created_at_start", text(start-3*month), "created_at_end", text(start-2*month)),
		"ten minute": values("confidentiality", "all", "created_at_start", text(start-3*month), "created_at_end", text(start-3*month+600_000)),
	} {
		b.Run(name, func(b *testing.B) {
			q := url.Values{}
			for k, x := range v {
				q[k] = x
			}
			for b.Loop() {
				a := get(l, "/opportunities", q)
				q.Del("offset")
				if a.Next != nil {
					q.Set("offset", *a.Next)
				}
			}
		})
	}
}
