package embedded

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

// crashImage returns a copy of the directory of a running, idle cluster: what a
// kill at this moment would leave.
func crashImage(t *testing.T, dir string) string {
	t.Helper()
	image := t.TempDir()
	if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return image
}

// cut shortens a file.
func cut(t *testing.T, path string, bytes int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-bytes); err != nil {
		t.Fatal(err)
	}
}

func TestAfterAKill(t *testing.T) {
	t.Parallel()
	const topic, partitions = "x", 3
	markerSize := int64(len(marker(transaction{}, true, 0, 0)))
	file := func(image string, partition int, ext string) string {
		return filepath.Join(kafkaDir(image), "partitions", fmt.Sprintf("%s-%d", topic, partition), "0"+ext)
	}
	withoutMarker := func(t *testing.T, image string, partition int) {
		cut(t, file(image, partition, ".dat"), markerSize)
		cut(t, file(image, partition, ".idx"), 15)
	}
	for name, test := range map[string]struct {
		// open leaves a further transaction unfinished.
		open bool
		// damage does to the files what a kill at a worse moment would have done.
		damage func(t *testing.T, image string)
		want   []string
	}{
		"between transactions all of them are there": {
			want: []string{"0", "1"},
		},
		"within a transaction it is aborted": {
			open: true,
			want: []string{"0", "1"},
		},
		"while a transaction was being committed it is committed everywhere": {
			damage: func(t *testing.T, image string) {
				withoutMarker(t, image, 0)
				withoutMarker(t, image, 2)
			},
			want: []string{"0", "1"},
		},
		"before the first marker was written the transaction is aborted": {
			damage: func(t *testing.T, image string) {
				for p := range partitions {
					withoutMarker(t, image, p)
				}
			},
			want: []string{"0"},
		},
		"within a marker the transaction is committed if another has one": {
			damage: func(t *testing.T, image string) {
				cut(t, file(image, 1, ".dat"), 20)
				cut(t, file(image, 1, ".idx"), 15)
			},
			want: []string{"0", "1"},
		},
		"between a record and its index entry the record is not taken for committed": {
			open: true,
			damage: func(t *testing.T, image string) {
				for p := range partitions {
					cut(t, file(image, p, ".idx"), 15)
				}
			},
			want: []string{"0", "1"},
		},
		"within an index entry later transactions are read rightly": {
			open: true,
			damage: func(t *testing.T, image string) {
				for p := range partitions {
					cut(t, file(image, p, ".idx"), 7)
				}
			},
			want: []string{"0", "1"},
		},
		"within the log of producers": {
			damage: func(t *testing.T, image string) { cut(t, filepath.Join(kafkaDir(image), "pids.log"), 5) },
			want:   []string{"0", "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			dir := t.TempDir()
			c := start(t, dir)
			createTopic(t, c, topic, partitions)
			cl := client(t, c, kgo.TransactionalID("tx"))
			for _, v := range []string{"0", "1"} {
				if err := produce(ctx, cl, topic, partitions, v, kgo.TryCommit); err != nil {
					t.Fatal(err)
				}
			}
			if test.open {
				if err := cl.BeginTransaction(); err != nil {
					t.Fatal(err)
				}
				for p := range partitions {
					r := &kgo.Record{Topic: topic, Partition: int32(p), Value: []byte("open")}
					if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
						t.Fatal(err)
					}
				}
			}
			image := crashImage(t, dir)
			if test.damage != nil {
				test.damage(t, image)
			}

			c = start(t, image)
			equal(t, committed(t, c, topic), partitions, test.want...)
			// What is written afterwards is seen, too, and survives the next kill.
			again := client(t, c, kgo.TransactionalID("tx"))
			for _, v := range []string{"2", "3"} {
				if err := produce(ctx, again, topic, partitions, v, kgo.TryCommit); err != nil {
					t.Fatal(err)
				}
			}
			want := append(test.want, "2", "3")
			equal(t, committed(t, c, topic), partitions, want...)
			c = start(t, crashImage(t, image))
			equal(t, committed(t, c, topic), partitions, want...)
		})
	}
}

func TestTheOldProducerIsFencedAfterAKill(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	dir := t.TempDir()
	c := start(t, dir)
	createTopic(t, c, "x", 1)
	cl := client(t, c, kgo.TransactionalID("tx"))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "x", Value: []byte("open")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	image := crashImage(t, dir)
	ports, err := os.ReadFile(portsPath(image))
	if err != nil || len(ports) == 0 {
		t.Fatal("no ports", err)
	}
	if err := c.Close(); err != nil { // its port goes to the image
		t.Fatal(err)
	}
	c = start(t, image)
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err == nil {
		t.Error("the commit of a transaction that the restart aborted was acknowledged")
	}
	equal(t, committed(t, c, "x"), 1)
}

