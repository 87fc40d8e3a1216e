package extractor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

const (
	// planStrata are the pieces into which the account's past is cut, to look into each
	// of them twice, at random.
	planStrata = 12
	// planParents is the number of opportunities whose lists are looked at.
	planParents = 16
	// planPages is how many pages of a list that cannot be cut into windows are counted.
	planPages = 20
)

// A Plan says what a first load of an account costs, and what following it costs after
// that. It is made of samples; the fields say how exact they are.
type Plan struct {
	// Tables are the selected tables, in catalogue order.
	Tables []TablePlan `json:"tables"`
	// Requests is the number of requests of the first load, Hours how long they take at
	// Rate (requests per second).
	Requests int64   `json:"requests"`
	Hours    float64 `json:"hours"`
	Rate     float64 `json:"rate"`
	// Asked is the number of requests that the plan itself cost.
	Asked int `json:"requests_asked"`
	// Idle is what following the account costs while nothing changes.
	Idle IdlePlan `json:"idle"`
	// ChangeRequests is what each changed opportunity costs, its share of the listing
	// aside.
	ChangeRequests int `json:"requests_per_changed_opportunity"`
}

// TablePlan is the part of one table.
type TablePlan struct {
	Table string `json:"table"`
	// Rows is the number of rows, Error how far from it the true one may be (two
	// standard errors); 0 if Rows was counted.
	Rows  int64 `json:"rows"`
	Error int64 `json:"rows_error"`
	// AtLeast says that there are more rows than were counted.
	AtLeast bool `json:"at_least,omitempty"`
	// Requests are those of the table itself; With names the table that pays for it.
	Requests int64   `json:"requests"`
	Hours    float64 `json:"hours"`
	With     string  `json:"with,omitempty"`
	// Problem says why nothing is known of the table.
	Problem string `json:"problem,omitempty"`
}

// IdlePlan is the steady state, in requests per second.
type IdlePlan struct {
	// PollRequests are those of one poll; Poll, Refresh and Sweep are requests per second.
	PollRequests int     `json:"requests_per_poll"`
	Poll         float64 `json:"poll_per_second"`
	Refresh      float64 `json:"refresh_per_second"`
	Sweep        float64 `json:"sweep_per_second"`
	// SweepSeconds is the effective interval of the sweep; 0 if there is none.
	SweepSeconds float64 `json:"sweep_interval_seconds"`
	// Share is the part of Rate that all of them take.
	Share float64 `json:"share_of_rate"`
}

// PlanFor asks Lever a few dozen cheap questions and returns what the account costs.
// Lists that can be cut by time of creation are looked into at random times, evenly over
// the account's past, and children of some of the parents found there. Of Config it
// needs the tables, Lever, Confidentiality, Rate, the start date and the intervals.
func PlanFor(ctx context.Context, c Config) (Plan, error) {
	asked := &counter{Lever: c.Lever}
	c.Lever, c.State, c.Clock = asked, nothingKnown{}, cdc.NewClock()
	e, err := New(c)
	if err != nil {
		return Plan{}, err
	}
	p := planner{e: e, tables: map[string]*TablePlan{}, plan: Plan{Rate: c.Rate}}
	for _, t := range c.Tables {
		p.tables[t.Name] = &TablePlan{Table: t.Name}
	}
	for _, f := range e.full {
		if err := p.full(ctx, f); err != nil {
			return Plan{}, err
		}
	}
	for _, l := range e.listings {
		if err := p.listing(ctx, l); err != nil {
			return Plan{}, err
		}
	}
	p.finish()
	p.plan.Asked = asked.n
	return p.plan, nil
}

// counter counts what the plan itself asks for.
type counter struct {
	Lever
	n int
}

func (c *counter) Get(ctx context.Context, r cdc.Request) (cdc.Page, error) {
	c.n++
	r.Class = cdc.ClassCheck
	return c.Lever.Get(ctx, r)
}

// planner is a plan in the making.
type planner struct {
	e      *Extractor
	tables map[string]*TablePlan
	plan   Plan
	// refresh are the pages of the lists that are read whole, again and again.
	refresh int64
	// sweep are the requests of one pass of the sweep, lists those of children.
	sweep, lists int64
}

