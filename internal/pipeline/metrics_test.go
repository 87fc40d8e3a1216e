package pipeline

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

var update = flag.Bool("update", false, "write the table of metrics in docs/metrics.md")

// The table in the documentation is what a program serves that has replicated.
func TestEveryMetricIsDocumentedAndNamedByConvention(t *testing.T) {
	const path, begin, end = "../../docs/metrics.md", "<!-- metrics -->\n", "<!-- end of metrics -->"
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 5, Seed: 1})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := w.pipeline(Options{})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	w.wait("all tables are streaming and fresh", func() bool {
		return !slices.ContainsFunc(p.Snapshot().Tables, func(t extractor.TableStatus) bool { return t.AsOf.IsZero() })
	})
	registry := p.Metrics()
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| name | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "leverstream_") {
			fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), labels(t, f), f.GetHelp())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	documented, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+table.String()+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if documented != table.String() {
		t.Errorf("%s does not say what the program serves; go test ./internal/pipeline -run Metric -update\n%s", path, table.String())
	}
}

// labels are the names of the family's labels beside the account, which all have.
func labels(t *testing.T, f *dto.MetricFamily) string {
	t.Helper()
	var names []string
	account := false
	for _, l := range f.GetMetric()[0].GetLabel() {
		if account = account || l.GetName() == "account"; l.GetName() != "account" {
			names = append(names, "`"+l.GetName()+"`")
		}
	}
	if !account {
		t.Errorf("%s has no label account", f.GetName())
	}
	return strings.Join(names, ", ")
}

func TestMetricsCountWhatWasCommitted(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 20, Seed: 3})
	p := w.pipeline(Options{Once: true})
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := w.check("one pass")
	families, err := p.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string, want map[string]string) float64 {
		t.Helper()
		for _, f := range families {
			if f.GetName() != name {
				continue
			}
			for _, m := range f.GetMetric() {
				left := len(want)
				for _, l := range m.GetLabel() {
					if v, ok := want[l.GetName()]; ok && v == l.GetValue() {
						left--
					}
				}
				if left == 0 {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		t.Fatalf("there is no %s with %v", name, want)
		return 0
	}
	for table, history := range h {
		for _, op := range []string{"r", "c", "u", "d"} {
			if got := value("leverstream_events_total", map[string]string{"table": table, "op": op}); got != float64(history.Ops[op]) {
				t.Errorf("%s: %v events %s, the topic holds %d", table, got, op, history.Ops[op])
			}
		}
	}
	s := p.Snapshot()
	total := 0.0
	for class := range s.Requests.Requests {
		total += value("leverstream_lever_requests_total", map[string]string{"class": class, "outcome": "2xx"})
		total += value("leverstream_lever_requests_total", map[string]string{"class": class, "outcome": "4xx"})
	}
	if total != float64(s.Requests.Total()) || total != value("leverstream_lever_request_duration_seconds", nil) {
		t.Errorf("%v requests by class, %d sent, %v timed", total, s.Requests.Total(), value("leverstream_lever_request_duration_seconds", nil))
	}
	if got := value("leverstream_owner", nil); got != 0 {
		t.Error("it still calls itself the owner")
	}
	if got := value("leverstream_commit_duration_seconds", nil); got < 1 || got > float64(s.Totals.Transactions) {
		t.Errorf("%v commits timed of %d", got, s.Totals.Transactions)
	}
}

// wait waits until the condition holds.
func (w *world) wait(what string, holds func() bool) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-deadline:
			w.t.Fatalf("not within a minute: %s\n%s", what, w.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A source that Lever does not serve makes its own tables stale, and the tables under
// them. It makes the program neither dead nor unready.
func TestFreshnessTellsWhichTableIsBehind(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 10, Seed: 5})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := w.pipeline(Options{})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	table := func(name string) (found extractor.TableStatus) {
		for _, t := range p.Snapshot().Tables {
			if t.Table == name {
				found = t
			}
		}
		return found
	}
	w.wait("all tables are streaming and fresh", func() bool {
		return !slices.ContainsFunc(p.Snapshot().Tables, func(t extractor.TableStatus) bool { return t.AsOf.IsZero() || t.Staleness > 2 })
	})
	offers := regexp.MustCompile(`^/v1/opportunities/[^/]+/offers$`)
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		if offers.MatchString(r.URL.Path) {
			rw.WriteHeader(http.StatusInternalServerError)
			return
		}
		lever.ServeHTTP(rw, r)
	})
	w.lever.Mutate(50)
	w.wait("offers stay behind, the others go on", func() bool {
		behind := table("opportunity_offers").AsOf
		return table("opportunities").AsOf.Sub(behind) > 2*time.Second &&
			table("opportunity_resumes").AsOf.Sub(behind) > 2*time.Second && table("stages").AsOf.Sub(behind) > 2*time.Second
	})
	if p.Live() != nil || p.Ready() != nil {
		t.Errorf("live: %v, ready: %v", p.Live(), p.Ready())
	}
	w.between(nil)
	w.wait("offers are fresh again", func() bool { return table("opportunity_offers").Staleness < 2.5 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
