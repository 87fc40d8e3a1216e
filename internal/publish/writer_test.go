package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sr"
	"go.uber.org/goleak"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/state"
	"github.com/leverstream/leverstream/offsets"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// output collects a log.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// account is one account on a cluster, with a prefix and a state directory of its own.
type account struct {
	t   testing.TB
	c   kafkatest.Cluster
	log *output
	Config
}

func newAccount(t testing.TB, c kafkatest.Cluster) *account {
	t.Helper()
	a := &account{t: t, c: c, log: &output{}}
	prefix := "t" + uuid.NewString()[:8]
	log := slog.New(slog.NewTextHandler(a.log, nil))
	registry, err := avro.NewRegistry(true, log, nil, sr.URLs(c.RegistryURL))
	if err != nil {
		t.Fatal(err)
	}
	a.Config = Config{
		Account: "default", Prefix: prefix, BookmarksTopic: prefix + ".bookmarks", StateTopic: prefix + ".state",
		Tables: []cdc.Table{
			{Name: "stages", Key: "id"},
			{Name: "opportunities", Key: "id"},
			{Name: "opportunity_offers", Key: "id", Parent: "opportunities", ParentFields: []string{"opportunityId"}},
		},
		Kafka:      []kgo.Opt{kgo.SeedBrokers(c.Brokers...)},
		Partitions: 3, ReplicationFactor: 1, Compression: "zstd", Format: avro.Debezium, KeyFormat: avro.KeyAvro,
		Registry: registry, StateDir: t.TempDir(), Confidentiality: "all", APIHost: "lever.test", Version: "test",
		Instance: uuid.NewString(), Clock: cdc.NewClock(), Logger: log,
		Fatal: func(err error) { panic(err) },
	}
	return a
}

// running is a writer that runs.
type running struct {
	*Writer
	t     testing.TB
	clock *cdc.Clock
	done  chan error
}

func (a *account) open() *running {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
	defer cancel()
	w, err := Open(ctx, a.Config)
	if err != nil {
		a.t.Fatalf("open: %v\n%s", err, a.log.String())
	}
	r := &running{Writer: w, t: a.t, clock: a.Clock, done: make(chan error, 1)}
	go func() { r.done <- w.Run(a.t.Context()) }()
	return r
}

// stop drains and closes the writer.
func (r *running) stop() {
	r.t.Helper()
	r.Drain()
	if err := errors.Join(<-r.done, r.Close()); err != nil {
		r.t.Fatal(err)
	}
}

func stage(key, text string) cdc.Row {
	return cdc.Row{Table: "stages", Key: key, Fields: map[string]any{"id": key, "text": text}}
}

// submit submits the rows as a unit and waits for its result.
func (r *running) submit(changes []cdc.Change, rows ...cdc.Row) cdc.Result {
	r.t.Helper()
	u := &cdc.Unit{Scan: "test", Rows: rows, Sent: r.clock.Now(), Arrived: r.clock.Now(), ReadAt: time.Now(), Changes: changes}
	return r.submitUnit(u)
}

func (r *running) submitUnit(u *cdc.Unit) cdc.Result {
	r.t.Helper()
	results, err := r.Submit(r.t.Context(), u)
	if err != nil {
		r.t.Fatal(err)
	}
	select {
	case result := <-results:
		if result.Err != nil {
			r.t.Fatal(result.Err)
		}
		return result
	case <-time.After(time.Minute):
		r.t.Fatal("no result within a minute")
	}
	return cdc.Result{}
}

func section(table, name, value string) []cdc.Change {
	return []cdc.Change{{Table: table, Section: name, Value: json.RawMessage(value)}}
}

func (a *account) history(table string) *kafkatest.History {
	a.t.Helper()
	h := kafkatest.Fold(a.c.Read(a.t, a.Topic(table)))
	for _, p := range h.Problems {
		a.t.Errorf("%s: %s", table, p)
	}
	return h
}

// bookmark is the last committed bookmark of a table.
func (a *account) bookmark(table string) (b offsets.Bookmark) {
	a.t.Helper()
	for _, r := range a.c.Raw(a.t, a.BookmarksTopic) {
		if string(r.RawKey) == string(offsets.Key(a.Account, table)) {
			var err error
			if b, err = offsets.Parse(r.RawValue); err != nil {
				a.t.Fatal(err)
			}
		}
	}
	return b
}

