package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appconfig "github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/offsets"
)

// helm notes what it was told.
type helm struct {
	told []string
	err  error
}

func (h *helm) note(what string) error { h.told = append(h.told, what); return h.err }

func (h *helm) Pause(_ context.Context, table string) error  { return h.note("pause " + table) }
func (h *helm) Resume(_ context.Context, table string) error { return h.note("resume " + table) }
func (h *helm) Resnapshot(_ context.Context, table string, all bool) error {
	if all {
		return h.note("resnapshot all of " + table)
	}
	return h.note("resnapshot " + table)
}
func (h *helm) Reread(_ context.Context, table string, rows []pipeline.RowKey, write bool) (pipeline.Queued, error) {
	return pipeline.Queued{Rows: len(rows), Reads: 1}, h.note(fmt.Sprintf("reread %s %v %t", table, rows, write))
}
func (h *helm) SetBookmarks(_ context.Context, next map[string]*offsets.Bookmark) error {
	var told []string
	for table, b := range next {
		what := "reset " + table
		if b != nil {
			text, _ := b.Marshal()
			what = "set " + table + " " + string(text)
		}
		told = append(told, what)
	}
	slices.Sort(told)
	return h.note(strings.Join(told, ", "))
}
func (h *helm) Selected(table string) bool { return table == "stages" || table == "users" }

