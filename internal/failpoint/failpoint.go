// Package failpoint names the moments between two steps of a commit, so that tests can
// stop the process exactly there. Outside of tests nothing happens at them.
package failpoint

import "sync/atomic"

// Point is a moment.
type Point string

// The points, in the order in which a process comes by them.
const (
	// Fenced: earlier producers are fenced; nothing says yet who the owner is.
	Fenced Point = "fenced"
	// Owned: the owner record is committed.
	Owned Point = "owned"
	// BookmarksRead: the bookmarks are read back, the state is not.
	BookmarksRead Point = "bookmarks read"
	// Rebuilding: a part of the local state is rebuilt from Kafka.
	Rebuilding Point = "rebuilding"
	// StateRead: the local state is complete.
	StateRead Point = "state read"
	// Incarnated: what the topics depend on is compared and written.
	Incarnated Point = "incarnated"
	// Compared: the events of a group are made; the transaction has not begun.
	Compared Point = "compared"
	// Begun: the transaction has begun, and nothing is produced.
	Begun Point = "begun"
	// Producing: some records of the transaction are handed to the client.
	Producing Point = "producing"
	// Produced: all records are acknowledged, and not committed.
	Produced Point = "produced"
	// Committed: Kafka has committed; the local state has not moved.
	Committed Point = "committed"
	// Stored: the local state has moved; nobody was told of the commit.
	Stored Point = "stored"
	// Settled: the extractors know.
	Settled Point = "settled"
	// Released: the owner record says that the account is free.
	Released Point = "released"
)

// Points returns all of them.
func Points() []Point {
	return []Point{Fenced, Owned, BookmarksRead, Rebuilding, StateRead, Incarnated, Compared, Begun, Producing, Produced, Committed, Stored, Settled, Released}
}

var hook atomic.Pointer[func(Point)]

// Hook has f called at every point, by whatever goroutine comes by.
func Hook(f func(Point)) { hook.Store(&f) }

// Reach is called at a point.
func Reach(p Point) {
	if f := hook.Load(); f != nil {
		(*f)(p)
	}
}
