package publish

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/offsets"
)

// ownerReader follows the owner record.
type ownerReader struct {
	from map[int32]int64 // what is read already
	last *kgo.Record     // the newest owner record
}

// read returns the owner record; ok is false if there is none. It refuses bookmarks that
// name an account other than this one.
func (o *ownerReader) read(ctx context.Context, c *Config, adm *kadm.Client) (owner offsets.Owner, ok bool, err error) {
	o.from, err = readStable(ctx, c.Kafka, adm, c.BookmarksTopic, o.from, func(r *kgo.Record) error {
		key, err := offsets.ParseKey(r.Key)
		if err != nil {
			return damaged(r, "", err)
		}
		if key.Account != c.Account {
			return &ConfigError{fmt.Errorf("topic %s holds bookmarks of account %q, and this is account %q: one account per prefix; choose another KAFKA_TOPIC_PREFIX, or set LEVER_ACCOUNT=%s if it is the same account", c.BookmarksTopic, key.Account, c.Account, key.Account)}
		}
		if key.Owner {
			o.last = r
		}
		return nil
	})
	if err != nil || o.last == nil || o.last.Value == nil {
		return owner, false, err
	}
	if owner, err = offsets.ParseOwner(o.last.Value); err != nil {
		return owner, false, damaged(o.last, "", err)
	}
	return owner, true, nil
}

// become waits until the account has no live owner and makes the transactional client,
// which fences whoever had the id before.
//
// Kafka answers a commit before readers can see what it committed, so an owner of a moment
// ago may not have been seen. Fencing waits for such a commit: the record is looked at once
// more afterwards, and this producer gives way, without having written anything, to one that
// it did not mean to replace. That one finds itself fenced and still the owner, and goes on.
func (w *Writer) become(ctx context.Context, adm *kadm.Client, dead func(offsets.Owner) bool, wait bool) error {
	for {
		replaced, err := standby(ctx, &w.c, adm, dead, wait)
		if err != nil {
			return err
		}
		if err := w.fence(ctx); err != nil {
			return err
		}
		var reader ownerReader
		owner, ok, err := reader.read(ctx, &w.c, adm)
		if err != nil {
			return err
		}
		meant := owner == replaced || w.c.TakeOver && owner.Instance == replaced.Instance
		if !ok || meant || owner.Released || owner.Instance == w.c.Instance || dead(owner) {
			return nil
		}
		w.client.Close()
		w.client = nil
	}
}

// standby waits until the account has no live owner, and returns the record of the owner that
// is to be replaced, if there is one. Clocks of two machines may differ,
// so an owner whose record looks old, or comes from the future, is watched until it
// should have renewed it: two producers that take each other for dead would depose each
// other for ever. With wait false a live owner is an *OwnedError instead.
func standby(ctx context.Context, c *Config, adm *kadm.Client, dead func(offsets.Owner) bool, wait bool) (replaced offsets.Owner, err error) {
	const look = 2 * time.Second
	var said, changed time.Time
	var last offsets.Owner
	var patience time.Duration
	var reader ownerReader
	for {
		owner, ok, err := reader.read(ctx, c, adm)
		if err != nil {
			return replaced, err
		}
		if !ok || owner.Released || owner.Instance == c.Instance || dead(owner) {
			return owner, nil
		}
		now := c.now()
		fresh := owner.FreshAt(now, freshFor) || !changed.IsZero() && owner != last
		if !wait && !c.TakeOver && fresh {
			return replaced, &OwnedError{Account: c.Account, Owner: owner}
		}
		switch {
		case changed.IsZero():
			age := now.Sub(time.UnixMilli(owner.Renewed))
			patience = watchFor
			if age >= 0 && age < freshFor {
				patience = max(patience, freshFor-age)
			}
			last, changed = owner, now
		case owner != last:
			last, changed, patience = owner, now, freshFor
		case now.Sub(changed) >= patience:
			return owner, nil
		}
		// A person who edits bookmarks means it; a producer that a supervisor started may not.
		if c.TakeOver && (!wait || !c.deposedBy(owner)) {
			c.Logger.Warn("taking over from another producer", "account", c.Account, "instance", owner.Instance, "host", owner.Host, "pid", owner.PID)
			return owner, nil
		}
		c.opening(fmt.Sprintf("standing by while another producer owns the account (host %s, process %d)", owner.Host, owner.PID))
		if time.Since(said) >= 15*time.Second {
			c.Logger.Warn("standby: another producer owns the account; waiting until it stops (--take-over replaces it)",
				"account", c.Account, "instance", owner.Instance, "host", owner.Host, "pid", owner.PID,
				"renewed", time.UnixMilli(owner.Renewed).UTC().Format(time.RFC3339))
			said = now
		}
		select {
		case <-ctx.Done():
			return replaced, ctx.Err()
		case <-time.After(look):
		}
	}
}

// beside returns the name of a file beside the local state, which outlives the process.
func (c *Config) beside(what string) string {
	return filepath.Join(c.StateDir, c.Prefix, c.Account+"."+what)
}

// Deposed notes that another producer has replaced this one. Started again with
// TakeOver, by a supervisor that does not look at exit codes, this one does not replace
// it in turn: they would go on like that for ever.
func Deposed(c Config, by offsets.Owner) error {
	return os.WriteFile(c.beside("deposed_by"), []byte(by.Instance), 0o600)
}

// deposedBy says that the owner has replaced a producer with this state directory.
func (c *Config) deposedBy(owner offsets.Owner) bool {
	name, err := os.ReadFile(c.beside("deposed_by"))
	return err == nil && string(name) == owner.Instance
}

// Owner returns who owns the account according to Kafka; live says that there is such
// a producer and that it renewed its record lately. After an error of a Writer it
// tells whether this instance may open another one.
func Owner(ctx context.Context, c Config) (owner offsets.Owner, live bool, err error) {
	adm, err := c.admin()
	if err != nil {
		return owner, false, err
	}
	defer adm.Close()
	var reader ownerReader
	owner, ok, err := reader.read(ctx, &c, adm)
	return owner, ok && owner.FreshAt(c.now(), freshFor), err
}

// ownerRecord says that this instance owns the account.
func (w *Writer) ownerRecord(now time.Time, released bool) offsets.Owner {
	return offsets.Owner{
		Instance: w.c.Instance, Host: host(), PID: os.Getpid(), Space: processSpace(), Started: w.started.UnixMilli(),
		Renewed: now.UnixMilli(), LSN: w.lsn, Version: w.c.Version, Released: released,
	}
}

// host is this machine's name, as it stands in owner records.
func host() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// deadHere says that the owner was a process of this machine that no longer runs. In
// a container the process id may be the same after a restart: then the owner is dead if it
// is older than this process, and another writer of this process if it is not.
func deadHere(o offsets.Owner) bool {
	if o.Host != host() || o.Space != "" && o.Space != processSpace() {
		return false
	}
	if o.PID == os.Getpid() {
		return o.Started < processStarted.UnixMilli()
	}
	return !processAlive(o.PID)
}

// processSpace names the space in which this process's id means something: the boot of the
// machine and the namespace of the container. Empty if the system does not tell.
func processSpace() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + space
}

// processStarted is when this process began.
var processStarted = time.Now()
