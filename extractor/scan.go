package extractor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// A pageRead reads one list from its first page, or from a token, to its end.
type pageRead struct {
	request cdc.Request
	// unit turns a page into a unit; next is the following page's token, empty on
	// the last page.
	unit func(p cdc.Page, next string) (*cdc.Unit, error)
	// live says that children of changed parents should be read at once.
	live bool
	// firstOnly says that the first page is enough.
	firstOnly bool
}

// mostAhead is how many pages of a list may be with the writer at once. A bookmark is at most
// twice as many pages behind: those are read again after a crash.
const mostAhead = 4

// pages reads the list. Pages are fetched while those before are being committed. What a
// page changes in the bookmarks goes with the page if none is ahead of it, and otherwise before
// the first page that is submitted when it and all before it are settled. So a bookmark that
// names page k says that all pages before it are done.
func (e *Extractor) pages(ctx context.Context, l pageRead) (err error) {
	var ahead []*submission // in the order of the pages
	defer func() {
		for _, s := range ahead {
			e.Clock.End(s.read)
		}
	}()
	var changes []cdc.Change // of settled pages, not submitted yet
	settle := func() error {
		s := ahead[0]
		ahead = ahead[1:]
		changes = append(changes, s.changes...)
		return e.settled(ctx, s)
	}
	r := l.request
	seen := trail{mark: r.Offset}
	for {
		read := e.Clock.Begin()
		p, limit, err := e.page(ctx, r)
		if err == nil {
			err = seen.next(r.Path, p.Next)
		}
		last := err != nil || p.Next == "" || l.firstOnly
		for len(ahead) > 0 && (last || len(ahead) >= mostAhead || !ahead[0].open()) {
			err = errors.Join(err, settle())
		}
		var u *cdc.Unit
		if err == nil {
			u, err = l.unit(p, p.Next)
		}
		if err != nil {
			e.Clock.End(read)
			return err
		}
		own := u.Changes
		u.Changes = nil
		switch {
		case len(ahead) == 0:
			u.Changes, own, changes = slices.Concat(changes, own), nil, nil
		case len(changes) > 0:
			// In a unit of their own, which is never refused: with rows that have to be read
			// again they would come after those of the pages behind. It is answered before the
			// page is.
			if _, err = e.deliver(ctx, &cdc.Unit{Scan: u.Scan, Changes: changes}); err != nil {
				e.Clock.End(read)
				return err
			}
			changes = nil
		}
		s, err := e.submit(ctx, read, u, l.live)
		if err != nil {
			return err
		}
		s.changes = own
		if ahead = append(ahead, s); last {
			return settle()
		}
		r.Offset = p.Next
		r.Limit = min(l.request.Limit, 2*limit)
	}
}

// A trail recognises page tokens that go round in a circle. It remembers one of them, and
// takes a later one after twice as many pages (Brent's algorithm).
type trail struct {
	mark         string
	steps, power int
}

// next takes the token of the list's next page. The error says that the page was read before.
func (t *trail) next(path, token string) error {
	if token == "" {
		return nil
	}
	if token == t.mark {
		return fmt.Errorf("%w: list %s names a page that was read before as its next one", cdc.ErrUnavailable, path)
	}
	if t.steps++; t.steps > t.power {
		t.mark, t.steps, t.power = token, 0, 2*t.power+1
	}
	return nil
}

// page asks for a page. If Lever cannot serve it, it is asked for in smaller ones: a
// hundred records may be too many for the server within its time. limit is the size
// that was served.
func (e *Extractor) page(ctx context.Context, r cdc.Request) (p cdc.Page, limit int, err error) {
	const smaller = 10
	for {
		p, err = e.Lever.Get(ctx, r)
		if r.Limit <= 1 || !errors.Is(err, cdc.ErrUnavailable) || ctx.Err() != nil {
			return p, r.Limit, err
		}
		r.Limit = max(1, r.Limit/smaller)
		e.Logger.Warn("Lever does not serve a page; asking for a smaller one", "path", r.Path, "limit", r.Limit, "error", err)
	}
}

