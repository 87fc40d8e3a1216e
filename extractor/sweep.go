package extractor

import (
	"context"
	"errors"
	"hash/maphash"
	"net/url"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leverstream/leverstream/internal/cdc"
)

// A sweep reads again what can change without any trace: fields that do not move
// updatedAt, postings, offers and other children that change without their parent,
// rows that vanished without a feed. A pass takes one interval, evenly: a row that is
// read in the middle of one pass is read in the middle of the next.
//
// What is due is a matter of time, not of having been awake: after a pause of the
// program the sweep catches up, as fast as its class of requests is served.

// sweepSection is where a pass stands.
type sweepSection struct {
	// Began is when (ms) the pass began.
	Began int64 `json:"began"`
	// Opened is when (ms) its first row was read, which is later if it was overdue.
	Opened int64 `json:"opened,omitempty"`
	// Total is the number of rows when it began, Done those that were read.
	Total int64 `json:"total,omitempty"`
	Done  int64 `json:"done,omitempty"`
	// After is the last parent whose children were read.
	After string `json:"after,omitempty"`
	// End is the newest createdAt (ms) that the listing has not read yet; Width is
	// that of the next window (ms).
	End   *int64 `json:"end,omitempty"`
	Width int64  `json:"width,omitempty"`
}

const (
	// sweepBatch is the most children's lists that are read at a time.
	sweepBatch = 50
	// sweepSaves is the tick at which the bookmark moves within a pass over children's lists:
	// what little was read since is read again after a crash.
	sweepSaves = 10 * time.Second
)

// sweepAhead is where a pass stands, if the bookmark still says from.
type sweepAhead struct {
	from, at sweepSection
	saved    time.Time
}

// sweepInterval is the time of one pass: the one asked for or, if the account is too
// large for that, what half of the rate takes for all children. 0 means no sweep.
func (e *Extractor) sweepInterval() time.Duration {
	if e.SweepInterval <= 0 {
		return 0
	}
	lists := int64(0)
	for _, f := range e.followers {
		lists += e.State.Count(f.lead)
	}
	return e.sweepTime(lists)
}

// sweepTime is the time of one pass over so many lists of children.
func (e *Extractor) sweepTime(lists int64) time.Duration {
	least := time.Duration(float64(lists) / (e.Rate / 2) * float64(time.Second))
	return max(e.SweepInterval, least)
}

// due is when the n-th row of the pass is to be read.
func (s *sweepSection) due(n int64, interval time.Duration) time.Time {
	share := 1.0
	if s.Total > 0 {
		share = min(1, float64(n)/float64(s.Total))
	}
	return time.UnixMilli(s.Began).Add(time.Duration(share * float64(interval)))
}

// next is the section of the pass after this one. Every row is due an interval after it
// was read: where this pass was on time, when it was due; where it was late, and caught
// up, not before it was opened.
func (s *sweepSection) next(interval time.Duration, total int64) sweepSection {
	return sweepSection{Began: max(s.Began+interval.Milliseconds(), s.Opened), Total: total}
}

// open notes that the pass is read from now on, if it was not before.
func (s *sweepSection) open(now time.Time) {
	if s.Opened == 0 {
		s.Opened = now.UnixMilli()
	}
}

// openSweep returns where the pass over the tables stands; ok is false while the
// snapshot of one of them is not complete. A first pass begins now: everything was
// just read.
func (e *Extractor) openSweep(tables []string, lead string) (s sweepSection, ok bool, err error) {
	first := true
	for _, t := range tables {
		if !e.complete(t) || !e.complete(lead) {
			return s, false, nil
		}
		var x sweepSection
		found, err := section(e.State, t, sectionSweep, &x)
		if err != nil {
			return s, false, errors.Join(errState, err)
		}
		if !found {
			x = sweepSection{Began: time.Now().UnixMilli(), Total: e.State.Count(lead)}
		}
		// Tables that stand at different places start at the one that is behind.
		if first || x.Began < s.Began || x.Began == s.Began && x.Done < s.Done {
			s, first = x, false
		}
	}
	// The clock was set back. A listing that was read early begins its next pass later, but by
	// less than an interval.
	if now := time.Now(); s.Began > now.Add(e.sweepInterval()).UnixMilli() {
		s.Began, s.Opened = now.UnixMilli(), 0
	}
	return s, !first, nil
}

// sweepTables are the listing's tables that are swept.
func (l *listingReader) sweepTables() []string {
	return slices.DeleteFunc(l.allTables(), func(t string) bool { return !l.e.complete(t) })
}

// sweep reads the listing again, window by window, as each becomes due, and finds the
// known rows that it does not hold. It returns when nothing more was due at now, and
// when the next window is.
func (l *listingReader) sweep(ctx context.Context, now time.Time) (next time.Time, err error) {
	e := l.e
	for {
		tables := l.sweepTables()
		if len(tables) == 0 || tables[0] != l.tables[0] {
			return now.Add(e.PollInterval), nil
		}
		s, ok, err := e.openSweep(tables, tables[0])
		if err != nil || !ok {
			return now.Add(e.PollInterval), err
		}
		interval := e.sweepInterval()
		e.Status.sweeping(interval)
		due := s.due(s.Done+fewRows, interval)
		if now.Before(due) {
			return due, e.openedSweep(ctx, l.loop("sweep"), tables, s)
		}
		s.open(now)
		if l.pass == nil || l.pass.opened != s.Opened || s.Done == 0 {
			l.pass = newListingPass(s.Opened, s.Done == 0)
		}
		if err := l.sweepWindow(ctx, tables, s, interval); err != nil {
			return time.Time{}, err
		}
	}
}

