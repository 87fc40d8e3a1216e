package extractor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

const (
	// leastGuarded rows may always vanish, however small the table is.
	leastGuarded = 20
	// guardRounds is how often a row must have been found missing, in rounds of their
	// own, before it is deleted although the table's share is used up.
	guardRounds = 3
	// mostHeld bounds the rows whose rounds are counted at a time.
	mostHeld = 1_000
	// countedFor is longer than a unit takes, with all that it has to read again.
	countedFor = 10 * time.Minute
)

// ErrHeld says that rows of a table are missing in Lever, but too many to believe it
// at once.
var ErrHeld = errors.New("rows are missing in Lever, more than LEVER_DELETE_GUARD allows; they are kept until a third round says the same (LEVER_DELETE_GUARD=100% agrees at once)")

// A guard limits deletes by absence. A backend that is broken, or that answers for
// another account, shows empty lists and 404s as confidently as a healthy one.
//
// Rows that a deletion feed names are not counted, nor are those under them. The rest is
// counted per table, over an interval as long as the sweep's that rolls along; a
// parent's children count for their own tables. Above the limit the table holds:
// nothing of it is deleted that was not found missing in three rounds.
type guard struct {
	e  *Extractor
	mu sync.Mutex
	// tables holds the sections as they will be once all units are committed.
	tables map[string]*guardSection
	// counted says when a row was counted, because a unit may have to be submitted more
	// than once.
	counted map[cdc.Ref]time.Time
	held    map[string]bool // tables that hold
	// looked is when held rows were last looked for.
	looked time.Time
}

// guardSection is what the bookmark remembers.
type guardSection struct {
	// Deleted are the rows deleted by absence within the last interval.
	Deleted []guardCount `json:"deleted,omitempty"`
	// Held are rows that were found missing and kept.
	Held map[string]heldRow `json:"held,omitempty"`
}

// guardCount counts the deletes since At (ms), up to the next one's At.
type guardCount struct {
	At   int64 `json:"at"`
	Rows int64 `json:"rows"`
}

type heldRow struct {
	Rounds int   `json:"rounds"`
	At     int64 `json:"at"` // of the last round, ms
}

func newGuard(e *Extractor) (*guard, error) {
	g := &guard{e: e, tables: map[string]*guardSection{}, counted: map[cdc.Ref]time.Time{}, held: map[string]bool{}}
	for _, t := range e.Tables {
		s := &guardSection{}
		if _, err := section(e.State, t.Name, sectionGuard, s); err != nil {
			return nil, err
		}
		if s.Held == nil {
			s.Held = map[string]heldRow{}
		}
		if len(s.Held) > 0 {
			g.held[t.Name] = true
		}
		e.Status.held(t.Name, len(s.Held))
		g.tables[t.Name] = s
	}
	return g, nil
}

// apply takes those deletes out of the unit that exceed the limit, and the lists with
// them, so that the rows count neither as gone nor as missing. The sections that change
// go with the unit.
func (g *guard) apply(u *cdc.Unit) error {
	absent := slices.ContainsFunc(u.Gone, func(x cdc.Gone) bool { return x.At.IsZero() })
	g.mu.Lock()
	defer g.mu.Unlock()
	changed := g.returned(u.Rows)
	if time.Since(g.looked) >= g.e.RefreshInterval {
		if err := g.went(changed); err != nil {
			return err
		}
	}
	// A unit that was refused comes again with the sections as they were. Others have been
	// counted since.
	u.Changes = slices.DeleteFunc(u.Changes, func(c cdc.Change) bool {
		if c.Section != sectionGuard {
			return false
		}
		changed[c.Table] = true
		return true
	})
	if absent {
		if err := g.hold(u, time.Now(), changed); err != nil {
			return err
		}
	}
	for table := range changed {
		u.Changes = append(u.Changes, changes([]string{table}, sectionGuard, g.tables[table])...)
	}
	return nil
}

// returned forgets held rows that Lever serves again, and names their tables.
func (g *guard) returned(rows []cdc.Row) (changed map[string]bool) {
	changed = map[string]bool{}
	for _, r := range rows {
		if !g.held[r.Table] {
			continue
		}
		s := g.tables[r.Table]
		if _, was := s.Held[r.Key]; was {
			g.release(r.Table, s, r.Key)
			changed[r.Table] = true
		}
	}
	return changed
}

// went forgets held rows that were deleted all the same: a feed has named them, or they went
// with their parent. It adds their tables to changed.
func (g *guard) went(changed map[string]bool) error {
	g.looked = time.Now()
	for table := range g.held {
		s := g.tables[table]
		for key := range s.Held {
			_, known, err := g.e.State.Row(table, key)
			if err != nil {
				return errors.Join(errState, err)
			}
			if !known {
				g.release(table, s, key)
				changed[table] = true
			}
		}
	}
	return nil
}

// release takes a row from those that are held.
func (g *guard) release(table string, s *guardSection, key string) {
	delete(s.Held, key)
	if len(s.Held) == 0 {
		delete(g.held, table)
	}
	g.e.Status.held(table, len(s.Held))
}

