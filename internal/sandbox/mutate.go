package sandbox

import "slices"

// Mutate makes n random changes now, as people who work with Lever make them: mostly
// to opportunities, many to recent ones, a few to everything else. All of them can be
// found without comparing everything: what hangs under an opportunity changes
// together with the opportunity's updatedAt. The changes follow from the seed and
// from the changes made before.
func (l *Lever) Mutate(n int) {
	all := changes()
	total := 0
	for _, c := range all {
		total += c.weight
	}
	for range n {
		// What was chosen may have gone meanwhile, or there is nothing to choose from.
		for range 100 {
			if l.changeOne(all, total) {
				break
			}
		}
	}
}

func (l *Lever) changeOne(all []change, total int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.dice.below(total)
	for _, c := range all {
		if at -= c.weight; at < 0 {
			return c.make(l)
		}
	}
	return false
}

// A change is one sort of random change, and how often it happens compared with the
// others. It is made with the lock held, and false if there is nothing to change.
type change struct {
	weight int
	make   func(l *Lever) bool
}

func changes() []change {
	return []change{
		{120, func(l *Lever) bool {
			id := l.newOpportunity()
			if l.dice.permille(700) {
				_, err := l.addResume(id)
				return err == nil
			}
			return true
		}},
		{200, toOpportunity((*Lever).editWords)},
		{100, toOpportunity((*Lever).touch)},
		{150, toOpportunity((*Lever).advanceStage)},
		{30, func(l *Lever) bool {
			id, ok := l.anyOpportunity()
			live := l.stages.live()
			return ok && len(live) > 0 && l.moveStage(id, func(int32) int32 { return pick(&l.dice, live) }) == nil
		}},
		{80, toOpportunity((*Lever).archive)},
		{15, toOpportunity((*Lever).deleteOpportunity)},
		{5, toOpportunity((*Lever).anonymize)},

		{30, under((*Lever).addOffer)},
		{25, toChild("offers", (*Lever).editOffer)},
		{5, toChild("offers", (*Lever).removeOffer)},
		{25, under((*Lever).addReferral)},
		{3, toChild("referrals", (*Lever).removeReferral)},
		{40, under((*Lever).addResume)},
		{8, toChild("resumes", (*Lever).editResume)},
		{10, toChild("resumes", (*Lever).removeResume)},
		{15, func(l *Lever) bool {
			for range 200 {
				n, ok := l.opportunities.any(&l.dice)
				if ok && len(l.applications.list(n)) == 0 {
					_, err := l.addApplication(l.opportunities.id(n))
					return err == nil
				}
			}
			return false
		}},
		{5, toChild("applications", (*Lever).deleteApplication)},

		{30, toShelf(func(l *Lever) *shelf { return l.postings }, 1, (*Lever).editPosting)},
		{8, adds((*Lever).newPosting)},
		{4, toShelf(func(l *Lever) *shelf { return l.postings }, 1, (*Lever).renamePosting)},
		{2, toShelf(func(l *Lever) *shelf { return l.postings }, 4, (*Lever).deletePosting)},
		{8, adds((*Lever).newRequisition)},
		{25, toShelf(func(l *Lever) *shelf { return l.requisitions }, 1, (*Lever).editRequisition)},
		{2, toShelf(func(l *Lever) *shelf { return l.requisitions }, 3, (*Lever).deleteRequisition)},

		{4, toListed(func(l *Lever) []string { return l.stages.ids() }, 1, (*Lever).editStage)},
		{2, adds((*Lever).addStage)},
		{1, toListed(func(l *Lever) []string { return l.stages.ids() }, 6, (*Lever).removeStage)},
		{6, adds((*Lever).addUser)},
		{6, toShelf(func(l *Lever) *shelf { return l.users }, 1, (*Lever).editUser)},
		{4, toShelf(func(l *Lever) *shelf { return l.users }, 1, (*Lever).deactivateUser)},
		{3, adds((*Lever).addSource)},
		{1, toListed(func(l *Lever) []string { return slices.Collect(l.sources.texts()) }, 4, (*Lever).removeSource)},
		{2, adds((*Lever).addArchiveReason)},
		{2, toListed(func(l *Lever) []string { return l.reasons.ids() }, 1, (*Lever).editArchiveReason)},
		{1, toListed(func(l *Lever) []string { return l.reasons.ids() }, 4, (*Lever).removeArchiveReason)},
	}
}

func (l *Lever) anyOpportunity() (id string, ok bool) {
	n, ok := l.opportunities.any(&l.dice)
	return l.opportunities.id(n), ok
}

func toOpportunity(apply func(*Lever, string) error) func(*Lever) bool {
	return func(l *Lever) bool {
		id, ok := l.anyOpportunity()
		return ok && apply(l, id) == nil
	}
}

// under adds a child to an opportunity, and stamps the opportunity.
func under(add func(*Lever, string) (string, error)) func(*Lever) bool {
	return func(l *Lever) bool {
		id, ok := l.anyOpportunity()
		if !ok {
			return false
		}
		_, err := add(l, id)
		return err == nil && l.touch(id) == nil
	}
}

// toChild changes a child of some opportunity, and stamps the opportunity.
func toChild(kind string, apply func(*Lever, string) error) func(*Lever) bool {
	return func(l *Lever) bool {
		for range 200 {
			n, ok := l.opportunities.any(&l.dice)
			if !ok {
				return false
			}
			if list := l.childrenOf(kind).list(n); len(list) > 0 {
				return apply(l, pick(&l.dice, list).text("id")) == nil && l.touch(l.opportunities.id(n)) == nil
			}
		}
		return false
	}
}

// toShelf changes a record of a shelf that has at least so many records.
func toShelf(of func(*Lever) *shelf, least int, apply func(*Lever, string) error) func(*Lever) bool {
	return func(l *Lever) bool {
		s := of(l)
		n, ok := s.any(&l.dice)
		return ok && int(s.next)-len(s.gone) >= least && apply(l, s.id(n)) == nil
	}
}

// toListed changes one of the listed records, if there are at least so many.
func toListed(ids func(*Lever) []string, least int, apply func(*Lever, string) error) func(*Lever) bool {
	return func(l *Lever) bool {
		all := ids(l)
		return len(all) >= least && apply(l, pick(&l.dice, all)) == nil
	}
}

func adds(add func(*Lever) string) func(*Lever) bool {
	return func(l *Lever) bool { return add(l) != "" }
}
