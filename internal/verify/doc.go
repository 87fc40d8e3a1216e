// Package verify compares what the topics say with what Lever says now.
//
// Both sides are folded to one fingerprint per field and row, so that neither is held in
// memory: the topics as any consumer reads them, Lever as the extractors read it, masked
// and encoded as the writer would. A difference is named by table, key and field, never by
// value.
//
// A difference need not be a loss: Lever changes while it is read, and a change takes its
// time to arrive. So rows that differ are looked at again, on both sides, until they agree
// or the patience is over. What agreed after all was a lag; what is left is
// classified ([Verdict]).
package verify