func TestConformance(t *testing.T) {
	tests := []struct {
		name string
		run  func(*testing.T, *account)
	}{
		{"events, state and bookmarks commit together", commitTogether},
		{"a restart goes on where it was", restart},
		{"a lost local state is rebuilt and repeats nothing", rebuild},
		{"a bookmark does not move past refused rows", refusedRows},
		{"a row that cannot become an event is a dead letter", deadLetters},
		{"a changed incarnation writes all rows again", incarnationChanged},
		{"a topic in another format is refused", formatChanged},
		{"another account under the prefix is refused", otherAccount},
		{"a producer that was deposed stops and knows by whom", deposed},
		{"a standby waits until the owner is gone", standsBy},
		{"a replaced owner stops", stopsReplaced},
		{"a producer gives way to an owner that it could not see", givesWay},
		{"topics are created as promised", topicsAsPromised},
		{"many units at once", manyUnits},
		{"a registry may go away, and come back empty", registryLost},
		{"a registry that gives other ids is noticed", registryChanged},
		{"a local state that Kafka does not know is rebuilt", foreignState},
		{"a bookmark that cannot be understood is refused", strangeBookmark},
		{"a clock that is set back changes nothing", clockSetBack},
		{"a schema that does not fit is refused", otherSchema},
		{"a topic that was made smaller takes what fits", smallerTopic},
		{"a topic that is deleted under the writer is written anew", deletedTopic},
		{"the last segment of a quiet partition is closed once", quietPartitions},
		{"a producer that was deposed while quiet stops", deposedWhileQuiet},
		{"a deleted topic keeps no other from being looked after", quietBesideDeleted},
	}
	kafkatest.Each(t, func(t *testing.T, c kafkatest.Cluster) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel() // most of them wait most of the time
				test.run(t, newAccount(t, c))
			})
		}
	})
}

