// Package publish is the writer: it takes units from the extractors, turns them into
// change events (package change), and commits events, state records, bookmarks and
// dead letters in one Kafka transaction, groups of units at a time.
//
// A [Writer] lives for one ownership of the account. [Open] becomes the owner and
// reads back what Kafka says; [Writer.Run] commits until something goes wrong. Then
// the Writer is thrown away with all open work, and the caller opens another: what
// is in Kafka is the truth, and the local copy of the state is brought up to it.
//
// # Ownership
//
// There is one transactional producer per account. Becoming its owner (InitProducerID)
// always wins and fences whoever was there before, so two producers that both did
// that on every error would depose each other for ever. Therefore the owner writes an
// owner record beside the bookmarks, in its first transaction, and renews it at least
// every 15 seconds:
//
//	          owner record of another
//	          instance, < 45 s old
//	start ──▶ standby ─────────────┐
//	  │                            │ too old, released, or its process is dead
//	  │ none, or --take-over       ▼
//	  └─────────────────────▶ owner ──error──▶ read the owner record: still this
//	                           ▲               instance → open again; another's →
//	                           └───────────────stop, naming it (exit code 4)
//
// The new owner fences the old one a moment before it writes its record, so the old one may
// still read its own and open again. If it finds the other's then, it stops all the same: who
// was the owner once never stands by (Config.WasOwner).
//
// # What is guaranteed
//
// An event is visible to a read_committed consumer if and only if the state and the
// bookmarks that cover it are. Every produce result is checked: franz-go commits a
// transaction although one of its records failed. The outcome of a commit that timed
// out is never guessed: it is read back.
//
// While an owner lives, what was erased in Lever goes from Kafka and from the local state in
// bounded time: see roll.go about partitions to which nothing is written any more, and
// state.Store.Erase.
package publish
