package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"iter"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/change"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/lever"
	"github.com/leverstream/leverstream/internal/sandbox"
	"github.com/leverstream/leverstream/internal/state"
	"github.com/leverstream/leverstream/offsets"
)

// A virtual account runs in simulated time (testing/synctest): the extractors, the
// client with its limiter, the comparison, and the simulated Lever are the real ones.
// Only Kafka is not there: a commit takes as long as one does, and the rows that the
// comparison knows are in maps. So an hour of replication takes a second, and requests
// can be counted and timed exactly.
type virtual struct {
	t       *testing.T
	lever   *sandbox.Lever
	client  *lever.Client
	wire    *wire
	desk    *desk
	clock   *cdc.Clock
	status  *extractor.Status
	config  extractor.Config
	started time.Time
}

const (
	commitTakes = 30 * time.Millisecond // what a transaction costs on a broker near by
	gathers     = 250 * time.Millisecond
	silence     = 20 * time.Millisecond
)

// newVirtual makes an account of n opportunities behind the given latency, with
// Lever's own limit. Call it inside a bubble.
func newVirtual(t *testing.T, o sandbox.Options, latency time.Duration) *virtual {
	t.Helper()
	v := &virtual{t: t, lever: sandbox.New(o), clock: cdc.NewClock(), started: time.Now()}
	v.wire = &wire{lever: v.lever, latency: latency, began: time.Now(), code: http.StatusInternalServerError}
	var err error
	v.client, err = lever.New(lever.Config{
		BaseURL: "http://lever.test/v1", Token: func() (string, error) { return "key", nil },
		Rate: 10, Burst: 10, Concurrency: 16, Clock: v.clock, Transport: v.wire,
	})
	if err != nil {
		t.Fatal(err)
	}
	v.desk = newDesk(t, v.clock)
	v.status = extractor.NewStatus(extractor.Tables())
	v.config = extractor.Config{
		Tables: extractor.Tables(), Lever: v.client, State: v.desk, Sink: v.desk, Clock: v.clock, Confidentiality: "all",
		PollInterval: 10 * time.Second, RefreshInterval: 5 * time.Minute, SweepInterval: 24 * time.Hour, Overlap: 5 * time.Minute,
		DeleteGuard: 0.1, Rate: 10, Concurrency: 16, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Status: v.status,
	}
	return v
}

// once makes one complete pass.
func (v *virtual) once() {
	v.t.Helper()
	v.use(func(e *extractor.Extractor) error { return e.Once(context.Background()) })
}

// during runs the extractors while do runs.
func (v *virtual) during(do func()) {
	v.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	v.use(func(e *extractor.Extractor) error {
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		do()
		cancel()
		return <-done
	})
}

func (v *virtual) use(run func(*extractor.Extractor) error) {
	v.t.Helper()
	if err := v.try(run); err != nil {
		v.t.Fatal(err)
	}
}

// try is use, and returns the error.
func (v *virtual) try(run func(*extractor.Extractor) error) error {
	v.t.Helper()
	e, err := extractor.New(v.config)
	if err != nil {
		v.t.Fatal(err)
	}
	stop := v.desk.open()
	defer stop()
	return run(e)
}

// complete says that the first snapshot of all tables is.
func (v *virtual) complete() bool {
	return !slices.ContainsFunc(extractor.Tables(), func(t cdc.Table) bool { return !v.desk.complete(t.Name) })
}

// differences is the number of rows that Lever has and the desk has not, or the other way round.
func (v *virtual) differences() (n int) {
	for _, t := range extractor.Tables() {
		truth := v.lever.Truth(t.Name)
		for key := range truth {
			if _, known, _ := v.desk.Row(t.Name, key); !known {
				n++
			}
		}
		for _, key := range v.desk.sorted(t.Name) {
			if _, known, _ := v.desk.Row(t.Name, key); known && truth[key] == nil {
				n++
			}
		}
	}
	return n
}

// converges waits, in simulated time, until there are no differences.
func (v *virtual) converges() {
	v.t.Helper()
	for range 300 {
		time.Sleep(time.Minute)
		if v.differences() == 0 {
			return
		}
	}
	v.t.Errorf("%d differences after five hours", v.differences())
}

// aside is the number of parents set aside, for the kind of list for which they are most.
func (v *virtual) aside() (most int) {
	for _, table := range v.status.Tables(v.desk) {
		most = max(most, table.Aside)
	}
	return most
}

// waitFor waits, in simulated time, until the condition holds.
func (v *virtual) waitFor(what string, condition func() bool) {
	v.t.Helper()
	for deadline := time.Now().Add(24 * time.Hour); !condition(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			v.t.Fatalf("not within a day: %s", what)
		}
	}
}

// A sent request, as it arrived at Lever.
type sent struct {
	at       time.Time
	endpoint string
	refused  bool
}

