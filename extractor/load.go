package extractor

import (
	"maps"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Load is how far a table's snapshot is: its first one, or one that an operator asked for.
// Lever's lists do not say how long they are, so that not everything is known.
type Load struct {
	// Kind says why the snapshot runs: "first", "incremental" or "all" (see cdc.SnapshotKind).
	Kind string `json:"kind"`
	// Rows are the rows that a first snapshot has committed. Of a repeated one, they are
	// those that were read since it began, or since the program started.
	Rows int64 `json:"rows"`
	// Expected is about how many there will be, as many as are known from before; 0 if
	// nobody knows.
	Expected int64 `json:"rows_expected,omitempty"`
	// Lists are the lists of single parents that were read for the table, ListsKnown those
	// of all parents known by now. Absent for tables that are read otherwise.
	Lists      int64 `json:"lists_read,omitempty"`
	ListsKnown int64 `json:"lists_known,omitempty"`
	// Share is the part that is done, from 0 to 1; absent while nobody knows.
	Share *float64 `json:"share,omitempty"`
}

// loads counts, for people, what snapshots have read. It is guarded by Status.mu.
type loads struct {
	rows  map[string]int64    // by table, since its snapshot began
	scans map[string]bool     // that read snapshots
	lists map[string]loadList // by child table
}

// loadList is the progress of a follower.
type loadList struct {
	read int64
	lead string
}

func newLoads() loads {
	return loads{rows: map[string]int64{}, scans: map[string]bool{}, lists: map[string]loadList{}}
}

// snapshotRuns notes that a scan reads snapshots; with begins, that it has just begun.
func (s *Status) snapshotRuns(l loop, begins bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads.scans[l.name] = true
	if begins {
		for _, t := range l.tables {
			s.loads.rows[t] = 0
		}
	}
}

// committed counts the rows of a unit.
func (l *loads) committed(u *cdc.Unit) {
	if !l.scans[u.Scan] {
		return
	}
	for _, r := range u.Rows {
		l.rows[r.Table]++
	}
}

func (l *loads) clone() loads {
	return loads{rows: maps.Clone(l.rows), lists: maps.Clone(l.lists)}
}

// of returns how far the snapshot of the table is, nil if it is complete.
func (l *loads) of(state State, table string) *Load {
	var x cdc.Snapshot
	if _, err := section(state, table, cdc.SectionSnapshot, &x); err != nil || x.Complete {
		return nil
	}
	out := &Load{Kind: string(x.Kind), Rows: l.rows[table]}
	done, of := int64(0), int64(0)
	if x.Kind == cdc.SnapshotFirst {
		out.Kind, out.Rows = "first", state.Count(table)
	} else {
		out.Expected = max(state.Count(table), out.Rows)
		done, of = out.Rows, out.Expected
	}
	if list, ok := l.lists[table]; ok {
		out.ListsKnown = state.Count(list.lead)
		out.Lists = min(list.read, out.ListsKnown)
		done, of = out.Lists, out.ListsKnown
		if !complete(state, list.lead) {
			of = 0 // more parents are still found than lists are read
		}
	}
	if of > 0 {
		share := float64(done) / float64(of)
		out.Share = &share
	}
	return out
}
