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
