package pipeline

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"testing"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

var figures = flag.Int("figures", 0, "print rows, events and requests of three passes over so many opportunities")

// TestFigures prints what three passes cost: the first, one without changes, and one
// after 200 changes. go test ./internal/pipeline -run Figures -figures 2000 -v
func TestFigures(t *testing.T) {
	if *figures == 0 {
		t.Skip("set -figures to the number of opportunities")
	}
	c := kafkatest.Best(t)
	w := newWorld(t, c, sandbox.Options{Opportunities: *figures, Seed: 1})
	type pass struct {
		name     string
		ops      map[string]map[string]int
		requests map[string]int64
		total    int64
		took     time.Duration
	}
	var passes []pass
	before := map[string]map[string]int{}
	var last map[string]*kafkatest.History
	for _, name := range []string{"first", "unchanged", "after 200 changes"} {
		if name == "after 200 changes" {
			w.lever.Mutate(200)
		}
		w.lever.ResetRequests()
		began := time.Now()
		w.once()
		p := pass{name: name, took: time.Since(began), requests: w.lever.Requests(), ops: map[string]map[string]int{}}
		for _, n := range p.requests {
			p.total += n
		}
		last = w.check(name)
		for table, h := range last {
			p.ops[table] = map[string]int{}
			for op, n := range h.Ops {
				p.ops[table][op] = n - before[table][op]
			}
			before[table] = maps.Clone(h.Ops)
		}
		passes = append(passes, p)
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "table\trows\tfirst: r\tunchanged\tc\tu\td\t(after 200 changes)\n")
	for _, table := range extractor.Tables() {
		unchanged := 0
		for _, n := range passes[1].ops[table.Name] {
			unchanged += n
		}
		third := passes[2].ops[table.Name]
		fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n", table.Name, len(last[table.Name].Rows), passes[0].ops[table.Name]["r"], unchanged, third["c"], third["u"], third["d"])
	}
	fmt.Fprintf(out, "\nendpoint\tfirst\tunchanged\tafter 200 changes\n")
	endpoints := map[string]bool{}
	for _, p := range passes {
		for e := range p.requests {
			endpoints[e] = true
		}
	}
	for _, e := range slices.Sorted(maps.Keys(endpoints)) {
		fmt.Fprintf(out, "%s\t%d\t%d\t%d\n", e, passes[0].requests[e], passes[1].requests[e], passes[2].requests[e])
	}
	fmt.Fprintf(out, "requests\t%d\t%d\t%d\n", passes[0].total, passes[1].total, passes[2].total)
	fmt.Fprintf(out, "wall time\t%s\t%s\t%s\n", passes[0].took.Round(time.Millisecond), passes[1].took.Round(time.Millisecond), passes[2].took.Round(time.Millisecond))
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
}