func commitTogether(t *testing.T, a *account) {
	w := a.open()
	r := w.submit(section("stages", "snapshot", `{"complete":true}`), stage("s1", "A"), stage("s2", "B"))
	if r.Events != 2 || r.LSN <= 0 {
		t.Errorf("result %+v", r)
	}
	if r := w.submit(nil, stage("s1", "A"), stage("s2", "C")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	gone := &cdc.Unit{Gone: []cdc.Gone{{Ref: cdc.Ref{Table: "stages", Key: "s1"}}}, Sent: a.Clock.Now(), Arrived: a.Clock.Now()}
	w.submitUnit(gone)
	h := a.history("stages")
	if h.Ops["r"] != 2 || h.Ops["u"] != 1 || h.Ops["d"] != 1 || len(h.Rows) != 1 || h.Rows["s2"]["text"] != "C" {
		t.Errorf("ops %v, rows %v", h.Ops, h.Rows)
	}
	b := a.bookmark("stages")
	if s, err := b.Snapshot(); err != nil || !s.Complete || b.LSN == 0 || b.Incarnation == nil {
		t.Errorf("bookmark %+v", b)
	}
	if !w.Complete("stages") || w.Complete("opportunities") || w.Counts()["stages"] != 1 || w.LSN() != h.LastLSN {
		t.Errorf("complete %v, counts %v, lsn %d, last %d", w.Complete("stages"), w.Counts(), w.LSN(), h.LastLSN)
	}
	w.stop()
}

func restart(t *testing.T, a *account) {
	w := a.open()
	w.submit(section("stages", "full", `{"at":5}`), stage("s1", "A"))
	lsn := w.LSN()
	w.stop()
	a.Instance = uuid.NewString()
	w = a.open()
	if string(w.Section("stages", "full")) != `{"at":5}` || w.LSN() != lsn {
		t.Errorf("section %s, lsn %d, want %d", w.Section("stages", "full"), w.LSN(), lsn)
	}
	if r := w.submit(nil, stage("s1", "A")); r.Events != 0 {
		t.Errorf("an equal row made %d events", r.Events)
	}
	if r := w.submit(nil, stage("s1", "B")); r.Events != 1 || r.LSN <= lsn {
		t.Errorf("result %+v", r)
	}
	w.stop()
	if strings.Contains(a.log.String(), "rebuilt the local state") {
		t.Errorf("the local state was rebuilt:\n%s", a.log.String())
	}
	a.history("stages")
}

func rebuild(t *testing.T, a *account) {
	w := a.open()
	w.submit(nil, stage("s1", "A"), stage("s2", "B"))
	w.submit(nil, stage("s1", "C"))
	w.submitUnit(&cdc.Unit{Gone: []cdc.Gone{{Ref: cdc.Ref{Table: "stages", Key: "s2"}}}, Sent: a.Clock.Now(), Arrived: a.Clock.Now()})
	lsn := w.LSN()
	w.stop()
	a.StateDir = t.TempDir()
	w = a.open()
	if w.LSN() != lsn || w.Counts()["stages"] != 1 {
		t.Errorf("lsn %d, want %d; counts %v", w.LSN(), lsn, w.Counts())
	}
	if r := w.submit(nil, stage("s1", "C")); r.Events != 0 {
		t.Errorf("an equal row made %d events", r.Events)
	}
	w.submit(nil, stage("s2", "D"))
	w.stop()
	h := a.history("stages")
	if h.Ops["u"] != 1 || h.Ops["d"] != 1 || len(h.Rows) != 2 {
		t.Errorf("ops %v", h.Ops)
	}
}

func refusedRows(t *testing.T, a *account) {
	w := a.open()
	defer w.stop()
	read := a.Clock.Begin()
	defer a.Clock.End(read)
	older := &cdc.Unit{Rows: []cdc.Row{stage("s1", "old")}, Changes: section("stages", "full", `{"at":1}`), Sent: a.Clock.Now(), Arrived: a.Clock.Now()}
	w.submit(nil, stage("s1", "new"))
	if r := w.submitUnit(older); len(r.Again) != 1 {
		t.Errorf("result %+v", r)
	}
	if got := w.Section("stages", "full"); got != nil {
		t.Errorf("the section moved to %s", got)
	}
	if h := a.history("stages"); h.Rows["s1"]["text"] != "new" {
		t.Errorf("row %v", h.Rows["s1"])
	}
}

func deadLetters(t *testing.T, a *account) {
	w := a.open()
	const secret = "a person's data"
	for range 2 {
		w.submit(nil, cdc.Row{Table: "stages", Fields: map[string]any{"text": secret}}, stage("s1", "A"))
	}
	w.stop()
	letters := a.c.Raw(t, a.DeadLetterTopic())
	if len(letters) != 1 || letters[0].RawKey != nil || !strings.Contains(string(letters[0].RawValue), secret) {
		t.Fatalf("%d letters", len(letters))
	}
	h := letters[0].Headers
	if h["leverstream.table"] != "stages" || !strings.Contains(h["leverstream.reason"], "no primary key") || h["leverstream.account"] != "default" {
		t.Errorf("headers %v", h)
	}
	if a.history("stages").Rows["s1"] == nil {
		t.Error("the table did not go on")
	}
	if strings.Contains(a.log.String(), secret) {
		t.Error("the log holds the row")
	}
}

func incarnationChanged(t *testing.T, a *account) {
	w := a.open()
	w.submit(slices.Concat(section("stages", "snapshot", `{"complete":true}`), section("stages", "full", `{"at":1}`), section("stages", "paused", `true`)), stage("s1", "A"))
	w.stop()
	a.Confidentiality = "non-confidential"
	w = a.open()
	if w.Complete("stages") || w.Section("stages", "full") != nil || string(w.Section("stages", "paused")) != "true" {
		t.Errorf("complete %v, full %s, paused %s", w.Complete("stages"), w.Section("stages", "full"), w.Section("stages", "paused"))
	}
	if r := w.submit(nil, stage("s1", "A")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	if r := w.submit(nil, stage("s1", "A")); r.Events != 0 {
		t.Errorf("twice: %+v", r)
	}
	w.stop()
	records := a.c.Read(t, a.Topic("stages"))
	last := records[len(records)-1].Value
	if source, _ := last["source"].(map[string]any); last["op"] != "r" || source["snapshot"] != "incremental" || last["before"] != nil {
		t.Errorf("op %v, snapshot %v", last["op"], source["snapshot"])
	}
}

func formatChanged(t *testing.T, a *account) {
	w := a.open()
	w.submit(nil, stage("s1", "A"))
	w.stop()
	before := len(a.c.Raw(t, a.Topic("stages")))
	a.KeyFormat = avro.KeyString
	_, err := Open(t.Context(), a.Config)
	var conflict *ConfigError
	if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "EVENT_KEY") || !strings.Contains(err.Error(), "KAFKA_TOPIC_PREFIX") {
		t.Errorf("error %v", err)
	}
	if after := len(a.c.Raw(t, a.Topic("stages"))); after != before {
		t.Errorf("%d records, before %d", after, before)
	}
	a.KeyFormat = avro.KeyAvro
	w = a.open()
	w.stop()
}

func otherAccount(t *testing.T, a *account) {
	a.open().stop()
	a.Account = "other"
	_, err := Open(t.Context(), a.Config)
	var conflict *ConfigError
	if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "one account per prefix") {
		t.Errorf("error %v", err)
	}
}

