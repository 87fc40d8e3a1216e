package pipeline

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/leverstream/leverstream/extractor"
)

// Metrics returns a registry with everything that the pipeline measures, and what the
// process and the Go runtime tell of themselves. All of the former have the label
// account.
func (p *Pipeline) Metrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	ours := prometheus.WrapRegistererWith(prometheus.Labels{"account": string(p.c.Lever.Account)}, r)
	ours.MustRegister(p.lever, p.stats, (*collector)(p))
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// collector tells Prometheus what there is at the moment.
type collector Pipeline

type descs struct{ build, ready, stateBytes, sweep, lsn, lastCommit *prometheus.Desc }

func newDescs() descs {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("leverstream_"+name, help, labels, nil)
	}
	return descs{
		build:      d("build_info", "1; the labels say which program this is.", "version", "goversion"),
		ready:      d("ready", "1 while this process owns the account and replicates it, as /readyz says."),
		stateBytes: d("state_size_bytes", "Size on disk of the local copy of the state (STATE_DIR)."),
		sweep:      d("sweep_interval_seconds", "Effective time of one pass of the sweep: SWEEP_INTERVAL, or longer for a large account. 0 if nothing is swept."),
		lsn:        d("lsn", "Log sequence number (LSN) of the last committed event of the account."),
		lastCommit: d("last_commit_timestamp_seconds", "When the last transaction was committed, in seconds since 1970. Absent until there is one."),
	}
}

// Describe makes it a prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	d := newDescs()
	for _, one := range []*prometheus.Desc{d.build, d.ready, d.stateBytes, d.sweep, d.lsn, d.lastCommit} {
		ch <- one
	}
	extractor.DescribeTables(ch)
}

// Collect makes it a prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	p := (*Pipeline)(c)
	d, s := newDescs(), p.Snapshot()
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	ready := 0.0
	if p.Ready() == nil {
		ready = 1
	}
	gauge(d.build, 1, s.Version, runtime.Version())
	gauge(d.ready, ready)
	gauge(d.stateBytes, float64(s.StateBytes))
	gauge(d.sweep, s.SweepSeconds)
	gauge(d.lsn, float64(s.Totals.LSN))
	if !s.Totals.LastCommit.IsZero() {
		gauge(d.lastCommit, float64(s.Totals.LastCommit.UnixMilli())/1000)
	}
	extractor.CollectTables(ch, s.Tables)
}
