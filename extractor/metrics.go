package extractor

import "github.com/prometheus/client_golang/prometheus"

// phases are all there are, for the metric.
func phases() []Phase {
	return []Phase{PhaseWaiting, PhaseSnapshot, PhaseStreaming, PhaseDegraded, PhaseHolding, PhasePaused, PhaseForbidden, PhaseUnauthorized}
}

type tableDescs struct {
	phase, read, rows, lastRead, staleness, bound, behind, aside, held *prometheus.Desc
}

func newTableDescs() tableDescs {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("leverstream_"+name, help, append([]string{"table"}, labels...), nil)
	}
	return tableDescs{
		phase:     d("table_phase", "1 for the phase that the table is in, 0 for the others.", "phase"),
		read:      d("rows_read_total", "Rows read from Lever, changed or not."),
		rows:      d("table_rows", "Rows of the table, as last emitted."),
		lastRead:  d("last_read_timestamp_seconds", "When Lever last answered for the table, in seconds since 1970. Absent until it has."),
		staleness: d("table_staleness_seconds", "Age of the time up to which everything that the table's sources told of is committed. Absent until the snapshot is complete."),
		bound:     d("table_freshness_bound_seconds", "How stale the table may be in ordinary operation, the time of a commit aside (POLL_INTERVAL or REFRESH_INTERVAL)."),
		behind:    d("table_sweep_behind_seconds", "How long the next row of the sweep has been due."),
		aside:     d("table_parents_set_aside", "Parents whose list could not be read again and again; they are asked for apart from the others."),
		held:      d("table_rows_held", "Rows that are missing in Lever and kept, because the delete guard holds the table."),
	}
}

// DescribeTables describes the metrics of tables (see prometheus.Collector).
func DescribeTables(ch chan<- *prometheus.Desc) {
	d := newTableDescs()
	for _, one := range []*prometheus.Desc{d.phase, d.read, d.rows, d.lastRead, d.staleness, d.bound, d.behind, d.aside, d.held} {
		ch <- one
	}
}

// CollectTables sends the metrics of tables (see prometheus.Collector).
func CollectTables(ch chan<- prometheus.Metric, tables []TableStatus) {
	d := newTableDescs()
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	for _, t := range tables {
		for _, p := range phases() {
			is := 0.0
			if t.Phase == p {
				is = 1
			}
			gauge(d.phase, is, t.Table, string(p))
		}
		ch <- prometheus.MustNewConstMetric(d.read, prometheus.CounterValue, float64(t.Rows), t.Table)
		gauge(d.rows, float64(t.Known), t.Table)
		if !t.LastRead.IsZero() {
			gauge(d.lastRead, float64(t.LastRead.UnixMilli())/1000, t.Table)
		}
		if !t.AsOf.IsZero() {
			gauge(d.staleness, t.Staleness, t.Table)
		}
		gauge(d.bound, t.Bound, t.Table)
		gauge(d.behind, t.SweepBehind, t.Table)
		gauge(d.aside, float64(t.Aside), t.Table)
		gauge(d.held, float64(t.Held), t.Table)
	}
}
