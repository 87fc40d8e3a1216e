package sandbox

import "strconv"

// generatedApplications are those of an opportunity that nobody has changed.
func (l *Lever) generatedApplications(n int32) []*object {
	o := l.generatedOutline(n)
	rows := make([]*object, o.applications)
	for i := range rows {
		posting := (o.posting + int32(i)) % l.postings.base
		row := l.applicationRow(n, l.applications.generatedID(n, i), posting, o.created+int64(i))
		if o.archived > 0 && i == 0 {
			reason := l.reasonNumber(n)
			row.set("archived", newObject("reason", l.reasons.list[reason].id, "archivedAt", o.archived))
			if reason == hiredReason {
				row.set("requisitionForHire", l.requisitionForHire(posting))
			}
		}
		rows[i] = row
	}
	return rows
}

// requisitionForHire names the requisition that stands behind a posting.
func (l *Lever) requisitionForHire(posting int32) *object {
	r := min(posting*l.requisitions.base/l.postings.base, l.requisitions.base-1)
	return newObject("id", l.requisitions.id(r), "requisitionCode", requisitionCode(r), "hiringManagerOnHire", l.users.id(r%l.users.base))
}

func (l *Lever) applicationRow(n int32, id string, posting int32, created int64) *object {
	d := throw(l.o.Seed, kindApplication, int(n))
	who := l.personOf(n)
	opportunity := l.opportunities.id(n)
	owner := l.users.id(int32(d.below(int(l.users.base))))
	var manager any
	if d.permille(300) {
		manager = l.users.id(int32(d.below(int(l.users.base))))
	}
	row := newObject(
		"id", id,
		"type", "posting",
		"candidateId", opportunity,
		"opportunityId", opportunity,
		"posting", l.postings.id(posting),
		"postingHiringManager", manager,
		"postingOwner", owner,
		"name", who.name,
		"company", pick(&d, companies()),
		"phone", newObject("type", nil, "value", who.phone),
		"email", who.email,
		"links", []string{},
		"comments", "Hello,\nI like \"this\" job. 👋",
		"user", nil,
		"customQuestions", []*object{l.postingForm(&d, n, created)},
		"createdAt", created,
		"archived", nil,
		"requisitionForHire", nil,
		"ipAddress", "192.0.2."+strconv.Itoa(1+d.below(250)),
		"referer", nil,
		"userAgent", "Example/1.0",
		"acceptLanguage", "en",
		"timezone", "Europe/Berlin",
	)
	switch x := d.below(10); {
	case x < 3: // added by a user
		for _, name := range []string{"name", "company", "phone", "email", "comments", "ipAddress", "userAgent", "acceptLanguage", "timezone"} {
			row.set(name, nil)
		}
		row.set("type", "user")
		row.set("user", owner)
		row.set("customQuestions", []*object{})
	case x < 4:
		row.set("type", "referral")
		row.set("user", owner)
	case x < 5:
		row.set("company", nil)
		row.set("phone", nil)
		row.set("comments", nil)
		row.set("customQuestions", []*object{})
	}
	if d.permille(30) {
		row.set("channel", newObject("campaign", nil, "medium", "mail"))
	}
	return row
}

// postingForm is the form that an applicant has filled in.
func (l *Lever) postingForm(d *dice, n int32, created int64) *object {
	form := newObject(
		"type", "posting", "text", "Questions", "description", "",
		"user", l.users.id(int32(d.below(int(l.users.base)))),
		"fields", []*object{
			newObject("type", "multiple-select", "text", "Languages?", "description", "", "required", false,
				"options", []*object{newObject("text", "Go"), newObject("text", "Java")}, "value", []string{"Go"}),
			newObject("type", "file-upload", "text", "Homework", "description", "", "required", false,
				"value", newObject("id", newID(l.o.Seed, kindFile, int(n)), "ext", ".txt", "name", "hw.txt", "size", 40+d.below(900), "uploadedAt", created-10_000)),
			newObject("type", "score", "text", "Years of experience", "description", "", "required", false, "value", d.below(20)),
			newObject("type", "text", "text", "Why us?", "description", "", "required", false, "value", nil),
		},
		"baseTemplateId", newID(l.o.Seed, kindTemplate, 0),
		"stage", nil, "createdAt", created-100_000, "completedAt", created,
	)
	if d.permille(50) {
		form.set("isSummary", false)
	}
	return form
}
