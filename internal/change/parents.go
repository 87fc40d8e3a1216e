package change

import (
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/state"
)

// parents remembers what children ask of their parents, for those that were written or asked
// for lately: the lists of a parent are read soon after it, and each of them asks. What it
// says is always what the open group would find in the state.
type parents struct {
	// young are the last ones, old those before: when young is full it becomes old.
	young, old map[cdc.Ref]parent
	// unit is the number of the unit that is being compared, from 1.
	unit uint64
}

// mostYoung bounds young, and with it old: two megabytes together.
const mostYoung = 8_192

// parent is what is asked of a parent.
type parent struct {
	// recorded says that there is a record, row that it holds more than a dead letter, and
	// anonymized that the row's person was anonymised.
	recorded, row, anonymized bool
	// born is the unit in which the record came to be, 0 if it is older than what is
	// remembered. Nothing is ever under a parent without a record, so the only rows under
	// this one are in the tables in has, which were put there since. In a first load nearly
	// every list is one of a parent just born.
	born uint64
	has  tables
}

// tables is a set of a parent's child tables: bit i is the i-th of Table.Children.
type tables uint64

func parentOf(rec *state.Record) parent {
	if rec == nil {
		return parent{}
	}
	return parent{recorded: true, row: rec.Row != nil, anonymized: rec.Anonymized}
}

func (p *parents) get(ref cdc.Ref) (parent, bool) {
	if x, ok := p.young[ref]; ok {
		return x, true
	}
	x, ok := p.old[ref]
	return x, ok
}

func (p *parents) set(ref cdc.Ref, x parent) {
	if p.young == nil || len(p.young) >= mostYoung {
		p.old, p.young = p.young, map[cdc.Ref]parent{}
	}
	p.young[ref] = x
}
