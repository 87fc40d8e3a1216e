package kafkatest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// History is what a table's topic says, in the envelope format.
type History struct {
	// Rows are the rows that result: the last after of each key that is not deleted.
	Rows map[string]map[string]any
	// Ops counts the events by op.
	Ops map[string]int
	// LastLSN is the highest log sequence number.
	LastLSN int64
	// Events are the events of each key, in order, without tombstones.
	Events map[string][]map[string]any
	// Problems are violations of the promises, for a test to report.
	Problems []string
}

// Fold reads the records of a topic as a history. It checks that each key's events
// form a chain (a before is the after of the event before it; c and r only when the
// row is absent; no update without a difference), that a delete is followed by its
// tombstone, that log sequence numbers grow in each partition and never repeat.
func Fold(records []Record) *History {
	h := &History{Rows: map[string]map[string]any{}, Ops: map[string]int{}, Events: map[string][]map[string]any{}}
	seen := map[int64]bool{}
	last := map[int32]int64{}
	pending := map[string]bool{} // deleted, tombstone not seen
	for _, r := range records {
		problem := func(format string, args ...any) {
			h.Problems = append(h.Problems, fmt.Sprintf("partition %d offset %d key %s: ", r.Partition, r.Offset, r.Key)+fmt.Sprintf(format, args...))
		}
		if r.Value == nil {
			if !pending[r.Key] {
				problem("tombstone without a delete before it")
			}
			delete(pending, r.Key)
			continue
		}
		op, _ := r.Value["op"].(string)
		before, _ := r.Value["before"].(map[string]any)
		after, _ := r.Value["after"].(map[string]any)
		source, _ := r.Value["source"].(map[string]any)
		lsn, _ := source["lsn"].(int64)
		h.Ops[op]++
		h.Events[r.Key] = append(h.Events[r.Key], r.Value)
		h.LastLSN = max(h.LastLSN, lsn)
		if seen[lsn] || lsn <= last[r.Partition] {
			problem("lsn %d after %d", lsn, last[r.Partition])
		}
		seen[lsn], last[r.Partition] = true, lsn
		if pending[r.Key] {
			problem("%s before the tombstone of the delete", op)
		}
		was, there := h.Rows[r.Key]
		switch op {
		case "r", "c":
			// A snapshot of all rows writes those again that are there.
			if there && (op == "c" || source["snapshot"] != "incremental") {
				problem("%s of a row that is there", op)
			}
			if before != nil || after == nil {
				problem("%s with a before or without an after", op)
			}
		case "u":
			if !there {
				problem("u of a row that is not there")
			} else if !reflect.DeepEqual(was, before) {
				problem("before is not the last after; differs in %v", differing(was, before))
			}
			if reflect.DeepEqual(before, after) {
				problem("u without a difference")
			}
		case "d":
			if !there || !reflect.DeepEqual(was, before) || after != nil {
				problem("d whose before is not the last after")
			}
			delete(h.Rows, r.Key)
			pending[r.Key] = true
			continue
		default:
			problem("op %q", op)
		}
		h.Rows[r.Key] = after
	}
	for key := range pending {
		h.Problems = append(h.Problems, "key "+key+": no tombstone after its delete")
	}
	return h
}

func differing(a, b map[string]any) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if !reflect.DeepEqual(a[name], b[name]) {
			names = append(names, name)
		}
	}
	return names
}