func (g *guard) hold(u *cdc.Unit, now time.Time, changed map[string]bool) error {
	heldParents := map[cdc.Ref]bool{}
	var kept []cdc.Gone
	for _, x := range u.Gone {
		if x.From != "" && heldParents[cdc.Ref{Table: g.e.selected[x.Table].Parent, Key: x.From}] {
			continue // it hangs under a row that is kept
		}
		_, known, err := g.e.State.Row(x.Table, x.Key)
		if err != nil {
			return errors.Join(errState, err)
		}
		if !x.At.IsZero() || !known {
			kept = append(kept, x)
			continue
		}
		allowed, err := g.allowed(x, now, changed)
		if err != nil {
			return err
		}
		if allowed {
			kept = append(kept, x)
			continue
		}
		heldParents[x.Ref] = true
		u.Lists = slices.DeleteFunc(u.Lists, func(l cdc.List) bool {
			return l.Table == x.Table && l.Parent == x.From || g.e.selected[l.Table].Parent == x.Table && l.Parent == x.Key
		})
	}
	u.Gone = kept
	return nil
}

// section returns the table's counts, without those that are too old.
func (g *guard) section(table string, now time.Time) *guardSection {
	s := g.tables[table]
	s.Deleted = slices.DeleteFunc(s.Deleted, func(c guardCount) bool {
		age := now.Sub(time.UnixMilli(c.At))
		return max(age, -age) > g.e.guardInterval() // or the clock was set back
	})
	return s
}

// rows is the number of rows deleted within the interval.
func (s *guardSection) rows() (n int64) {
	for _, c := range s.Deleted {
		n += c.Rows
	}
	return n
}

// count adds deletes. Those of a tenth of an interval are counted together.
func (s *guardSection) count(rows int64, now time.Time, interval time.Duration) {
	if rows == 0 {
		return
	}
	if n := len(s.Deleted); n == 0 || now.Sub(time.UnixMilli(s.Deleted[n-1].At)) > interval/10 {
		s.Deleted = append(s.Deleted, guardCount{At: now.UnixMilli()})
	}
	s.Deleted[len(s.Deleted)-1].Rows += rows
}

// allowed counts a delete, or the round in which it was refused. It adds the tables
// whose section it has changed to changed.
func (g *guard) allowed(x cdc.Gone, now time.Time, changed map[string]bool) (bool, error) {
	if at, ok := g.counted[x.Ref]; ok && now.Sub(at) < countedFor {
		return true, nil
	}
	s := g.section(x.Table, now)
	rows, fits, err := g.weigh(x.Ref, now)
	if err != nil {
		return false, err
	}
	changed[x.Table] = true
	h := s.Held[x.Key]
	// If the clock was set back, the last round lies in the future.
	if since := now.Sub(time.UnixMilli(h.At)); max(since, -since) >= g.e.RefreshInterval*9/10 {
		h.Rounds, h.At = h.Rounds+1, now.UnixMilli()
	}
	if fits || h.Rounds >= guardRounds {
		for table, n := range rows {
			g.tables[table].count(n, now, g.e.guardInterval())
			changed[table] = true
		}
		g.release(x.Table, s, x.Key)
		maps.DeleteFunc(g.counted, func(_ cdc.Ref, at time.Time) bool { return now.Sub(at) >= countedFor })
		g.counted[x.Ref] = now
		return true, nil
	}
	if _, there := s.Held[x.Key]; there || len(s.Held) < mostHeld {
		s.Held[x.Key] = h
	}
	if !g.held[x.Table] {
		g.held[x.Table] = true
		g.e.Logger.Error("rows are missing in Lever, more than the delete guard allows; they are kept until a third round says the same", "table", x.Table,
			"deleted", s.rows(), "rows", g.e.State.Count(x.Table), "fix", "if it is true, set LEVER_DELETE_GUARD=100% for one run; if not, check the API key and Lever")
	}
	g.e.Status.held(x.Table, len(s.Held))
	return false, nil
}

// weigh returns how many rows of which tables go with a row, itself included, and
// whether all those tables may still lose so many.
func (g *guard) weigh(ref cdc.Ref, now time.Time) (rows map[string]int64, fits bool, err error) {
	rows = map[string]int64{ref.Table: 1}
	for _, t := range g.e.Tables {
		if t.Parent == ref.Table {
			children, err := g.e.State.Children(t.Name, ref.Key)
			if err != nil {
				return nil, false, errors.Join(errState, err)
			}
			rows[t.Name] = int64(len(children))
		}
	}
	fits = true
	for table, n := range rows {
		s := g.section(table, now)
		limit := max(leastGuarded, int64(g.e.DeleteGuard*float64(g.e.State.Count(table))))
		fits = fits && (n == 0 || s.rows()+n <= limit)
	}
	return rows, fits, nil
}

// errors names the tables that hold.
func (g *guard) errors() (err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.went(map[string]bool{}); err != nil {
		return err
	}
	for _, t := range g.e.Tables {
		if g.held[t.Name] {
			err = errors.Join(err, fmt.Errorf("table %s: %w", t.Name, ErrHeld))
		}
	}
	return err
}

// guardInterval is how long deletes are counted together.
func (e *Extractor) guardInterval() time.Duration {
	if i := e.sweepInterval(); i > 0 {
		return i
	}
	return 24 * time.Hour
}