func TestSteering(t *testing.T) {
	const token = "a secret"
	for name, test := range map[string]struct {
		method, path, host string
		token              bool
		header             map[string]string
		body               string
		err                error
		want               int
		told               string
	}{
		"reread":                     {path: "/tables/stages/reread", body: `{"rows":[{"key":"a"},{"key":"b","parent":"c"}]}`, want: 202, told: "reread stages [{a } {b c}] false"},
		"reread and write":           {path: "/tables/stages/reread", body: `{"rows":[{"key":"a"}],"write":true}`, want: 202, told: "reread stages [{a }] true"},
		"reread of another table":    {path: "/tables/nothing/reread", body: `{"rows":[{"key":"a"}]}`, want: 404},
		"reread with a parameter":    {path: "/tables/stages/reread?all=true", body: `{"rows":[{"key":"a"}]}`, want: 400},
		"reread without a body":      {path: "/tables/stages/reread", want: 415},
		"reread with a form":         {path: "/tables/stages/reread", body: `{"rows":[{"key":"a"}]}`, header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, want: 415},
		"reread with an empty body":  {path: "/tables/stages/reread", body: " ", want: 400},
		"reread of something else":   {path: "/tables/stages/reread", body: `{"keys":["a"]}`, want: 400},
		"reread with more behind it": {path: "/tables/stages/reread", body: `{"rows":[{"key":"a"}]}{}`, want: 400},
		"reread of a number":         {path: "/tables/stages/reread", body: `{"rows":[{"key":1}]}`, want: 400},
		"reread of too much":         {path: "/tables/stages/reread", body: `{"rows":[{"key":"` + strings.Repeat("a", 70<<10) + `"}]}`, want: 413},
		"reread without the token":   {path: "/tables/stages/reread", token: true, body: `{"rows":[{"key":"a"}]}`, want: 401},
		"reread by GET":              {method: http.MethodGet, path: "/tables/stages/reread", want: 405},
		"reread that is refused":     {path: "/tables/stages/reread", body: `{"rows":[]}`, err: &pipeline.RequestError{}, want: 400, told: "reread stages [] false"},
		"reread that has to wait":    {path: "/tables/stages/reread", body: `{"rows":[]}`, err: &pipeline.RequestError{Conflict: true}, want: 409, told: "reread stages [] false"},
		"pause":                      {path: "/tables/stages/pause", want: 200, told: "pause stages"},
		"resume":                     {path: "/tables/stages/resume", want: 200, told: "resume stages"},
		"resnapshot":                 {path: "/tables/stages/resnapshot", want: 200, told: "resnapshot stages"},
		"resnapshot all":             {path: "/tables/stages/resnapshot?all=true", want: 200, told: "resnapshot all of stages"},
		"an error is shown":          {path: "/tables/stages/pause", err: errors.New("waiting for Kafka"), want: 503, told: "pause stages"},
		"too late":                   {path: "/tables/stages/pause", err: fmt.Errorf("commit: %w", context.DeadlineExceeded), want: 504, told: "pause stages"},
		"a parameter that is none":   {path: "/tables/stages/pause?all=true", want: 400},
		"a misspelt parameter":       {path: "/tables/stages/resnapshot?everything=true", want: 400},
		"an unreadable parameter":    {path: "/tables/stages/resnapshot?all=true;x=1", want: 400},
		"an unreadable value":        {path: "/tables/stages/resnapshot?all=%zz", want: 400},
		"a misspelt value":           {path: "/tables/stages/resnapshot?all=yes", want: 400},
		"a table that is a path":     {path: "/tables/..%2F..%2Fstages/pause", want: 404},
		"HEAD changes nothing":       {method: http.MethodHead, path: "/tables/stages/pause", want: 405},
		"PUT changes nothing":        {method: http.MethodPut, path: "/tables/stages/pause", want: 405},
		"an unknown table":           {path: "/tables/nothing/pause", want: 404},
		"an unknown action":          {path: "/tables/stages/drop", want: 404},
		"GET changes nothing":        {method: http.MethodGet, path: "/tables/stages/pause", want: 405},
		"with the token":             {path: "/tables/stages/pause", token: true, host: "producer.example", header: map[string]string{"Authorization": "Bearer " + token}, want: 200, told: "pause stages"},
		"without the token":          {path: "/tables/stages/pause", token: true, want: 401},
		"schemes have no case":       {path: "/tables/stages/pause", token: true, host: "producer.example", header: map[string]string{"Authorization": "bearer " + token}, want: 200, told: "pause stages"},
		"with another token":         {path: "/tables/stages/pause", token: true, header: map[string]string{"Authorization": "Bearer a secre"}, want: 401},
		"with a password":            {path: "/tables/stages/pause", token: true, header: map[string]string{"Authorization": "Basic " + token}, want: 401},
		"under another name":         {path: "/tables/stages/pause", host: "evil.example:8080", want: 403},
		"from a page":                {path: "/tables/stages/pause", header: map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, want: 403},
		"from a page, by its token":  {path: "/tables/stages/pause", token: true, header: map[string]string{"Origin": "https://evil.example", "Authorization": "Bearer " + token}, want: 403},
		"IPv6 loopback":              {path: "/tables/stages/pause", host: "[::1]:8080", want: 200, told: "pause stages"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &helm{err: test.err}
			c := config(&fake{}, h)
			if test.token {
				c.AdminToken = func() (string, error) { return token, nil }
			}
			method, host := http.MethodPost, "127.0.0.1:8080"
			if test.method != "" {
				method = test.method
			}
			if test.host != "" {
				host = test.host
			}
			r := httptest.NewRequest(method, "http://"+host+test.path, strings.NewReader(test.body))
			if test.body != "" {
				r.Header.Set("Content-Type", "application/json")
			}
			for k, v := range test.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			handler(c).ServeHTTP(w, r)
			if w.Code != test.want || strings.Join(h.told, ",") != test.told {
				t.Errorf("%d %q, told %v; want %d, told %q", w.Code, w.Body, h.told, test.want, test.told)
			}
			if strings.Contains(w.Body.String(), token) {
				t.Error("the answer holds the token")
			}
			if (w.Code == http.StatusMethodNotAllowed) != (w.Header().Get("Allow") == "POST") {
				t.Errorf("it says that %q is allowed", w.Header().Get("Allow"))
			}
			if test.path == "/tables/stages/drop" {
				return // by the router
			}
			var body map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if _, done := body["done"]; done != (w.Code < http.StatusMultipleChoices) || (body["message"] == nil) != done {
				t.Errorf("the answer is %s", w.Body)
			}
		})
	}
}

func TestAnAdminTokenThatCannotBeReadOpensNothing(t *testing.T) {
	h := &helm{}
	for _, read := range []func() (string, error){
		func() (string, error) { return "", errors.New("no file") },
		func() (string, error) { return "", nil },
	} {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/tables/stages/pause", nil)
		r.Header.Set("Authorization", "Bearer ")
		w := httptest.NewRecorder()
		c := config(&fake{}, h)
		c.AdminToken = read
		handler(c).ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || len(h.told) > 0 {
			t.Errorf("%d, told %v", w.Code, h.told)
		}
	}
}

