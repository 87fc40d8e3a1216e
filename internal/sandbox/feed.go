package sandbox

import "slices"

// A feed lists what was deleted, in the order in which it was.
type feed struct {
	rows []*object // with deletedAt
	last int64
}

// add adds a record that was deleted now, but not before the one before it.
func (f *feed) add(now int64, row *object) {
	f.last = max(f.last, now)
	row.set("deletedAt", f.last)
	f.rows = append(f.rows, row)
}

// listDeleted lists a feed; see feedWindow for strict.
func (l *Lever) listDeleted(f *feed, q query, strict bool) ([]byte, *failure) {
	w, fail := q.feedWindow(strict)
	if fail != nil {
		return nil, fail
	}
	from := 0
	if q.offset != "" {
		numbers, texts, ok := parseToken(q.offset, "ns")
		if ok {
			from = slices.IndexFunc(f.rows, func(row *object) bool {
				return row.millis("deletedAt") == int64(numbers[0]) && row.text("id") == texts[0]
			})
		}
		if !ok || from < 0 {
			return nil, badToken()
		}
	}
	found := filtered(upTo(len(f.rows)), func(n int32) bool { return int(n) >= from && w.holds(f.rows[n].millis("deletedAt")) })
	return page(q.limit, found, rendered(func(n int32) *object { return f.rows[n] }), func(n int32) string {
		return formatToken(f.rows[n].millis("deletedAt"), f.rows[n].text("id"))
	}), nil
}