// problem notes why a list cannot be looked at, if it is about that list alone.
func (p *planner) problem(tables []string, err error) error {
	if !errors.Is(err, cdc.ErrForbidden) && !errors.Is(err, cdc.ErrRejected) && !errors.Is(err, cdc.ErrNotFound) {
		return err
	}
	for _, t := range tables {
		p.tables[t].Problem = err.Error()
	}
	return nil
}

// full counts a list that is read whole.
func (p *planner) full(ctx context.Context, f *fullReader) error {
	q := url.Values{}
	if f.confidential {
		q = p.e.query(nil)
	}
	for k, v := range f.query {
		q.Set(k, v)
	}
	rows, pages, more, err := p.count(ctx, f.path, q, f.inRange)
	if err != nil {
		return p.problem([]string{f.table}, err)
	}
	t := p.tables[f.table]
	t.Rows, t.Requests, t.AtLeast = rows, pages, more
	p.refresh += pages
	return nil
}

// count reads a list's first pages; more says that there are others. It counts the rows
// that are in range.
func (p *planner) count(ctx context.Context, path string, q url.Values, inRange func(map[string]any) bool) (rows, pages int64, more bool, err error) {
	r := cdc.Request{Path: path, Query: q, Limit: pageSize}
	for {
		page, err := p.e.Lever.Get(ctx, r)
		if err != nil {
			return 0, 0, false, fmt.Errorf("count %s: %w", path, err)
		}
		for _, rec := range page.Data {
			if inRange(rec) {
				rows++
			}
		}
		pages++
		if page.Next == "" || page.Next == r.Offset {
			return rows, pages, false, nil
		}
		if pages == planPages {
			return rows, pages, true, nil
		}
		r.Offset = page.Next
	}
}

// listing estimates or counts what a listing holds, and everything under it.
func (p *planner) listing(ctx context.Context, l *listingReader) error {
	if l.noSnapshot {
		return nil // its full list was counted
	}
	if !l.windows {
		q := p.e.query(nil)
		l.since(q)
		rows, pages, more, err := p.count(ctx, l.path, q, func(map[string]any) bool { return true })
		if err != nil {
			return p.problem(l.tables, err)
		}
		t := p.tables[l.tables[0]]
		t.Rows, t.Requests, t.AtLeast = rows, pages, more
		p.sweep += pages
		return nil
	}
	s := survey{l: l}
	if err := s.look(ctx); err != nil {
		return p.problem(l.allTables(), err)
	}
	for i, t := range l.tables {
		p.tables[t].Rows, p.tables[t].Error = round(s.rows), round(2*math.Sqrt(s.variance))
		if i > 0 {
			p.tables[t].With = l.tables[0]
		}
	}
	p.tables[l.tables[0]].Requests = s.pages
	for _, n := range l.nested {
		each, apart := s.inside(n.field)
		p.estimate(n.tables, l.tables[0], s, each)
		p.tables[l.tables[0]].Requests += round(apart)
	}
	p.sweep += p.tables[l.tables[0]].Requests
	parents := s.parents()
	for _, f := range p.e.followers {
		if f.of != l.path {
			continue
		}
		if err := p.children(ctx, f, s, parents); err != nil {
			return err
		}
	}
	return nil
}

// children estimates what one kind of child list holds, from those of some parents.
func (p *planner) children(ctx context.Context, f *follower, s survey, parents []string) error {
	var each sample
	for _, parent := range parents {
		records, err := p.e.list(ctx, &cdc.Unit{}, cdc.Request{Path: f.of + "/" + url.PathEscape(parent) + "/" + f.name, Limit: f.page})
		if err != nil && !errors.Is(err, cdc.ErrNotFound) { // an empty list, on some servers
			return p.problem(f.tables, fmt.Errorf("look at the %s of an opportunity: %w", f.name, err))
		}
		each.add(float64(len(records)))
	}
	p.estimate(f.tables, "", s, each)
	p.tables[f.tables[0]].Requests = round(s.rows)
	p.sweep, p.lists = p.sweep+round(s.rows), p.lists+round(s.rows)
	p.plan.ChangeRequests++
	return nil
}

// estimate sets the rows of tables that have so many rows under each parent. The first
// of them pays, unless another table does.
func (p *planner) estimate(tables []string, payer string, parents survey, each sample) {
	mean, deviation := each.mean()
	for i, t := range tables {
		p.tables[t].Rows = round(parents.rows * mean)
		p.tables[t].Error = round(2 * math.Hypot(parents.rows*deviation, math.Sqrt(parents.variance)*mean))
		if p.tables[t].With = payer; payer == "" && i > 0 {
			p.tables[t].With = tables[0]
		}
	}
}