// A token that is replaced on disk counts from the next request on, and the old one no
// longer.
func TestTheAdminTokenRotates(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	c := config(&fake{}, &helm{})
	c.AdminToken = appconfig.FileSecret(file).Read
	h := handler(c)
	for _, token := range []string{"first", "second"} {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for given, want := range map[string]int{"first": 401, "second": 401, token: 200} {
			r := httptest.NewRequest(http.MethodPost, "/tables/stages/pause", nil)
			r.Header.Set("Authorization", "Bearer "+given)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("the file holds %s, %s gets %d", token, given, w.Code)
			}
		}
	}
}

func TestBookmarksAreShownToThoseWhoMaySteer(t *testing.T) {
	away := errors.New("this producer does not replicate")
	b, err := offsets.Parse([]byte(`{"version":1,"lsn":7,"snapshot":{"complete":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	source := &fake{status: pipeline.Status{Account: "acme"}, bookmarks: map[string]offsets.Bookmark{"users": b, "stages": b}}
	for name, test := range map[string]struct {
		path, bearer string
		away         bool
		want         int
		tables       string
	}{
		"all":                  {path: "/bookmarks", bearer: "secret", want: 200, tables: "stages users"},
		"one":                  {path: "/tables/stages/bookmark", bearer: "secret", want: 200, tables: "stages"},
		"an unknown table":     {path: "/tables/nothing/bookmark", bearer: "secret", want: 404},
		"without the token":    {path: "/bookmarks", want: 401},
		"one, without a token": {path: "/tables/stages/bookmark", want: 401},
		"not the owner":        {path: "/bookmarks", bearer: "secret", away: true, want: 503},
	} {
		t.Run(name, func(t *testing.T) {
			source.ready.Store(nil)
			if test.away {
				source.ready.Store(&away)
			}
			c := config(source, &helm{})
			c.AdminToken = func() (string, error) { return "secret", nil }
			r := httptest.NewRequest(http.MethodGet, test.path, nil)
			if test.bearer != "" {
				r.Header.Set("Authorization", "Bearer "+test.bearer)
			}
			w := httptest.NewRecorder()
			handler(c).ServeHTTP(w, r)
			if w.Code != test.want {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if w.Code != http.StatusOK {
				return
			}
			d, err := offsets.ParseDocument(w.Body.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(slices.Sorted(maps.Keys(d.Bookmarks)), " "); d.Account != "acme" || got != test.tables || d.Bookmarks["stages"].LSN != 7 {
				t.Errorf("account %s, tables %s: %s", d.Account, got, w.Body)
			}
		})
	}
}

func TestBookmarksAreAlteredAndReset(t *testing.T) {
	source := &fake{status: pipeline.Status{Account: "acme"}, bookmarks: map[string]offsets.Bookmark{"stages": {}, "users": {}}}
	const one = `{"offsets":[{"partition":{"table":"stages"},"offset":{"version":1,"lsn":7,"full":{"at":5}}}]}`
	const set = `set stages {"version":1,"lsn":7,"full":{"at":5}}`
	for name, test := range map[string]struct {
		method, path, body, kind, origin string
		anonymous                        bool
		err                              error
		want                             int
		told, says                       string
	}{
		"alter":                 {path: "/bookmarks", body: one, want: 200, told: set, says: `"altered"`},
		"alter one":             {path: "/tables/stages/bookmark", body: one, want: 200, told: set},
		"alter, as shown":       {path: "/bookmarks", body: strings.Replace(one, "{", `{"account":"acme",`, 1), want: 200, told: set},
		"null resets":           {path: "/bookmarks", body: `{"offsets":[{"partition":{"table":"stages"},"offset":null}]}`, want: 200, told: "reset stages"},
		"reset":                 {method: http.MethodDelete, path: "/bookmarks", want: 200, told: "reset stages, reset users", says: `"reset"`},
		"reset one":             {method: http.MethodDelete, path: "/tables/stages/bookmark", want: 200, told: "reset stages"},
		"no offset":             {path: "/bookmarks", body: `{"offsets":[{"partition":{"table":"stages"}}]}`, want: 400, says: "null resets it"},
		"no table":              {path: "/bookmarks", body: `{"offsets":[{"partition":{},"offset":null}]}`, want: 400, says: "names no table"},
		"twice":                 {path: "/bookmarks", body: `{"offsets":[{"partition":{"table":"stages"},"offset":null},{"partition":{"table":"stages"},"offset":null}]}`, want: 400, says: "twice"},
		"another table":         {path: "/bookmarks", body: strings.Replace(one, "stages", "nothing", 1), want: 400, says: "not selected"},
		"a table of elsewhere":  {path: "/tables/stages/bookmark", body: strings.Replace(one, "stages", "users", 1), want: 400},
		"an unknown path":       {path: "/tables/nothing/bookmark", body: one, want: 404},
		"another account":       {path: "/bookmarks", body: strings.Replace(one, "{", `{"account":"other",`, 1), want: 400, says: "another account"},
		"another member":        {path: "/bookmarks", body: `{"ofsets":[]}`, want: 400, says: `{\"offsets\":`},
		"more behind it":        {path: "/bookmarks", body: one + "}", want: 400, says: "follows"},
		"no bookmark":           {path: "/bookmarks", body: `{"offsets":[{"partition":{"table":"stages"},"offset":{"lsn":1}}]}`, want: 400, says: "no version"},
		"no JSON":               {path: "/bookmarks", body: "nothing", want: 400},
		"no type":               {path: "/bookmarks", body: one, kind: "text/plain", want: 415},
		"too large":             {path: "/bookmarks", body: `{"offsets":[` + strings.Repeat(" ", 70<<10) + `]}`, want: 413},
		"a parameter":           {path: "/bookmarks?dry=true", body: one, want: 400},
		"reset with a body":     {method: http.MethodDelete, path: "/bookmarks", body: one, want: 400, says: "takes no body"},
		"a table that runs":     {path: "/bookmarks", body: one, err: &pipeline.RequestError{Conflict: true}, want: 409, told: set},
		"not the owner":         {path: "/bookmarks", body: one, err: pipeline.ErrNotRunning, want: 503, told: set},
		"too late":              {path: "/bookmarks", body: one, err: context.DeadlineExceeded, want: 504, told: set},
		"without a token":       {path: "/bookmarks", body: one, anonymous: true, want: 401},
		"reset without a token": {method: http.MethodDelete, path: "/bookmarks", anonymous: true, want: 401},
		"from a page":           {path: "/bookmarks", body: one, origin: "https://evil.example", want: 403},
		"POST":                  {method: http.MethodPost, path: "/bookmarks", body: one, want: 405},
		"PUT":                   {method: http.MethodPut, path: "/bookmarks", body: one, want: 405},
	} {
		t.Run(name, func(t *testing.T) {
			h := &helm{err: test.err}
			c := config(source, h)
			c.AdminToken = func() (string, error) { return "secret", nil }
			method, kind := http.MethodPatch, "application/json"
			if test.method != "" {
				method = test.method
			}
			if test.kind != "" {
				kind = test.kind
			}
			r := httptest.NewRequest(method, test.path, strings.NewReader(test.body))
			r.Header.Set("Content-Type", kind)
			if !test.anonymous {
				r.Header.Set("Authorization", "Bearer secret")
			}
			if test.origin != "" {
				r.Header.Set("Origin", test.origin)
			}
			w := httptest.NewRecorder()
			handler(c).ServeHTTP(w, r)
			if w.Code != test.want || strings.Join(h.told, ",") != test.told || !strings.Contains(w.Body.String(), test.says) {
				t.Fatalf("%d %s, told %q; want %d, told %q, saying %q", w.Code, w.Body, h.told, test.want, test.told, test.says)
			}
			var body map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || (body["message"] == nil) != (w.Code == http.StatusOK) {
				t.Errorf("%v: the answer is %s", err, w.Body)
			}
		})
	}
}
