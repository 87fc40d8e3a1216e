package verify

import (
	"fmt"
	"slices"
	"testing"

	"github.com/leverstream/leverstream/internal/cdc"
)

func offer(key, parent string) cdc.Row {
	return cdc.Row{Table: "opportunity_offers", Key: key, Parent: parent, Fields: map[string]any{"id": key}}
}

func submit(t *testing.T, c *collector, u *cdc.Unit) cdc.Result {
	t.Helper()
	results, err := c.Submit(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	return <-results
}

func newTestCollector(t *testing.T) *collector {
	t.Helper()
	p, err := newPrinter(cdc.Table{Name: "opportunity_offers", Key: "id", Parent: "opportunities", ParentFields: []string{"opportunityId"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return newCollector(p.record)
}

func TestAListReplacesWhatItsParentHad(t *testing.T) {
	c := newTestCollector(t)
	list := []cdc.List{{Table: "opportunity_offers", Parent: "o1"}}
	submit(t, c, &cdc.Unit{Rows: []cdc.Row{offer("f1", "o1"), offer("f2", "o1"), offer("f3", "o2")}, Lists: list})
	submit(t, c, &cdc.Unit{Rows: []cdc.Row{offer("f2", "o1")}, Lists: list})
	keys := c.keys("opportunity_offers")
	slices.Sort(keys)
	if !slices.Equal(keys, []string{"f2", "f3"}) {
		t.Errorf("left are %v", keys)
	}
	submit(t, c, &cdc.Unit{Gone: []cdc.Gone{{Ref: cdc.Ref{Table: "opportunity_offers", Key: "f3"}, From: "o9"}}})
	if c.Count("opportunity_offers") != 2 {
		t.Error("another parent's row was dropped")
	}
}

func TestARowUnderTwoParentsIsEithers(t *testing.T) {
	c := newTestCollector(t)
	submit(t, c, &cdc.Unit{Rows: []cdc.Row{offer("f1", "o1")}})
	submit(t, c, &cdc.Unit{Rows: []cdc.Row{offer("f1", "o2")}})
	k, ok := c.get(cdc.Ref{Table: "opportunity_offers", Key: "f1"})
	if !ok || k.parent != "o1" || !k.claimed {
		t.Errorf("%+v", k)
	}
	p, err := newPrinter(cdc.Table{Name: "opportunity_offers", Key: "id", Parent: "opportunities", ParentFields: []string{"opportunityId"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := p.record(offer("f1", "o1"))
	b, _ := p.record(offer("f1", "o2"))
	if got := p.differing(a, b, false); !slices.Equal(got, []string{"opportunityId"}) || len(p.differing(a, b, true)) > 0 {
		t.Errorf("differing in %v", got)
	}
}

func TestRowsAreHandedOutInTheirOrderOnce(t *testing.T) {
	c := newTestCollector(t)
	for i := range 5 {
		submit(t, c, &cdc.Unit{Rows: []cdc.Row{offer(fmt.Sprint("f", i), "o1")}})
	}
	submit(t, c, &cdc.Unit{Rows: []cdc.Row{offer("f1", "o1")}}) // a newer version of it
	var keys []string
	for after := int64(0); ; {
		page, err := c.Since("opportunity_offers", after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, v := range page {
			keys = append(keys, v.Key)
			after = v.LSN
		}
	}
	if want := []string{"f0", "f2", "f3", "f4", "f1"}; !slices.Equal(keys, want) {
		t.Errorf("got %v, want %v", keys, want)
	}
}
