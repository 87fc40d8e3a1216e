package sandbox

import (
	"slices"
	"strconv"
	"strings"
)

// requisitionCode is the customer's own code of a requisition.
func requisitionCode(n int32) string { return "REQ-" + strconv.Itoa(int(n)+1) }

// requisitionCreated is the createdAt of a requisition, without making the record.
func (l *Lever) requisitionCreated(n int32) int64 {
	if row := l.requisitions.rows[n]; row != nil {
		return row.millis("createdAt")
	}
	d := throw(l.o.Seed, kindAccount, int(n))
	return l.before(&d, n, l.requisitions.base)
}

func (l *Lever) requisitionConfidential(n int32) bool {
	if row := l.requisitions.rows[n]; row != nil {
		return row.text("confidentiality") == "confidential"
	}
	return l.confidentialRequisition(n)
}

// confidentialRequisition: about one in 20, and never the first.
func (l *Lever) confidentialRequisition(n int32) bool {
	return n > 0 && (mix(l.o.Seed^uint64(n)<<24)%20 == 0 || n == 1)
}

func (l *Lever) generatedRequisition(n int32) *object {
	return l.requisitionRow(n, l.requisitionCreated(n), l.confidentialRequisition(n))
}

func (l *Lever) requisitionRow(n int32, created int64, confidential bool) *object {
	d := throw(l.o.Seed, kindRequisition, int(n))
	user := func() string { return l.users.id(int32(d.below(int(l.users.base)))) }
	j := pick(&d, jobs())
	status := pick(&d, []string{"open", "open", "open", "onHold", "closed", "draft", "pending", "rejected"})
	updated := created + 60_000
	var closed any
	if status == "closed" {
		closed = updated + 1000
	}
	var total any = 1 + d.below(5)
	infinite := n == 0 || d.permille(120)
	if infinite {
		total = "unlimited"
	}
	row := newObject(
		"id", l.requisitions.id(n),
		"createdAt", created,
		"confidentiality", confidentiality(confidential),
		"status", status,
		"name", j.title,
		"requisitionCode", requisitionCode(n),
		"headcountTotal", total,
		"headcountHired", d.below(2),
		"headcountInfinite", infinite,
		"backfill", d.permille(200),
		"creator", user(),
		"owner", user(),
		"hiringManager", nil,
		"internalNotes", "",
		"compensationBand", nil,
		"approval", newObject("steps", []*object{}),
		"employmentStatus", nil,
		"location", nil,
		"team", nil,
		"department", nil,
		"postings", l.postingsOf(n),
		"offerIds", []string{},
		"timeToFillStartAt", nil,
		"timeToFillEndAt", nil,
		"updatedAt", updated,
		"customFields", newObject(),
		"closedAt", closed,
	)
	if d.permille(300) {
		return row // nothing more was ever filled in
	}
	row.set("hiringManager", user())
	row.set("compensationBand", newObject("min", 50_000, "max", 150_000.5, "currency", "EUR", "interval", "per-year-salary"))
	row.set("employmentStatus", pick(&d, []string{"full-time", "Exempt Full-Time"}))
	row.set("location", pick(&d, cities()))
	row.set("team", j.team)
	row.set("department", j.department)
	row.set("customFields", newObject(
		"cost_center", newObject("city", "Berlin", "campus_code", "2"), "target_hire_date", created+(90*day).Milliseconds()))
	if d.permille(60) {
		row.set("budget", newObject("approvedBy", nil, "quarters", []any{1, 2}))
	}
	if d.permille(600) {
		row.set("approval", l.approval(&d, n, created))
	}
	return row
}

// approval is a run of approvals, half of them still open.
func (l *Lever) approval(d *dice, n int32, created int64) *object {
	lead := int32(d.below(int(l.users.base)))
	dynamic := newObject("id", l.users.id(lead), "user", "Requisition hiring manager", "isDynamic", true, "type", "dynamic")
	step := newObject("completed", false, "status", nil, "outOfBandOnly", false, "approvalsRequired", 1,
		"approvers", []*object{dynamic, newObject("id", l.users.id(lead), "user",
			newObject("userId", l.users.id(lead), "email", personOf(l.o.Seed, kindUser, int(lead)).email), "isDynamic", false, "type", "static")})
	a := newObject("steps", []*object{step}, "id", newID(l.o.Seed, kindForm, int(n)), "status", "inprogress", "startedAt", created+10_000,
		"approvedAt", nil, "accountId", newID(l.o.Seed, kindAccount, 0), "createdBy", l.users.id(lead))
	if d.permille(500) {
		dynamic.set("approved", true)
		dynamic.set("approvedAt", created+50_000)
		step.set("completed", true)
		step.set("status", "approved")
		step.set("id", newID(l.o.Seed, kindForm, int(n)+1<<40))
		a.set("status", "approved")
		a.set("approvedAt", created+50_000)
	}
	return a
}

// postingsOf are the ids of the postings that a generated requisition stands behind.
func (l *Lever) postingsOf(requisition int32) []string {
	ids := []string{}
	each := l.postings.base / l.requisitions.base
	for p := requisition * each; p < (requisition+1)*each && p < l.postings.base; p++ {
		ids = append(ids, l.postings.id(p))
	}
	return ids
}

// sortRequisitions makes the sorted set of a new account: by id, descending.
func (l *Lever) sortRequisitions() {
	type key struct {
		id string
		n  int32
	}
	keys := make([]key, l.requisitions.base)
	for n := range l.requisitions.base {
		keys[n] = key{l.requisitions.id(n), n}
	}
	slices.SortFunc(keys, func(a, b key) int { return strings.Compare(b.id, a.id) })
	sorted := make([]int32, len(keys))
	for i, k := range keys {
		sorted[i] = k.n
	}
	l.requisitionOrder = newOrdered(sorted, func(a, b int32) int {
		return strings.Compare(l.requisitions.id(b), l.requisitions.id(a))
	})
}
