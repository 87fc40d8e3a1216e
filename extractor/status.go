package extractor

import (
	"errors"
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
	// LastRead is when Lever last answered for the table.
	LastRead time.Time `json:"last_read,omitzero"`
	// Aside is the number of parents whose list could not be read and that will be
	// asked for again.
	Aside int `json:"parents_set_aside,omitempty"`
	// Held is the number of rows that are missing in Lever and kept.
	Held int `json:"rows_held,omitempty"`
	// Error says what is wrong and since when, if anything.
	Error string    `json:"error,omitempty"`
	Since time.Time `json:"error_since,omitzero"`
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
	sweep  time.Duration
}

type trouble struct {
	tables []string
	err    error
	since  time.Time
}

// NewStatus returns a status in which nothing has happened yet.
func NewStatus(tables []cdc.Table) *Status {
	s := &Status{tables: map[string]*TableStatus{}, loops: map[string]*trouble{}, paused: map[string]bool{}, lists: map[string]int64{}}
	for _, t := range tables {
		s.order = append(s.order, t.Name)
		s.tables[t.Name] = &TableStatus{Table: t.Name, Phase: PhaseWaiting}
	}
	return s
}

// Tables returns the status of all tables, in catalogue order. complete says whether
// a table's snapshot is.
func (s *Status) Tables(complete func(table string) bool) []TableStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]TableStatus, 0, len(s.order))
	for _, name := range s.order {
		t := *s.tables[name]
		switch {
		case complete(name):
			t.Phase = PhaseStreaming
		case t.Rows > 0 || !t.LastRead.IsZero():
			t.Phase = PhaseSnapshot
		}
		if t.Held > 0 {
			t.Phase, t.Error = PhaseHolding, ErrHeld.Error()
		}
		out = append(out, t)
	}
	for i := range out {
		if s.paused[out[i].Table] {
			out[i].Phase, out[i].Error = PhasePaused, ""
			continue
		}
		for _, l := range s.loops {
			for _, name := range l.tables {
				if name == out[i].Table {
					out[i].Phase, out[i].Error, out[i].Since = phaseOf(l.err), l.err.Error(), l.since
				}
			}
		}
	}
	return out
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

// ok notes that the loop's source answers.
func (s *Status) ok(l loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loops, l.name)
	for _, t := range l.tables {
		s.tables[t].LastRead = time.Now()
	}
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
	s.sweep = interval
}

// SweepInterval is how long one pass of the sweep takes: what was asked for or, for a
// large account, what Lever's rate allows. 0 if nothing is swept.
func (s *Status) SweepInterval() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sweep
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
func (s *Status) listsRead(l loop, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists[l.name] = n
}

// committed notes the rows of a unit.
func (s *Status) committed(u *cdc.Unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, r := range u.Rows {
		t := s.tables[r.Table]
		t.Rows++
		t.LastRead = now
	}
	for _, l := range u.Lists {
		s.tables[l.Table].LastRead = now
	}
}