func deposed(t *testing.T, a *account) {
	first := a.open()
	first.submit(nil, stage("s1", "A"))
	second := *a
	second.Config.Instance, second.Config.StateDir, second.Config.TakeOver = uuid.NewString(), t.TempDir(), true
	w := second.open()
	u := &cdc.Unit{Rows: []cdc.Row{stage("s1", "from the deposed")}, Sent: a.Clock.Now(), Arrived: a.Clock.Now()}
	results, err := first.Submit(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if r := <-results; !errors.Is(r.Err, cdc.ErrStopped) {
		t.Errorf("the deposed producer committed: %+v", r)
	}
	if err := <-first.done; err == nil {
		t.Error("the deposed producer goes on")
	}
	_ = first.Close()
	owner, live, err := Owner(t.Context(), a.Config)
	if err != nil || !live || owner.Instance != second.Config.Instance {
		t.Errorf("owner %+v, live %v, %v", owner, live, err)
	}
	if r := w.submit(nil, stage("s1", "B")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	w.stop()
	if h := a.history("stages"); h.Ops["r"] != 1 || h.Ops["u"] != 1 {
		t.Errorf("ops %v", h.Ops)
	}
	if _, live, err := Owner(t.Context(), a.Config); err != nil || live {
		t.Errorf("a released account has a live owner (%v)", err)
	}
}

func standsBy(t *testing.T, a *account) {
	a.open().stop() // makes the topics
	other := offsets.Owner{Instance: "other", Host: "elsewhere", PID: 1, Started: time.Now().UnixMilli(), Renewed: time.Now().UnixMilli()}
	a.owned(other)
	a.waits(&other)
	other.Released, other.Renewed = false, time.Now().Add(-time.Minute).UnixMilli()
	a.owned(other)
	a.open().stop() // too old to be alive
	other.Renewed = time.Now().UnixMilli()
	a.owned(other)
	a.TakeOver = true
	a.open().stop()
}

// stopsReplaced: whoever was the owner and is fenced may look at the owner record before its
// successor has written one, and then takes itself for the owner. It sees the other one when it
// opens again.
func stopsReplaced(t *testing.T, a *account) {
	a.open().stop() // makes the topics
	other := offsets.Owner{Instance: "other", Host: "elsewhere", PID: 1, Started: time.Now().UnixMilli(), Renewed: time.Now().UnixMilli()}
	a.owned(other)
	a.WasOwner, a.TakeOver = true, true
	var owned *OwnedError
	if _, err := Open(t.Context(), a.Config); !errors.As(err, &owned) || owned.Owner.Instance != "other" {
		t.Errorf("error %v", err)
	}
	other.Released = true
	a.owned(other)
	a.open().stop() // it is free again
}

// onFindCoordinator is called when a client is about to become the owner.
type onFindCoordinator func()

func (f onFindCoordinator) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.FindCoordinator) {
		f()
	}
}

// givesWay: another producer becomes the owner after this one has seen that there is none.
func givesWay(t *testing.T, a *account) {
	a.open().stop() // makes the topics
	var once sync.Once
	other := offsets.Owner{Instance: "other", Host: "elsewhere", PID: 1, Started: time.Now().UnixMilli(), Renewed: time.Now().UnixMilli()}
	a.Kafka = append(a.Kafka, kgo.WithHooks(onFindCoordinator(func() { once.Do(func() { a.owned(other) }) })))
	a.waits(&other)
}

