package extractor

import (
	"slices"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Resnapshot returns the bookmark changes after which the table is read again from its
// beginning, while changes go on being followed: with [cdc.SnapshotIncremental] what
// differs becomes c, u and d; with [cdc.SnapshotAll] every row whose last event is not
// above lsn is written again as r.
//
// The changes must be committed while no Extractor runs; the next one acts on them.
func Resnapshot(table string, kind cdc.SnapshotKind, lsn int64) []cdc.Change {
	at := snapshotSection{Snapshot: cdc.Snapshot{Kind: kind}}
	if kind == cdc.SnapshotAll {
		at.Since = lsn
	}
	out := changes([]string{table}, cdc.SectionSnapshot, at)
	for _, c := range childLists(false) {
		if slices.Contains(c.tables, table) {
			out = append(out, changes([]string{table}, sectionChildren+c.name, childrenSection{})...)
		}
	}
	return out
}

// Reset returns the bookmark changes after which nothing is known of how far the table was
// read: everything that the sections say is forgotten, and the table is read from its
// beginning. Whether it is paused stays, and so does what the guard has counted. rows is
// the number of its rows that are known: those that Lever no longer has are looked for.
//
// As with Resnapshot, no Extractor may run.
func Reset(table string, sections []string, rows int64) (out []cdc.Change) {
	for _, name := range sections {
		if !Keeps(name) && name != cdc.SectionSnapshot {
			out = append(out, cdc.Change{Table: table, Section: name})
		}
	}
	if rows == 0 {
		return append(out, cdc.Change{Table: table, Section: cdc.SectionSnapshot})
	}
	return append(out, changes([]string{table}, cdc.SectionSnapshot, snapshotSection{Snapshot: cdc.Snapshot{Kind: cdc.SnapshotIncremental}})...)
}

// Keeps says whether the section outlives a bookmark that is replaced or reset while the
// program runs: it does not say how far the table was read.
func Keeps(name string) bool { return name == cdc.SectionPaused || name == sectionGuard }
