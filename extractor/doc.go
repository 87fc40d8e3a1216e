// Package extractor reads a Lever account and turns what it reads into units
// (package cdc) for a sink to commit. It knows nothing of Kafka.
//
// The sixteen tables are data ([Tables]): what they are called, what identifies a
// row, where the rows come from. An [Extractor] runs one loop for each source:
//
//	snapshot    every record of a listing, once, in windows of createdAt
//	increment   what changed since a cursor (updated_at_start), every POLL_INTERVAL
//	deletions   Lever's feeds of deleted records, with a cursor of their own
//	full        a whole list, every REFRESH_INTERVAL, compared with what is known
//	children    one list per parent that has changed, by a follower with a cursor
//
// One read feeds several tables: the listing of opportunities feeds opportunities,
// candidates and both application tables, an offer list feeds two tables.
//
// # Cursors
//
// Where a loop stands is in sections of the tables' bookmarks. The loop submits the
// new value with the unit that justifies it, and the sink commits both together or
// neither. So a loop that is stopped anywhere goes on from its last commit, and a
// cursor never passes a row that was not committed.
//
// A cursor is Lever's time when a scan began, minus an overlap, never the newest
// updatedAt seen: Lever's lists are not sorted by it, and rows move in them while they
// are being read. Rows that are seen twice cost nothing, because equal rows make no
// event.
//
// A follower's cursor is the log sequence number of the last parent event up to which
// all parents' lists were read, so no crash loses a parent whose children are due.
//
// # Deletes
//
// A row is called gone when Lever's feed says so, or when it is missing from a
// complete list and a second read confirms that: a 404 for the single object, or a
// second complete list. The sink says which known rows a list lacks; the loop reads
// again and submits what it found, with the same bookmark changes.
package extractor
