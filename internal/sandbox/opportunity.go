package sandbox

import (
	"slices"
	"strconv"
)

// generatedOpportunity is the record of an opportunity that nobody has changed.
func (l *Lever) generatedOpportunity(n int32) *object {
	o := l.generatedOutline(n)
	ids := make([]string, o.applications)
	for i := range ids {
		ids[i] = l.applications.generatedID(n, i)
	}
	var words *posted
	if o.posting >= 0 {
		w := l.postedWords(o.posting)
		words = &w
	}
	return l.opportunityRow(n, o, ids, words, l.sources.list[o.source].text)
}

// contactOf is the number of the person behind an opportunity; some have two.
func (l *Lever) contactOf(n int32) int {
	d := throw(l.o.Seed, kindContact, int(n))
	if n > 0 && d.permille(30) {
		return int(n) - 1
	}
	return int(n)
}

func (l *Lever) personOf(n int32) person {
	return personOf(l.o.Seed, kindContact, l.contactOf(n))
}

// opportunityRow writes the record of an opportunity. Words are those of the posting
// of its application, nil if it has none.
func (l *Lever) opportunityRow(n int32, o outline, applications []string, words *posted, source string) *object {
	d := throw(l.o.Seed, kindDetails, int(n))
	id := l.opportunities.id(n)
	who := l.personOf(n)
	owner := l.users.id(int32(d.below(int(l.users.base))))
	name, headline, location := who.name, pick(&d, companies())+", "+pick(&d, companies()), pick(&d, cities())
	if d.permille(12) {
		name = ""
	}
	if d.permille(300) {
		headline = ""
	}
	if d.permille(400) {
		location = ""
	}
	phones := []*object{}
	if d.permille(700) {
		phones = append(phones, newObject("type", pick(&d, []string{"mobile", "home", "other"}), "value", who.phone))
	}
	emails := []string{who.email}
	if d.permille(50) {
		emails = []string{}
	}
	links := []string{}
	if d.permille(500) {
		links = append(links, "https://example.test/people/"+strconv.Itoa(int(n)))
	}
	origin := pick(&d, []string{"applied", "applied", "applied", "sourced", "sourced", "referred", "agency", "university", "internal"})
	var sourcedBy any
	if origin == "sourced" && d.permille(800) {
		sourcedBy = owner
	}
	var archived any
	if o.archived > 0 {
		archived = newObject("reason", l.generatedReason(n), "archivedAt", o.archived)
	}
	var snoozed any
	if d.permille(20) {
		snoozed = o.interaction + (30 * day).Milliseconds()
	}
	row := newObject(
		"id", id,
		"name", name,
		"contact", newID(l.o.Seed, kindContact, l.contactOf(n)),
		"headline", headline,
		"stage", l.stages.list[o.stage].id,
		"confidentiality", confidentiality(o.confidential),
		"location", location,
		"phones", phones,
		"emails", emails,
		"links", links,
		"archived", archived,
		"tags", words.tags(),
		"sources", []string{source},
		"stageChanges", l.stageChanges(&d, o, owner),
		"origin", origin,
		"sourcedBy", sourcedBy,
		"owner", owner,
		"followers", []string{owner},
		"applications", applications,
		"createdAt", o.created,
		"updatedAt", orNull(o.updated),
		"lastInteractionAt", o.interaction,
		"lastAdvancedAt", o.advanced,
		"snoozedUntil", snoozed,
		"urls", newObject("list", "https://hire.lever.co/candidates", "show", "https://hire.lever.co/candidates/"+id),
		"isAnonymized", false,
		"dataProtection", dataProtection(&d, o.created),
	)
	if words != nil {
		row.set("opportunityLocation", words.location)
	}
	// Lever adds fields without notice.
	switch d.below(20) {
	case 0:
		row.set("assessment", newObject("score", 3.5, "vendor", nil, "rounds", []any{1, "two", nil}))
	case 1:
		row.set("lastSurveyAt", nil)
	case 2:
		row.child("urls").set("portal", nil)
	}
	return row
}

// generatedReason is the id of the reason for which a generated opportunity, if it
// is archived at all, was archived.
func (l *Lever) generatedReason(n int32) string {
	return l.reasons.list[l.reasonNumber(n)].id
}

func (l *Lever) reasonNumber(n int32) int {
	d := throw(l.o.Seed, kindReason, int(n))
	return d.below(baseReasons)
}

// stageChanges lead from the start to the stage of an outline.
func (l *Lever) stageChanges(d *dice, o outline, by string) []*object {
	path := []int32{o.stage}
	if o.advanced > o.created {
		path = append(path, int32(d.below(int(o.stage))))
		if path[1] > 1 {
			path = append(path, int32(d.below(int(path[1]))))
		}
		slices.Reverse(path)
	}
	changes := make([]*object, len(path))
	at := o.created
	for i, s := range path {
		if i == len(path)-1 {
			at = o.advanced
		} else if i > 0 {
			at += d.millis(o.advanced - at)
		}
		changes[i] = newObject("toStageId", l.stages.list[s].id, "toStageIndex", int(s), "updatedAt", at)
		if d.permille(250) {
			changes[i].set("userId", by)
		}
	}
	return changes
}

func confidentiality(confidential bool) string {
	if confidential {
		return "confidential"
	}
	return "non-confidential"
}

func dataProtection(d *dice, created int64) any {
	if !d.permille(150) {
		return nil
	}
	return newObject(
		"store", newObject("allowed", true, "expiresAt", created+span.Milliseconds()),
		"contact", newObject("allowed", d.permille(500), "expiresAt", nil),
	)
}

// putOpportunity puts a changed or a new record, and sorts it in. The record's
// times, stage, confidentiality and sources are taken from it.
func (l *Lever) putOpportunity(n int32, row *object, posting int32) {
	var before []string
	if l.opportunities.has(n) {
		before = l.opportunities.row(n).texts("sources")
		l.takeOut(n)
	}
	o := outline{
		created: row.millis("createdAt"), advanced: row.millis("lastAdvancedAt"),
		interaction: row.millis("lastInteractionAt"), updated: row.millis("updatedAt"),
		stage:        l.stages.byID[row.text("stage")],
		posting:      posting,
		applications: len(row.texts("applications")),
		confidential: row.text("confidentiality") == "confidential",
	}
	l.opportunities.put(n, row)
	l.outlines[n] = o
	l.order.insert(n)
	if o.updated > 0 {
		l.updated.insert(n)
	}
	l.sources.recount(before, row.texts("sources"))
}

// takeOut takes an opportunity out of the sorted sets.
func (l *Lever) takeOut(n int32) {
	l.order.remove(n)
	if l.outline(n).updated > 0 {
		l.updated.remove(n)
	}
}

// dropOpportunity deletes an opportunity with all that hangs under it.
func (l *Lever) dropOpportunity(n int32) {
	l.sources.recount(l.opportunities.row(n).texts("sources"), nil)
	l.takeOut(n)
	l.opportunities.drop(n)
	delete(l.outlines, n)
	for _, c := range []*children{l.applications, l.offers, l.referrals, l.resumes} {
		c.drop(n)
	}
}
