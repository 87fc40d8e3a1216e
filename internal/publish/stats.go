package publish

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/change"
	"github.com/leverstream/leverstream/offsets"
)

// Stats counts what the writers of one account have committed since the program
// started. It outlives them. It is a prometheus.Collector.
type Stats struct {
	took, units, rows, bytes prometheus.Histogram

	mu       sync.Mutex
	order    []string
	tables   map[string]*TableStats
	owner    Ownership
	failures int64
}

// TableStats says what was written of one table. It holds no row's content.
type TableStats struct {
	Table string `json:"table"`
	Topic string `json:"topic"`
	// Events are the change events since the program started, by op: "r", "c", "u" and
	// "d". Tombstones are not counted.
	Events map[string]int64 `json:"events"`
	// LastEvent is when the last of them was committed.
	LastEvent time.Time `json:"last_event,omitzero"`
	// Letters are the rows that went to the dead letter topic.
	Letters int64 `json:"dead_letters"`
	// Drift are the values that did not fit the schema and are kept in _extra.
	Drift int64 `json:"schema_drift"`
	// LSN is that of the last event that the table's bookmark covers.
	LSN int64 `json:"bookmark_lsn"`
}

// Ownership says whether this process owns the account.
type Ownership struct {
	// Owner says that it does.
	Owner bool `json:"owner"`
	// Epoch is the transactional producer's: each new owner has a higher one.
	Epoch int16 `json:"epoch"`
	// Since is when the ownership began.
	Since time.Time `json:"since,omitzero"`
}

// NewStats returns a Stats in which nothing was committed yet. topic names the topic of
// a table.
func NewStats(tables []cdc.Table, topic func(table string) string) *Stats {
	h := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "leverstream_commit_" + name, Help: help, Buckets: buckets})
	}
	s := &Stats{
		tables: map[string]*TableStats{},
		took:   h("duration_seconds", "Time from the beginning of a group's comparison to the end of its Kafka transaction.", []float64{.01, .02, .04, .08, .15, .3, .6, 1.2, 2.5, 5, 10, 30}),
		units:  h("units", "Units (answers of Lever with what they are complete for) in a transaction.", prometheus.ExponentialBuckets(1, 2, 8)),
		rows:   h("rows", "Rows compared for a transaction, changed or not.", []float64{0, 1, 10, 100, 300, 1000, 3000, 10000}),
		bytes:  h("bytes", "Size of a transaction's records before compression.", prometheus.ExponentialBuckets(256, 4, 9)),
	}
	for _, t := range tables {
		s.order = append(s.order, t.Name)
		s.tables[t.Name] = &TableStats{Table: t.Name, Topic: topic(t.Name), Events: map[string]int64{"r": 0, "c": 0, "u": 0, "d": 0}}
	}
	return s
}

// Tables returns what was written, in the order of the catalogue.
func (s *Stats) Tables() []TableStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]TableStats, len(s.order))
	for i, name := range s.order {
		out[i] = *s.tables[name]
		out[i].Events = maps.Clone(out[i].Events)
	}
	return out
}

// Ownership says whether this process owns the account.
func (s *Stats) Ownership() Ownership {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

// owns notes that an ownership has begun, with bookmarks as they were read.
func (s *Stats) owns(o Ownership, bookmarks map[string]offsets.Bookmark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = o
	s.covered(bookmarks)
}

// released notes that the ownership has ended.
func (s *Stats) released() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner.Owner = false
}

// covered notes what the bookmarks cover. The caller holds the lock.
func (s *Stats) covered(bookmarks map[string]offsets.Bookmark) {
	for table, b := range bookmarks {
		if t := s.tables[table]; t != nil {
			t.LSN = b.LSN
		}
	}
}

// failed notes that a group could not be committed.
func (s *Stats) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures++
}

// committed notes a committed group.
func (s *Stats) committed(g *change.Group, c Commit, bookmarks map[string]offsets.Bookmark) {
	s.took.Observe(c.Took.Seconds())
	s.units.Observe(float64(c.Units))
	s.rows.Observe(float64(c.Rows))
	s.bytes.Observe(float64(c.Bytes))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for i := range g.Events {
		t := s.tables[g.Events[i].Table.Name]
		t.Events[string(g.Events[i].Op)]++
		t.LastEvent = now
	}
	for _, l := range g.Letters {
		s.tables[l.Table.Name].Letters++
	}
	for table, r := range g.Drift {
		s.tables[table].Drift += int64(r.Count())
	}
	s.covered(bookmarks)
}

type statsDescs struct {
	events, lastEvent, letters, drift, lsn, failures, owner, epoch *prometheus.Desc
}

func newStatsDescs() statsDescs {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("leverstream_"+name, help, labels, nil)
	}
	return statsDescs{
		events:    d("events_total", "Change events committed, by table and op: r (snapshot), c (created), u (updated), d (deleted).", "table", "op"),
		lastEvent: d("last_event_timestamp_seconds", "When the table's last event was committed, in seconds since 1970. Absent until there is one.", "table"),
		letters:   d("dead_letters_total", "Rows that could not become an event and went to the dead letter topic.", "table"),
		drift:     d("schema_drift_total", "Values that the table's schema does not know, or not with their type. They are kept in _extra.", "table"),
		lsn:       d("bookmark_lsn", "Log sequence number (LSN) of the last event that the table's bookmark covers.", "table"),
		failures:  d("commit_failures_total", "Groups of units that could not be committed. Each ends the ownership; the program goes on from what Kafka says."),
		owner:     d("owner", "1 while this process owns the account."),
		epoch:     d("owner_epoch", "Epoch of the transactional producer when this process became the owner last. Each new owner has a higher one."),
	}
}

// Describe makes Stats a prometheus.Collector.
func (s *Stats) Describe(ch chan<- *prometheus.Desc) {
	d := newStatsDescs()
	for _, one := range []*prometheus.Desc{d.events, d.lastEvent, d.letters, d.drift, d.lsn, d.failures, d.owner, d.epoch} {
		ch <- one
	}
	for _, h := range []prometheus.Histogram{s.took, s.units, s.rows, s.bytes} {
		h.Describe(ch)
	}
}

// Collect makes Stats a prometheus.Collector.
func (s *Stats) Collect(ch chan<- prometheus.Metric) {
	d := newStatsDescs()
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, kind, v, labels...)
	}
	for _, t := range s.Tables() {
		for _, op := range slices.Sorted(maps.Keys(t.Events)) {
			send(d.events, prometheus.CounterValue, float64(t.Events[op]), t.Table, op)
		}
		if !t.LastEvent.IsZero() {
			send(d.lastEvent, prometheus.GaugeValue, float64(t.LastEvent.UnixMilli())/1000, t.Table)
		}
		send(d.letters, prometheus.CounterValue, float64(t.Letters), t.Table)
		send(d.drift, prometheus.CounterValue, float64(t.Drift), t.Table)
		send(d.lsn, prometheus.GaugeValue, float64(t.LSN), t.Table)
	}
	s.mu.Lock()
	failures, owner := s.failures, s.owner
	s.mu.Unlock()
	send(d.failures, prometheus.CounterValue, float64(failures))
	is := 0.0
	if owner.Owner {
		is = 1
	}
	send(d.owner, prometheus.GaugeValue, is)
	send(d.epoch, prometheus.GaugeValue, float64(owner.Epoch))
	for _, h := range []prometheus.Histogram{s.took, s.units, s.rows, s.bytes} {
		h.Collect(ch)
	}
}
