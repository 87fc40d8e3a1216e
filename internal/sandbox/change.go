package sandbox

import (
	"fmt"
	"strconv"
)

// The changes that can be made one by one. Each is visible as soon as the method
// returns. Where Lever's record has an updatedAt that the change moves, it becomes
// the clock's time, or a millisecond after the old one if the clock stands.
//
// An id that is not there (any more) is an error.

// missing is the error of an id that is not there.
type missing struct{ kind, id string }

func (e missing) Error() string {
	return fmt.Sprintf("sandbox: there is no %s %q; IDs lists what there is", e.kind, e.id)
}

// write is a text that no record had before.
func (l *Lever) write(what string) string {
	l.edits++
	return what + " #" + strconv.Itoa(l.edits)
}

// locked runs a change.
func (l *Lever) locked(change func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return change()
}

// edit changes a record of a shelf.
func (s *shelf) edit(what, id string, change func(n int32, row *object) error) error {
	n, ok := s.number(id)
	if !ok {
		return missing{what, id}
	}
	row := s.row(n).copy()
	if err := change(n, row); err != nil {
		return err
	}
	s.put(n, row)
	return nil
}

// editOpportunity changes the record of an opportunity and sorts it in again. The
// change sets updatedAt itself, or calls interact.
func (l *Lever) editOpportunity(id string, change func(n int32, row *object) error) error {
	n, ok := l.opportunities.number(id)
	if !ok {
		return missing{"opportunity", id}
	}
	row, posting := l.opportunities.row(n).copy(), l.outline(n).posting
	if err := change(n, row); err != nil {
		return err
	}
	if list := l.applications.list(n); len(list) == 0 {
		posting = -1
	} else if p, ok := l.postings.place(list[0].text("posting")); ok {
		posting = p
	}
	l.putOpportunity(n, row, posting)
	return nil
}

// interact stamps a record: updatedAt moves, and is one millisecond after
// lastInteractionAt, as Lever does.
func (l *Lever) interact(row *object) (at int64) {
	updated := l.stamp(max(row.millis("updatedAt"), row.millis("lastInteractionAt")))
	row.set("lastInteractionAt", updated-1)
	row.set("updatedAt", updated)
	return updated
}

// NewOpportunity adds an opportunity in the first stage, with an application to one
// of the newest postings if there is any, and returns its id.
func (l *Lever) NewOpportunity() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newOpportunity()
}

func (l *Lever) newOpportunity() string {
	n, at := l.opportunities.next, l.now()
	o := outline{created: at, advanced: at, interaction: at, updated: at, posting: -1}
	for stage := range l.stages.inOrder() {
		o.stage = stage
		break
	}
	source := l.write("source") // is created by its first use, as Lever does
	if live := l.sources.sorted(); len(live) > 0 {
		source = l.sources.list[live[int(n)%len(live)]].text
	} else {
		l.sources.list = append(l.sources.list, newSource(source))
	}
	var words *posted
	ids := []string{}
	// The number is taken first: the children need their parent's id.
	l.opportunities.next = n + 1
	if p, ok := l.recentPosting(int(n)); ok {
		w := l.currentWords(p)
		words, o.posting, o.confidential = &w, p, l.postingConfidential(p)
		id := l.applications.id(l.applications.number(n))
		l.applications.add(n, l.applicationRow(n, id, p, at))
		ids = append(ids, id)
	}
	row := l.opportunityRow(n, o, ids, words, source)
	l.opportunities.next = n
	l.putOpportunity(n, row, o.posting)
	return l.opportunities.id(n)
}

func newSource(text string) source { return source{text: text} }

// recentPosting picks one of the ten newest postings.
func (l *Lever) recentPosting(n int) (posting int32, ok bool) {
	var recent []int32
	for p := range l.postings.newest(l.postings.next - 1) {
		if recent = append(recent, p); len(recent) == 10 {
			break
		}
	}
	if len(recent) == 0 {
		return 0, false
	}
	return recent[n%len(recent)], true
}

// Touch stamps an opportunity without changing anything but the time of the last
// interaction.
func (l *Lever) Touch(id string) error { return l.locked(func() error { return l.touch(id) }) }

func (l *Lever) touch(id string) error {
	return l.editOpportunity(id, func(_ int32, row *object) error {
		l.interact(row)
		return nil
	})
}

// EditOpportunity changes the headline and adds a tag.
func (l *Lever) EditOpportunity(id string) error {
	return l.locked(func() error { return l.editWords(id) })
}

func (l *Lever) editWords(id string) error {
	return l.editOpportunity(id, func(_ int32, row *object) error {
		l.interact(row)
		row.set("headline", l.write("Headline"))
		tags := row.texts("tags")
		row.set("tags", append(tags[:len(tags):len(tags)], l.write("tag")))
		return nil
	})
}

