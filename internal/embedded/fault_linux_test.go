package embedded

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// breakFiles makes every write to files below the directory fail from now on, as on
// a full or broken disk, by putting a read-only file under the same descriptors.
func breakFiles(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	broken := 0
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil || !strings.HasPrefix(target, dir+"/") {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(target)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Dup3(int(f.Fd()), fd, syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		broken++
	}
	if broken == 0 {
		t.Fatal("no open file below", dir)
	}
}

func TestACommitThatCouldNotBeWrittenIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	dir := t.TempDir()
	c, err := Start(ctx, Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	createTopic(t, c, "x", 2)
	cl := client(t, c, kgo.TransactionalID("tx"), kgo.RequestRetries(0))
	if err := produce(ctx, cl, "x", 2, "0", kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	// The disk fills up between the records of the next transaction and its markers.
	c.kafka.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		breakFiles(t, filepath.Join(kafkaDir(dir), "partitions"))
		return nil, nil, false
	})
	if err := produce(ctx, cl, "x", 2, "1", kgo.TryCommit); err == nil {
		t.Error("a commit was acknowledged of which nothing was written down")
	}
	if err := c.Close(); err == nil {
		t.Error("the stop says that all is well")
	}
	equal(t, committed(t, start(t, dir), "x"), 2, "0")
}
