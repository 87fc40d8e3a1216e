// Package pipeline runs one account: it connects the extractors (package extractor)
// with the writer (package publish) and supervises both.
//
// A writer lives for one ownership of the account. When it fails, everything that was
// under way is thrown away, extractors included, and a new writer reads back from
// Kafka where the work stands. Only what must outlive that is kept: the Lever client,
// because there is one rate limit per key, and the status.
//
//	      ┌────────────────── error, still the owner: after a pause ─────────────────┐
//	      ▼                                                                          │
//	open the writer ──▶ run extractors and writer ──▶ stop extractors ──▶ close ─────┤
//	(waits as standby)        │                                                      │
//	                          └─ asked to stop, or the pass is complete: drain ──▶ return
//	                             another producer owns the account ──────────────▶ OwnedError
package pipeline