// finish adds up.
func (p *planner) finish() {
	e, plan := p.e, &p.plan
	for _, t := range e.Tables {
		t := p.tables[t.Name]
		t.Hours = float64(t.Requests) / e.Rate / time.Hour.Seconds()
		plan.Requests += t.Requests
		plan.Tables = append(plan.Tables, *t)
	}
	plan.Hours = float64(plan.Requests) / e.Rate / time.Hour.Seconds()
	for _, l := range e.listings {
		plan.Idle.PollRequests += 1 + len(l.feeds)
	}
	i := &plan.Idle
	i.Poll = float64(i.PollRequests) / e.PollInterval.Seconds()
	i.Refresh = float64(p.refresh) / e.RefreshInterval.Seconds()
	if e.SweepInterval > 0 {
		i.SweepSeconds = e.sweepTime(p.lists).Seconds()
		i.Sweep = float64(p.sweep) / i.SweepSeconds
	}
	i.Share = (i.Poll + i.Refresh + i.Sweep) / e.Rate
}

func round(x float64) int64 { return int64(math.Round(x)) }

// A sample is a number of observations.
type sample struct{ n, sum, squares float64 }

func (s *sample) add(x float64) { s.n, s.sum, s.squares = s.n+1, s.sum+x, s.squares+x*x }

// mean returns the mean of the observations and its standard error. What is rare may
// not be among them at all: an event that did not come in n observations comes, with 95 %
// confidence, in less than 3/n of all.
func (s *sample) mean() (mean, deviation float64) {
	if s.n == 0 {
		return 0, 0
	}
	mean = s.sum / s.n
	deviation = math.Sqrt(max(s.squares/s.n-mean*mean, 0) / s.n)
	return mean, max(deviation, 1.5/s.n)
}

// A survey finds out how many records a listing holds, and what is in them.
//
// If one page holds all of them, that is the count. Otherwise the past is cut into
// strata of equal time, and the records of two windows at random places of each are
// counted. That is an estimate without bias, and the differences within the pairs tell
// how far it may be off.
type survey struct {
	l *listingReader

	rows, variance float64
	// pages are those that the snapshot will read.
	pages int64
	// seen are the records that were looked at.
	seen []map[string]any
}

// look surveys what is in range. With a start date that is what was created since, and
// of what is older what was updated since, which the snapshot reads apart.
func (s *survey) look(ctx context.Context) error {
	e := s.l.e
	q := e.query(s.l.expand)
	if e.StartDate.IsZero() {
		if err := s.add(ctx, q, 0); err != nil {
			return err
		}
		s.pages = int64(math.Ceil(s.rows / pageSize))
		return nil
	}
	start := e.StartDate.UnixMilli()
	created, updated := maps.Clone(q), maps.Clone(q)
	created.Set(createdStart, strconv.FormatInt(start, 10))
	if err := s.add(ctx, created, start); err != nil {
		return err
	}
	since := s.rows
	updated.Set("updated_at_start", strconv.FormatInt(start, 10))
	updated.Set(createdEnd, strconv.FormatInt(start-1, 10))
	if err := s.add(ctx, updated, 0); err != nil {
		return err
	}
	// What was created since was updated since, at the most.
	s.pages = int64(math.Ceil((since + s.rows) / pageSize))
	return nil
}

// Parameters that cut the listing by time of creation (ms, inclusive).
const createdStart, createdEnd = "created_at_start", "created_at_end"

// add surveys the records that the query selects. None is older than floor (ms), if
// that is not 0.
func (s *survey) add(ctx context.Context, q url.Values, floor int64) error {
	p, err := s.page(ctx, q, pageSize)
	if err != nil {
		return err
	}
	if p.Next == "" {
		s.rows += float64(len(p.Data))
		s.seen = append(s.seen, p.Data...)
		return nil
	}
	newest := p.Date.UnixMilli()
	if end, err := strconv.ParseInt(q.Get(createdEnd), 10, 64); err == nil {
		newest = end
	}
	if floor == 0 {
		if floor, err = s.oldest(ctx, q, newest); err != nil {
			return err
		}
	}
	stratum := float64(newest-floor) / planStrata
	width := stratum / 8
	for i := range planStrata {
		var pair [2]float64
		from := float64(floor) + float64(i)*stratum
		for j := 0; j < len(pair); {
			at := from + rand.Float64()*(stratum-width)
			n, more, err := s.window(ctx, q, int64(at), int64(at+width)-1)
			if err != nil {
				return err
			}
			if more && width > float64(time.Minute.Milliseconds()) {
				j, width = 0, width/4 // both of the pair have the same width
				continue
			}
			pair[j] = float64(n) * stratum / width
			j++
		}
		s.rows += (pair[0] + pair[1]) / 2
		s.variance += (pair[0] - pair[1]) * (pair[0] - pair[1]) / 4
		if max(pair[0], pair[1])*width/stratum < pageSize/4 {
			width = min(2*width, stratum)
		}
	}
	return nil
}

