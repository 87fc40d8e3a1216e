package extractor

import (
	"maps"
	"slices"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// schedule is what is known of an extractor's plan: how often its sources are read, and
// which parent table's LSNs the cursor of a child list counts.
type schedule struct {
	poll, refresh, sweep, overlap time.Duration
	lists                         map[string]childOf // by child table
}

// childOf says where a child table's rows come from.
type childOf struct {
	lead    string // whose LSNs the cursor counts
	section string // that holds the cursor
	parent  string
}

// scheduled notes what an extractor is going to do.
func (s *Status) scheduled(e *Extractor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A copy, because others are reading the one before. It keeps what is paused now.
	p := schedule{poll: e.PollInterval, refresh: e.RefreshInterval, sweep: e.sweepInterval(), overlap: e.Overlap, lists: maps.Clone(s.schedule.lists)}
	if p.lists == nil {
		p.lists = map[string]childOf{}
	}
	for _, f := range e.followers {
		for _, t := range f.tables {
			p.lists[t] = childOf{lead: f.lead, section: sectionChildren + f.name, parent: e.selected[t].Parent}
		}
	}
	s.schedule = p
}

// bound is how old a table may be in ordinary operation, the time of a commit aside: the
// longest interval in which one of its sources is read.
func (p *schedule) bound(table string) time.Duration {
	if slices.ContainsFunc(fullLists(), func(f fullList) bool { return f.table == table }) {
		return max(p.poll, p.refresh)
	}
	return p.poll
}

// asOf returns the time (Lever's clock) up to which the table is complete: every change
// that its sources told of before then is committed. It is read from the bookmarks, so
// it survives restarts, and it says what Kafka has, not what was asked for. ok is false
// if that is not known yet.
//
// For lists of children it is the time of the oldest parent that has changed and whose
// list was not read since. Parents that were set aside, and what only a sweep finds, do
// not count.
func (p *schedule) asOf(s State, table string) (asOf time.Time, ok bool) {
	oldest := func(ms int64) {
		if t := time.UnixMilli(ms); !ok || t.Before(asOf) {
			asOf, ok = t, true
		}
	}
	var (
		increment incrementSection
		deletions deletionsSection
		full      fullSection
		children  childrenSection
	)
	read := func(name string, v any) bool {
		found, err := section(s, table, name, v)
		return found && err == nil
	}
	if read(sectionIncrement, &increment) {
		oldest(increment.Cursor + p.overlap.Milliseconds())
	}
	if read(sectionDeletions, &deletions) {
		oldest(deletions.Cursor + p.overlap.Milliseconds())
	}
	if read(sectionFull, &full) {
		oldest(full.At)
	}
	of, isList := p.lists[table]
	if !isList || !read(of.section, &children) {
		return asOf, ok
	}
	if parent, known := p.asOf(s, of.parent); known {
		oldest(parent.UnixMilli())
	}
	pending, err := s.Since(of.lead, children.LSN, 1)
	if err != nil || len(pending) == 0 {
		return asOf, ok
	}
	if row, known, err := s.Row(of.lead, pending[0].Key); err == nil && known {
		oldest(row.ReadAt.UnixMilli())
	}
	return asOf, ok
}

// measure fills in how fresh a table is whose snapshot is complete.
func (p *schedule) measure(s State, t *TableStatus, now time.Time) {
	if asOf, ok := p.asOf(s, t.Table); ok {
		// Lever's clock may be ahead of ours.
		t.AsOf, t.Staleness = asOf, max(now.Sub(asOf), 0).Seconds()
	}
	if due, ok := p.sweepDue(s, t.Table); ok {
		t.SweepBehind = max(now.Sub(due), 0).Seconds()
	}
}

// sweepDue returns when the next row of the table is to be swept; ok is false if it is
// not swept.
func (p *schedule) sweepDue(s State, table string) (due time.Time, ok bool) {
	var at sweepSection
	if found, err := section(s, table, sectionSweep, &at); err != nil || !found || p.sweep <= 0 {
		return due, false
	}
	next := int64(fewRows)
	if _, isList := p.lists[table]; isList {
		next = 1
	}
	return at.due(at.Done+next, p.sweep), true
}

// complete says whether the table's snapshot is.
func complete(s State, table string) bool {
	var x cdc.Snapshot
	found, err := section(s, table, cdc.SectionSnapshot, &x)
	return err == nil && found && x.Complete
}

// Late says that the table is so much staler than in ordinary operation that somebody
// should look: three intervals and a minute.
func (t TableStatus) Late() bool { return t.Staleness > 3*t.Bound+60 && t.Phase != PhasePaused }
