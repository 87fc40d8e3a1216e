package publish

import (
	"os"
	"testing"
	"time"

	"github.com/leverstream/leverstream/offsets"
)

// A container's processes often have the same id, so the id alone says nothing of an owner.
func TestWhoIsDeadOnThisMachine(t *testing.T) {
	before, since := processStarted.Add(-time.Minute).UnixMilli(), time.Now().UnixMilli()
	for _, c := range []struct {
		name  string
		owner offsets.Owner
		dead  bool
	}{
		{"the process before a restart of the container", offsets.Owner{Host: host(), PID: os.Getpid(), Started: before}, true},
		{"another writer of this process", offsets.Owner{Host: host(), PID: os.Getpid(), Started: since}, false},
		{"a process that runs", offsets.Owner{Host: host(), PID: os.Getppid(), Started: before}, false},
		{"a process that does not", offsets.Owner{Host: host(), PID: 1 << 30, Started: since}, true},
		{"the first process of another container with this name", offsets.Owner{Host: host(), PID: os.Getpid(), Space: "boot/pid:[1]", Started: before}, false},
		{"a process of this container that does not run", offsets.Owner{Host: host(), PID: 1 << 30, Space: processSpace(), Started: since}, true},
		{"a process of another machine", offsets.Owner{Host: host() + "-b", PID: 1 << 30, Started: before}, false},
	} {
		if got := deadHere(c.owner); got != c.dead {
			t.Errorf("%s: dead %v, want %v", c.name, got, c.dead)
		}
	}
}
