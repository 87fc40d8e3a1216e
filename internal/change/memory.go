package change

import (
	"slices"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Memory is what is kept from group to group. If the events of a group are not committed, its
// memory is void, too.
//
// It keeps when the answers that wrote rows and lists arrived, for as long as a request that
// is older may still be under way. Requests die with the process, so memory is all it takes.
type Memory struct {
	parents parents

	rows  map[cdc.Ref]cdc.Instant
	lists map[cdc.List]cdc.Instant
	log   []remembered // in the order of writing
	// events and puts are how many the last group had: the next one will have as many.
	events, puts int
}

// remembered is an entry of rows or, if list is set, of lists.
type remembered struct {
	table, key string
	list       bool
	at         cdc.Instant
}

// NewMemory returns a memory of nothing.
func NewMemory() *Memory {
	return &Memory{rows: map[cdc.Ref]cdc.Instant{}, lists: map[cdc.List]cdc.Instant{}}
}

// wrote notes that the row was written or deleted by an answer that arrived at the
// given instant.
func (m *Memory) wrote(ref cdc.Ref, at cdc.Instant) {
	m.rows[ref] = at
	m.log = append(m.log, remembered{ref.Table, ref.Key, false, at})
}

// listed notes that the list was accepted.
func (m *Memory) listed(l cdc.List, at cdc.Instant) {
	m.lists[l] = at
	m.log = append(m.log, remembered{l.Table, l.Parent, true, at})
}

// overtaken says that an answer to a request sent at the given instant may be older
// than what is written.
func (m *Memory) overtaken(ref cdc.Ref, sent cdc.Instant) bool { return m.rows[ref] > sent }

func (m *Memory) listOvertaken(l cdc.List, sent cdc.Instant) bool { return m.lists[l] > sent }

// Forget drops what no request can be older than: everything that arrived before the
// given instant.
func (m *Memory) Forget(oldest cdc.Instant) {
	n := 0
	for ; n < len(m.log) && m.log[n].at < oldest; n++ {
		e := m.log[n]
		ref, list := cdc.Ref{Table: e.table, Key: e.key}, cdc.List{Table: e.table, Parent: e.key}
		switch {
		case e.list && m.lists[list] == e.at:
			delete(m.lists, list)
		case !e.list && m.rows[ref] == e.at:
			delete(m.rows, ref)
		}
	}
	m.log = slices.Delete(m.log, 0, n)
}

// Len is the number of rows and lists remembered.
func (m *Memory) Len() int { return len(m.rows) + len(m.lists) }
