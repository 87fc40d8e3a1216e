// Package sandbox simulates the Lever API: an account of invented people that is
// generated from a seed, served over HTTP in the shapes that Lever sends, and changed
// on demand. It is the account behind `producer sandbox` and `producer demo`, and the
// fake against which the readers of Lever are tested.
//
// The type that matters is [Lever]. It is an [http.Handler] for paths under /v1. Its
// data change in three ways: [Lever.Run] keeps changing at random, [Lever.Mutate]
// makes a number of random changes now, and methods such as [Lever.AdvanceStage] make
// one change each. [Lever.Truth] tells what a perfect reader would have, and does not
// go through the code that serves pages, so the two can be compared.
//
// What is faithful, because readers stumble over it: opportunities are sorted by
// stage rank, time of the last advance (descending) and id, page tokens name the first
// record of the next page, so rows that move between two pages are repeated or missed;
// updatedAt is null on most rows that were not touched lately; confidential rows and
// deactivated users are hidden unless asked for; the ids of default stages are slugs;
// a few opportunities without a resume answer 404; 429 comes without Retry-After; some
// records carry fields that no documentation names.
//
// What is not: the list filters beside those of times and confidentiality, include,
// and every expansion other than that of applications are ignored.
//
// A record is a pure function of the seed and its number, made anew each time it is
// asked for; only records that were changed or added are kept. An account of a million
// opportunities therefore costs some megabytes. The account's past ends at the last
// midnight (UTC) before New, so that a restart on the same day finds the same data.
package sandbox

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Options describe an account. The zero value is an empty account without limits.
type Options struct {
	// Opportunities is how many there are. There is a posting for every 50 of them
	// (at least 5), a requisition for every 100 (at least 3) and a user for every 40
	// (at least 8).
	Opportunities int
	// Seed is what all data and all random changes are made from.
	Seed uint64
	// Rate is the number of requests per second that are answered; the others get
	// 429. 0 means no limit. Lever allows 10.
	Rate float64
	// Burst is how many requests may come at once; 0 means twice the rate.
	Burst float64
	// Latency is added to every answer.
	Latency time.Duration
	// ChangesPerMinute is the pace of Run; 0 means no changes.
	ChangesPerMinute float64
	// Token is the only key that is accepted; empty means any key.
	Token string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Faults are the faults to begin with; see SetFaults.
	Faults Faults
}

const (
	day = 24 * time.Hour
	// span is how far the account's past goes back.
	span = 3 * 365 * day
)

// Lever is a simulated account. It is safe for concurrent use: a change is visible
// as a whole, at once, to every request that begins after it.
type Lever struct {
	o        Options
	epoch    int64 // where the generated past ends
	bucket   *bucket
	requests requests
	faults   injector

	mu sync.RWMutex

	stages  stages
	sources sources
	reasons reasons

	users, postings, requisitions *shelf
	requisitionOrder              *ordered

	// opportunities hold the records, outlines what is needed of the changed ones to
	// sort and filter them; order and updated are sorted as the list is, and by
	// updatedAt for those that have it.
	opportunities  *shelf
	outlines       map[int32]outline
	order, updated *ordered

	applications, offers, referrals, resumes *children

	deletedOpportunities, deletedPostings, deletedApplications feed

	dice  dice // of the random changes
	edits int  // counts changes, so that each writes something new
}

// New makes an account. It takes about a second for a million opportunities.
func New(o Options) *Lever {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Burst <= 0 {
		o.Burst = 2 * o.Rate
	}
	o.Opportunities = max(o.Opportunities, 0)
	l := &Lever{
		o:        o,
		epoch:    o.Now().UTC().Truncate(day).UnixMilli(),
		bucket:   newBucket(o.Rate, max(o.Burst, 1), o.Now),
		stages:   newStages(o.Seed),
		sources:  newSources(),
		reasons:  newReasons(o.Seed),
		outlines: map[int32]outline{},
		dice:     throw(o.Seed, kindChange, 0),
	}
	l.faults.dice = throw(o.Seed, kindFault, 0)
	l.faults.set(o.Faults)
	n := o.Opportunities
	l.users = newShelf(o.Seed, kindUser, max(n/40, 8), l.userRow)
	l.postings = newShelf(o.Seed, kindPosting, max(n/50, 5), l.generatedPosting)
	l.requisitions = newShelf(o.Seed, kindRequisition, max(n/100, 3), l.generatedRequisition)
	l.opportunities = newShelf(o.Seed, kindOpportunity, n, l.generatedOpportunity)
	l.applications = newChildren(o.Seed, kindApplication, n, l.generatedApplications)
	l.offers = newChildren(o.Seed, kindOffer, n, l.generatedOffers)
	l.referrals = newChildren(o.Seed, kindReferral, n, l.generatedReferrals)
	l.resumes = newChildren(o.Seed, kindResume, n, l.generatedResumes)
	l.sortRequisitions()
	l.sortOpportunities()
	return l
}

// Run makes random changes at the pace of Options.ChangesPerMinute until ctx ends.
func (l *Lever) Run(ctx context.Context) {
	if l.o.ChangesPerMinute <= 0 {
		<-ctx.Done()
		return
	}
	began, made := time.Now(), 0
	each := time.Duration(float64(time.Minute) / l.o.ChangesPerMinute)
	tick := time.NewTicker(max(each, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due := int(time.Since(began).Minutes()*l.o.ChangesPerMinute + 0.5)
		if due > made {
			l.Mutate(due - made)
			made = due
		}
	}
}

// now is the clock in Lever's unit, milliseconds since 1970.
func (l *Lever) now() int64 { return l.o.Now().UnixMilli() }

// stamp returns the time of a change to a record that was last changed at old: the
// clock, but later than before even if the clock stands.
func (l *Lever) stamp(old int64) int64 { return max(l.now(), old+1) }

// IDs lists the primary keys of what there is now, oldest first. Kind is
// "opportunities" (or "candidates"), "postings", "requisitions", "users", "stages",
// "archive_reasons", "sources", "applications", "offers", "referrals" or "resumes";
// nil for anything else. Children are listed parent by parent.
func (l *Lever) IDs(kind string) []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	shelves := map[string]*shelf{
		"opportunities": l.opportunities, "candidates": l.opportunities, "postings": l.postings,
		"requisitions": l.requisitions, "users": l.users,
	}
	if s := shelves[kind]; s != nil {
		var ids []string
		for n := range s.all() {
			ids = append(ids, s.id(n))
		}
		return ids
	}
	if c := l.childrenOf(kind); c != nil {
		var ids []string
		for n := range l.opportunities.all() {
			for _, row := range c.list(n) {
				ids = append(ids, row.text("id"))
			}
		}
		return ids
	}
	switch kind {
	case "stages":
		return l.stages.ids()
	case "archive_reasons":
		return l.reasons.ids()
	case "sources":
		return slices.Collect(l.sources.texts())
	}
	return nil
}

// childrenOf returns the children of a name, nil if there are none.
func (l *Lever) childrenOf(name string) *children {
	switch name {
	case "applications":
		return l.applications
	case "offers":
		return l.offers
	case "referrals":
		return l.referrals
	case "resumes":
		return l.resumes
	}
	return nil
}
