package sandbox

import (
	"slices"
	"strconv"
)

// posted are the words of a posting that become tags of its opportunities.
type posted struct {
	title, department, team, location, commitment string
}

func (p *posted) tags() []string {
	if p == nil {
		return []string{}
	}
	return []string{p.title, p.department, p.team, p.location, p.commitment}
}

// postedWords are those of a posting as it was generated.
func (l *Lever) postedWords(n int32) posted {
	d := throw(l.o.Seed, kindPosting, int(n))
	j := pick(&d, jobs())
	return posted{
		title: pick(&d, levels()) + j.title + " " + strconv.Itoa(int(n)+1), department: j.department, team: j.team,
		location: pick(&d, cities()), commitment: pick(&d, commitments()),
	}
}

// currentWords are those of a posting as it is now.
func (l *Lever) currentWords(n int32) posted {
	row := l.postings.row(n)
	c := row.child("categories")
	return posted{row.text("text"), c.text("department"), c.text("team"), c.text("location"), c.text("commitment")}
}

// confidentialPosting says whether a generated posting is confidential, which is
// about one in 25, and never the first.
func (l *Lever) confidentialPosting(n int32) bool {
	return n > 0 && n < l.postings.base && (mix(l.o.Seed^uint64(n)<<20)%25 == 0 || n == 2)
}

// postingTimes are those of a generated posting.
func (l *Lever) postingTimes(n int32) (created, updated int64) {
	d := throw(l.o.Seed, kindForm, int(n))
	created = l.before(&d, n, l.postings.base)
	return created, l.within(&d, created, 300*day)
}

func (l *Lever) generatedPosting(n int32) *object {
	created, updated := l.postingTimes(n)
	return l.postingRow(n, created, updated, l.confidentialPosting(n))
}

func (l *Lever) postingRow(n int32, created, updated int64, confidential bool) *object {
	d := throw(l.o.Seed, kindPosting, int(n)+1<<40)
	words := l.postedWords(n)
	id := l.postings.id(n)
	user := func() string { return l.users.id(int32(d.below(int(l.users.base)))) }
	state := pick(&d, []string{"published", "published", "published", "internal", "closed", "closed", "draft", "pending", "rejected"})
	var channels, urls, manager any
	switch state {
	case "published":
		channels = []string{"internal", "public"}
		fallthrough
	case "internal":
		show := "https://jobs.lever.co/example/" + id
		urls = newObject("list", "https://jobs.lever.co/example", "show", show, "apply", show+"/apply")
	}
	owner := user()
	if d.permille(500) {
		manager = user()
	}
	code := requisitionCode(min(n*l.requisitions.base/l.postings.base, l.requisitions.base-1))
	row := newObject(
		"id", id,
		"text", words.title,
		"state", state,
		"distributionChannels", channels,
		"user", user(),
		"owner", owner,
		"hiringManager", manager,
		"categories", newObject("commitment", words.commitment, "department", words.department, "level", nil,
			"location", words.location, "team", words.team, "allLocations", []string{words.location}),
		"tags", []string{},
		"content", newObject("description", "Work on things.\n", "descriptionHtml", "<div>Work on <b>things</b>.</div>",
			"lists", []*object{newObject("content", "<ul><li>Go</li></ul>", "text", "You bring")}, "closing", "", "closingHtml", ""),
		"country", pick(&d, []string{"DE", "US", "BR", "KE"}),
		"followers", []string{owner},
		"reqCode", nil,
		"requisitionCodes", []string{code},
		"urls", urls,
		"confidentiality", confidentiality(confidential),
		"createdAt", created,
		"updatedAt", updated,
		"workplaceType", pick(&d, []string{"unspecified", "onsite", "remote", "hybrid"}),
	)
	if d.permille(300) {
		low := 30_000 + d.below(50)*1000
		row.set("salaryRange", newObject("min", float64(low)+0.5, "max", low*2, "currency", "EUR", "interval", "per-year-salary"))
	}
	row.set("transcribeInterviews", false)
	row.set("screening", newObject("enabled", d.permille(100)))
	if d.permille(100) {
		row.child("screening").set("provider", nil)
		row.set("audience", []*object{newObject("region", "EMEA", "weight", 0.25)})
	}
	return row
}

// postingUpdated is the updatedAt of a posting, without making the record.
func (l *Lever) postingUpdated(n int32) int64 {
	if row := l.postings.rows[n]; row != nil {
		return row.millis("updatedAt")
	}
	_, updated := l.postingTimes(n)
	return updated
}

func (l *Lever) postingConfidential(n int32) bool {
	if row := l.postings.rows[n]; row != nil {
		return row.text("confidentiality") == "confidential"
	}
	return l.confidentialPosting(n)
}

// opportunitiesOf are the numbers of the opportunities whose first application is
// for a posting.
func (l *Lever) opportunitiesOf(posting int32) []int32 {
	var numbers []int32
	base, postings := int(l.opportunities.base), int(l.postings.base)
	from := int(posting) * base / postings
	to := min((int(posting)+5)*base/postings+1, base)
	for n := int32(from); n < int32(to); n++ {
		if l.opportunities.has(n) && l.outline(n).posting == posting {
			numbers = append(numbers, n)
		}
	}
	for n, o := range l.outlines {
		if o.posting == posting {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}
