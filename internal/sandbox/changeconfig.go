package sandbox

// Changes of the account's configuration: stages, users, sources, archive reasons.
// None of these records has a time of change, and no feed tells of removals.

// AddStage adds a stage, halfway between the last two, and returns its id.
func (l *Lever) AddStage() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addStage()
}

func (l *Lever) addStage() string {
	rank := 1.0
	live := l.stages.live()
	if n := len(live); n > 1 {
		rank = (l.stages.rank(live[n-2]) + l.stages.rank(live[n-1])) / 2
	} else if n == 1 {
		rank = l.stages.rank(live[0]) + 1
	}
	id := newID(l.o.Seed, kindStage, len(l.stages.list))
	l.stages.add(stage{id: id, text: l.write("Stage"), rank: rank})
	return id
}

// EditStage renames a stage.
func (l *Lever) EditStage(id string) error {
	return l.locked(func() error { return l.editStage(id) })
}

func (l *Lever) editStage(id string) error {
	n, ok := l.stages.number(id)
	if !ok {
		return missing{"stage", id}
	}
	l.stages.list[n].text = l.write("Renamed stage")
	return nil
}

// RemoveStage removes a stage. Opportunities that are in it stay there.
func (l *Lever) RemoveStage(id string) error {
	return l.locked(func() error { return l.removeStage(id) })
}

func (l *Lever) removeStage(id string) error {
	n, ok := l.stages.number(id)
	if !ok {
		return missing{"stage", id}
	}
	l.stages.list[n].gone = true
	return nil
}

// AddUser adds a user and returns the id.
func (l *Lever) AddUser() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addUser()
}

func (l *Lever) addUser() string {
	n := l.users.next
	l.users.put(n, l.newUserRow(n, l.now()))
	return l.users.id(n)
}

// EditUser changes a user's job title.
func (l *Lever) EditUser(id string) error {
	return l.locked(func() error { return l.editUser(id) })
}

func (l *Lever) editUser(id string) error {
	return l.users.edit("user", id, func(_ int32, row *object) error {
		row.set("jobTitle", l.write("Recruiter"))
		return nil
	})
}

// DeactivateUser deactivates a user, who is then listed only with
// includeDeactivated=true; a deactivated user becomes active again.
func (l *Lever) DeactivateUser(id string) error {
	return l.locked(func() error { return l.deactivateUser(id) })
}

func (l *Lever) deactivateUser(id string) error {
	return l.users.edit("user", id, func(_ int32, row *object) error {
		if row.get("deactivatedAt") != nil {
			row.set("deactivatedAt", nil)
			return nil
		}
		row.set("deactivatedAt", l.now())
		return nil
	})
}

// RemoveUser removes a user for good. Records that name the user are left alone.
func (l *Lever) RemoveUser(id string) error {
	return l.locked(func() error { return l.removeUser(id) })
}

func (l *Lever) removeUser(id string) error {
	n, ok := l.users.number(id)
	if !ok {
		return missing{"user", id}
	}
	l.users.drop(n)
	return nil
}

// AddSource adds a source that nobody comes from yet, and returns its text.
func (l *Lever) AddSource() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addSource()
}

func (l *Lever) addSource() string {
	text := l.write("Source")
	l.sources.list = append(l.sources.list, newSource(text))
	return text
}

// RemoveSource removes a source. Opportunities keep its text.
func (l *Lever) RemoveSource(text string) error {
	return l.locked(func() error { return l.removeSource(text) })
}

func (l *Lever) removeSource(text string) error {
	n, ok := l.sources.number(text)
	if !ok {
		return missing{"source", text}
	}
	l.sources.list[n].gone = true
	return nil
}

// AddArchiveReason adds a reason and returns its id.
func (l *Lever) AddArchiveReason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addArchiveReason()
}

func (l *Lever) addArchiveReason() string {
	return l.reasons.add(l.write("Reason"), "active", "non-hired")
}

// EditArchiveReason renames a reason and switches it off, or on again.
func (l *Lever) EditArchiveReason(id string) error {
	return l.locked(func() error { return l.editArchiveReason(id) })
}

func (l *Lever) editArchiveReason(id string) error {
	n, ok := l.reasons.number(id)
	if !ok {
		return missing{"archive reason", id}
	}
	r := &l.reasons.list[n]
	r.text = l.write("Renamed reason")
	if r.status == "active" {
		r.status = "inactive"
	} else {
		r.status = "active"
	}
	return nil
}

// RemoveArchiveReason removes a reason. Opportunities keep its id.
func (l *Lever) RemoveArchiveReason(id string) error {
	return l.locked(func() error { return l.removeArchiveReason(id) })
}

func (l *Lever) removeArchiveReason(id string) error {
	n, ok := l.reasons.number(id)
	if !ok {
		return missing{"archive reason", id}
	}
	l.reasons.list[n].gone = true
	return nil
}