// openedSweep writes the section of a pass that has just been opened, or that begins anew
// because the clock was set back, so that it is still the same when the next row is due.
func (e *Extractor) openedSweep(ctx context.Context, l loop, tables []string, s sweepSection) error {
	var was sweepSection
	if found, err := section(e.State, tables[0], sectionSweep, &was); err != nil || found && was.Began == s.Began {
		return err
	}
	return e.commit(ctx, &cdc.Unit{Scan: l.name, Changes: changes(tables, sectionSweep, s)})
}

// listingPass is what a pass over a listing remembers in memory: which records it has
// seen. After a restart that is not known, and the pass finds no missing rows; it is then
// made once more.
type listingPass struct {
	// opened is what the bookmark says of when the pass began (ms), and began is the time
	// of its first answer (ms, Lever's clock), 0 before that.
	opened, began int64
	whole         bool
	seed          maphash.Seed
	seen          []uint64 // hashes of ids: eight bytes for each record
}

func newListingPass(opened int64, whole bool) *listingPass {
	return &listingPass{opened: opened, whole: whole, seed: maphash.MakeSeed()}
}

// note notes a page's records as seen. A pass that is not whole, or nil, needs none.
func (p *listingPass) note(page cdc.Page) {
	if p == nil || !p.whole {
		return
	}
	if p.began == 0 {
		p.began = page.Date.UnixMilli()
	}
	for _, rec := range page.Data {
		p.seen = append(p.seen, maphash.String(p.seed, text(rec, "id")))
	}
}

// missed says that no record with the key was seen. The hashes must be sorted.
func (p *listingPass) missed(key string) bool {
	_, ok := slices.BinarySearch(p.seen, maphash.String(p.seed, key))
	return !ok
}

// sweepWindow reads one window, or the whole list if it has none. With the last one
// the pass ends.
func (l *listingReader) sweepWindow(ctx context.Context, tables []string, s sweepSection, interval time.Duration) error {
	e := l.e
	w := snapshotSection{Began: s.Began, End: s.End, Width: s.Width}
	if w.Width == 0 {
		w.Width = firstWindow.Milliseconds()
	}
	q := e.query(l.expand)
	if l.windows {
		w.openWindow(l.floor())
		w.bound(q)
	}
	l.since(q)
	rows := 0
	into := set(tables)
	read := func(q url.Values) error {
		return e.pages(ctx, pageRead{
			request: cdc.Request{Class: cdc.ClassSweep, Path: l.path, Query: q, Limit: pageSize},
			unit: func(p cdc.Page, _ string) (*cdc.Unit, error) {
				u := unit(l.loop("sweep").name, p)
				if err := l.add(ctx, u, p.Data, into, cdc.ClassSweep); err != nil {
					return nil, err
				}
				l.pass.note(p)
				rows += len(p.Data)
				return u, nil
			},
		})
	}
	if err := read(q); err != nil {
		return err
	}
	if l.windows {
		w.closeWindow(rows, l.floor())
	} else {
		w.Complete = true
	}
	if !w.Complete {
		s.End, s.Width, s.Done = w.End, w.Width, s.Done+int64(rows)
		return e.commit(ctx, &cdc.Unit{Scan: l.loop("sweep").name, Changes: changes(tables, sectionSweep, s)})
	}
	if l.windows && !e.StartDate.IsZero() {
		// Older records that were updated since are in range, too.
		q := e.query(l.expand)
		q.Set("updated_at_start", strconv.FormatInt(e.StartDate.UnixMilli(), 10))
		if err := read(q); err != nil {
			return err
		}
	}
	if l.pass.whole {
		own := slices.DeleteFunc(slices.Clone(tables), func(t string) bool { return !slices.Contains(l.tables, t) })
		if err := l.vanished(ctx, l.pass, own, l.loop("sweep").name); err != nil {
			return err
		}
	}
	next := s.next(interval, e.State.Count(tables[0]))
	if !l.pass.whole {
		// Nobody remembers what the pass has seen. The next one is made at once, so that it is
		// known however often the program is restarted.
		next.Began = s.Opened - interval.Milliseconds()
	}
	return e.commit(ctx, &cdc.Unit{Scan: l.loop("sweep").name, Changes: changes(tables, sectionSweep, next)})
}