// oldest returns a time (ms) before which nothing that the query selects was created,
// at most an eighth too early.
func (s *survey) oldest(ctx context.Context, q url.Values, newest int64) (int64, error) {
	older := func(age int64) (bool, error) {
		q := maps.Clone(q)
		q.Set(createdEnd, strconv.FormatInt(newest-age, 10))
		p, err := s.page(ctx, q, 1)
		return len(p.Data) > 0, err
	}
	const most = 50 * 365 * 24 * time.Hour
	low, high := int64(0), firstWindow.Milliseconds()
	for {
		is, err := older(high)
		if err != nil {
			return 0, err
		}
		if !is || high > most.Milliseconds() {
			break
		}
		low, high = high, 2*high
	}
	for range 3 {
		middle := (low + high) / 2
		is, err := older(middle)
		if err != nil {
			return 0, err
		}
		if is {
			low = middle
		} else {
			high = middle
		}
	}
	return newest - high, nil
}

// window counts the records of a window, up to a few pages.
func (s *survey) window(ctx context.Context, q url.Values, from, to int64) (n int, more bool, err error) {
	const pages = 3
	q = maps.Clone(q)
	q.Set(createdStart, strconv.FormatInt(from, 10))
	q.Set(createdEnd, strconv.FormatInt(to, 10))
	r := cdc.Request{Path: s.l.path, Query: q, Limit: pageSize}
	for range pages {
		p, err := s.l.e.Lever.Get(ctx, r)
		if err != nil {
			return 0, false, fmt.Errorf("look into %s: %w", s.l.path, err)
		}
		n += len(p.Data)
		s.seen = append(s.seen, p.Data...)
		if p.Next == "" {
			return n, false, nil
		}
		r.Offset = p.Next
	}
	return n, true, nil
}

func (s *survey) page(ctx context.Context, q url.Values, limit int) (cdc.Page, error) {
	p, err := s.l.e.Lever.Get(ctx, cdc.Request{Path: s.l.path, Query: q, Limit: limit})
	if err != nil {
		return p, fmt.Errorf("look into %s: %w", s.l.path, err)
	}
	return p, nil
}

// parents returns the ids of some of the records seen.
func (s *survey) parents() []string {
	var ids []string
	for _, i := range rand.Perm(len(s.seen))[:min(len(s.seen), planParents)] {
		ids = append(ids, text(s.seen[i], "id"))
	}
	return ids
}

// inside returns how many rows are in the field of each record, and how many of the
// records hold ids in their place, so that each needs a request of its own.
func (s *survey) inside(field string) (rows sample, apart float64) {
	for _, rec := range s.seen {
		list, _ := rec[field].([]any)
		rows.add(float64(len(list)))
		if _, expanded := objects(rec[field]); !expanded && len(list) > 0 {
			apart++
		}
	}
	return rows, apart * s.rows / max(float64(len(s.seen)), 1)
}

// nothingKnown is the state of an account of which nothing was read.
type nothingKnown struct{}

func (nothingKnown) Row(string, string) (Known, bool, error)         { return Known{}, false, nil }
func (nothingKnown) Keys(string) iter.Seq2[string, error]            { return func(func(string, error) bool) {} }
func (nothingKnown) KeysAfter(string, string, int) ([]string, error) { return nil, nil }
func (nothingKnown) Children(string, string) ([]string, error)       { return nil, nil }
func (nothingKnown) Count(string) int64                              { return 0 }
func (nothingKnown) Since(string, int64, int) ([]cdc.Version, error) { return nil, nil }
func (nothingKnown) LSN() int64                                      { return 0 }
func (nothingKnown) Section(string, string) json.RawMessage          { return nil }
