// Package offsets holds replication bookmarks: where the work on each table stands, as
// it is written to the compacted bookmarks topic in the same transaction as the
// events that it covers. The package reads, checks and changes bookmarks; it never
// produces anything.
//
// A [Bookmark] is JSON, made to be read by people and by consumers that must know
// when a first snapshot is complete:
//
//	key    ["default",{"table":"opportunities"}]
//	value  {"version":1,"lsn":1795460862043001,
//	        "incarnation":{"topic_id":"…","partitions":6,"format":"debezium",…},
//	        "increment":{"cursor":1795460500000},
//	        "snapshot":{"complete":true,"began":1795460200000}}
//
// Beside version, lsn and incarnation it has sections, one for each loop that works on
// the table: snapshot, increment, deletions, full, children.offers and so on, and
// paused. Loops do not overwrite each other: each changes its own sections
// ([Bookmark.Apply]), and the one writer merges the changes in commit order. Sections
// that this program does not know are kept.
//
// An [Incarnation] is what a topic's content depends on. When it differs at a start
// ([Incarnation.Diff]), the table is snapshotted again, or the start is refused.
//
// An [Owner] record says which producer works on the account.
package offsets
