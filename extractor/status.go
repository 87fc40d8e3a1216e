package extractor

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Phase says how a table is doing.
type Phase string

// The phases of a table.
const (
	// PhaseWaiting: nothing was read yet.
	PhaseWaiting Phase = "waiting"
	// PhaseSnapshot: the first read of the whole table is under way.
	PhaseSnapshot Phase = "snapshot"
	// PhaseStreaming: the snapshot is complete, changes are followed.
	PhaseStreaming Phase = "streaming"
	// PhaseDegraded: Lever does not serve one of the table's lists at the moment.
	PhaseDegraded Phase = "degraded"
	// PhaseHolding: too many rows are missing to believe it at once (the delete guard).
	PhaseHolding Phase = "holding"
	// PhasePaused: an operator has paused the table, or its parent.
	PhasePaused Phase = "paused"
	// PhaseForbidden: the key has no permission for one of the table's lists.
	PhaseForbidden Phase = "forbidden"
	// PhaseUnauthorized: Lever does not accept the credentials.
	PhaseUnauthorized Phase = "unauthorized"
)

// TableStatus describes one table. It holds no row's content.
type TableStatus struct {
	Table string `json:"table"`
	Phase Phase  `json:"phase"`
	// Rows is the number of rows read since the program started, changed or not.
	Rows int64 `json:"rows_read"`
	// Known is the number of rows that the table has now, according to the local state.
	Known int64 `json:"rows"`
	// LastRead is when Lever last answered for the table.
	LastRead time.Time `json:"last_read,omitzero"`
	// AsOf is the time (Lever's clock) up to which everything that the table's sources
	// told of is committed. Unset until the snapshot is complete.
	AsOf time.Time `json:"fresh_as_of,omitzero"`
	// Staleness is how long ago that is, Bound how long it may be in ordinary operation:
	// POLL_INTERVAL or REFRESH_INTERVAL, plus the time of a commit.
	Staleness float64 `json:"staleness_seconds"`
	Bound     float64 `json:"freshness_bound_seconds"`
	// Load is how far the table's snapshot is; absent once it is complete.
	Load *Load `json:"load,omitempty"`
	// SweepBehind is how long the sweep's next row has been due.
	SweepBehind float64 `json:"sweep_behind_seconds"`
	// Aside is the number of parents whose list could not be read and that will be
	// asked for again.
	Aside int `json:"parents_set_aside,omitempty"`
	// Held is the number of rows that are missing in Lever and kept.
	Held int `json:"rows_held,omitempty"`
	// Error says what is wrong and since when, if anything, Advice what to do about it.
	Error  string    `json:"error,omitempty"`
	Since  time.Time `json:"error_since,omitzero"`
	Advice string    `json:"advice,omitempty"`
}

// Status is what the loops of an Extractor are doing, for logs and status pages. It
// outlives extractors, so that what an earlier one saw is not forgotten.
type Status struct {
	mu     sync.Mutex
	order  []string
	tables map[string]*TableStatus
	loops  map[string]*trouble
	paused map[string]bool
	lists  map[string]int64 // read by followers since their snapshots began, by loop
	loads  loads
	// beats are the last signs of life of the loops, by name; of one that rests, when it will
	// look again.
	beats map[string]time.Time

	schedule schedule
}

type trouble struct {
	tables []string
	err    error
	since  time.Time
}

// NewStatus returns a status in which nothing has happened yet.
func NewStatus(tables []cdc.Table) *Status {
	s := &Status{tables: map[string]*TableStatus{}, loops: map[string]*trouble{}, paused: map[string]bool{}, beats: map[string]time.Time{}, lists: map[string]int64{}, loads: newLoads()}
	for _, t := range tables {
		s.order = append(s.order, t.Name)
		s.tables[t.Name] = &TableStatus{Table: t.Name, Phase: PhaseWaiting}
	}
	return s
}

// Tables returns the status of all tables, in catalogue order. state may be nil: then
// it is not known how far they are.
func (s *Status) Tables(state State) []TableStatus {
	out, schedule, loads := s.noted()
	now := time.Now()
	for i := range out {
		t := &out[i]
		t.Bound = schedule.bound(t.Table).Seconds()
		if state == nil {
			continue
		}
		t.Known = state.Count(t.Table)
		if t.Load = loads.of(state, t.Table); t.Load != nil {
			continue
		}
		schedule.measure(state, t, now)
		if t.Phase == PhaseWaiting || t.Phase == PhaseSnapshot {
			t.Phase = PhaseStreaming
		}
	}
	for i := range out {
		out[i].Advice = advice(out[i])
	}
	return out
}

