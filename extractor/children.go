package extractor

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"sync"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// mostHurried bounds the parents that wait to be put before the backlog. More than
// that is a backlog itself, and the cursor finds them all.
const mostHurried = 10_000

// mostAside bounds the parents set aside. When more cannot be read than that, it is Lever that
// is in trouble and not these parents: the table waits, rather than that the bookmark, which
// names them all, outgrows what a Kafka message may be.
const mostAside = 1_000

// A follower reads one kind of child list for every parent that has changed.
//
// Its cursor is an LSN: all parents whose last event is not above it are done and
// committed. So no crash loses a pending parent, and what was in flight is read
// again. Beside the backlog, parents that a live increment has just changed are
// read at once; the backlog skips them when it gets there.
type follower struct {
	childList
	e      *Extractor
	tables []string
	// loop and sweepLoop are how its two kinds of work are known.
	loop, sweepLoop loop
	// lead is the parent table whose LSNs the cursor counts.
	lead string
	// ahead is how far the sweep is beyond its bookmark.
	ahead sweepAhead
	// signal holds a token while the state may have news.
	signal chan struct{}

	mu      sync.Mutex
	hurried []string
	queued  map[string]bool
	// touched are parents that the sweep takes first; aside are those it could not read, on
	// their way to the loop that asks for them apart; apart are those that this one has.
	touched, aside []string
	apart          map[string]bool
}

// newFollowers returns the followers of a child list: one for both of its tables,
// or one for each parent table while the parents are at different points of their
// snapshots (one of them was added later).
func newFollowers(e *Extractor, c childList, tables []string) []*follower {
	byLead := map[string]*follower{}
	var out []*follower
	for _, t := range tables {
		lead := e.selected[t].Parent
		for other := range byLead {
			if e.samePhase(lead, other) {
				lead = other
			}
		}
		f := byLead[lead]
		if f == nil {
			f = &follower{childList: c, e: e, lead: lead, signal: make(chan struct{}, 1), queued: map[string]bool{}, apart: map[string]bool{}}
			byLead[lead] = f
			out = append(out, f)
		}
		f.tables = append(f.tables, t)
	}
	for _, f := range out {
		f.loop = loop{name: f.name + " of " + f.lead, tables: f.tables, path: f.of + "/:id/" + f.name}
		f.sweepLoop = f.loop
		f.sweepLoop.name += " sweep"
	}
	return out
}

// allFollowers returns the followers of all child lists, as the tables stand now.
func (e *Extractor) allFollowers() (out []*follower) {
	for _, cl := range childLists(e.NativeCandidates) {
		if tables := e.selection(cl.tables); len(tables) > 0 {
			out = append(out, newFollowers(e, cl, tables)...)
		}
	}
	return out
}

// apart says that a list is read twice, because its parent tables are not in step.
func (e *Extractor) apart() bool {
	lists := map[string]bool{}
	for _, f := range e.followers {
		lists[f.of+"/"+f.name] = true
	}
	return len(lists) < len(e.followers)
}

// errInStep says that tables which were apart are in step, so that one follower can read a
// list for both.
var errInStep = errors.New("tables are in step again")

// untilInStep looks for that until ctx ends.
func (e *Extractor) untilInStep(ctx context.Context) error {
	for sleep(ctx, e.RefreshInterval) {
		if len(e.allFollowers()) < len(e.followers) {
			return errInStep
		}
	}
	return nil
}

// samePhase says that two parent tables are in step, so that a row of one implies the
// same row of the other: their snapshots are both complete, or run together, and none
// of them was left out for a while.
func (e *Extractor) samePhase(a, b string) bool {
	equal := func(name string) bool { return bytes.Equal(e.State.Section(a, name), e.State.Section(b, name)) }
	return equal(sectionIncrement) && (e.complete(a) && e.complete(b) || equal(cdc.SectionSnapshot))
}

// complete says whether the table's snapshot is.
func (e *Extractor) complete(table string) bool { return complete(e.State, table) }

// wake tells the follower to look at the state again.
func (f *follower) wake() {
	select {
	case f.signal <- struct{}{}:
	default:
	}
}

// hurry puts parents before the backlog.
func (f *follower) hurry(changed []cdc.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ref := range changed {
		if ref.Table == f.lead && !f.queued[ref.Key] && len(f.hurried) < mostHurried {
			f.queued[ref.Key] = true
			f.hurried = append(f.hurried, ref.Key)
		}
	}
}

// next takes the parent that waits longest to be hurried.
func (f *follower) next() (key string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.hurried) == 0 {
		return "", false
	}
	key, f.hurried = f.hurried[0], f.hurried[1:]
	delete(f.queued, key)
	return key, true
}

// touch puts parents to the front of the sweep.
func (f *follower) touch(parents []cdc.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ref := range parents {
		if ref.Table == f.lead && len(f.touched) < mostHurried {
			f.touched = append(f.touched, ref.Key)
		}
	}
}

