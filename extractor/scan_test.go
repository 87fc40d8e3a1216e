package extractor

import (
	"context"
	"encoding/json"
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"
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
	if id, ok := strings.CutPrefix(r.Path, "/requisitions/"); ok {
		return cdc.Page{Data: []map[string]any{{"id": id}}}, nil
	}
	k, _ := strconv.Atoi(r.Offset)
	p := cdc.Page{Data: []map[string]any{{"id": strconv.Itoa(k)}}}
	if k+1 < l.pages {
		p.Next = strconv.Itoa(k + 1)
	}
	return p, nil
}

// slow is a sink that answers in the order of submission, at its own pace, and refuses some
// pages at first.
type slow struct {
	t       *testing.T
	queue   chan submitted
	took    func()
	refuses func() bool

	done  map[int]bool // pages that were accepted
	named int          // the page that the bookmark names
	read  int          // the last page that was submitted
}

type submitted struct {
	unit   *cdc.Unit
	result chan cdc.Result
}

func (s *slow) Submit(_ context.Context, u *cdc.Unit) (<-chan cdc.Result, error) {
	result := make(chan cdc.Result, 1)
	s.queue <- submitted{u, result}
	return result, nil
}

func (s *slow) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case x := <-s.queue:
			s.took()
			x.result <- s.commit(x.unit)
		}
	}
}

// commit applies a unit, as the writer does.
func (s *slow) commit(u *cdc.Unit) cdc.Result {
	for _, r := range u.Rows {
		page, _ := strconv.Atoi(r.Key)
		// A page that comes again is older than the last one.
		if page > s.read && s.refuses() {
			s.read = page
			return cdc.Result{Again: []cdc.Again{{Ref: cdc.Ref{Table: r.Table, Key: r.Key}}}}
		}
		s.read = max(s.read, page)
		s.done[page] = true
	}
	for _, c := range u.Changes {
		k, err := strconv.Atoi(string(c.Value))
		if err != nil || k != s.named+1 || !s.done[k] {
			s.t.Errorf("the bookmark names page %s after page %d; done %v", c.Value, s.named, s.done[k])
		}
		s.named = k
	}
	if behind := s.read - s.named; behind > 2*mostAhead {
		s.t.Errorf("the bookmark is %d pages behind", behind)
	}
	return cdc.Result{}
}

// A bookmark never goes back, and one that names a page says that this one and all before it
// are done, however reads, commits and refusals take turns; it is a few pages behind at most,
// and in the end it names the last one.
func TestBookmarksNameSettledPagesOnly(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			upTo := func(most time.Duration) func() {
				r := rand.New(rand.NewPCG(random.Uint64(), 0))
				return func() { time.Sleep(time.Duration(r.Int64N(int64(most) + 1))) } // simulated time
			}
			l := numbered{1 + random.IntN(60), upTo(20 * time.Millisecond)}
			refusal := rand.New(rand.NewPCG(random.Uint64(), 0))
			one := 2 + random.IntN(20)
			s := &slow{
				t: t, queue: make(chan submitted, l.pages), took: upTo(time.Duration(1+random.IntN(50)) * time.Millisecond),
				refuses: func() bool { return refusal.IntN(one) == 0 }, done: map[int]bool{}, named: -1, read: -1,
			}
			table := cdc.Table{Name: "requisitions", Key: "id"}
			e, err := New(Config{Tables: []cdc.Table{table}, Lever: l, Sink: s, State: nothing{}, Clock: cdc.NewClock()})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan bool)
			go func() {
				defer close(ended)
				s.run(ctx)
			}()
			err = e.pages(t.Context(), pageRead{request: cdc.Request{Path: "/requisitions"}, unit: func(p cdc.Page, _ string) (*cdc.Unit, error) {
				key := text(p.Data[0], "id")
				u := &cdc.Unit{Rows: []cdc.Row{{Table: table.Name, Key: key}}}
				u.Changes = []cdc.Change{{Table: table.Name, Section: "snapshot", Value: json.RawMessage(key)}}
				return u, nil
			}})
			cancel()
			<-ended
			if err != nil || len(s.done) != l.pages || s.named != l.pages-1 {
				t.Fatalf("seed %d: %d of %d pages done, bookmark at %d, error %v", seed, len(s.done), l.pages, s.named, err)
			}
		})
	}
}

// Page tokens that go round in a circle, of any length and behind any number of pages, end the
// read before it has gone round three times; others do not.
func TestPageTokensThatGoRoundAreRecognised(t *testing.T) {
	for before := range 20 {
		for length := 1; length < 20; length++ {
			var seen trail
			pages := 0
			for i := 0; seen.next("/users", strconv.Itoa(1+min(i, before+(i-before)%length))) == nil; i++ {
				if pages++; pages > before+3*(before+length) {
					t.Fatalf("a circle of %d behind %d pages is not recognised after %d", length, before, pages)
				}
			}
			if pages < before+length-1 {
				t.Fatalf("a circle of %d behind %d pages is seen after %d", length, before, pages)
			}
		}
	}
	var seen trail
	for i := range 100_000 {
		if err := seen.next("/users", strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
}