// deliver submits the unit, less the deletes that the guard holds back.
func (e *Extractor) deliver(ctx context.Context, u *cdc.Unit) (<-chan cdc.Result, error) {
	if err := e.guard.apply(u); err != nil {
		return nil, err
	}
	return e.Sink.Submit(ctx, u)
}

// A submission is a unit that is with the writer.
type submission struct {
	unit    *cdc.Unit
	read    cdc.Instant
	live    bool
	results <-chan cdc.Result
	// changes are those of the bookmarks that wait until it is settled.
	changes []cdc.Change
}

// open says that the writer has not answered yet.
func (s *submission) open() bool { return len(s.results) == 0 }

// submit hands the unit over. The read that it came from ends when it is settled.
func (e *Extractor) submit(ctx context.Context, read cdc.Instant, u *cdc.Unit, live bool) (*submission, error) {
	results, err := e.deliver(ctx, u)
	if err != nil {
		e.Clock.End(read)
		return nil, err
	}
	return &submission{unit: u, read: read, live: live, results: results}, nil
}

// settled waits until everything in the submission is applied.
func (e *Extractor) settled(ctx context.Context, s *submission) error {
	defer e.Clock.End(s.read)
	return e.settle(ctx, s.unit, s.results, s.live)
}

// commit submits the unit and waits until everything in it is applied.
func (e *Extractor) commit(ctx context.Context, u *cdc.Unit) error {
	results, err := e.deliver(ctx, u)
	if err != nil {
		return err
	}
	return e.settle(ctx, u, results, false)
}

// settle waits for the unit's result, and reads again what was refused until
// nothing is.
func (e *Extractor) settle(ctx context.Context, u *cdc.Unit, results <-chan cdc.Result, live bool) error {
	const rounds = 20
	for range rounds {
		r, err := await(ctx, results)
		if err != nil {
			return err
		}
		e.Status.committed(u)
		e.wake(r, live)
		if len(r.Again) == 0 {
			return nil
		}
		read := e.Clock.Begin()
		defer e.Clock.End(read)
		next := &cdc.Unit{Scan: u.Scan, Changes: u.Changes, Write: u.Write}
		if err := e.readAgain(ctx, next, r.Again, true); err != nil {
			return err
		}
		u = next
		if results, err = e.deliver(ctx, u); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %s: rows kept changing while they were read again", cdc.ErrUnavailable, u.Scan)
}

func await(ctx context.Context, results <-chan cdc.Result) (cdc.Result, error) {
	select {
	case r := <-results:
		return r, r.Err
	case <-ctx.Done():
		return cdc.Result{}, ctx.Err()
	}
}

// unit starts a unit that carries what one page says.
func unit(scan string, p cdc.Page) *cdc.Unit {
	return &cdc.Unit{Scan: scan, Sent: p.Sent, Arrived: p.Arrived, ReadAt: p.Date}
}

// get asks for a page on behalf of a unit, whose instants then cover the answer; so
// does the answer that there is no such thing (cdc.ErrNotFound).
func (e *Extractor) get(ctx context.Context, u *cdc.Unit, r cdc.Request) (cdc.Page, error) {
	sent := e.Clock.Now()
	p, err := e.Lever.Get(ctx, r)
	if err != nil {
		p.Sent, p.Arrived, p.Date = sent, e.Clock.Now(), time.Time{}
	}
	if u.Sent == 0 || p.Sent < u.Sent {
		u.Sent = p.Sent
	}
	u.Arrived = max(u.Arrived, p.Arrived)
	if !p.Date.IsZero() && (u.ReadAt.IsZero() || p.Date.Before(u.ReadAt)) {
		u.ReadAt = p.Date
	}
	return p, err
}

// wake tells the followers that parents may have changed; with live, which ones to
// put before any backlog.
func (e *Extractor) wake(r cdc.Result, live bool) {
	if r.Events == 0 {
		return
	}
	for _, f := range e.followers {
		f.touch(r.Touched)
		if live {
			f.hurry(r.Changed)
		}
		f.wake()
	}
}

// text returns the record's field if it is a string, else "".
func text(rec map[string]any, field string) string {
	s, _ := rec[field].(string)
	return s
}
