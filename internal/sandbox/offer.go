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