// owned writes another producer's owner record.
func (a *account) owned(o offsets.Owner) {
	a.t.Helper()
	value, err := o.Marshal()
	if err != nil {
		a.t.Fatal(err)
	}
	r := &kgo.Record{Topic: a.BookmarksTopic, Key: offsets.OwnerKey(a.Account), Value: value}
	if err := a.c.Client(a.t).ProduceSync(a.t.Context(), r).FirstErr(); err != nil {
		a.t.Error(err)
	}
}

// waits opens a writer, sees it wait for the other owner and name it, and go on when that
// one releases the account.
func (a *account) waits(other *offsets.Owner) {
	t := a.t
	t.Helper()
	opened := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		w, err := Open(ctx, a.Config)
		if err == nil {
			w.Drain()
			err = errors.Join(w.Run(ctx), w.Close())
		}
		opened <- err
	}()
	for !strings.Contains(a.log.String(), "standby") {
		select {
		case err := <-opened:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if !strings.Contains(a.log.String(), "elsewhere") {
		t.Errorf("it does not say who owns the account:\n%s", a.log.String())
	}
	other.Released = true
	a.owned(*other)
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
}

func topicsAsPromised(t *testing.T, a *account) {
	a.TopicConfig = map[string]string{"max.compaction.lag.ms": "1000000000"}
	a.open().stop()
	adm := kadm.NewClient(a.c.Client(t))
	configs, err := adm.DescribeTopicConfigs(t.Context(), a.Topic("stages"), a.BookmarksTopic, a.StateTopic, a.DeadLetterTopic())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{
		a.Topic("stages"):   {"cleanup.policy": "compact", "min.compaction.lag.ms": "86400000", "max.compaction.lag.ms": "1000000000", "delete.retention.ms": "604800000", "max.message.bytes": "8388608"},
		a.BookmarksTopic:    {"cleanup.policy": "compact", "delete.retention.ms": "604800000"},
		a.StateTopic:        {"cleanup.policy": "compact", "delete.retention.ms": "604800000", "max.message.bytes": "8388608"},
		a.DeadLetterTopic(): {"cleanup.policy": "delete"},
	}
	for _, rc := range configs {
		have := map[string]string{}
		for _, kv := range rc.Configs {
			have[kv.Key] = kv.MaybeValue()
		}
		for k, v := range want[rc.Name] {
			if have[k] != v {
				t.Errorf("%s: %s is %q, want %q", rc.Name, k, have[k], v)
			}
		}
	}
	topics, err := adm.ListTopics(t.Context(), a.Topic("stages"), a.StateTopic)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(topics[a.Topic("stages")].Partitions); n != 3 {
		t.Errorf("%d partitions", n)
	}
	a.TopicConfig, a.Partitions = nil, 6
	a.open().stop()
	for _, say := range []string{"another configuration", "max.compaction.lag.ms", "another number of partitions"} {
		if !strings.Contains(a.log.String(), say) {
			t.Errorf("drift: the log does not say %q:\n%s", say, a.log.String())
		}
	}
}

func manyUnits(t *testing.T, a *account) {
	w := a.open()
	var wg sync.WaitGroup
	const loops, each = 8, 50
	for l := range loops {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("o%d-%d", l, i)
				u := &cdc.Unit{
					Rows: []cdc.Row{
						{Table: "opportunities", Key: key, Fields: map[string]any{"id": key}},
						{Table: "opportunity_offers", Key: "f" + key, Parent: key, Fields: map[string]any{"id": "f" + key}},
					},
					Lists: []cdc.List{{Table: "opportunity_offers", Parent: key}},
					Sent:  a.Clock.Now(), Arrived: a.Clock.Now(),
				}
				results, err := w.Submit(t.Context(), u)
				if err != nil {
					t.Error(err)
					return
				}
				if r := <-results; r.Err != nil || r.Events != 2 {
					t.Errorf("result %+v", r)
				}
			}
		})
	}
	wg.Wait()
	w.stop()
	parents, children := a.history("opportunities"), a.history("opportunity_offers")
	if len(parents.Rows) != loops*each || len(children.Rows) != loops*each {
		t.Errorf("%d parents, %d children", len(parents.Rows), len(children.Rows))
	}
	lsn := func(h *kafkatest.History, key string) int64 {
		return h.Events[key][0]["source"].(map[string]any)["lsn"].(int64)
	}
	for key := range parents.Rows {
		if lsn(children, "f"+key) <= lsn(parents, key) {
			t.Errorf("the child of %s comes before it", key)
		}
	}
}

