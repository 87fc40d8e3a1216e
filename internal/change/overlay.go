package change

import (
	"slices"

	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/state"
)

// Rows are the last emitted rows.
type Rows interface {
	// Get returns the record of a row. Its bytes stay valid until the group is done.
	Get(table, key string) (state.Record, bool, error)
	// Children returns the keys of the rows that belong to the parent.
	Children(table, parent string) ([]string, error)
	// Claims returns the keys of the rows that the parent serves without owning them.
	Claims(table, parent string) ([]string, error)
}

// overlay is what the group has changed, over the rows as they were.
type overlay struct {
	base    Rows
	tables  map[string]*Table
	records map[cdc.Ref]version
	order   []cdc.Ref // refs in records, in the order of their first change
	// children and claims hold the keys that were put under a parent in this group.
	// They may have left it again, and may be there more than once.
	children, claims map[cdc.List][]string
	// parents are those of this group and the ones before.
	parents *parents
}

// version is a record that the group has changed: as the base has it, and as it is now. Either is
// nil if there is none.
type version struct{ was, is *state.Record }

// newOverlay returns one for about so many changes.
func newOverlay(tables map[string]*Table, base Rows, p *parents, size int) *overlay {
	return &overlay{
		base:     base,
		tables:   tables,
		records:  make(map[cdc.Ref]version, size),
		order:    make([]cdc.Ref, 0, size),
		children: map[cdc.List][]string{},
		claims:   map[cdc.List][]string{},
		parents:  p,
	}
}

// parent returns what is known of a parent row.
func (o *overlay) parent(ref cdc.Ref) (parent, error) {
	if p, ok := o.parents.get(ref); ok {
		return p, nil
	}
	rec, err := o.get(ref)
	if err != nil {
		return parent{}, err
	}
	p := parentOf(rec)
	o.parents.set(ref, p)
	return p, nil
}

// get returns the record, or nil if there is none.
func (o *overlay) get(ref cdc.Ref) (*state.Record, error) {
	if v, ok := o.records[ref]; ok {
		return v.is, nil
	}
	rec, ok, err := o.base.Get(ref.Table, ref.Key)
	if err != nil || !ok {
		return nil, err
	}
	if t := o.tables[ref.Table]; t != nil {
		return t.blanked(&rec)
	}
	return &rec, nil
}

// put replaces the record that get has returned.
func (o *overlay) put(ref cdc.Ref, was, rec *state.Record) {
	v, ok := o.records[ref]
	if !ok {
		o.order = append(o.order, ref)
		v.was = was
	}
	v.is = rec
	o.records[ref] = v
	if t := o.tables[ref.Table]; t != nil && len(t.Children) > 0 {
		p := parentOf(rec)
		if known, _ := o.parents.get(ref); was == nil {
			p.born = o.parents.unit
		} else {
			p.born, p.has = known.born, known.has
		}
		o.parents.set(ref, p)
	}
	if rec == nil {
		return
	}
	if rec.Parent != "" {
		o.under(o.children, cdc.List{Table: ref.Table, Parent: rec.Parent}, ref.Key)
	}
	for _, c := range rec.Claimants {
		o.under(o.claims, cdc.List{Table: ref.Table, Parent: c}, ref.Key)
	}
}

// under notes that a row was put under the list's parent.
func (o *overlay) under(m map[cdc.List][]string, l cdc.List, key string) {
	m[l] = append(m[l], key)
	ref, bit := o.place(l)
	if p, ok := o.parents.get(ref); ok && p.born > 0 && p.has&bit == 0 {
		p.has |= bit
		o.parents.set(ref, p)
	}
}

// place returns the list's parent, and the list's table among its child tables.
func (o *overlay) place(l cdc.List) (parent cdc.Ref, bit tables) {
	name := o.tables[l.Table].Parent
	return cdc.Ref{Table: name, Key: l.Parent}, 1 << slices.Index(o.tables[name].Children, l.Table)
}

// empty says that nothing can be under the list's parent, without a look at the state.
func (o *overlay) empty(l cdc.List) bool {
	ref, bit := o.place(l)
	p, ok := o.parents.get(ref)
	return ok && p.born > 0 && p.has&bit == 0
}

// bornNow says that the list's parent has come to be in the unit that is being compared.
func (o *overlay) bornNow(l cdc.List) bool {
	ref, _ := o.place(l)
	p, ok := o.parents.get(ref)
	return ok && p.born == o.parents.unit
}

// rowsOf returns the records of the list's rows that satisfy belongs, but for those whose
// keys are in except.
func (o *overlay) rowsOf(l cdc.List, stored, changed []string, except map[string]bool, belongs func(*state.Record) bool) (map[string]*state.Record, error) {
	var out map[string]*state.Record
	visit := func(key string) error {
		if _, done := out[key]; done || except[key] {
			return nil
		}
		rec, err := o.get(cdc.Ref{Table: l.Table, Key: key})
		if err != nil || rec == nil || !belongs(rec) {
			return err
		}
		if out == nil {
			out = map[string]*state.Record{}
		}
		out[key] = rec
		return nil
	}
	for _, key := range stored {
		if err := visit(key); err != nil {
			return nil, err
		}
	}
	for _, key := range changed {
		if err := visit(key); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// childrenOf returns the rows that belong to the list's parent, but for those whose keys
// are in except.
func (o *overlay) childrenOf(l cdc.List, except map[string]bool) (map[string]*state.Record, error) {
	if o.empty(l) {
		return nil, nil
	}
	stored, err := o.base.Children(l.Table, l.Parent)
	if err != nil {
		return nil, err
	}
	return o.rowsOf(l, stored, o.children[l], except, func(r *state.Record) bool { return r.Parent == l.Parent && r.Row != nil })
}

// claimedBy returns the rows that the list's parent serves without owning them, but for
// those whose keys are in except.
func (o *overlay) claimedBy(l cdc.List, except map[string]bool) (map[string]*state.Record, error) {
	if o.empty(l) {
		return nil, nil
	}
	stored, err := o.base.Claims(l.Table, l.Parent)
	if err != nil {
		return nil, err
	}
	return o.rowsOf(l, stored, o.claims[l], except, func(r *state.Record) bool { return contains(r.Claimants, l.Parent) })
}