// wire carries requests to the simulated Lever and back; each way takes half of the
// latency, more or less.
type wire struct {
	lever   http.Handler
	latency time.Duration
	began   time.Time

	mu   sync.Mutex
	away func(*http.Request) bool // which requests are answered with code; nil for none
	code int                      // 0: they are not answered at all
	sent []sent
	now  int
	most int // requests in flight at once
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.now++
	w.most = max(w.most, w.now)
	away := w.away != nil && w.away(r)
	w.mu.Unlock()
	way := func() {
		if w.latency > 0 {
			time.Sleep(w.latency*2/5 + rand.N(w.latency/5)) // simulated time
		}
	}
	way()
	at := time.Now()
	rec := httptest.NewRecorder()
	switch {
	case away && w.code == 0:
		<-r.Context().Done()
		w.mu.Lock()
		w.now--
		w.mu.Unlock()
		return nil, r.Context().Err()
	case away:
		rec.WriteHeader(w.code)
		_, _ = rec.WriteString(`{"code":"InjectedError"}`) // a 404 without it is no answer of Lever's
	default:
		w.lever.ServeHTTP(rec, r)
	}
	way()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now--
	w.sent = append(w.sent, sent{at: at, endpoint: r.URL.Path, refused: rec.Code == http.StatusTooManyRequests})
	return rec.Result(), nil
}

// answer has requests answered with the wire's code until answers is called.
func (w *wire) answer(away func(*http.Request) bool) (answers func()) {
	set := func(away func(*http.Request) bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.away = away
	}
	set(away)
	return func() { set(nil) }
}

// between returns the requests that arrived in the period, in order.
func (w *wire) between(from, to time.Time) []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []sent
	for _, s := range w.sent {
		if !s.at.Before(from) && s.at.Before(to) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b sent) int { return a.at.Compare(b.at) })
	return out
}

func (w *wire) refused() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sent {
		if s.refused {
			n++
		}
	}
	return n
}

// desk takes the writer's place: it compares, and keeps what it would have committed.
type desk struct {
	t      *testing.T
	clock  *cdc.Clock
	tables map[string]*change.Table
	memory *change.Memory
	queue  chan order
	ended  chan struct{}

	mu        sync.RWMutex
	bookmarks map[string]offsets.Bookmark
	lsn       int64
	rows      map[string]map[string]state.Record
	children  map[cdc.List]map[string]bool
	follow    map[string][]cdc.Version // ascending; entries that are no longer true are skipped
	events    int
	// sweepsSaved is how often a sweep moved its bookmark.
	sweepsSaved atomic.Int64
	committed   func(change.Event)
}

type order struct {
	unit   *cdc.Unit
	result chan cdc.Result
}

func newDesk(t *testing.T, clock *cdc.Clock) *desk {
	t.Helper()
	d := &desk{
		t: t, clock: clock, tables: map[string]*change.Table{}, memory: change.NewMemory(),
		bookmarks: map[string]offsets.Bookmark{}, lsn: 1, rows: map[string]map[string]state.Record{},
		children: map[cdc.List]map[string]bool{}, follow: map[string][]cdc.Version{},
	}
	for _, ct := range extractor.Tables() {
		codec, err := avro.NewCodec(ct, "lever."+ct.Name, avro.Debezium, avro.KeyString)
		if err != nil {
			t.Fatal(err)
		}
		d.tables[ct.Name] = &change.Table{Table: ct, Codec: codec, MaxRecord: 8 << 20}
		d.rows[ct.Name] = map[string]state.Record{}
	}
	for _, ct := range extractor.Tables() {
		if ct.Parent != "" {
			d.tables[ct.Parent].Children = append(d.tables[ct.Parent].Children, ct.Name)
		}
	}
	return d
}

// open starts committing; stop ends it.
func (d *desk) open() (stop func()) {
	d.queue, d.ended = make(chan order, 64), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-d.ended:
				return
			case o := <-d.queue:
				d.commit(d.gather(o))
			}
		}
	}()
	return func() { close(d.ended); <-done }
}

func (d *desk) gather(first order) []order {
	group := []order{first}
	deadline := time.After(gathers)
	for {
		select {
		case o := <-d.queue:
			group = append(group, o)
		case <-time.After(silence):
			return group
		case <-deadline:
			return group
		}
	}
}

func (d *desk) Submit(ctx context.Context, u *cdc.Unit) (<-chan cdc.Result, error) {
	o := order{unit: u, result: make(chan cdc.Result, 1)}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-d.ended:
		return nil, cdc.ErrStopped
	case d.queue <- o:
		return o.result, nil
	}
}

