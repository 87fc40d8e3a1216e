package extractor

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// known is a state with the given sections, by table and name, and one parent.
type known struct {
	sections map[string]map[string]string
	parent   cdc.Version
	readAt   time.Time
}

func (k known) Row(table, key string) (Known, bool, error) {
	return Known{ReadAt: k.readAt}, table == "opportunities" && key == k.parent.Key, nil
}
func (k known) Keys(string) iter.Seq2[string, error]            { return func(func(string, error) bool) {} }
func (k known) KeysAfter(string, string, int) ([]string, error) { return nil, nil }
func (k known) Children(string, string) ([]string, error)       { return nil, nil }
func (k known) Count(string) int64                              { return 1 }
func (k known) LSN() int64                                      { return k.parent.LSN }

func (k known) Since(table string, lsn int64, _ int) ([]cdc.Version, error) {
	if table != "opportunities" || k.parent.LSN <= lsn {
		return nil, nil
	}
	return []cdc.Version{k.parent}, nil
}

func (k known) Section(table, section string) json.RawMessage {
	if raw, ok := k.sections[table][section]; ok {
		return json.RawMessage(raw)
	}
	return nil
}

// newTestExtractor returns an extractor that reads nothing, for the tables.
func newTestExtractor(t *testing.T, s State) *Extractor {
	t.Helper()
	e, err := New(Config{
		Tables: Tables(), State: s, Clock: cdc.NewClock(), Logger: slog.New(slog.DiscardHandler),
		PollInterval: 10 * time.Second, RefreshInterval: 5 * time.Minute, SweepInterval: time.Hour, Overlap: 5 * time.Second, Rate: 10, Concurrency: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestATableIsAsFreshAsTheOldestOfItsSources(t *testing.T) {
	const snapshot = `{"complete":true}`
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	// The cursors are the overlap of five seconds before the scans they come from.
	sections := map[string]map[string]string{
		"opportunities":            {"snapshot": snapshot, "increment": `{"cursor":995000}`, "deletions": `{"cursor":985000}`},
		"candidates":               {"snapshot": snapshot, "increment": `{"cursor":995000}`},
		"opportunity_applications": {"snapshot": snapshot, "increment": `{"cursor":995000}`, "deletions": `{"cursor":965000}`},
		"opportunity_offers":       {"snapshot": snapshot, "children.offers": `{"lsn":50}`},
		"candidate_offers":         {"snapshot": snapshot, "children.offers": `{"lsn":50}`},
		"opportunity_referrals":    {"snapshot": `{"complete":false}`, "children.referrals": `{"lsn":50}`},
		"requisitions":             {"snapshot": snapshot, "increment": `{"cursor":995000}`, "full": `{"at":900000}`},
		"stages":                   {"snapshot": snapshot, "full": `{"at":890000}`},
		"users":                    {"full": `{"at":`},
	}
	for name, test := range map[string]struct {
		table  string
		parent cdc.Version
		readAt time.Time
		want   time.Time
	}{
		"the deletion feed is older":                             {table: "opportunities", want: at(990)},
		"without a feed":                                         {table: "candidates", want: at(1000)},
		"nested rows have a feed of their own":                   {table: "opportunity_applications", want: at(970)},
		"a list with nothing to read is as fresh as its parent":  {table: "opportunity_offers", parent: cdc.Version{Key: "a", LSN: 50}, readAt: at(10), want: at(990)},
		"a list with a parent to read is as old as its change":   {table: "opportunity_offers", parent: cdc.Version{Key: "a", LSN: 51}, readAt: at(700), want: at(700)},
		"the cursor of both tables counts one parent's events":   {table: "candidate_offers", parent: cdc.Version{Key: "a", LSN: 51}, readAt: at(700), want: at(700)},
		"a parent that changed after the last scan says nothing": {table: "opportunity_offers", parent: cdc.Version{Key: "a", LSN: 51}, readAt: at(1010), want: at(990)},
		"not known while the snapshot runs":                      {table: "opportunity_referrals"},
		"edits of requisitions are seen in their full list":      {table: "requisitions", want: at(900)},
		"a full list":                                              {table: "stages", want: at(890)},
		"not known if nothing was read":                            {table: "sources"},
		"not known if the bookmark is damaged":                     {table: "users"},
		"not known of a table whose bookmark has only a snapshot ": {table: "archive_reasons"},
	} {
		t.Run(name, func(t *testing.T) {
			s := known{sections: sections, parent: test.parent, readAt: test.readAt}
			status := newTestExtractor(t, s).Status
			for _, got := range status.Tables(s) {
				if got.Table == test.table && !got.AsOf.Equal(test.want) {
					t.Errorf("fresh as of %s, want %s", got.AsOf.UTC(), test.want.UTC())
				}
			}
		})
	}
}

func TestFreshnessAndSweepAreMeasuredByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UnixMilli()
		ms := func(ago time.Duration) string { b, _ := json.Marshal(now - ago.Milliseconds()); return string(b) }
		s := known{sections: map[string]map[string]string{
			"stages":             {"snapshot": `{"complete":true}`, "full": `{"at":` + ms(time.Minute) + `}`},
			"users":              {"snapshot": `{"complete":true}`, "full": `{"at":` + ms(-time.Minute) + `}`},
			"opportunity_offers": {"snapshot": `{"complete":true}`, "sweep": `{"began":` + ms(time.Hour) + `,"total":100,"done":49}`},
		}}
		status := newTestExtractor(t, s).Status
		by := map[string]TableStatus{}
		for _, st := range status.Tables(s) {
			by[st.Table] = st
		}
		if got := by["stages"]; got.Staleness != 60 || got.Bound != 300 || got.Late() {
			t.Errorf("stages: %+v", got)
		}
		if got := by["users"]; got.Staleness != 0 {
			t.Errorf("Lever's clock is ahead: stale for %v s", got.Staleness)
		}
		if got := by["opportunity_offers"]; got.SweepBehind != 1800 {
			t.Errorf("the 50th of 100 was due half an hour ago: %v s", got.SweepBehind)
		}
		time.Sleep(15*time.Minute + 1*time.Second)
		for _, st := range status.Tables(s) {
			if st.Table == "stages" && (!st.Late() || st.Advice == "") {
				t.Errorf("after three intervals and a minute: %+v", st)
			}
		}
	})
}

func TestALoopThatHangsIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		read  func(context.Context) error
		stuck bool
	}{
		"hangs":        {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, true},
		"fails always": {func(context.Context) error { return errors.New("Lever is down") }, false},
		"works":        {func(context.Context) error { return nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newTestExtractor(t, known{})
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() {
					ended <- e.repeat(ctx, loop{name: "stages full", tables: []string{"stages"}}, time.Minute, test.read)
				}()
				time.Sleep(time.Hour)
				if stuck := e.Status.Stuck(time.Now().Add(-30 * time.Minute)); (len(stuck) > 0) != test.stuck {
					t.Errorf("stuck: %v", stuck)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// blocked is a state of which the changes cannot be asked for.
type blocked struct {
	known

	ctx context.Context
}

func (b blocked) Since(string, int64, int) ([]cdc.Version, error) {
	<-b.ctx.Done()
	return nil, b.ctx.Err()
}

// A test in simulated time could not set the time of day alone ahead. The reading of the clock
// that never jumps is a part of what String shows.
func TestTheRestOfALoopIsNotMeasuredByTheTimeOfDay(t *testing.T) {
	s := NewStatus(Tables())
	s.rests(loop{name: "offers sweep"}, time.Hour)
	if at := s.beats["offers sweep"]; !strings.Contains(at.String(), " m=") {
		t.Error("the rest of a sweep is measured by the time of day")
	}
}

func TestASweepThatIsToldToStopIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		e := newTestExtractor(t, known{})
		ended := make(chan error)
		go func() {
			ended <- e.sweepAlways(ctx, e.followers[0].sweepLoop, func(ctx context.Context, _ time.Time) (time.Time, error) {
				<-ctx.Done()
				return time.Time{}, ctx.Err()
			})
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if stuck := e.Status.Stuck(time.Now().Add(-time.Hour)); len(stuck) > 0 {
			t.Errorf("stuck: %v", stuck)
		}
	})
}

// silent is a Lever that never answers; down is one that answers at once that it is down.
type silent struct{}

func (silent) Get(ctx context.Context, _ cdc.Request) (cdc.Page, error) {
	<-ctx.Done()
	return cdc.Page{}, ctx.Err()
}

type down struct{}

func (down) Get(context.Context, cdc.Request) (cdc.Page, error) {
	return cdc.Page{}, cdc.ErrUnavailable
}

func TestAFollowerThatHangsIsNamedAndASweepThatRestsIsNot(t *testing.T) {
	changed := known{parent: cdc.Version{Key: "o", LSN: 7}}
	for name, test := range map[string]struct {
		state State
		lever Lever
		hangs bool
	}{
		"the state hangs":      {blocked{}, nil, true},
		"its requests hang":    {changed, silent{}, true},
		"its requests fail":    {changed, down{}, false},
		"it has nothing to do": {known{}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				if _, ok := test.state.(blocked); ok {
					test.state = blocked{ctx: ctx}
				}
				e := newTestExtractor(t, test.state)
				e.Lever = test.lever
				ended := make(chan error, 2)
				go func() { ended <- ignoreEnd(ctx, e.followers[0].run(ctx, nil)) }()
				go func() {
					ended <- e.sweepAlways(ctx, e.followers[0].sweepLoop, func(_ context.Context, now time.Time) (time.Time, error) {
						return time.UnixMilli(now.Add(24 * time.Hour).UnixMilli()), nil // as a bookmark tells it
					})
				}()
				time.Sleep(3 * time.Hour)
				want := 0
				if test.hangs {
					want = 1
				}
				if stuck := e.Status.Stuck(time.Now().Add(-30 * time.Minute)); len(stuck) != want {
					t.Errorf("stuck: %v", stuck)
				}
				cancel()
				for range 2 {
					if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}
			})
		})
	}
}

func TestEveryPhaseOfTroubleHasAdvice(t *testing.T) {
	for _, p := range phases() {
		quiet := p == PhaseWaiting || p == PhaseSnapshot || p == PhaseStreaming
		if got := advice(TableStatus{Phase: p}); (got == "") != quiet {
			t.Errorf("%s: %q", p, got)
		}
	}
	if advice(TableStatus{Phase: PhaseStreaming, Aside: 1}) == "" {
		t.Error("none for parents set aside")
	}
}
