package extractor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// FollowFrom returns the bookmark changes after which what changed in Lever since the
// given times is read first, however long the first snapshot takes: the increments, and
// the feeds of deletions, begin there instead of when the snapshot begins. Read says
// how far another program has read each table; tables that are not followed by a cursor
// are read whole in any case and named in whole.
//
// Tables that one listing feeds follow it from the earliest of their times. The snapshot
// itself is not skipped: what is already in a topic makes no event.
func FollowFrom(read map[string]time.Time) (out []cdc.Change, followed map[string]time.Time, whole []string) {
	followed = map[string]time.Time{}
	for _, l := range listings(false) {
		all := slices.Clone(l.tables)
		feeds := map[string]bool{}
		for _, t := range l.tables {
			feeds[t] = l.deletions != ""
		}
		for _, n := range l.nested {
			all = append(all, n.tables...)
			for _, t := range n.tables {
				feeds[t] = n.deletions != ""
			}
		}
		var from time.Time
		for _, t := range all {
			if at, ok := read[t]; ok && (from.IsZero() || at.Before(from)) {
				from = at
			}
		}
		if from.IsZero() {
			continue
		}
		cursor := from.UnixMilli()
		for _, t := range all {
			followed[t] = from
			out = append(out, changes([]string{t}, sectionIncrement, incrementSection{Cursor: cursor, Scan: cursor})...)
			if feeds[t] {
				out = append(out, changes([]string{t}, sectionDeletions, deletionsSection{Cursor: cursor})...)
			}
		}
	}
	for t := range read {
		if _, ok := followed[t]; !ok {
			whole = append(whole, t)
		}
	}
	slices.Sort(whole)
	return out, followed, whole
}

// CheckSection says whether the value is what the loops that own the section can read. A
// misspelt name or member would be ignored in silence otherwise.
func CheckSection(name string, value json.RawMessage) error {
	var into any
	switch name {
	case cdc.SectionSnapshot:
		into = &snapshotSection{}
	case cdc.SectionPaused:
		into = new(bool)
	case sectionIncrement:
		into = &incrementSection{}
	case sectionDeletions:
		into = &deletionsSection{}
	case sectionFull:
		into = &fullSection{}
	case sectionSweep:
		into = &sweepSection{}
	case sectionGuard:
		into = &guardSection{}
	case followedBy:
		into = &[]string{}
	default:
		list, ok := strings.CutPrefix(name, sectionChildren)
		if !ok || !slices.ContainsFunc(childLists(false), func(c childList) bool { return c.name == list }) {
			return fmt.Errorf("there is no section %q; the sections are %s", name, strings.Join(sectionNames(), ", "))
		}
		into = &childrenSection{}
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("section %q: %w", name, err)
	}
	return nil
}

func sectionNames() []string {
	names := []string{cdc.SectionSnapshot, cdc.SectionPaused, sectionIncrement, sectionDeletions, sectionFull, sectionSweep, sectionGuard, followedBy}
	for _, c := range childLists(false) {
		names = append(names, sectionChildren+c.name)
	}
	return names
}