// killEnv makes the test binary a process that writes transactions until killed.
const killEnv = "EMBEDDED_TEST_WRITE_TO"

const (
	killTopic      = "killed"
	killPartitions = 8
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		fmt.Fprintln(os.Stderr, writeForever(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// writeForever prints the number of each transaction once it is acknowledged.
func writeForever(dir string) error {
	ctx := context.Background()
	// A write that failed is a warning.
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	c, err := Start(ctx, Options{DataDir: dir, Logger: logger})
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.TransactionalID("tx"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	from, err := strconv.Atoi(os.Getenv(killEnv + "_FROM"))
	if err != nil {
		return err
	}
	for i := from; ; i++ {
		if err := produce(ctx, cl, killTopic, killPartitions, strconv.Itoa(i), kgo.TryCommit); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func TestSIGKILLLosesNothingAndSplitsNoTransaction(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := start(t, dir)
	createTopic(t, c, killTopic, killPartitions)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	acknowledged, next := map[string]bool{}, 0
	for range rounds {
		next = killWriter(t, dir, next, acknowledged)
		killed := crashImage(t, dir)
		c := start(t, dir)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("as the kill left it:\n%s\nrepaired:\n%s", describe(t, killed), describe(t, dir))
			}
		})
		got := committed(t, c, killTopic)
		for p := range int32(killPartitions) {
			if a, b := strings.Join(got[0], " "), strings.Join(got[p], " "); a != b {
				t.Fatalf("partition %d does not hold what partition 0 holds:\n%s\n%s", p, b, a)
			}
		}
		seen := map[string]int{}
		for _, v := range got[0] {
			seen[v]++
		}
		for v := range acknowledged {
			if seen[v] != 1 {
				t.Errorf("transaction %s was acknowledged and is there %d times", v, seen[v])
			}
		}
		if t.Failed() {
			t.FailNow() // the files as they are tell more than those of a later round
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		// Half of the kills follow a kill, not a clean stop.
		if rand.N(2) == 0 {
			if err := os.Remove(cleanPath(dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(acknowledged) == 0 {
		t.Error("nothing was written")
	}
}

// describe lists the batches on disk: offset, epoch, first sequence number,
// attributes, and for markers whether they commit.
func describe(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	for p := range killPartitions {
		f, err := os.Open(filepath.Join(kafkaDir(dir), "partitions", fmt.Sprintf("%s-%d", killTopic, p), "0.dat"))
		if err != nil {
			t.Error(err)
			continue
		}
		info, err := f.Stat()
		if err != nil {
			t.Error(err)
			continue
		}
		var lines []string
		left, r := info.Size(), bufio.NewReader(f)
		for {
			b, err := readBatch(r, left)
			if err != nil || b == nil {
				lines = append(lines, fmt.Sprintf("then %d bytes, %v", left, err))
				break
			}
			left -= b.size
			lines = append(lines, fmt.Sprintf("%d e%d s%d %#x %v", b.firstOffset, b.epoch, b.firstSequence, b.attributes, b.commit))
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		// All of one partition; of the others, what was written last.
		if p > 0 {
			lines = lines[max(0, len(lines)-8):]
		}
		fmt.Fprintf(&out, "partition %d: %s\n", p, strings.Join(lines, "; "))
	}
	pids, err := os.ReadFile(filepath.Join(kafkaDir(dir), "pids.log"))
	if err != nil {
		t.Error(err)
	}
	fmt.Fprintf(&out, "the end of pids.log: %q\n", pids[max(0, len(pids)-600):])
	return out.String()
}

// killWriter runs a writer until it was acknowledged a few transactions, kills it
// a moment later and returns the first number that it cannot have used.
func killWriter(t *testing.T, dir string, from int, acknowledged map[string]bool) int {
	t.Helper()
	ctx := testContext(t)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+dir, killEnv+"_FROM="+strconv.Itoa(from))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last, kill := from, from+20+rand.N(50)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		acknowledged[lines.Text()] = true
		if last, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
		if last == kill {
			// A random moment within the next transaction.
			time.AfterFunc(rand.N(3*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || last < kill {
		t.Fatalf("the writer ended by itself after %d: %v", last, err)
	}
	return last + 2
}