// SilentEdit changes the headline and leaves updatedAt alone, as no documented change
// of Lever does: only a complete read can find it.
func (l *Lever) SilentEdit(id string) error {
	return l.locked(func() error {
		return l.editOpportunity(id, func(_ int32, row *object) error {
			row.set("headline", l.write("Silent"))
			return nil
		})
	})
}

// AdvanceStage moves an opportunity to the next stage, and from the last to the
// first. An archived one becomes active again.
func (l *Lever) AdvanceStage(id string) error {
	return l.locked(func() error { return l.advanceStage(id) })
}

func (l *Lever) advanceStage(id string) error {
	return l.moveStage(id, func(n int32) int32 { return l.stages.after(l.outline(n).stage) })
}

// MoveStage moves an opportunity to a stage.
func (l *Lever) MoveStage(id, stage string) error {
	return l.locked(func() error {
		to, ok := l.stages.number(stage)
		if !ok {
			return missing{"stage", stage}
		}
		return l.moveStage(id, func(int32) int32 { return to })
	})
}

func (l *Lever) moveStage(id string, to func(n int32) int32) error {
	return l.editOpportunity(id, func(n int32, row *object) error {
		stage := to(n)
		at := l.interact(row) - 1
		row.set("stage", l.stages.list[stage].id)
		row.set("lastAdvancedAt", at)
		row.set("archived", nil)
		changes, _ := row.get("stageChanges").([]*object)
		row.set("stageChanges", append(changes[:len(changes):len(changes)], newObject(
			"toStageId", l.stages.list[stage].id, "toStageIndex", l.stages.index(stage), "updatedAt", at, "userId", row.text("owner"))))
		return nil
	})
}

// Archive archives an opportunity; one that is archived already is archived again.
// Its application keeps the time of the first.
func (l *Lever) Archive(id string) error {
	return l.locked(func() error { return l.archive(id) })
}

func (l *Lever) archive(id string) error {
	return l.editOpportunity(id, func(n int32, row *object) error {
		at := l.interact(row) - 1
		live := l.reasons.live()
		if len(live) == 0 {
			return missing{"archive reason", "any"}
		}
		reason := live[int(at)%len(live)]
		archived := newObject("reason", l.reasons.list[reason].id, "archivedAt", at)
		if row.get("archived") == nil {
			row.set("lastAdvancedAt", at)
		}
		row.set("archived", archived)
		list := l.applications.list(n)
		if len(list) == 0 || list[0].get("archived") != nil {
			return nil
		}
		application := list[0].copy()
		application.set("archived", archived)
		if l.reasons.list[reason].kind == "hired" {
			if p := l.outline(n).posting; p >= 0 && p < l.postings.base {
				application.set("requisitionForHire", l.requisitionForHire(p))
			}
		}
		l.applications.replace(n, 0, application)
		return nil
	})
}

// Anonymize empties what identifies the person; the opportunity stays.
func (l *Lever) Anonymize(id string) error {
	return l.locked(func() error { return l.anonymize(id) })
}

func (l *Lever) anonymize(id string) error {
	return l.editOpportunity(id, func(n int32, row *object) error {
		l.interact(row)
		for _, name := range []string{"name", "headline", "location"} {
			row.set(name, "")
		}
		for _, name := range []string{"phones", "emails", "links"} {
			row.set(name, []string{})
		}
		row.set("isAnonymized", true)
		for i, application := range l.applications.list(n) {
			application = application.copy()
			for _, name := range []string{"name", "email", "phone", "company", "comments", "ipAddress", "userAgent"} {
				application.set(name, nil)
			}
			application.set("customQuestions", []*object{})
			l.applications.replace(n, i, application)
		}
		return nil
	})
}

// DeleteOpportunity deletes an opportunity and all that hangs under it; only the
// opportunity itself shows up in a feed of deletions.
func (l *Lever) DeleteOpportunity(id string) error {
	return l.locked(func() error { return l.deleteOpportunity(id) })
}

func (l *Lever) deleteOpportunity(id string) error {
	n, ok := l.opportunities.number(id)
	if !ok {
		return missing{"opportunity", id}
	}
	row := l.opportunities.row(n).copy()
	l.dropOpportunity(n)
	row.set("deletedBy", row.text("owner"))
	l.deletedOpportunities.add(l.now(), row)
	return nil
}

// SetConfidential makes an opportunity or a requisition confidential, or no longer so.
func (l *Lever) SetConfidential(id string, confidential bool) error {
	return l.locked(func() error {
		if _, ok := l.requisitions.number(id); ok {
			return l.requisitions.edit("requisition", id, func(_ int32, row *object) error {
				row.set("updatedAt", l.stamp(row.millis("updatedAt")))
				row.set("confidentiality", confidentiality(confidential))
				return nil
			})
		}
		return l.editOpportunity(id, func(_ int32, row *object) error {
			l.interact(row)
			row.set("confidentiality", confidentiality(confidential))
			return nil
		})
	})
}
