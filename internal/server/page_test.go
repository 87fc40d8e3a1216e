package server

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/lever"
	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/internal/publish"
)

// scene returns a source in which the first n tables are in trouble, of every kind in
// turn.
func scene(n int) *fake {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	s := pipeline.Status{
		Account: "default", Version: "1.2.3", Instance: "0b7c4cf6-6f3a-4a63-9f0a-2f8a3ef3a001", Phase: "running",
		Started: now.Add(-26 * time.Hour), Now: now, Owner: publish.Ownership{Owner: true, Epoch: 7, Since: now.Add(-26 * time.Hour)},
		StateBytes: 734 << 20, SweepSeconds: 86400,
		Requests: lever.Stats{
			Requests:   map[string]int64{"check": 3, "live": 48211, "children": 9120, "refresh": 1702, "load": 312004, "sweep": 22871},
			LastMinute: map[string]int64{"check": 0, "live": 24, "children": 61, "refresh": 4, "load": 0, "sweep": 280},
			Outcomes:   map[string]int64{"2xx": 393801, "4xx": 97, "5xx": 12, "network": 1}, RateLimited: 2, Retries: 15,
			Rate: 10, RateLimit: 10, InFlight: 3, LastGood: now.Add(-200 * time.Millisecond),
			Waiting: map[string]int{"children": 2, "sweep": 9},
		},
	}
	s.Totals.Events, s.Totals.LSN, s.Totals.LastCommit, s.Totals.LastEvent = 1_204_331, 1795547401379794, now.Add(-3*time.Second), now.Add(-41*time.Second)
	troubles := []extractor.TableStatus{
		{Phase: extractor.PhaseDegraded, Error: "GET /opportunities/2f9c1a9e-5c50-4c70-9b36-7a7c2f4f6a10/offers: 503 Service Unavailable (last of 6 attempts)", Advice: "Nothing, unless it lasts."},
		{Phase: extractor.PhaseForbidden, Error: "GET /users: 403 Forbidden", Advice: "Give the key the permission."},
		{Phase: extractor.PhaseUnauthorized, Error: "GET /stages: 401 Unauthorized: Lever does not accept the API key; check LEVER_TOKEN", Advice: "Check LEVER_TOKEN."},
		{Phase: extractor.PhaseHolding, Error: "rows are missing in Lever", Advice: "Look into Lever.", Held: 1204},
		{Phase: extractor.PhaseStreaming, Staleness: 1500, Advice: "Look at the requests."},
		{Phase: extractor.PhaseStreaming, Aside: 3, Advice: "Lever answers with errors for some parents."},
	}
	for i, t := range extractor.Tables() {
		st := extractor.TableStatus{Phase: extractor.PhaseStreaming}
		if i < n {
			st = troubles[i%len(troubles)]
			st.Since = now.Add(-17 * time.Minute)
		}
		st.Table, st.Known, st.Rows, st.Bound = t.Name, int64(137*i*i*i*i), 1, 10
		st.Staleness = max(st.Staleness, float64(i))
		st.AsOf = now.Add(-time.Duration(st.Staleness) * time.Second)
		s.Tables = append(s.Tables, st)
		s.Topics = append(s.Topics, publish.TableStats{
			Table: t.Name, Topic: "lever." + t.Name, LastEvent: now.Add(-time.Duration(i*i*i) * time.Minute),
			Events: map[string]int64{"r": int64(137 * i * i * i), "c": int64(9 * i), "u": int64(31 * i), "d": int64(i)},
		})
	}
	return &fake{status: s, progress: pipeline.Progress{Running: true, Complete: true, Tables: 16, TablesComplete: 16}}
}

// loading returns a source in the middle of its first load.
func loading() *fake {
	s := scene(0)
	for i := range s.status.Tables {
		t := &s.status.Tables[i]
		t.Load = &extractor.Load{Kind: "first", Rows: t.Known}
		switch {
		case i < 4:
			t.Load = nil
			continue
		case i > 9:
			t.Load.Lists, t.Load.ListsKnown, t.Load.Share = int64(1003*i), 48211, new(float64(1003*i)/48211)
		}
		t.Phase, t.AsOf, t.Staleness = extractor.PhaseSnapshot, time.Time{}, 0
	}
	s.status.Tables[4].Load = &extractor.Load{Kind: "incremental", Rows: 12100, Expected: 35072, Share: new(0.345)}
	s.progress = pipeline.Progress{Running: true, Tables: 16, TablesComplete: 4, ListsRead: 41_003, ListsKnown: 144_633, ParentsComplete: true}
	return s
}

// body returns the page of a source.
func body(t *testing.T, s Source) string {
	t.Helper()
	w := httptest.NewRecorder()
	handler(config(s, &helm{})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %s", w.Code, w.Header().Get("Content-Type"))
	}
	return w.Body.String()
}

