package sandbox

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A clock stands until it is moved.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC).UnixMilli())
	return c
}

func (c *clock) now() time.Time             { return time.UnixMilli(c.ms.Load()) }
func (c *clock) move(d time.Duration) int64 { return c.ms.Add(d.Milliseconds()) }
func (c *clock) millis() int64              { return c.ms.Load() }
func newTest(n int, seed uint64) (*Lever, *clock) {
	c := newClock()
	return New(Options{Opportunities: n, Seed: seed, Now: c.now}), c
}

type answer struct {
	Data    json.RawMessage `json:"data"`
	HasNext *bool           `json:"hasNext"`
	Next    *string         `json:"next"`
	Code    string          `json:"code"`
	Message string          `json:"message"`
	status  int
	header  http.Header
	raw     string
}

func get(l *Lever, path string, values url.Values) answer {
	r := httptest.NewRequest(http.MethodGet, "/v1"+path+"?"+values.Encode(), nil)
	r.SetBasicAuth("key", "")
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	json.Unmarshal(w.Body.Bytes(), &a)
	return a
}

func decode(t *testing.T, data []byte) (rows []map[string]any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	if err := d.Decode(&rows); err != nil {
		t.Fatalf("%v in %.200s", err, data)
	}
	return rows
}

// list reads a list to its end, calling between after every page but the last.
func list(t *testing.T, l *Lever, path string, values url.Values, between func()) (rows []map[string]any) {
	t.Helper()
	v := url.Values{}
	for name, x := range values {
		v[name] = x
	}
	for range 1_000_000 {
		a := get(l, path, v)
		if a.status != http.StatusOK {
			t.Fatalf("%s?%s: %d %s", path, v.Encode(), a.status, a.raw)
		}
		page := decode(t, a.Data)
		rows = append(rows, page...)
		if a.HasNext == nil || *a.HasNext != (a.Next != nil) {
			t.Fatalf("%s: hasNext and next disagree: %s", path, a.raw[max(0, len(a.raw)-200):])
		}
		if !*a.HasNext {
			return rows
		}
		if len(page) == 0 {
			t.Fatalf("%s: an empty page says that there is more", path)
		}
		v.Set("offset", *a.Next)
		if between != nil {
			between()
		}
	}
	t.Fatalf("%s never ends", path)
	return nil
}

// keyed makes a map of rows, and fails if a key comes twice.
func keyed(t *testing.T, rows []map[string]any, key string) map[string]map[string]any {
	t.Helper()
	m := map[string]map[string]any{}
	for _, row := range rows {
		k := row[key].(string)
		if m[k] != nil {
			t.Errorf("%s came twice", k)
		}
		m[k] = row
	}
	return m
}

func same(t *testing.T, what string, got, want map[string]map[string]any) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d rows, want %d", what, len(got), len(want))
	}
	for k, w := range want {
		if !reflect.DeepEqual(got[k], w) {
			t.Errorf("%s: row %s is\n%v\nwant\n%v", what, k, got[k], w)
			return
		}
	}
}

func ms(row map[string]any, name string) int64 {
	n, _ := row[name].(json.Number)
	i, _ := n.Int64()
	return i
}

func only(truth map[string]map[string]any, keep func(map[string]any) bool) map[string]map[string]any {
	m := map[string]map[string]any{}
	for k, row := range truth {
		if keep(row) {
			m[k] = row
		}
	}
	return m
}

func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}
