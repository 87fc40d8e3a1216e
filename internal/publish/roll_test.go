package publish

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/state"
)

// short are settings of topics whose segments stay open for half a second only. They are not
// compacted in the time of a test.
func short() map[string]string { return map[string]string{"segment.ms": "500"} }

// uncommitted reads what is in the table's topic, aborted records included.
func (a *account) uncommitted(table string) (out []*kgo.Record) {
	a.t.Helper()
	ends := map[int32]int64{}
	listed, err := kadm.NewClient(a.c.Client(a.t)).ListEndOffsets(a.t.Context(), a.Topic(table))
	if err != nil {
		a.t.Fatal(err)
	}
	listed.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			ends[o.Partition] = o.Offset
		}
	})
	cl := a.c.Client(a.t, kgo.ConsumeTopics(a.Topic(table)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
	defer cancel()
	for len(ends) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			a.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
		})
	}
	return out
}

// closed waits until the last record of every partition that holds any is a tombstone that
// has closed a segment, and returns how many of these there are. None must follow another.
func (a *account) closed(table string) int {
	a.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		n, last := 0, map[int32]bool{}
		for _, r := range a.uncommitted(table) {
			roll := len(r.Headers) > 0 && r.Headers[0].Key == rollHeader
			if roll {
				n++
			}
			if roll && last[r.Partition] {
				a.t.Fatalf("%s: partition %d was closed twice without anything between", table, r.Partition)
			}
			last[r.Partition] = roll
		}
		open := 0
		for _, roll := range last {
			if !roll {
				open++
			}
		}
		if open == 0 && n > 0 {
			return n
		}
	}
	a.t.Fatalf("%s: not closed within 30 s\n%s", table, a.log.String())
	return 0
}

// A partition that has become quiet gets one aborted tombstone, and no more, not even from
// the next owner. Nobody who is read_committed sees it, and nothing is counted.
func quietPartitions(t *testing.T, a *account) {
	a.TopicConfig = short()
	w := a.open()
	w.submit(nil, stage("s1", "A"), stage("s2", "B"), stage("s3", "C"), stage("s4", "D"))
	lsn := w.LSN()
	n := a.closed("stages")
	partitions := map[int32]bool{}
	for _, r := range a.uncommitted("stages") {
		partitions[r.Partition] = true
		if len(r.Headers) == 0 {
			continue
		}
		if r.Value != nil {
			t.Error("the record has a value")
		}
		if want := partitioner().ForTopic(r.Topic).Partition(&kgo.Record{Key: r.Key}, int(a.Partitions)); want != int(r.Partition) {
			t.Errorf("the key belongs to partition %d and is in %d", want, r.Partition)
		}
	}
	if n != len(partitions) {
		t.Errorf("%d tombstones in %d partitions", n, len(partitions))
	}
	h := a.history("stages")
	if len(h.Rows) != 4 || h.Ops["r"] != 4 || len(h.Ops) != 1 {
		t.Errorf("rows %v, ops %v", h.Rows, h.Ops)
	}
	if w.LSN() != lsn {
		t.Errorf("lsn %d, before %d", w.LSN(), lsn)
	}
	for _, s := range w.c.Stats.Tables() {
		if n := s.Events["r"] + s.Events["c"] + s.Events["u"] + s.Events["d"]; s.Table == "stages" && n != 4 || s.Table != "stages" && n != 0 {
			t.Errorf("%s: %d events are counted", s.Table, n)
		}
	}

	// Others become quiet, before and after a restart, and are closed; those that were stay
	// as they are.
	for i := range 2 {
		w.submit(nil, opportunity("o"+strconv.Itoa(i)))
		a.closed("opportunities")
		w.stop()
		a.Instance = uuid.NewString()
		w = a.open()
	}
	if again := a.closed("stages"); again != n {
		t.Errorf("%d tombstones, before %d", again, n)
	}

	// Work goes on, and what is written now is closed in its turn.
	if r := w.submit(nil, stage("s1", "E")); r.Events != 1 || r.LSN <= lsn {
		t.Errorf("result %+v", r)
	}
	if again := a.closed("stages"); again != n+1 {
		t.Errorf("%d tombstones, before %d", again, n)
	}
	w.stop()
	if h := a.history("stages"); h.Ops["u"] != 1 {
		t.Errorf("ops %v", h.Ops)
	}
}

