// Package cdc holds the words that the other packages share: a [Table] of the
// catalogue, a [Row] read from Lever, and the [Unit] in which rows, deletions and
// bookmark changes travel from the extractors to the writer.
//
// The extractors know Lever and make units; the writer knows Kafka and commits
// them. Neither imports the other: both import this package, which imports
// nothing of the project.
//
// # Order
//
// Many reads are under way at once, so an older answer can reach the writer after
// a newer one. Every answer therefore carries two instants of the process's
// [Clock]: Sent, before which Lever cannot have looked, and Arrived, after which it
// cannot have. Answer B is surely newer than answer A only if B was sent after A
// arrived. Where that is not sure, the writer refuses the later comer ([Result]
// names it under Again) and the extractor reads again.
package cdc
