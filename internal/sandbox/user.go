package sandbox

import (
	"strconv"
	"strings"
)

// userRow is the record of a user that nobody has changed. About one in seven was
// deactivated, but never the first.
func (l *Lever) userRow(n int32) *object {
	d := throw(l.o.Seed, kindUser, int(n)+1<<40)
	created := l.before(&d, n, l.users.base)
	row := l.newUserRow(n, created)
	if n > 0 && (n == 3 || d.permille(140)) {
		row.set("deactivatedAt", l.within(&d, created, span))
	}
	if n > 0 && d.permille(500) {
		row.set("managerId", l.users.id(int32(d.below(int(n)))))
	}
	return row
}

func (l *Lever) newUserRow(n int32, created int64) *object {
	d := throw(l.o.Seed, kindUser, int(n)+1<<41)
	who := personOf(l.o.Seed, kindUser, int(n))
	email := strings.ToLower(pick(&d, []string{"robin", "sam", "kim", "alex", "jo"})) + strconv.Itoa(int(n)) + "@example.test"
	username, _, _ := strings.Cut(email, "@")
	var photo, contacts, title any
	if d.permille(300) {
		photo = "https://example.test/photos/" + username + ".png"
	}
	if d.permille(100) && l.o.Opportunities > 0 {
		contacts = []string{newID(l.o.Seed, kindContact, d.below(l.o.Opportunities))}
	}
	if d.permille(600) {
		title = "Recruiter"
	}
	row := newObject(
		"id", l.users.id(n),
		"name", who.name,
		"username", username,
		"email", email,
		"accessRole", pick(&d, []string{"super admin", "admin", "team member", "limited team member", "interviewer"}),
		"photo", photo,
		"createdAt", created,
		"deactivatedAt", nil,
		"externalDirectoryId", nil,
		"linkedContactIds", contacts,
		"jobTitle", title,
		"managerId", nil,
	)
	if d.permille(80) {
		row.set("preferences", newObject("theme", nil, "digest", true))
	}
	return row
}