// A producer that was deposed finds out when it wants to close a segment, and stops as if it
// had wanted to commit.
func deposedWhileQuiet(t *testing.T, a *account) {
	a.TopicConfig = short()
	first := a.open()
	first.submit(nil, stage("s1", "A"))
	second := *a
	second.Config.Instance, second.Config.StateDir, second.Config.TakeOver = uuid.NewString(), t.TempDir(), true
	w := second.open()
	select {
	case err := <-first.done:
		if err == nil {
			t.Error("it ended without an error")
		}
	case <-time.After(30 * time.Second):
		t.Error("the deposed producer goes on")
	}
	_ = first.Close()
	second.closed("stages")
	if r := w.submit(nil, stage("s1", "B")); r.Events != 1 {
		t.Errorf("result %+v", r)
	}
	w.stop()
	if h := a.history("stages"); h.Ops["r"] != 1 || h.Ops["u"] != 1 {
		t.Errorf("ops %v", h.Ops)
	}
}

// A topic that is gone does not keep the owner from looking after the others.
func quietBesideDeleted(t *testing.T, a *account) {
	a.TopicConfig = short()
	w := a.open()
	defer w.stop()
	w.submit(nil, stage("s1", "A"))
	a.closed("stages")
	if _, err := kadm.NewClient(a.c.Client(t)).DeleteTopic(t.Context(), a.Topic("stages")); err != nil {
		t.Fatal(err)
	}
	w.submit(nil, opportunity("o"))
	a.closed("opportunities")
}

func TestRollTime(t *testing.T) {
	forever := strconv.FormatInt(math.MaxInt64, 10)
	for _, test := range []struct {
		policy, segment, lag string
		want                 time.Duration
		compacted            bool
	}{
		{"compact", "604800000", "604800000", 7 * 24 * time.Hour, true},
		{"compact", "604800000", "1000", time.Second, true},
		{"compact", "2000", "604800000", 2 * time.Second, true},
		{"compact,delete", "2000", forever, 2 * time.Second, true},
		{"compact", forever, forever, 0, false},
		{"delete", "2000", "1000", 0, false},
		{"", "", "", 0, false},
	} {
		got, compacted := rollTime(map[string]string{"cleanup.policy": test.policy, "segment.ms": test.segment, "max.compaction.lag.ms": test.lag})
		if compacted != test.compacted || compacted && got != test.want {
			t.Errorf("%+v: %v, %v", test, got, compacted)
		}
	}
}

// A key that is a row's is not used, however unlikely.
func TestNoRowHasTheKeyOfARoll(t *testing.T) {
	a := newAccount(t, kafkatest.Embedded(t))
	w := a.open()
	defer w.stop()
	p := quietPartition{table: w.tables["stages"], topic: a.Topic("stages"), number: 1, of: 3}
	first, err := w.unusedKey(&p)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		w.submit(nil, stage("#roll/"+strconv.Itoa(n), "A"))
	}
	second, err := w.unusedKey(&p)
	if err != nil {
		t.Fatal(err)
	}
	if string(first) == string(second) {
		t.Errorf("both are %q", first)
	}
}

// Temporary copies of the state that a killed process has left are removed, those that are in
// use are not.
func TestTemporaryCopiesAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	used, left := filepath.Join(os.TempDir(), "leverstream-state-1"), filepath.Join(os.TempDir(), "leverstream-state-2")
	for _, dir := range []string{used, left} {
		s, err := state.Open(dir, state.Identity{}, func(err error) { panic(err) })
		if err != nil {
			t.Fatal(err)
		}
		if dir == used {
			defer func() { _ = s.Close() }()
		} else if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	removeTemporary()
	if _, err := os.Stat(used); err != nil {
		t.Errorf("the one in use: %v", err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("the one that was left: %v", err)
	}
}

func opportunity(key string) cdc.Row {
	return cdc.Row{Table: "opportunities", Key: key, Fields: map[string]any{"id": key, "name": key}}
}
