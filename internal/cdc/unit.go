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
type Result struct {
	// Stale are rows that were refused because a newer answer, or one that may be
	// newer, was committed before. They must be read again; until then no cursor
	// may pass them.
	Stale []Ref
	// StaleLists are complete lists that were refused for the same reason.
	StaleLists []List
	// Events is the number of change events the unit caused.
	Events int
	// Err is set when the unit was not committed. The loop must then start again
	// from the bookmarks.
	Err error
}

// Sink takes units and commits them in the order of submission.
type Sink interface {
	// Submit queues a unit. It blocks while the queue is full (back-pressure) and
	// fails when the sink has stopped. The channel yields exactly one Result, after
	// the commit.
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
