// Package state keeps the last emitted version of every row.
//
// The truth is the compacted state topic: one [Record] for each row, under [RowKey],
// written in the same transaction as the row's event. Beside the rows the topic holds
// commit records under a ring of keys ([CommitKey]), one in every transaction, by which
// a copy of the topic can be recognised.
//
// [Store] is a local copy of it, on Pebble, so that a row can be compared without asking
// Kafka. It holds, in the same atomic batch as the rows, the [Position] up to which it
// has followed the topic. It may be deleted at any time: a store that is not what the
// topic says (another cluster, another account, damaged, half rebuilt) is emptied, is
// [Store.Fresh] then, and is rebuilt.
//
// # What is in the store
//
//	r <table> 0 <key>                        a row's locator: the place of its record, parent, claimants
//	v <place, 8 bytes>                       the record
//	p <table> 0 <parent> 0 <key>             a row under its parent
//	c <table> 0 <parent> 0 <key>             a row that the parent serves without owning it
//	f <table> 0 <follow LSN, 8 bytes> <key>  a row by the last event that matters to its children
//	e <generation, 8 bytes> <record's key>   the earlier values of the row in this place must go from the files
//	m identity, m position, m rolled
//
// Parts before a zero byte have their own zero bytes escaped. Places are given to rows as they come,
// so that the bulk of a store is written in its order and seldom merged (see locator). A replaced
// value disappears from the files when Pebble compacts them; that of a row which was deleted, or
// written anew because a person was anonymised, with the next [Store.Erase].
package state
