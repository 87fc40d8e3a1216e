package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

// timeout is how long anything here may take at most; nothing waits that long.
const timeout = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, dir string) *Cluster {
	t.Helper()
	c, err := Start(testContext(t), Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func client(t *testing.T, c *Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, c *Cluster, topic string, partitions int32) {
	t.Helper()
	policy := "compact"
	_, err := kadm.NewClient(client(t, c)).CreateTopic(testContext(t), partitions, -1,
		map[string]*string{"cleanup.policy": &policy}, topic)
	if err != nil {
		t.Fatal(err)
	}
}

// produce writes value to every partition of the topic in one transaction.
func produce(ctx context.Context, cl *kgo.Client, topic string, partitions int32, value string, end kgo.TransactionEndTry) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	var records []*kgo.Record
	for p := range partitions {
		records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: []byte(value)})
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	return cl.EndTransaction(ctx, end)
}

// committed returns the values in each partition of the topic that a
// read_committed reader sees, read to the end.
func committed(t *testing.T, c *Cluster, topic string) map[int32][]string {
	t.Helper()
	ctx := testContext(t)
	ends, err := kadm.NewClient(client(t, c)).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	cl := client(t, c, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	got := map[int32][]string{}
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %s to its end, still open %v: %v", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				got[r.Partition] = append(got[r.Partition], string(r.Value))
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return got
}

func equal(t *testing.T, got map[int32][]string, partitions int32, want ...string) {
	t.Helper()
	for p := range partitions {
		if strings.Join(got[p], " ") != strings.Join(want, " ") {
			t.Errorf("partition %d holds %v, want %v", p, got[p], want)
		}
	}
}

func TestTransactionsAreVisibleOnlyWhenCommitted(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"in memory", "on disk"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			dir := ""
			if where == "on disk" {
				dir = t.TempDir()
			}
			c := start(t, dir)
			createTopic(t, c, "x", 3)
			cl := client(t, c, kgo.TransactionalID("tx"))
			for value, end := range map[string]kgo.TransactionEndTry{"aborted": kgo.TryAbort, "committed": kgo.TryCommit} {
				if err := produce(testContext(t), cl, "x", 3, value, end); err != nil {
					t.Fatal(err)
				}
			}
			equal(t, committed(t, c, "x"), 3, "committed")
		})
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	dir := t.TempDir()
	c := start(t, dir)
	createTopic(t, c, "x", 2)
	cl := client(t, c, kgo.TransactionalID("tx"))
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := produce(ctx, cl, "x", 2, strconv.Itoa(i), end); err != nil {
			t.Fatal(err)
		}
	}
	type facts struct {
		cluster, topic string
		brokers        string
		registry       string
		group          int64
	}
	look := func(c *Cluster) facts {
		adm := kadm.NewClient(client(t, c))
		meta, err := adm.Metadata(ctx, "x")
		if err != nil {
			t.Fatal(err)
		}
		offsets, err := adm.FetchOffsets(ctx, "group")
		if err != nil {
			t.Fatal(err)
		}
		o, _ := offsets.Lookup("x", 1)
		return facts{meta.Cluster, meta.Topics["x"].ID.String(), strings.Join(c.Brokers, ","), c.RegistryURL, o.At}
	}
	offsets := kadm.Offsets{}
	offsets.AddOffset("x", 1, 2, -1)
	if err := kadm.NewClient(cl).CommitAllOffsets(ctx, "group", offsets); err != nil {
		t.Fatal(err)
	}
	before := look(c)
	cl.Close()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	c = start(t, dir)
	if after := look(c); after != before {
		t.Errorf("after the restart %+v, before %+v", after, before)
	}
	if before.group != 2 || before.cluster == "kfake" {
		t.Errorf("facts to compare are not what was written: %+v", before)
	}
	equal(t, committed(t, c, "x"), 2, "0", "2")
	if err := produce(ctx, client(t, c, kgo.TransactionalID("tx")), "x", 2, "3", kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	equal(t, committed(t, c, "x"), 2, "0", "2", "3")
}

func TestClustersInMemoryHaveDifferentIds(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 2 {
		c := start(t, "")
		meta, err := kadm.NewClient(client(t, c)).BrokerMetadata(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		seen[meta.Cluster] = true
	}
	if len(seen) != 2 {
		t.Errorf("ids %v, want two", seen)
	}
}

func TestDirectoryInUseIsRefusedByName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir)
	_, err := Start(testContext(t), Options{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("got %v, want an error that names the directory and the process", err)
	}
}

func TestTakenPorts(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	other := start(t, "")
	taken := portFrom(t, other.Brokers[0])

	t.Run("that were asked for are an error", func(t *testing.T) {
		t.Parallel()
		if _, err := Start(ctx, Options{KafkaPort: taken}); err == nil || !strings.Contains(err.Error(), strconv.Itoa(taken)) {
			t.Errorf("got %v, want an error that names the port", err)
		}
	})
	t.Run("that were used before are replaced for good", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := writeJSON(portsPath(dir), ports{Kafka: taken, Registry: taken}); err != nil {
			t.Fatal(err)
		}
		c := start(t, dir)
		var now ports
		if _, err := readJSON(portsPath(dir), &now); err != nil {
			t.Fatal(err)
		}
		if now.Kafka == taken || now.Kafka != portFrom(t, c.Brokers[0]) {
			t.Errorf("ports %+v, want those of the cluster, %v", now, c.Brokers)
		}
	})
}

func portFrom(t *testing.T, addr string) int {
	t.Helper()
	port, err := strconv.Atoi(addr[strings.LastIndexByte(addr, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestCloseTwiceIsOnce(t *testing.T) {
	t.Parallel()
	c := start(t, t.TempDir())
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}

func TestRestartKeepsTheRegistry(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	dir := t.TempDir()
	c := start(t, dir)
	first := register(t, c, "x-value", `"string"`)
	if got := register(t, c, "y-value", `"long"`); got == first {
		t.Fatal("two schemas with one id")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = start(t, dir)
	if got := register(t, c, "x-value", ` "string" `); got != first {
		t.Errorf("id %d after the restart, %d before", got, first)
	}
	subjects, err := registryClient(t, c).Subjects(ctx)
	if err != nil || fmt.Sprint(subjects) != "[x-value y-value]" {
		t.Errorf("subjects %v, %v", subjects, err)
	}
}

func registryClient(t *testing.T, c *Cluster) *sr.Client {
	t.Helper()
	// A connection that was kept alive may be one to the registry before a restart.
	each := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	cl, err := sr.NewClient(sr.URLs(c.RegistryURL), sr.HTTPClient(each))
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func register(t *testing.T, c *Cluster, subject, schema string) int {
	t.Helper()
	s, err := registryClient(t, c).CreateSchema(testContext(t), subject, sr.Schema{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	return s.ID
}

func TestDamageIsRefusedWithTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := start(t, dir)
	createTopic(t, c, "x", 1)
	cl := client(t, c, kgo.TransactionalID("tx"))
	if err := produce(testContext(t), cl, "x", 1, "value", kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	image := crashImage(t, dir)
	file := filepath.Join(kafkaDir(image), "partitions", "x-0", "0.dat")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw[batchHeader] ^= 0xff
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(testContext(t), Options{DataDir: image}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names %s", err, file)
	}
}
