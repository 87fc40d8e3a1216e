package sandbox

// generatedOffers: about 8 in 100 opportunities have one, a few of these two.
func (l *Lever) generatedOffers(n int32) []*object {
	d := throw(l.o.Seed, kindOffer, int(n))
	if !d.permille(80) {
		return nil
	}
	count := 1
	if d.permille(100) {
		count = 2
	}
	o := l.generatedOutline(n)
	rows := make([]*object, count)
	for i := range rows {
		status := pick(&d, []string{"draft", "approval-sent", "approved", "sent", "opened", "denied", "signed", "signed"})
		rows[i] = l.offerRow(&d, n, l.offers.generatedID(n, i), o.posting, o.advanced+int64(i), status)
	}
	return rows
}

func (l *Lever) offerRow(d *dice, n int32, id string, posting int32, created int64, status string) *object {
	who := l.personOf(n)
	creator := l.users.id(int32(d.below(int(l.users.base))))
	var job any
	if posting >= 0 {
		job = l.postings.id(posting)
	}
	hour := int64(3_600_000)
	row := newObject(
		"id", id,
		"posting", job,
		"createdAt", created,
		"status", status,
		"creator", creator,
		"fields", []*object{
			newObject("text", "Job posting", "identifier", "job_posting", "value", job),
			newObject("text", "Candidate name", "identifier", "candidate_name", "value", who.name),
			newObject("text", "Offered compensation amount", "identifier", "salary_amount", "value", 30_000+d.below(900)*100),
			newObject("text", "Hourly rate", "identifier", "custom_hourly_rate", "value", float64(d.below(4000))/16),
			newObject("text", "Anticipated start date", "identifier", "anticipated_start_date", "value", created+60*24*hour),
			newObject("text", "equity", "identifier", "custom_equity", "value", nil),
		},
		"signatures", nil,
		"approved", false,
		"approvedAt", nil,
		"sentAt", nil,
		"sentDocument", nil,
		"signedDocument", nil,
	)
	signature := newObject("role", "candidate", "name", nil, "email", nil, "firstOpenedAt", nil, "lastOpenedAt", nil, "signedAt", nil, "signed", false)
	row.set("signatures", newObject("candidate", signature))
	if d.permille(100) {
		row.set("signatures", nil)
	}
	if status == "draft" || status == "approval-sent" {
		return row
	}
	row.set("approved", true)
	row.set("approvedAt", created+hour)
	if status == "approved" {
		return row
	}
	url := "https://api.lever.co/v1/opportunities/" + l.opportunities.id(n) + "/offers/" + id + "/download?status="
	row.set("sentAt", created+2*hour)
	row.set("sentDocument", newObject("fileName", "offer.pdf", "uploadedAt", created+2*hour, "downloadUrl", url+"sent"))
	signature.set("name", who.name)
	signature.set("email", who.email)
	if status == "signed" {
		signature.set("firstOpenedAt", created+3*hour)
		signature.set("lastOpenedAt", created+4*hour)
		signature.set("signedAt", created+5*hour)
		signature.set("signed", true)
		signature.set("witness", nil)
		row.set("signedDocument", newObject("fileName", "offer_signed.pdf", "uploadedAt", created+5*hour+1000, "downloadUrl", url+"signed"))
	}
	return row
}

// generatedReferrals: about one opportunity in ten has one.
func (l *Lever) generatedReferrals(n int32) []*object {
	d := throw(l.o.Seed, kindReferral, int(n))
	if !d.permille(100) {
		return nil
	}
	o := l.generatedOutline(n)
	return []*object{l.referralRow(&d, l.referrals.generatedID(n, 0), o.created, l.stages.list[o.stage].id)}
}

func (l *Lever) referralRow(d *dice, id string, created int64, stage string) *object {
	user := l.users.id(int32(d.below(int(l.users.base))))
	row := newObject(
		"id", id, "type", "referral", "text", "Referral", "instructions", "",
		"fields", []*object{
			newObject("type", "text", "text", "Name of referrer", "description", "", "required", true, "value", pick(d, firstNames())+" "+pick(d, lastNames())),
			newObject("type", "dropdown", "text", "Relationship", "description", "", "required", true, "prompt", "Select one",
				"options", []*object{newObject("text", "Former colleague"), newObject("text", "Friend")}, "value", pick(d, []string{"Former colleague", "Friend"})),
			newObject("type", "textarea", "text", "Anything else?", "description", "", "required", false, "value", nil),
		},
		"baseTemplateId", newID(l.o.Seed, kindTemplate, 1),
		"user", user,
		"referrer", user,
		"stage", nil,
		"createdAt", created,
		"completedAt", created-1,
	)
	if d.permille(200) {
		row.set("referrer", nil)
	}
	if d.permille(500) {
		row.set("stage", stage)
	}
	if d.permille(50) {
		row.set("bonus", newObject("amount", 500, "paidAt", nil))
	}
	return row
}

// generatedResumes: about 7 in 10 opportunities have one, a few of these two.
func (l *Lever) generatedResumes(n int32) []*object {
	d := throw(l.o.Seed, kindResume, int(n))
	if !d.permille(700) {
		return nil
	}
	count := 1
	if d.permille(60) {
		count = 2
	}
	o := l.generatedOutline(n)
	rows := make([]*object, count)
	for i := range rows {
		rows[i] = l.resumeRow(&d, n, l.resumes.generatedID(n, i), o.created+int64(i)*1000)
	}
	return rows
}

func (l *Lever) resumeRow(d *dice, n int32, id string, created int64) *object {
	file := newObject(
		"name", "resume.pdf", "ext", "pdf",
		"downloadUrl", "https://hire.lever.co/candidates/"+l.opportunities.id(n)+"/resumes/"+id+"/download",
		"uploadedAt", created+4, "status", "processed", "size", 1000+d.below(2_000_000),
	)
	start := 2000 + d.below(20)
	parsed := newObject(
		"positions", []*object{newObject("org", pick(d, companies()), "title", pick(d, jobs()).title, "summary", nil, "location", pick(d, cities()),
			"start", newObject("year", start, "month", 1+d.below(12)), "end", newObject("year", start+d.below(5), "month", 1+d.below(12)))},
		"schools", []*object{newObject("org", "Sample University", "degree", "", "field", "Mathematics", "summary", nil,
			"start", newObject("year", start-4, "month", 9), "end", newObject("year", start, "month", 6))},
	)
	if d.permille(30) {
		parsed.set("skills", []*object{newObject("name", "Go", "years", nil)})
	}
	row := newObject("id", id, "createdAt", created, "file", file, "parsedData", parsed)
	switch x := d.below(100); {
	case x < 4: // a file that Lever could not read
		file.set("status", "error")
		row.remove("parsedData")
	case x < 14: // taken from a profile on the web
		row.set("file", nil)
	}
	return row
}

// hidesEmptyResumes says that the empty list of resumes of an opportunity is answered
// with 404, as Lever does now and then.
func (l *Lever) hidesEmptyResumes(n int32) bool {
	d := throw(l.o.Seed, kindFile, int(n))
	return d.permille(100)
}
