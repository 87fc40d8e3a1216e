package sandbox

import "slices"

// An object is a JSON object that keeps the order of its members. Values are nil,
// bool, int, int64, float64, string, []string, []any, *object, []*object, or
// json.RawMessage (spliced in as it is).
type object struct {
	members []member
}

type member struct {
	name  string
	value any
}

// newObject makes an object of names and values in turn.
func newObject(pairs ...any) *object {
	o := &object{members: make([]member, 0, len(pairs)/2+1)}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		o.members = append(o.members, member{name, pairs[i+1]})
	}
	return o
}

func (o *object) index(name string) int {
	return slices.IndexFunc(o.members, func(m member) bool { return m.name == name })
}

// get returns a member's value; nil if there is none.
func (o *object) get(name string) any {
	if i := o.index(name); i >= 0 {
		return o.members[i].value
	}
	return nil
}

// text returns a member that is a string; "" for anything else.
func (o *object) text(name string) string {
	s, _ := o.get(name).(string)
	return s
}

// texts returns a member that is an array of strings.
func (o *object) texts(name string) []string {
	s, _ := o.get(name).([]string)
	return s
}

// millis returns a member that is a time.
func (o *object) millis(name string) int64 {
	n, _ := o.get(name).(int64)
	return n
}

// child returns a member that is an object; nil for anything else.
func (o *object) child(name string) *object {
	c, _ := o.get(name).(*object)
	return c
}

// set replaces a member, or adds it at the end.
func (o *object) set(name string, value any) {
	if i := o.index(name); i >= 0 {
		o.members[i].value = value
		return
	}
	o.members = append(o.members, member{name, value})
}

// remove takes a member away.
func (o *object) remove(name string) {
	if i := o.index(name); i >= 0 {
		o.members = slices.Delete(o.members, i, i+1)
	}
}

// copy returns an object with the same members; their values are shared.
func (o *object) copy() *object {
	return &object{members: slices.Clone(o.members)}
}

// orNull is the time, or nil for 0.
func orNull(ms int64) any {
	if ms == 0 {
		return nil
	}
	return ms
}
