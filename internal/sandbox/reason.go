package sandbox

import "slices"

// reasons are why opportunities are archived, in the order of their configuration.
type reasons struct {
	seed uint64
	list []reason
}

type reason struct {
	id, text, status, kind string
	gone                   bool
}

// The first generated reason is the one for hires.
const (
	hiredReason = 0
	baseReasons = 7
)

func newReasons(seed uint64) reasons {
	r := reasons{seed: seed}
	r.add("Hired", "active", "hired")
	r.add("Underqualified", "active", "non-hired")
	r.add("Withdrew", "active", "non-hired")
	r.add("Timing", "active", "non-hired")
	r.add("Position closed", "active", "non-hired")
	r.add("Unresponsive – \"ghosted\"", "active", "non-hired")
	r.add("Too far away", "inactive", "non-hired")
	return r
}

func (r *reasons) add(text, status, kind string) (id string) {
	id = newID(r.seed, kindReason, len(r.list))
	r.list = append(r.list, reason{id: id, text: text, status: status, kind: kind})
	return id
}

// number finds a reason that is there.
func (r *reasons) number(id string) (n int32, ok bool) {
	i := slices.IndexFunc(r.list, func(x reason) bool { return x.id == id && !x.gone })
	return int32(i), i >= 0
}

func (r *reasons) live() []int32 {
	var numbers []int32
	for n := range r.list {
		if !r.list[n].gone {
			numbers = append(numbers, int32(n))
		}
	}
	return numbers
}

func (r *reasons) ids() []string {
	var ids []string
	for _, n := range r.live() {
		ids = append(ids, r.list[n].id)
	}
	return ids
}

func (r *reasons) row(n int32) *object {
	x := r.list[n]
	return newObject("id", x.id, "text", x.text, "status", x.status, "type", x.kind)
}