// exchange is a schema registry that can be away, and replaced by another.
type exchange struct {
	*httptest.Server
	mu sync.Mutex
	to *httputil.ReverseProxy // nil: away
}

func newExchange(t *testing.T, target string) *exchange {
	t.Helper()
	x := &exchange{}
	x.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x.mu.Lock()
		to := x.to
		x.mu.Unlock()
		if to != nil {
			to.ServeHTTP(w, r)
			return
		}
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.Close()
		}
	}))
	t.Cleanup(x.Close)
	x.connect(t, target)
	return x
}

// connect has another registry answer; with an empty target none does.
func (x *exchange) connect(t *testing.T, target string) {
	t.Helper()
	var to *httputil.ReverseProxy
	if target != "" {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		to = httputil.NewSingleHostReverseProxy(u)
	}
	x.mu.Lock()
	x.to = to
	x.mu.Unlock()
	x.CloseClientConnections()
}

// through has the account use the exchange.
func (a *account) through(x *exchange) {
	a.t.Helper()
	registry, err := avro.NewRegistry(true, a.Logger, nil, sr.URLs(x.URL))
	if err != nil {
		a.t.Fatal(err)
	}
	a.Registry = registry
}

func registryLost(t *testing.T, a *account) {
	x := newExchange(t, kafkatest.Embedded(t).RegistryURL)
	a.through(x)
	w := a.open()
	w.submit(nil, stage("s1", "A"))
	losses := a.Registry.Losses()
	x.connect(t, "")
	for deadline := time.Now().Add(10 * time.Second); a.Registry.Losses() == losses; {
		if time.Now().After(deadline) {
			t.Fatal("a lost connection is not noticed")
		}
		runtime.Gosched()
	}
	if r := w.submit(nil, stage("s1", "B")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	if !strings.Contains(a.log.String(), "the schema registry is away") {
		t.Errorf("it does not say that the registry is away:\n%s", a.log.String())
	}
	empty := kafkatest.Embedded(t)
	x.connect(t, empty.RegistryURL)
	if r := w.submit(nil, stage("s1", "C")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	// The new registry knows what it takes to read all of it.
	a.c.RegistryURL = empty.RegistryURL
	if h := a.history("stages"); h.Rows["s1"]["text"] != "C" || h.Ops["u"] != 2 {
		t.Errorf("row %v, ops %v", h.Rows["s1"], h.Ops)
	}
	if !strings.Contains(a.log.String(), "the schema registry is back") {
		t.Errorf("it does not say that the registry is back:\n%s", a.log.String())
	}
	w.stop()
}

func registryChanged(t *testing.T, a *account) {
	a.KeyFormat = avro.KeyString // other ids of keys are refused
	x := newExchange(t, kafkatest.Embedded(t).RegistryURL)
	a.through(x)
	w := a.open()
	w.submit(nil, stage("s1", "A"))
	other := kafkatest.Embedded(t)
	cl, err := sr.NewClient(sr.URLs(other.RegistryURL))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.CreateSchema(t.Context(), "somebody-elses", sr.Schema{Schema: `"string"`}); err != nil {
		t.Fatal(err)
	}
	losses := a.Registry.Losses()
	x.connect(t, other.RegistryURL)
	for deadline := time.Now().Add(10 * time.Second); a.Registry.Losses() == losses && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	u := &cdc.Unit{Rows: []cdc.Row{stage("s1", "B")}, Sent: a.Clock.Now(), Arrived: a.Clock.Now()}
	results, err := w.Submit(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if r := <-results; !errors.Is(r.Err, errSchemaIDs) {
		t.Errorf("result %+v", r)
	}
	<-w.done
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	w = a.open() // with the new ids
	if r := w.submit(nil, stage("s1", "B")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	w.stop()
	records := a.c.Raw(t, a.Topic("stages"))
	first, last := records[0].RawValue, records[len(records)-1].RawValue
	if bytes.Equal(first[:5], last[:5]) {
		t.Error("the last event names the schema by the old id")
	}
}

// forge changes the account's local state, which holds a row that Kafka does not.
func (a *account) forge(cluster string, stateTopic string, change func(*state.Position)) {
	a.t.Helper()
	id := state.Identity{ClusterID: cluster, StateTopicID: stateTopic, Account: a.Account, Prefix: a.Prefix}
	s, err := state.Open(filepath.Join(a.StateDir, a.Prefix, a.Account), id, a.Fatal)
	if err != nil {
		a.t.Fatal(err)
	}
	if fresh, reason := s.Fresh(); fresh {
		a.t.Fatalf("the local state is not there to be forged: %s", reason)
	}
	b, pos := s.NewBatch(), s.Position()
	change(&pos)
	err = errors.Join(b.Delete("stages", "s1"), b.SetPosition(pos), b.Commit(a.t.Context()), b.Close(), s.Close())
	if err != nil {
		a.t.Fatal(err)
	}
}

func foreignState(t *testing.T, a *account) {
	adm := kadm.NewClient(a.c.Client(t))
	meta, err := adm.BrokerMetadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*state.Position){
		// A cluster restored from a backup: what the local state has seen is not there.
		"ahead of Kafka": func(p *state.Position) { p.Offsets[0] += 1000; p.Commit.Offset += 1000 },
		// The same, when it was written past the old offsets.
		"another history": func(p *state.Position) { p.Commit.ID = "another/1" },
		"away too long":   func(p *state.Position) { p.AtEnd = p.AtEnd.Add(-tombstoneRetention/2 - time.Hour) },
		"from the future": func(p *state.Position) { p.AtEnd = p.AtEnd.Add(2 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			w := a.open()
			w.submit(nil, stage("s1", "A"), stage("s2", name))
			id := w.topics[a.StateTopic].id
			w.stop()
			a.forge(meta.Cluster, id, change)
			w = a.open()
			if r := w.submit(nil, stage("s1", "A"), stage("s2", name)); r.Events != 0 {
				t.Errorf("equal rows made %d events", r.Events)
			}
			w.stop()
			if !strings.Contains(a.log.String(), "cannot be used and is rebuilt") {
				t.Errorf("the log does not say so:\n%s", a.log.String())
			}
			a.history("stages")
		})
	}
}

func strangeBookmark(t *testing.T, a *account) {
	w := a.open()
	w.submit(section("stages", "snapshot", `{"complete":true}`), stage("s1", "A"))
	w.stop()
	write := func(value string) {
		r := &kgo.Record{Topic: a.BookmarksTopic, Key: offsets.Key(a.Account, "stages"), Value: []byte(value)}
		if err := a.c.Client(t).ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	good, err := a.bookmark("stages").Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for value, say := range map[string]string{
		`{"version":1,"lsn":`:       "damaged",
		`{"version":99,"lsn":1}`:    "version",
		`["not","a","bookmark"]`:    "bookmark of stages",
		`{"version":1,"lsn":"two"}`: "bookmark of stages",
	} {
		write(value)
		_, err := Open(t.Context(), a.Config)
		var refused *ConfigError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), say) || !strings.Contains(err.Error(), "bookmark of stages") {
			t.Errorf("%s: error %v", value, err)
		}
	}
	write(string(good))
	w = a.open()
	if r := w.submit(nil, stage("s1", "A")); r.Events != 0 {
		t.Errorf("%d events", r.Events)
	}
	w.stop()
}

func clockSetBack(t *testing.T, a *account) {
	w := a.open()
	w.submit(nil, stage("s1", "A"))
	w.stop()
	back := time.Hour
	a.Now = func() time.Time { return time.Now().Add(-back) }
	a.Instance = uuid.NewString()
	w = a.open()
	if r := w.submit(nil, stage("s1", "B")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	back += time.Hour // while it runs
	if r := w.submit(nil, stage("s1", "C"), stage("s2", "C")); r.Events != 2 {
		t.Errorf("result %+v", r)
	}
	w.stop()
	a.StateDir, back = t.TempDir(), 3*time.Hour
	w = a.open()
	if r := w.submit(nil, stage("s1", "C"), stage("s2", "D")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	// The owner says that it renewed its record three hours ago. It is alive all the same.
	other := *a
	other.Config.Instance, other.Config.StateDir, other.Config.Now = uuid.NewString(), t.TempDir(), nil
	adm := kadm.NewClient(a.c.Client(t))
	waiting, cancel := context.WithTimeout(t.Context(), renewInterval)
	defer cancel()
	if _, err := standby(waiting, &other.Config, adm, func(offsets.Owner) bool { return false }, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("another producer did not wait: %v", err)
	}
	if r := w.submit(nil, stage("s2", "E")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	w.stop()
	if h := a.history("stages"); h.Ops["u"] != 4 {
		t.Errorf("ops %v", h.Ops)
	}
}

func otherSchema(t *testing.T, a *account) {
	cl, err := sr.NewClient(sr.URLs(a.c.RegistryURL))
	if err != nil {
		t.Fatal(err)
	}
	subject := a.Topic("stages") + "-value"
	for _, r := range cl.SetCompatibility(t.Context(), sr.SetCompatibility{Level: sr.CompatNone}, subject) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if _, err := cl.CreateSchema(t.Context(), subject, sr.Schema{Schema: `{"type":"record","name":"Other","fields":[{"name":"x","type":"string"}]}`}); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), a.Config)
	var refused *ConfigError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), subject) || !strings.Contains(err.Error(), "KAFKA_TOPIC_PREFIX") {
		t.Errorf("error %v", err)
	}
	if registry, err := avro.NewRegistry(false, a.Logger, nil, sr.URLs(a.c.RegistryURL)); err != nil {
		t.Error(err)
	} else if _, err := registry.Register(t.Context(), "none-value", `"string"`); !errors.Is(err, avro.ErrRefused) || !strings.Contains(err.Error(), "SCHEMA_REGISTRY_REGISTER") {
		t.Errorf("error %v", err)
	}
}

// fails submits a row that cannot be committed, and closes the writer.
func (r *running) fails(row cdc.Row) {
	r.t.Helper()
	u := &cdc.Unit{Rows: []cdc.Row{row}, Sent: r.clock.Now(), Arrived: r.clock.Now()}
	results, err := r.Submit(r.t.Context(), u)
	if err != nil {
		r.t.Fatal(err)
	}
	if result := <-results; !errors.Is(result.Err, cdc.ErrStopped) {
		r.t.Errorf("it was committed: %+v", result)
	}
	if err := <-r.done; err == nil {
		r.t.Error("the writer goes on")
	}
	if err := r.Close(); err != nil {
		r.t.Error(err)
	}
}

func smallerTopic(t *testing.T, a *account) {
	a.TopicConfig = map[string]string{"max.message.bytes": "100000"}
	w := a.open()
	w.submit(nil, stage("s1", "A"))
	adm := kadm.NewClient(a.c.Client(t))
	small := "20000"
	resp, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &small}}, a.Topic("stages"))
	if err != nil || len(resp) != 1 || resp[0].Err != nil {
		t.Fatal(resp, err)
	}
	noise := make([]byte, 40_000)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte('!' + random.IntN(90)) // compresses badly
	}
	if a.c.Real { // the embedded broker takes it
		w.fails(stage("s2", string(noise)))
		w = a.open()
		if r := w.submit(nil, stage("s2", string(noise)), stage("s3", "C")); r.Events != 1 {
			t.Errorf("result %+v", r)
		}
		letters := a.c.Raw(t, a.DeadLetterTopic())
		if len(letters) != 1 || !strings.Contains(letters[0].Headers["leverstream.reason"], "max.message.bytes") {
			t.Errorf("letters %v", letters)
		}
		if h := a.history("stages"); len(h.Rows) != 2 {
			t.Errorf("%d rows", len(h.Rows))
		}
	}
	w.stop()
}

func deletedTopic(t *testing.T, a *account) {
	w := a.open()
	w.submit(section("stages", "snapshot", `{"complete":true}`), stage("s1", "A"))
	adm := kadm.NewClient(a.c.Client(t))
	if resp, err := adm.DeleteTopic(t.Context(), a.Topic("stages")); err != nil || resp.Err != nil {
		t.Fatal(resp.Err, err)
	}
	w.fails(stage("s1", "B"))
	w = a.open()
	if w.Complete("stages") {
		t.Error("the snapshot of an empty topic is complete")
	}
	if r := w.submit(nil, stage("s1", "B")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	w.stop()
	if h := a.history("stages"); h.Rows["s1"]["text"] != "B" || h.Ops["r"] != 1 {
		t.Errorf("rows %v, ops %v", h.Rows, h.Ops)
	}
}
