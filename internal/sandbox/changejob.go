package sandbox

import "slices"

// Changes of postings and requisitions.

// NewPosting adds a posting and returns its id.
func (l *Lever) NewPosting() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newPosting()
}

func (l *Lever) newPosting() string {
	n, at := l.postings.next, l.now()
	l.postings.put(n, l.postingRow(n, at, at, false))
	return l.postings.id(n)
}

// EditPosting changes the content and the state; updatedAt moves.
func (l *Lever) EditPosting(id string) error {
	return l.locked(func() error { return l.editPosting(id) })
}

func (l *Lever) editPosting(id string) error {
	return l.postings.edit("posting", id, func(_ int32, row *object) error {
		row.set("updatedAt", l.stamp(row.millis("updatedAt")))
		content := row.child("content").copy()
		content.set("closing", l.write("Closing"))
		row.set("content", content)
		if row.text("state") == "internal" {
			row.set("state", "published")
			row.set("distributionChannels", []string{"internal", "public"})
		}
		return nil
	})
}

// RenamePosting changes the title. Every opportunity with an application for the
// posting has its tag renamed too (it moves to the end) and the same new updatedAt.
func (l *Lever) RenamePosting(id string) error {
	return l.locked(func() error { return l.renamePosting(id) })
}

func (l *Lever) renamePosting(id string) error {
	n, ok := l.postings.number(id)
	if !ok {
		return missing{"posting", id}
	}
	row := l.postings.row(n).copy()
	before, after := row.text("text"), l.write("Renamed")
	at := l.stamp(row.millis("updatedAt"))
	row.set("text", after)
	row.set("updatedAt", at)
	l.postings.put(n, row)
	for _, m := range l.opportunitiesOf(n) {
		row := l.opportunities.row(m).copy()
		tags := slices.DeleteFunc(slices.Clone(row.texts("tags")), func(tag string) bool { return tag == before })
		row.set("tags", append(tags, after))
		row.set("updatedAt", max(at, row.millis("updatedAt")+1))
		l.putOpportunity(m, row, n)
	}
	return nil
}

// DeletePosting deletes a posting, which shows up in the feed. Applications and
// requisitions keep its id.
func (l *Lever) DeletePosting(id string) error {
	return l.locked(func() error { return l.deletePosting(id) })
}

func (l *Lever) deletePosting(id string) error {
	n, ok := l.postings.number(id)
	if !ok {
		return missing{"posting", id}
	}
	l.postings.drop(n)
	l.deletedPostings.add(l.now(), newObject("id", id, "deletedAt", nil))
	return nil
}

// NewRequisition adds a requisition and returns its id.
func (l *Lever) NewRequisition() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newRequisition()
}

func (l *Lever) newRequisition() string {
	n, at := l.requisitions.next, l.now()
	row := l.requisitionRow(n, at, false)
	row.set("status", "open")
	row.set("approval", newObject("steps", []*object{}))
	row.set("updatedAt", at)
	row.set("closedAt", nil)
	l.requisitions.put(n, row)
	l.requisitionOrder.insert(n)
	return l.requisitions.id(n)
}

// EditRequisition changes the headcount, a custom field and the notes; updatedAt
// moves, createdAt, by which requisitions are filtered, does not.
func (l *Lever) EditRequisition(id string) error {
	return l.locked(func() error { return l.editRequisition(id) })
}

func (l *Lever) editRequisition(id string) error {
	return l.requisitions.edit("requisition", id, func(_ int32, row *object) error {
		row.set("updatedAt", l.stamp(row.millis("updatedAt")))
		row.set("internalNotes", l.write("Note"))
		fields := row.child("customFields").copy()
		fields.set("revision", l.edits)
		row.set("customFields", fields)
		if row.get("headcountTotal") == "unlimited" {
			row.set("headcountTotal", 1)
			row.set("headcountInfinite", false)
		}
		return nil
	})
}

// DeleteRequisition deletes a requisition. No feed tells.
func (l *Lever) DeleteRequisition(id string) error {
	return l.locked(func() error { return l.deleteRequisition(id) })
}

func (l *Lever) deleteRequisition(id string) error {
	n, ok := l.requisitions.number(id)
	if !ok {
		return missing{"requisition", id}
	}
	l.requisitionOrder.remove(n)
	l.requisitions.drop(n)
	return nil
}