// takeTouched takes up to n parents from the front of the sweep.
func (f *follower) takeTouched(n int) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	n = min(n, len(f.touched))
	out := f.touched[:n:n]
	f.touched = f.touched[n:]
	return out
}

// roomAside says that one more parent may be set aside.
func (f *follower) roomAside() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.apart)+len(f.aside) < mostAside
}

// putAside hands a parent that the sweep could not read to the loop that retries such
// parents.
func (f *follower) putAside(parent string) {
	f.mu.Lock()
	f.aside = append(f.aside, parent)
	f.mu.Unlock()
	f.wake()
}

// hasAside says that the sweep has put parents aside that nobody has taken.
func (f *follower) hasAside() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.aside) > 0
}

func (f *follower) takeAside() (parents []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	parents, f.aside = f.aside, nil
	return parents
}

// isApart says that the parent is asked for apart.
func (f *follower) isApart(parent string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.apart[parent]
}

// nowApart notes whether a parent is asked for apart.
func (f *follower) nowApart(parent string, is bool) {
	f.mu.Lock()
	if is {
		f.apart[parent] = true
	} else {
		delete(f.apart, parent)
	}
	n := len(f.apart)
	f.mu.Unlock()
	f.e.Status.aside(f.loop, n)
}

// listTimeout bounds the answer to a list that is asked for among others. One that takes
// longer is asked for apart, with more patience.
const listTimeout = 20 * time.Second

// quick is how lists are asked for: whoever asks tries again, after the others.
func quick(class cdc.Class) cdc.Request {
	return cdc.Request{Class: class, Attempts: 1, Timeout: listTimeout}
}

// try reads and commits a parent's list. broken says that it is this list that cannot be
// read, while others can.
func (f *follower) try(ctx context.Context, parent string, class cdc.Class, submitted func()) (broken bool, err error) {
	how := quick(class)
	q := question{f.lead, f.loop.path, how}
	q.request.Limit = f.page
	return f.e.ask(ctx, q, parent, func() error { return f.one(ctx, parent, how, submitted) })
}

// run follows until ctx ends. If until is not nil, it ends when until is closed and
// no parent is left to read, or with the first error that is not one parent's own.
func (f *follower) run(ctx context.Context, until <-chan struct{}) error {
	if until != nil {
		return f.e.attempt(ctx, f.loop, func(ctx context.Context) error { return f.follow(ctx, until) })
	}
	return f.e.untilDone(ctx, f.loop, func(ctx context.Context) error { return f.follow(ctx, nil) })
}

// one reads the parent's list once and commits it. submitted is called when the list is
// with the writer; how is the request without path and limit.
func (f *follower) one(ctx context.Context, parent string, how cdc.Request, submitted func()) error {
	read := f.e.Clock.Begin()
	defer f.e.Clock.End(read)
	u := &cdc.Unit{Scan: f.loop.name}
	// The sweep asks about the parent, too, where there is no list.
	if err := f.list(ctx, u, parent, how, how.Class == cdc.ClassSweep); err != nil {
		return err
	}
	results, err := f.e.deliver(ctx, u)
	if err != nil {
		return err
	}
	submitted()
	return f.e.settle(ctx, u, results, false)
}

// list adds the complete child list of a parent to the unit. Some servers answer 404
// for a list that is empty. When confirming, that answer is not believed before the
// parent itself was asked for.
func (f *follower) list(ctx context.Context, u *cdc.Unit, parent string, how cdc.Request, confirming bool) error {
	how.Path, how.Limit = f.of+"/"+url.PathEscape(parent)+"/"+f.name, f.page
	records, err := f.e.list(ctx, u, how)
	if errors.Is(err, cdc.ErrNotFound) {
		records, err = nil, nil
		if confirming {
			err = f.e.listing(f.of).single(ctx, u, parent, how.Class)
		}
	}
	if err != nil {
		return err
	}
	for _, t := range f.tables {
		for _, rec := range records {
			u.Rows = append(u.Rows, cdc.Row{Table: t, Key: text(rec, "id"), Parent: parent, Fields: rec})
		}
		u.Lists = append(u.Lists, cdc.List{Table: t, Parent: parent})
	}
	return nil
}

// list reads all pages of a list on behalf of a unit.
func (e *Extractor) list(ctx context.Context, u *cdc.Unit, r cdc.Request) (records []map[string]any, err error) {
	seen := trail{mark: r.Offset}
	for restarts := 0; ; {
		p, err := e.get(ctx, u, r)
		switch {
		case errors.Is(err, cdc.ErrInvalidOffset) && restarts < 2:
			restarts++
			records, r.Offset, seen = nil, "", trail{}
			continue
		case err != nil:
			return nil, err
		}
		if err := seen.next(r.Path, p.Next); err != nil {
			return nil, err
		}
		records = append(records, p.Data...)
		if r.Offset = p.Next; r.Offset == "" {
			return records, nil
		}
	}
}