// advice says what an operator can do about a phase, or about parents set aside.
func advice(t TableStatus) string {
	switch t.Phase {
	case PhaseUnauthorized:
		return "Check LEVER_TOKEN: Lever does not accept the key. A file that is replaced is read again; a variable needs a restart."
	case PhaseForbidden:
		return "Give the key the permission to read this list in Lever (Settings, Integrations and API), or leave the table out of LEVER_TABLES."
	case PhaseDegraded:
		return "Nothing, unless it lasts: the list is asked for again until Lever serves it, and the other tables go on. If it lasts, ask Lever's support about the path."
	case PhaseHolding:
		return "Look into Lever whether the rows are really gone. If they are, wait for the third round or run once with LEVER_DELETE_GUARD=100%. If not, check the key and Lever; nothing was deleted."
	case PhasePaused:
		return "An operator paused this table or the one above it. POST /tables/{table}/resume goes on with it, and finds what happened meanwhile."
	}
	if t.Late() {
		return "Look at the requests: whether Lever answers, whether the rate is used up, and by which class."
	}
	if t.Aside > 0 {
		return "Lever answers with errors for the lists of some parents. They are asked for again every REFRESH_INTERVAL; the log names them."
	}
	return ""
}

// noted returns what the loops have told.
func (s *Status) noted() ([]TableStatus, schedule, loads) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]TableStatus, 0, len(s.order))
	for _, name := range s.order {
		t := *s.tables[name]
		if t.Rows > 0 || !t.LastRead.IsZero() {
			t.Phase = PhaseSnapshot
		}
		if t.Held > 0 {
			t.Phase, t.Error = PhaseHolding, ErrHeld.Error()
		}
		for _, l := range s.loops {
			if slices.Contains(l.tables, name) {
				t.Phase, t.Error, t.Since = phaseOf(l.err), l.err.Error(), l.since
			}
		}
		if s.paused[name] {
			t.Phase, t.Error, t.Since = PhasePaused, "", time.Time{}
		}
		out = append(out, t)
	}
	return out, s.schedule, s.loads.clone()
}

func phaseOf(err error) Phase {
	switch {
	case errors.Is(err, cdc.ErrForbidden):
		return PhaseForbidden
	case errors.Is(err, cdc.ErrUnauthorized):
		return PhaseUnauthorized
	}
	return PhaseDegraded
}

// beat notes that a loop has begun or ended a read, or has looked for something to do.
func (s *Status) beat(l loop) { s.rests(l, 0) }

// rests notes that a loop has nothing to do for so long. It is measured by the clock that never
// jumps, like the pause itself: a clock set ahead must not make the loop look stuck.
func (s *Status) rests(l loop, pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats[l.name] = time.Now().Add(pause)
}

// ends notes that a loop is done for good.
func (s *Status) ends(l loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.beats, l.name)
}

// forget notes that the loops have ended.
func (s *Status) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.beats)
}

// Stuck names the loops that have shown no sign of life since the given time: their reads
// began before it, and since then none has ended, well or badly, or committed anything.
func (s *Status) Stuck(before time.Time) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, at := range s.beats {
		if at.Before(before) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ok notes that the loop's source answers. was says that it did not, since then.
func (s *Status) ok(l loop) (since time.Time, was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.loops[l.name]; t != nil {
		since, was = t.since, true
		delete(s.loops, l.name)
	}
	for _, t := range l.tables {
		s.tables[t].LastRead = time.Now()
	}
	return since, was
}

// failed notes that the loop's source could not be read.
func (s *Status) failed(l loop, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.loops[l.name]
	if t == nil {
		t = &trouble{since: time.Now()}
		s.loops[l.name] = t
	}
	t.tables, t.err = l.tables, err
}

// aside notes how many parents' lists are set aside.
func (s *Status) aside(l loop, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range l.tables {
		s.tables[t].Aside = n
	}
}

// SetPaused notes whether a table is paused.
func (s *Status) SetPaused(table string, paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused[table] = paused
}

// sweeping notes the time of one pass of the sweep.
func (s *Status) sweeping(interval time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schedule.sweep = interval
}

// SweepInterval is how long one pass of the sweep takes: what was asked for or, for a
// large account, what Lever's rate allows. 0 if nothing is swept.
func (s *Status) SweepInterval() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.schedule.sweep
}

// held notes how many missing rows of a table are kept.
func (s *Status) held(table string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables[table].Held = n
}

// Lists returns how many child lists the snapshots have read so far, those before a
// restart included, each counted once although it feeds two tables; and how many kinds
// of lists there are to read for each parent.
func (s *Status) Lists() (read int64, kinds int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.lists {
		read += n
	}
	return read, len(s.lists)
}

// listsRead notes how many parents' lists a follower has read for its snapshot.
func (s *Status) listsRead(l loop, lead string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists[l.name] = n
	for _, t := range l.tables {
		s.loads.lists[t] = loadList{n, lead}
	}
}

// readOf is what listsRead noted last.
func (s *Status) readOf(l loop) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists[l.name]
}

// committed notes the rows of a unit.
func (s *Status) committed(u *cdc.Unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if _, repeats := s.beats[u.Scan]; repeats {
		s.beats[u.Scan] = now
	}
	s.loads.committed(u)
	for _, r := range u.Rows {
		t := s.tables[r.Table]
		t.Rows++
		t.LastRead = now
	}
	for _, l := range u.Lists {
		s.tables[l.Table].LastRead = now
	}
}
