package sandbox

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
