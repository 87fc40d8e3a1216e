package sandbox

// Changes of what hangs under an opportunity. As documented, an opportunity's
// updatedAt moves with its applications, but not with its offers, referrals and
// resumes: call Touch as well for a change that an increment can see, which is what
// Mutate does.

// AddOffer adds a draft and returns its id.
func (l *Lever) AddOffer(opportunity string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addOffer(opportunity)
}

func (l *Lever) addOffer(opportunity string) (string, error) {
	return l.hang(l.offers, opportunity, func(n int32, id string, d *dice) *object {
		return l.offerRow(d, n, id, l.outline(n).posting, l.now(), "draft")
	})
}

// AddReferral adds a referral and returns its id.
func (l *Lever) AddReferral(opportunity string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addReferral(opportunity)
}

func (l *Lever) addReferral(opportunity string) (string, error) {
	return l.hang(l.referrals, opportunity, func(n int32, id string, d *dice) *object {
		return l.referralRow(d, id, l.now(), l.stages.list[l.outline(n).stage].id)
	})
}

// AddResume adds a resume and returns its id.
func (l *Lever) AddResume(opportunity string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addResume(opportunity)
}

func (l *Lever) addResume(opportunity string) (string, error) {
	return l.hang(l.resumes, opportunity, func(n int32, id string, d *dice) *object {
		return l.resumeRow(d, n, id, l.now())
	})
}

// hang adds a child to an opportunity.
func (l *Lever) hang(c *children, opportunity string, row func(n int32, id string, d *dice) *object) (string, error) {
	n, ok := l.opportunities.number(opportunity)
	if !ok {
		return "", missing{"opportunity", opportunity}
	}
	number := c.number(n)
	id, d := c.id(number), throw(l.o.Seed, kindNew, number)
	c.add(n, row(n, id, &d))
	return id, nil
}

// EditOffer moves an offer on: a draft is sent, a sent one signed, a signed one
// denied; the amount changes too.
func (l *Lever) EditOffer(id string) error {
	return l.locked(func() error { return l.editOffer(id) })
}

func (l *Lever) editOffer(id string) error {
	n, at, ok := l.offers.find(id)
	if !ok {
		return missing{"offer", id}
	}
	old := l.offers.list(n)[at]
	status := map[string]string{"draft": "sent", "approval-sent": "approved", "approved": "sent", "sent": "signed", "opened": "signed", "signed": "denied"}[old.text("status")]
	if status == "" {
		status = "draft"
	}
	l.edits++
	d := throw(l.o.Seed, kindChange, l.edits)
	row := l.offerRow(&d, n, id, l.outline(n).posting, old.millis("createdAt"), status)
	l.offers.replace(n, at, row)
	return nil
}

// EditResume replaces the file of a resume.
func (l *Lever) EditResume(id string) error {
	return l.locked(func() error { return l.editResume(id) })
}

func (l *Lever) editResume(id string) error {
	n, at, ok := l.resumes.find(id)
	if !ok {
		return missing{"resume", id}
	}
	old := l.resumes.list(n)[at]
	l.edits++
	d := throw(l.o.Seed, kindChange, l.edits)
	row := l.resumeRow(&d, n, id, old.millis("createdAt"))
	row.set("file", newObject("name", l.write("resume"), "ext", "docx", "downloadUrl", nil, "uploadedAt", l.now(), "status", "processing", "size", l.edits))
	l.resumes.replace(n, at, row)
	return nil
}

// RemoveOffer removes an offer. No feed tells.
func (l *Lever) RemoveOffer(id string) error {
	return l.locked(func() error { return l.removeOffer(id) })
}

func (l *Lever) removeOffer(id string) error { return unhang(l.offers, "offer", id) }

// RemoveReferral removes a referral. No feed tells.
func (l *Lever) RemoveReferral(id string) error {
	return l.locked(func() error { return l.removeReferral(id) })
}

func (l *Lever) removeReferral(id string) error { return unhang(l.referrals, "referral", id) }

// RemoveResume removes a resume. No feed tells.
func (l *Lever) RemoveResume(id string) error {
	return l.locked(func() error { return l.removeResume(id) })
}

func (l *Lever) removeResume(id string) error { return unhang(l.resumes, "resume", id) }

func unhang(c *children, what, id string) error {
	n, at, ok := c.find(id)
	if !ok {
		return missing{what, id}
	}
	c.remove(n, at)
	return nil
}

// AddApplication adds an application, for one of the newest postings, and returns its
// id. The tags of an opportunity that had none come to be those of the posting.
func (l *Lever) AddApplication(opportunity string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addApplication(opportunity)
}

func (l *Lever) addApplication(opportunity string) (string, error) {
	var added string
	err := l.editOpportunity(opportunity, func(_ int32, row *object) error {
		posting, ok := l.recentPosting(l.applications.next)
		if !ok {
			return missing{"posting", "any"}
		}
		at := l.interact(row)
		id, err := l.hang(l.applications, opportunity, func(n int32, id string, _ *dice) *object {
			return l.applicationRow(n, id, posting, at)
		})
		ids := row.texts("applications")
		if len(ids) == 0 {
			words := l.currentWords(posting)
			row.set("tags", words.tags())
			row.set("opportunityLocation", words.location)
		}
		added = id
		row.set("applications", append(ids[:len(ids):len(ids)], id))
		return err
	})
	return added, err
}

// DeleteApplication deletes an application: it leaves its opportunity, whose
// updatedAt moves, and shows up in the feed.
func (l *Lever) DeleteApplication(id string) error {
	return l.locked(func() error { return l.deleteApplication(id) })
}

func (l *Lever) deleteApplication(id string) error {
	n, at, ok := l.applications.find(id)
	if !ok || !l.opportunities.has(n) {
		return missing{"application", id}
	}
	application := l.applications.list(n)[at]
	opportunity := l.opportunities.id(n)
	return l.editOpportunity(opportunity, func(n int32, row *object) error {
		l.applications.remove(n, at)
		l.interact(row)
		ids := []string{}
		for _, left := range l.applications.list(n) {
			ids = append(ids, left.text("id"))
		}
		row.set("applications", ids)
		if len(ids) == 0 {
			row.remove("opportunityLocation")
		}
		l.deletedApplications.add(l.now(), newObject(
			"id", id, "deletedAt", nil, "opportunityId", opportunity, "postingId", application.get("posting")))
		return nil
	})
}
