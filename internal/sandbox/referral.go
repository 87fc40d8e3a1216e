package sandbox

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
