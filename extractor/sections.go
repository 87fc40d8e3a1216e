package extractor

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Names of the bookmark sections that the extractor owns, beside cdc.SectionSnapshot.
const (
	sectionIncrement = "increment"
	sectionDeletions = "deletions"
	sectionFull      = "full"
	sectionSweep     = "sweep"
	sectionGuard     = "guard"
	sectionChildren  = "children." // and the name of the list
)

// snapshotSection is the progress of a snapshot. Windows are closed intervals of
// createdAt, read newest first; what is left to read is everything up to End.
type snapshotSection struct {
	cdc.Snapshot
	// Began is Lever's time (ms) of the first answer.
	Began int64 `json:"began,omitempty"`
	// End is the newest createdAt (ms) not read yet; absent in the first window,
	// which is open towards the future.
	End *int64 `json:"end,omitempty"`
	// Start is where the open window begins; absent in the last one, which is open
	// towards the past.
	Start *int64 `json:"start,omitempty"`
	// Open says that a window is being read.
	Open bool `json:"open,omitempty"`
	// Width is the width (ms) that the next window will have.
	Width int64 `json:"width,omitempty"`
	// Token is the page to read next within the window.
	Token string `json:"token,omitempty"`
	// Updated says that all windows are done and the older records are being read that
	// were updated since the start date.
	Updated bool `json:"updated,omitempty"`
	// Check says that everything was read, and that the rows which are known and were
	// not among it are being asked for. A first snapshot knows of none.
	Check bool `json:"check,omitempty"`
}

// incrementSection is the cursor of a listing's increment.
type incrementSection struct {
	// Cursor is where the next scan starts (ms, Lever's clock, inclusive).
	Cursor int64 `json:"cursor"`
	// Began and Token describe a scan under way: Lever's time of its first answer
	// and the page to read next.
	Began int64  `json:"began,omitempty"`
	Token string `json:"token,omitempty"`
	// Scan is the number of the last scan that was finished. Tables with the same one
	// are in step: the scan has read what is new for all of them.
	Scan int64 `json:"scan,omitempty"`
}

// deletionsSection is the cursor of a deletion feed.
type deletionsSection struct {
	// Cursor is where the next read starts (ms, Lever's clock, inclusive).
	Cursor int64 `json:"cursor"`
}

// fullSection says when a full list was last read to its end.
type fullSection struct {
	// At is Lever's time (ms) at the beginning of that read.
	At int64 `json:"at"`
}

// childrenSection is the cursor of a follower.
type childrenSection struct {
	// LSN is the log sequence number of the last parent event up to which all
	// parents' lists were read and committed.
	LSN int64 `json:"lsn"`
	// Retry holds parents whose list failed again and again: their ids and when
	// (ms) they were set aside. They are asked for again apart from the others.
	Retry map[string]int64 `json:"retry,omitempty"`
	// Read is the number of parents up to LSN, while the snapshot is not complete. It is
	// for people: how far the load is.
	Read int64 `json:"read,omitempty"`
}

// ErrBookmark says that a bookmark cannot be understood. Nothing was read or written.
var ErrBookmark = errors.New("the bookmark cannot be understood")

// section reads a table's section into v and reports whether it was there.
func section(s State, table, name string, v any) (bool, error) {
	raw := s.Section(table, name)
	if raw == nil {
		return false, nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return false, fmt.Errorf("%w: bookmark of %s: section %q: %w; remove the section to have it read again", ErrBookmark, table, name, err)
	}
	return true, nil
}

// changes sets one section to v for all tables.
func changes(tables []string, name string, v any) []cdc.Change {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil // the section types above always marshal
	}
	out := make([]cdc.Change, len(tables))
	for i, t := range tables {
		out[i] = cdc.Change{Table: t, Section: name, Value: raw}
	}
	return out
}