func (d *desk) commit(group []order) {
	g := change.NewGroup(d.tables, rowsOf{d}, d.memory, "default", "test", d.lsn, time.Now())
	pending := map[string]offsets.Bookmark{}
	var results []cdc.Result
	for _, o := range group {
		r, err := g.Add(change.Encode(d.tables, o.unit))
		if err != nil {
			d.t.Error(err)
		}
		results = append(results, r)
		if len(r.Again) > 0 {
			continue
		}
		if slices.ContainsFunc(o.unit.Changes, func(c cdc.Change) bool { return c.Section == "sweep" }) {
			d.sweepsSaved.Add(1)
		}
		for _, ch := range o.unit.Changes {
			b, ok := pending[ch.Table]
			if !ok {
				b = d.bookmarks[ch.Table]
			}
			if b, err = b.Apply(ch); err != nil {
				d.t.Error(err)
			}
			pending[ch.Table] = b
			d.tables[ch.Table].Snapshot, _ = b.Snapshot()
		}
	}
	time.Sleep(commitTakes) // simulated time
	d.mu.Lock()
	for t, b := range pending {
		d.bookmarks[t] = b
	}
	for _, p := range g.Puts() {
		d.put(p)
	}
	d.lsn = g.LSN()
	d.events += len(g.Events)
	committed := d.committed
	d.mu.Unlock()
	if committed != nil {
		for _, e := range g.Events {
			committed(e)
		}
	}
	for i, o := range group {
		o.result <- results[i]
	}
	d.memory.Forget(d.clock.Oldest())
}

func (d *desk) put(p change.Put) {
	if old, ok := d.rows[p.Table][p.Key]; ok && old.Parent != "" {
		delete(d.children[cdc.List{Table: p.Table, Parent: old.Parent}], p.Key)
	}
	if p.Record == nil {
		delete(d.rows[p.Table], p.Key)
		return
	}
	old, was := d.rows[p.Table][p.Key]
	d.rows[p.Table][p.Key] = *p.Record
	if p.Record.Parent == "" {
		if !was || old.FollowLSN != p.Record.FollowLSN {
			f := append(d.follow[p.Table], cdc.Version{Key: p.Key, LSN: p.Record.FollowLSN})
			slices.SortStableFunc(f[max(0, len(f)-1000):], func(a, b cdc.Version) int { return cmp.Compare(a.LSN, b.LSN) })
			d.follow[p.Table] = f
		}
		return
	}
	l := cdc.List{Table: p.Table, Parent: p.Record.Parent}
	if d.children[l] == nil {
		d.children[l] = map[string]bool{}
	}
	d.children[l][p.Key] = true
}

// rowsOf shows the desk's rows to the comparison.
type rowsOf struct{ d *desk }

func (r rowsOf) Get(table, key string) (state.Record, bool, error) {
	r.d.mu.RLock()
	defer r.d.mu.RUnlock()
	rec, ok := r.d.rows[table][key]
	return rec, ok, nil
}

func (r rowsOf) Children(table, parent string) ([]string, error) { return r.d.Children(table, parent) }

func (r rowsOf) Claims(string, string) ([]string, error) { return nil, nil }

func (d *desk) Row(table, key string) (extractor.Known, bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	rec, ok := d.rows[table][key]
	return extractor.Known{Parent: rec.Parent, ReadAt: rec.ReadAt}, ok && rec.Row != nil, nil
}

func (d *desk) sorted(table string) []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	keys := make([]string, 0, len(d.rows[table]))
	for k := range d.rows[table] {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (d *desk) Keys(table string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, k := range d.sorted(table) {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (d *desk) KeysAfter(table, after string, limit int) ([]string, error) {
	keys := d.sorted(table)
	keys = keys[sort.Search(len(keys), func(i int) bool { return keys[i] > after }):]
	return keys[:min(limit, len(keys))], nil
}

func (d *desk) Children(table, parent string) (keys []string, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for k := range d.children[cdc.List{Table: table, Parent: parent}] {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys, nil
}

func (d *desk) Count(table string) int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return int64(len(d.rows[table]))
}

func (d *desk) Since(table string, lsn int64, limit int) (out []cdc.Version, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	f := d.follow[table]
	for _, v := range f[sort.Search(len(f), func(i int) bool { return f[i].LSN > lsn }):] {
		if d.rows[table][v.Key].FollowLSN == v.LSN && len(out) < limit {
			out = append(out, v)
		}
	}
	return out, nil
}

func (d *desk) LSN() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.lsn
}

func (d *desk) Section(table, section string) json.RawMessage {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return bytes.Clone(d.bookmarks[table].Sections[section])
}

func (d *desk) complete(table string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s, err := d.bookmarks[table].Snapshot()
	return err == nil && s.Complete
}

// bookmarkSize is the size of the largest bookmark, in bytes.
func (d *desk) bookmarkSize() (size int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, b := range d.bookmarks {
		value, err := b.Marshal()
		if err != nil {
			d.t.Error(err)
		}
		size = max(size, len(value))
	}
	return size
}

// bubble runs a test in simulated time, from a moment at which Lever has a past.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(kafkatest.RealOnlyVariable) != "" {
		t.Skip("uses no Kafka, and " + kafkatest.RealOnlyVariable + " is set")
	}
	synctest.Test(t, test)
}
