package extractor

import (
	"context"
	"encoding/json"
	"iter"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// nothing is the state of an account of which nothing was emitted.
type nothing struct{}

func (nothing) Row(string, string) (Known, bool, error)                 { return Known{}, false, nil }
func (nothing) Keys(string) iter.Seq2[string, error]                    { return func(func(string, error) bool) {} }
func (nothing) KeysAfter(string, string, int) ([]string, error)         { return nil, nil }
func (nothing) Children(string, string) ([]string, error)               { return nil, nil }
func (nothing) Count(string) int64                                      { return 0 }
func (nothing) Since(string, int64, int) (out []cdc.Version, err error) { return nil, nil }
func (nothing) LSN() int64                                              { return 0 }
func (nothing) Section(string, string) json.RawMessage                  { return nil }

// numbered is a Lever with one list; page k holds a row of that key and names page k+1.
type numbered struct {
	pages int
	took  func()
}

func (l numbered) Get(_ context.Context, r cdc.Request) (cdc.Page, error) {
	l.took()
	k, _ := strconv.Atoi(r.Offset)
	p := cdc.Page{Data: []map[string]any{{"id": strconv.Itoa(k)}}}
	if k+1 < l.pages {
		p.Next = strconv.Itoa(k + 1)
	}
	return p, nil
}

// slow is a sink that answers in the order of submission, at its own pace.
type slow struct {
	t       *testing.T
	queue   chan chan cdc.Result
	settled atomic.Int64 // pages answered
	named   int          // the last page that a bookmark has named
	most    int          // pages under way when another was submitted
	took    func()
}

func (s *slow) Submit(_ context.Context, u *cdc.Unit) (<-chan cdc.Result, error) {
	page, _ := strconv.Atoi(u.Rows[0].Key)
	settled := int(s.settled.Load())
	s.most = max(s.most, page-settled)
	for _, c := range u.Changes {
		k, err := strconv.Atoi(string(c.Value))
		if err != nil || k != s.named+1 {
			s.t.Errorf("page %d carries the bookmark of page %s after that of page %d", page, c.Value, s.named)
		}
		s.named = k
		// Pages up to k are done, but for the one that is submitted with it.
		if done := settled - 1; k > done && !(k == page && done == page-1) {
			s.t.Errorf("page %d carries the bookmark of page %d, and only pages up to %d are settled", page, k, done)
		}
	}
	result := make(chan cdc.Result, 1)
	s.queue <- result
	return result, nil
}

func (s *slow) run() {
	for result := range s.queue {
		s.took()
		s.settled.Add(1)
		result <- cdc.Result{}
	}
}

// A bookmark that names a page says that all pages before it are done, however reads and
// commits take turns; in the end it names the last one.
func TestBookmarksNameSettledPagesOnly(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			upTo := func(most time.Duration) func() {
				r := rand.New(rand.NewPCG(random.Uint64(), 0))
				return func() { time.Sleep(time.Duration(r.Int64N(int64(most) + 1))) } // simulated time
			}
			l := numbered{1 + random.IntN(60), upTo(20 * time.Millisecond)}
			s := &slow{t: t, queue: make(chan chan cdc.Result, l.pages), named: -1, took: upTo(time.Duration(1+random.IntN(50)) * time.Millisecond)}
			table := cdc.Table{Name: "stages", Key: "id"}
			e, err := New(Config{Tables: []cdc.Table{table}, Lever: l, Sink: s, State: nothing{}, Clock: cdc.NewClock()})
			if err != nil {
				t.Fatal(err)
			}
			go s.run()
			defer close(s.queue)
			err = e.pages(t.Context(), pageRead{request: cdc.Request{Path: "/stages"}, unit: func(p cdc.Page, _ string) (*cdc.Unit, error) {
				key := text(p.Data[0], "id")
				u := &cdc.Unit{Rows: []cdc.Row{{Table: table.Name, Key: key}}}
				u.Changes = []cdc.Change{{Table: table.Name, Section: "snapshot", Value: json.RawMessage(key)}}
				return u, nil
			}})
			settled := int(s.settled.Load())
			if err != nil || settled != l.pages || s.named != l.pages-1 || s.most >= mostAhead {
				t.Fatalf("seed %d: %d of %d pages settled, bookmark at %d, %d ahead, error %v", seed, settled, l.pages, s.named, s.most, err)
			}
		})
	}
}