func TestThePageShowsEveryTableAndEveryProblemWithAdvice(t *testing.T) {
	for n, banner := range map[int]string{0: "Replicating 16 tables", 1: "one thing needs attention", 16: "6 things need attention"} {
		s := scene(n)
		html := body(t, s)
		if !strings.Contains(html, banner) {
			t.Errorf("%d in trouble: no banner %q", n, banner)
		}
		if got := strings.Count(html, `class="card problem`); got != min(n, 6) {
			t.Errorf("%d tables in trouble of six kinds, %d problems shown", n, got)
		}
		for i, st := range s.status.Tables {
			if !strings.Contains(html, `<th scope="row">`+st.Table+`</th>`) {
				t.Errorf("table %s is not shown", st.Table)
			}
			if i < n && !strings.Contains(html, st.Advice) || n == 1 && i == 0 && !strings.Contains(html, "<b>"+st.Table+"</b>") {
				t.Errorf("%s: no advice %q", st.Table, st.Advice)
			}
		}
	}
}

func TestThePageSaysWhyNothingIsReplicated(t *testing.T) {
	waiting, stuck := errors.New("waiting for Lever"), errors.New("no progress for 31m0s of: stages full")
	s := scene(0)
	s.ready.Store(&waiting)
	if html := body(t, s); !strings.Contains(html, "does not replicate") || !strings.Contains(html, waiting.Error()) {
		t.Error("not ready")
	}
	s.live.Store(&stuck)
	if html := body(t, s); !strings.Contains(html, "Stuck") || !strings.Contains(html, stuck.Error()) {
		t.Error("not live")
	}
	s = scene(0)
	s.progress = pipeline.Progress{Running: true, Tables: 16, TablesComplete: 10, ListsRead: 1200, ListsKnown: 4800}
	if html := body(t, s); !strings.Contains(html, "25 %: 10 of 16 tables complete") || !strings.Contains(html, "1,200 of 4,800") {
		t.Error("first load")
	}
	for text, l := range map[string]extractor.Load{
		"48,211 rows so far":                                                     {Kind: "first", Rows: 48211},
		"21 of 300 lists read, more are being found":                             {Kind: "first", Rows: 9, Lists: 21, ListsKnown: 300},
		`120 of 300 lists read<progress max="100" value="40"`:                    {Kind: "first", Rows: 9, Lists: 120, ListsKnown: 300, Share: new(0.4)},
		`read again: 999 of about 1,000 rows read<progress max="100" value="99"`: {Kind: "incremental", Rows: 999, Expected: 1000, Share: new(0.999)},
	} {
		s.status.Tables[3].Load = &l
		if html := body(t, s); !strings.Contains(html, "<span>"+text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	s = scene(0)
	s.status.Requests.LastSent, s.status.Requests.LastGood = s.status.Now, s.status.Now.Add(-5*time.Minute)
	if html := body(t, s); !strings.Contains(html, "no good answer") || !strings.Contains(html, "one thing needs attention") {
		t.Error("Lever is silent")
	}
	if html := body(t, &fake{}); !strings.Contains(html, "none yet") {
		t.Error("nothing has happened yet")
	}
}

// Whatever an error holds is text, and the page needs no other host and no script.
func TestThePageIsInert(t *testing.T) {
	s := scene(1)
	s.status.Tables[0].Error = `<script>alert(1)</script><img src="https://evil.example/x">`
	s.status.Account = `"><b onclick=x>`
	html := body(t, s)
	for _, no := range []string{"<script", "<img", "<b onclick"} {
		if strings.Contains(html, no) {
			t.Errorf("the page holds %s", no)
		}
	}
	for _, link := range regexp.MustCompile(`(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if !slices.Contains([]string{"data:,", "status", "metrics"}, link[1]) {
			t.Errorf("the page leads to %s", link[1])
		}
	}
}

func TestNumbersAreForPeople(t *testing.T) {
	for got, want := range map[string]string{
		count(0): "0", count(999): "999", count(1000): "1,000", count(1234567): "1,234,567",
		age(-time.Second): "under 1 s", age(119 * time.Second): "119 s", age(2 * time.Minute): "2 min", age(25*time.Hour + 3*time.Minute): "25 h 3 min", age(72 * time.Hour): "3 days",
		size(512): "0 KiB", size(5 << 20): "5.0 MiB", size(3 << 30): "3.0 GiB",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if share(600, 10) != 100 || share(300, 10) != 50 || share(700, 10) != 100 || share(5, 0) != 0 {
		t.Error("shares of the rate")
	}
}

// Every member of /status is in the documentation.
func TestTheStatusIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	var look func(of reflect.Type)
	look = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Slice, reflect.Map, reflect.Pointer:
			look(of.Elem())
		case reflect.Struct:
			if of == reflect.TypeFor[time.Time]() {
				return
			}
			for i := range of.NumField() {
				f := of.Field(i)
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if name != "" && !strings.Contains(string(text), "`"+name+"`") {
					t.Errorf("docs/http.md does not tell of %s (%s.%s)", name, of.Name(), f.Name)
				}
				look(f.Type)
			}
		}
	}
	look(reflect.TypeFor[status]())
}