// vanished asks for every known row of the listing's tables that the pass has not seen and
// that was not surely written after it began. The guard may have kept it in one table only.
func (l *listingReader) vanished(ctx context.Context, pass *listingPass, tables []string, scan string) error {
	e := l.e
	slices.Sort(pass.seen)
	var missing []string
	for _, table := range tables {
		for key, err := range e.State.Keys(table) {
			if err != nil {
				return errors.Join(errState, err)
			}
			if !pass.missed(key) {
				continue
			}
			row, known, err := e.State.Row(table, key)
			if err != nil {
				return errors.Join(errState, err)
			}
			// Lever's Date counts full seconds: a row of the same second may be older.
			if known && row.ReadAt.UnixMilli() <= pass.began {
				missing = append(missing, key)
			}
		}
	}
	slices.Sort(missing)
	missing = slices.Compact(missing)
	for _, key := range missing {
		read := e.Clock.Begin()
		u := &cdc.Unit{Scan: scan}
		kept, err := l.ask(ctx, u, key, cdc.ClassSweep)
		if err == nil && !kept {
			err = e.commit(ctx, u)
		}
		e.Clock.End(read)
		if err != nil {
			return err
		}
	}
	return nil
}

// sweep reads the children of every known parent again, each when it is due. It
// returns when nothing more was due at now, and when the next parent is.
func (f *follower) sweep(ctx context.Context, now time.Time) (next time.Time, err error) {
	e := f.e
	for {
		saved, ok, err := e.openSweep(f.tables, f.lead)
		if err != nil || !ok {
			return now.Add(e.PollInterval), err
		}
		s := saved
		if f.ahead.from == saved {
			s = f.ahead.at
		}
		interval := e.sweepInterval()
		most := 0
		for most < sweepBatch && !now.Before(s.due(s.Done+int64(most)+1, interval)) {
			most++
		}
		if most == 0 {
			return s.due(s.Done+1, interval), e.openedSweep(ctx, f.sweepLoop, f.tables, s)
		}
		keys, err := e.State.KeysAfter(f.lead, s.After, most)
		if err != nil {
			return time.Time{}, errors.Join(errState, err)
		}
		if len(keys) == 0 {
			end := s.due(s.Total, interval)
			if now.Before(end) {
				return end, nil
			}
			s.open(now) // a pass over nothing is read now, however often it was missed
			s = s.next(interval, e.State.Count(f.lead))
		} else {
			s.open(now)
			s.After, s.Done = keys[len(keys)-1], s.Done+int64(len(keys))
			if err := f.sweepLists(ctx, slices.Concat(f.takeTouched(len(keys)), keys)); err != nil {
				return time.Time{}, err
			}
		}
		f.ahead.from, f.ahead.at = saved, s
		if len(keys) == 0 || e.tick(sweepSaves, time.Now()) > e.tick(sweepSaves, f.ahead.saved) {
			if err := f.saveSweep(ctx); err != nil {
				return time.Time{}, err
			}
		}
	}
}

// saveSweep moves the bookmark to where the pass stands.
func (f *follower) saveSweep(ctx context.Context) error {
	if f.ahead.from == f.ahead.at {
		return nil
	}
	u := &cdc.Unit{Scan: f.sweepLoop.name, Changes: changes(f.tables, sectionSweep, f.ahead.at)}
	if err := f.e.commit(ctx, u); err != nil {
		return err
	}
	f.ahead = sweepAhead{saved: time.Now()}
	return nil
}

// sweepWhole is sweep, and leaves nothing unsaved.
func (f *follower) sweepWhole(ctx context.Context, now time.Time) (next time.Time, err error) {
	if next, err = f.sweep(ctx, now); err != nil {
		return next, err
	}
	return next, f.saveSweep(ctx)
}

// sweepLists reads the children of the parents. One parent that cannot be read while
// others can does not hold up the sweep: the follower tries it apart.
func (f *follower) sweepLists(ctx context.Context, parents []string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, f.e.Concurrency/len(f.e.followers)))
	for _, parent := range parents {
		g.Go(func() error {
			if f.isApart(parent) {
				return nil // it is asked for anyway
			}
			defer f.e.Status.beat(f.sweepLoop)
			broken, err := f.try(ctx, parent, cdc.ClassSweep, func() {})
			switch {
			case err == nil, errors.Is(err, cdc.ErrForbidden) && f.hidden(ctx, parent):
				return nil
			case broken && f.roomAside():
				f.putAside(parent)
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// sweepAlways repeats a sweep whenever something is due, until ctx ends.
func (e *Extractor) sweepAlways(ctx context.Context, l loop, sweep func(context.Context, time.Time) (time.Time, error)) error {
	for {
		var next time.Time
		err := e.untilDone(ctx, l, e.alive(l, func(ctx context.Context) (err error) {
			next, err = sweep(ctx, time.Now())
			return err
		}))
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		// Never in a hurry: what becomes due until the next tick is read together.
		pause := e.toTick(min(time.Second, e.PollInterval), max(time.Until(next), 0))
		e.Status.rests(l, pause)
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// hidden says that the key may not see this one parent (a confidential one), so that its
// lists tell nothing about the endpoint.
func (f *follower) hidden(ctx context.Context, parent string) bool {
	_, err := f.e.Lever.Get(ctx, cdc.Request{Class: cdc.ClassSweep, Path: f.of + "/" + url.PathEscape(parent)})
	return errors.Is(err, cdc.ErrForbidden) || errors.Is(err, cdc.ErrNotFound)
}
