package sandbox

import (
	"iter"
	"slices"
)

// The list endpoints. Each writes one page; the lock is held for reading.

func (l *Lever) listOpportunities(q query) ([]byte, *failure) {
	var f filter
	var fail *failure
	if f.shows, fail = q.confidentiality(); fail != nil {
		return nil, fail
	}
	if f.created, fail = q.window("created_at"); fail != nil {
		return nil, fail
	}
	if f.updated, fail = q.window("updated_at"); fail != nil {
		return nil, fail
	}
	found, fail := l.opportunitiesFrom(f, q.offset)
	if fail != nil {
		return nil, fail
	}
	return page(q.limit, found, l.opportunityRenderer(q), l.opportunityToken), nil
}

// opportunityRenderer expands the applications if the request asks for that.
func (l *Lever) opportunityRenderer(q query) func([]byte, int32) []byte {
	if !q.expands("applications") {
		return rendered(l.opportunities.row)
	}
	return rendered(func(n int32) *object {
		row := l.opportunities.row(n).copy()
		row.set("applications", l.applications.list(n))
		return row
	})
}

func (l *Lever) listPostings(q query) ([]byte, *failure) {
	shows, fail := q.confidentiality()
	if fail != nil {
		return nil, fail
	}
	updated, fail := q.window("updated_at")
	if fail != nil {
		return nil, fail
	}
	if updated.set {
		if fail := q.onlyWith("updated_at_start", "updated_at_end", "confidentiality"); fail != nil {
			return nil, fail
		}
	}
	all, fail := newestFrom(l.postings, q.offset)
	if fail != nil {
		return nil, fail
	}
	found := filtered(all, func(n int32) bool {
		return shows(l.postingConfidential(n)) && (!updated.set || updated.holds(l.postingUpdated(n)))
	})
	return page(q.limit, found, rendered(l.postings.row), func(n int32) string {
		return formatToken(l.postings.row(n).millis("createdAt"), l.postings.id(n))
	}), nil
}

func (l *Lever) listRequisitions(q query) ([]byte, *failure) {
	shows, fail := q.confidentiality()
	if fail != nil {
		return nil, fail
	}
	created, fail := q.window("created_at")
	if fail != nil {
		return nil, fail
	}
	at := spot{}
	if q.offset != "" {
		_, texts, ok := parseToken(q.offset, "s")
		if !ok {
			return nil, badToken()
		}
		at = l.requisitionOrder.find(func(n int32) bool { return l.requisitions.id(n) <= texts[0] })
	}
	found := filtered(l.requisitionOrder.from(at), func(n int32) bool {
		return shows(l.requisitionConfidential(n)) && created.holds(l.requisitionCreated(n))
	})
	return page(q.limit, found, rendered(l.requisitions.row), func(n int32) string { return formatToken(l.requisitions.id(n)) }), nil
}

func (l *Lever) listUsers(q query) ([]byte, *failure) {
	all, fail := newestFrom(l.users, q.offset)
	if fail != nil {
		return nil, fail
	}
	if q.values.Get("includeDeactivated") != "true" {
		all = filtered(all, func(n int32) bool { return l.users.row(n).get("deactivatedAt") == nil })
	}
	return page(q.limit, all, rendered(l.users.row), func(n int32) string {
		return formatToken(l.users.row(n).millis("createdAt"), l.users.id(n))
	}), nil
}

func (l *Lever) listStages(q query) ([]byte, *failure) {
	all := l.stages.inOrder()
	if q.offset != "" {
		numbers, texts, ok := parseToken(q.offset, "ns")
		if !ok {
			return nil, badToken()
		}
		all = filtered(all, func(n int32) bool {
			st := l.stages.list[n]
			return st.rank > numbers[0] || st.rank == numbers[0] && st.id >= texts[0]
		})
	}
	return page(q.limit, all, rendered(l.stages.row), func(n int32) string {
		return formatToken(l.stages.list[n].rank, l.stages.list[n].id)
	}), nil
}

func (l *Lever) listSources(q query) ([]byte, *failure) {
	all := l.sources.sorted()
	if q.offset != "" {
		_, texts, ok := parseToken(q.offset, "s")
		if !ok {
			return nil, badToken()
		}
		all = slices.DeleteFunc(all, func(n int32) bool { return compareFold(l.sources.list[n].text, texts[0]) < 0 })
	}
	return page(q.limit, slices.Values(all), rendered(l.sources.row), func(n int32) string {
		return formatToken(l.sources.list[n].text)
	}), nil
}

func (l *Lever) listReasons(q query) ([]byte, *failure) {
	all := l.reasons.live()
	if q.offset != "" {
		numbers, _, ok := parseToken(q.offset, "ns")
		if !ok {
			return nil, badToken()
		}
		all = slices.DeleteFunc(all, func(n int32) bool { return float64(n) < numbers[0] })
	}
	return page(q.limit, slices.Values(all), rendered(l.reasons.row), func(n int32) string {
		return formatToken(int(n), l.reasons.list[n].id)
	}), nil
}

// listChildren lists what hangs under an opportunity.
func (l *Lever) listChildren(c *children, parent int32, q query) ([]byte, *failure) {
	list := l.childrenByAge(c, parent)
	if len(list) == 0 && c == l.resumes && l.hidesEmptyResumes(parent) {
		return nil, notFound("resumes", l.opportunities.id(parent))
	}
	if q.offset != "" {
		numbers, texts, ok := parseToken(q.offset, "ns")
		if !ok {
			return nil, badToken()
		}
		from := newObject("createdAt", int64(numbers[0]), "id", texts[0])
		list = slices.DeleteFunc(list, func(row *object) bool { return compareAge(row, from) < 0 })
	}
	return page(q.limit, upTo(len(list)), rendered(func(n int32) *object { return list[n] }), func(n int32) string {
		return formatToken(list[n].millis("createdAt"), list[n].text("id"))
	}), nil
}

func upTo(n int) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for i := range int32(n) {
			if !yield(i) {
				return
			}
		}
	}
}
