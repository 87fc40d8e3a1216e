package cdc

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Unit is the smallest thing that may commit: what one read of Lever says, with
// the bookmark changes that it justifies. Either all of it becomes visible in
// Kafka, in one transaction, or nothing.
type Unit struct {
	// Scan names the loop that made the unit, for logs and metrics.
	Scan string
	// Rows are the rows as read, parents before their children.
	Rows []Row
	// Lists are the lists that Rows hold completely. A later list replaces an
	// earlier one; an earlier one that arrives late is refused.
	Lists []List
	// Gone are the rows that Lever no longer serves, confirmed. A deleted parent
	// takes its children's rows with it.
	Gone []Gone
	// Sent is when the oldest request behind the unit was sent, Arrived when the
	// newest answer came, both on the Clock of this process.
	Sent, Arrived Instant
	// ReadAt is Lever's own time (its Date header) of the oldest answer.
	ReadAt time.Time
	// Changes are applied to the bookmarks in the same transaction.
	Changes []Change
	// Write names rows that somebody found to be wrong in their topic: what Lever says of
	// them is written although it was emitted before. One that is gone, and that nobody
	// knows to have been emitted, gets a tombstone.
	Write []Ref
}

// Gone names a row that Lever no longer serves.
type Gone struct {
	Ref
	// From is the parent that let go of a child row; empty if the row itself was
	// deleted. The row of another parent is not touched by it.
	From string
	// At is when Lever says it was deleted; zero if nobody knows.
	At time.Time
}

// Change replaces one section of one table's bookmark. A nil Value removes it.
type Change struct {
	Table, Section string
	Value          json.RawMessage
}

// Result says what became of a unit.
//
// The rows that could be written were. If any were not (Again is not empty), the
// unit's bookmark changes were not applied either: the loop reads what Again names
// and submits it with the same changes, so that no cursor ever passes a row that
// was refused.
type Result struct {
	// Again is what must be read again.
	Again []Again
	// Changed are the rows of parent tables whose children must be read (again)
	// because of this unit.
	Changed []Ref
	// Touched are rows of parent tables that changed in a way that says nothing of
	// their children, but makes it worth looking at them soon.
	Touched []Ref
	// Events is the number of change events the unit caused.
	Events int
	// LSN is the log sequence number of the last event up to and including this unit.
	LSN int64
	// Err is set when the unit was not committed. The loop must then start again
	// from the bookmarks.
	Err error
}

// Again names a row, or a complete list, that the writer did not accept.
type Again struct {
	// Ref is the row; its Key is empty if a whole list was refused.
	Ref
	// Parent is the row's or the list's parent, if its table has one.
	Parent string
	// Missing says why. If true, the row was emitted before, and a list that claims
	// to be complete lacks it: it is deleted only when a second read has confirmed
	// that (see Gone). If false, an answer that is newer, or may be newer, was
	// committed before this one.
	Missing bool
	// Claimants are other parents that were seen to serve the missing row. Their
	// lists must be read before the row may be called gone.
	Claimants []string
}

// Version is a row and the log sequence number (LSN) of its last event that
// matters to the row's children.
type Version struct {
	Key string
	LSN int64
}

// Sink takes units and commits them in the order of submission.
type Sink interface {
	// Submit queues a unit. It blocks while the queue is full (back-pressure) and
	// fails when the sink has stopped. The channel yields exactly one Result, after
	// the commit. The unit must not be submitted again: the sink may take the fields of
	// its rows and leave none there.
	Submit(ctx context.Context, u *Unit) (<-chan Result, error)
}

// ErrStopped is the error of units that were not committed because the sink
// stopped first.
var ErrStopped = errors.New("the writer has stopped")

// Names of the bookmark sections that more than one package reads.
const (
	// SectionSnapshot holds a Snapshot.
	SectionSnapshot = "snapshot"
	// SectionPaused holds true while an operator has paused the table.
	SectionPaused = "paused"
)

// Snapshot is the part of the snapshot section that the writer and consumers
// read. The scan that owns the section keeps its progress beside it.
type Snapshot struct {
	// Complete says that every row that existed when the snapshot began has been
	// committed.
	Complete bool `json:"complete"`
	// Kind says why the snapshot runs; empty means first.
	Kind SnapshotKind `json:"kind,omitempty"`
	// Since is the LSN at which a snapshot of all rows began: rows whose last
	// event is older are written again.
	Since int64 `json:"since,omitempty"`
}

// SnapshotKind says why a snapshot runs, which decides how its rows are written.
type SnapshotKind string

const (
	// SnapshotFirst is a table's first snapshot: rows first seen are "r".
	SnapshotFirst SnapshotKind = ""
	// SnapshotIncremental compares and writes only what differs.
	SnapshotIncremental SnapshotKind = "incremental"
	// SnapshotAll writes every row again as "r".
	SnapshotAll SnapshotKind = "all"
)
