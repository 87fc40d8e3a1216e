package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/internal/change"
	"github.com/leverstream/leverstream/internal/failpoint"
	"github.com/leverstream/leverstream/internal/state"
	"github.com/leverstream/leverstream/offsets"
)

// Open becomes the owner of the account and reads back what Kafka says: it waits as a
// standby while another producer is alive, creates missing topics, registers the
// schemas, fences whoever owned the account before, and brings the local copy of the
// state up to date. It returns a *ConfigError if what is in Kafka or in the registry
// does not fit the configuration, and, with Config.WasOwner, an *OwnedError instead of
// waiting.
func Open(ctx context.Context, c Config) (*Writer, error) {
	if c.Stats == nil {
		c.Stats = NewStats(c.Tables, c.Topic)
	}
	adm, err := c.admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	meta, err := adm.BrokerMetadata(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka (check KAFKA_BROKERS, and that a broker runs there): %w", err)
	}
	w := &Writer{
		c: c, memory: change.NewMemory(),
		queue: make(chan submission, queueLength), closing: make(chan struct{}), stopped: make(chan struct{}),
		started: c.now(), bookmarks: map[string]offsets.Bookmark{}, drift: map[string]bool{},
	}
	if w.topics, err = ensureTopics(ctx, adm, &c); err != nil {
		return nil, err
	}
	if err := w.openTables(); err != nil {
		return nil, err
	}
	if err := w.refuseEarly(ctx, adm); err != nil {
		return nil, err
	}
	if err := w.registerAll(ctx); err != nil {
		return nil, err
	}
	if err := w.begin(ctx, adm, meta.Cluster); err != nil {
		return nil, errors.Join(err, w.discard())
	}
	_, epoch, err := w.client.ProducerID(ctx) // it has one by now
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look up the producer's epoch: %w", err), w.discard())
	}
	w.c.Stats.owns(Ownership{Owner: true, Epoch: epoch, Since: w.started}, w.bookmarks)
	return w, nil
}

// admin returns a client that asks about topics. What it learns is not kept for long,
// because topics are being made.
func (c *Config) admin() (*kadm.Client, error) {
	cl, err := kgo.NewClient(append(c.Kafka[:len(c.Kafka):len(c.Kafka)], kgo.MetadataMinAge(50*time.Millisecond))...)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka: %w", err)
	}
	return kadm.NewClient(cl), nil
}

// begin becomes the owner and reads back where the work stands.
func (w *Writer) begin(ctx context.Context, adm *kadm.Client, cluster string) error {
	if err := w.own(ctx, adm, cluster); err != nil {
		return err
	}
	var err error
	if w.bookmarks, err = w.readBookmarks(ctx, adm, readToEnd); err != nil {
		return err
	}
	failpoint.Reach(failpoint.BookmarksRead)
	if err := w.readState(ctx, adm); err != nil {
		return err
	}
	failpoint.Reach(failpoint.StateRead)
	if err := w.incarnate(ctx, adm); err != nil {
		return err
	}
	failpoint.Reach(failpoint.Incarnated)
	return nil
}

// discard frees what a failed Open holds.
func (w *Writer) discard() error {
	if w.client != nil {
		w.client.Close()
	}
	if w.store != nil {
		return w.closeStore()
	}
	return nil
}

// own waits for the account to be free, becomes its owner, and says so in the first
// transaction.
func (w *Writer) own(ctx context.Context, adm *kadm.Client, cluster string) error {
	w.c.TakeOver = w.c.TakeOver && !w.c.WasOwner
	dir := filepath.Join(w.c.StateDir, w.c.Prefix, w.c.Account)
	id := state.Identity{ClusterID: cluster, StateTopicID: w.topics[w.c.StateTopic].id, Account: w.c.Account, Prefix: w.c.Prefix}
	open := func() (err error) {
		if w.store == nil {
			w.store, err = state.Open(dir, id, w.c.Fatal)
		}
		return err
	}
	removeTemporary()
	// Whoever holds the lock of the state directory is alive; whoever does not, and
	// left its name there, is not.
	lastInstance := w.c.beside("instance")
	dead := func(o offsets.Owner) bool {
		if deadHere(o) {
			return true
		}
		if err := open(); err != nil {
			return false
		}
		name, err := os.ReadFile(lastInstance)
		return err == nil && string(name) == o.Instance
	}
	if err := w.become(ctx, adm, dead, !w.c.WasOwner); err != nil {
		return err
	}
	failpoint.Reach(failpoint.Fenced)
	tx := transaction{w: w, now: w.c.now()}
	if err := tx.owner(false); err != nil {
		return err
	}
	if err := tx.commit(ctx); err != nil {
		return fmt.Errorf("write the owner record: %w", err)
	}
	if w.c.Owns != nil {
		w.c.Owns()
	}
	failpoint.Reach(failpoint.Owned)
	if err := w.lockState(ctx, open, dir, id); err != nil {
		return err
	}
	if w.temporary != "" {
		return nil // the lock is another's, and says nothing of this instance
	}
	if err := os.MkdirAll(filepath.Dir(lastInstance), 0o700); err != nil {
		return fmt.Errorf("STATE_DIR: %w", err)
	}
	if err := os.WriteFile(lastInstance, []byte(w.c.Instance), 0o600); err != nil {
		return fmt.Errorf("STATE_DIR: %w", err)
	}
	return nil
}

// fence makes the transactional client and fences whoever had the id before.
func (w *Writer) fence(ctx context.Context) error {
	compressed, err := compression(w.c.Compression)
	if err != nil {
		return err
	}
	w.client, err = kgo.NewClient(append(w.c.Kafka[:len(w.c.Kafka):len(w.c.Kafka)],
		kgo.TransactionalID(w.c.transactionalID()),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(partitioner()),
		compressed,
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.ProducerBatchMaxBytesFn(func(name string) int32 { return int32(max(w.topics[name].maxBytes, 1_000_012)) }),
		kgo.RecordDeliveryTimeout(produceTimeout),
		kgo.MaxBufferedRecords(1<<20),
		kgo.MetadataMinAge(250*time.Millisecond), // the first records of new topics wait for it
		kgo.RetryBackoffFn(RetryBackoff),
	)...)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	if _, _, err := w.client.ProducerID(ctx); err != nil {
		return fmt.Errorf("become the owner of the account (transactional id %s): %w", w.c.transactionalID(), denied(err, rightWrite, onTransactionalID(&w.c)))
	}
	return nil
}

// RetryBackoff returns how long a request waits before it is sent again, after so many
// failures: 20 ms at first, twice as long after each, 5 s at most, give or take a fifth.
// franz-go begins with 250 ms. But a broker (KIP-890) refuses the first records of a
// transaction with CONCURRENT_TRANSACTIONS while it completes the one before, which takes it a
// few milliseconds, and everybody else would wait for the rest.
func RetryBackoff(failures int) time.Duration {
	const least, most = 20 * time.Millisecond, 5 * time.Second
	pause := min(most, least<<min(max(failures-1, 0), 10))
	return pause*4/5 + rand.N(pause*2/5)
}

// partitioner is Kafka's default one: murmur2 of the key, as Java clients do it.
func partitioner() kgo.Partitioner { return kgo.StickyKeyPartitioner(nil) }

// lockState opens the local copy of the state. A producer that was just deposed gives
// its lock up in a moment; if it does not, a temporary copy must do.
func (w *Writer) lockState(ctx context.Context, open func() error, dir string, id state.Identity) error {
	const patience = 15 * time.Second
	deadline := time.Now().Add(patience)
	for {
		err := open()
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, state.ErrLocked):
			return err
		case time.Now().After(deadline):
			tmp, err := os.MkdirTemp("", temporaryPattern)
			if err != nil {
				return fmt.Errorf("STATE_DIR: %w", err)
			}
			w.c.Logger.Warn("another process holds the local state; using a temporary copy, which is rebuilt from Kafka", "dir", dir, "temporary", tmp)
			if w.store, err = state.Open(tmp, id, w.c.Fatal); err != nil {
				return errors.Join(err, os.RemoveAll(tmp))
			}
			w.temporary = tmp
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// temporaryPattern matches the directories of temporary copies of the state.
const temporaryPattern = "leverstream-state-*"

// removeTemporary removes the temporary copies of processes that were killed.
func removeTemporary() {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), temporaryPattern))
	if err != nil {
		return // only a bad pattern is an error
	}
	for _, dir := range found {
		_ = state.Remove(dir) // those of others must not be removed, or cannot
	}
}

// readBookmarks reads the bookmarks of the selected tables. Only the last record of each
// counts: one that cannot be understood is mended by writing another.
func (w *Writer) readBookmarks(ctx context.Context, adm *kadm.Client, read reader) (map[string]offsets.Bookmark, error) {
	last := map[string]*kgo.Record{}
	_, err := read(ctx, w.c.Kafka, adm, w.c.BookmarksTopic, nil, func(r *kgo.Record) error {
		key, err := offsets.ParseKey(r.Key)
		if err != nil {
			return damaged(r, "", err)
		}
		if !key.Owner && w.tables[key.Table] != nil {
			last[key.Table] = r
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := map[string]offsets.Bookmark{}
	for table, r := range last {
		if r.Value == nil {
			continue
		}
		b, err := offsets.Parse(r.Value)
		if err != nil {
			return nil, damaged(r, "bookmark of "+table+": ", err)
		}
		out[table] = b
	}
	return out, nil
}

// damaged refuses a record of the bookmarks topic.
func damaged(r *kgo.Record, what string, err error) error {
	return &ConfigError{fmt.Errorf("%stopic %s partition %d offset %d: %w", what, r.Topic, r.Partition, r.Offset, err)}
}

// readState brings the local copy up to the end of the state topic, or rebuilds it.
func (w *Writer) readState(ctx context.Context, adm *kadm.Client) error {
	began := time.Now()
	fresh, reason := w.store.Fresh()
	if !fresh {
		reason, err := w.catchUp(ctx, adm)
		if err != nil {
			return err
		}
		if reason == "" {
			return nil
		}
		w.c.Logger.Warn("the local state cannot be used and is rebuilt from Kafka", "reason", reason)
		if err := w.store.Clear(); err != nil {
			return err
		}
	}
	r := reading{w: w, rebuild: true}
	if err := r.run(ctx, adm, nil); err != nil {
		return err
	}
	if r.records > 0 {
		w.c.Logger.Info("rebuilt the local state from Kafka", "reason", reason, "records", r.records, "took", time.Since(began).Round(time.Millisecond).String())
	}
	return nil
}

// catchUp applies what the state topic holds beyond the local copy. A reason is
// returned if the copy cannot be trusted.
func (w *Writer) catchUp(ctx context.Context, adm *kadm.Client) (reason string, err error) {
	pos := w.store.Position()
	// Tombstones older than this may have been compacted away unseen.
	if age := w.c.now().Sub(pos.AtEnd); age > tombstoneRetention/2 || age < -time.Hour {
		return fmt.Sprintf("it was last complete at %s, too long ago to see every deletion since", pos.AtEnd.UTC().Format(time.RFC3339)), nil
	}
	from := pos.Offsets
	// Read again from the last commit it knows: if that is no longer there, the topic is
	// not the one it was made from (a restored backup), or has moved on too far.
	from[pos.Commit.Partition] = pos.Commit.Offset
	r := reading{w: w, expect: &pos.Commit}
	err = r.run(ctx, adm, from)
	switch {
	case errors.Is(err, errGap):
		return "the state topic no longer holds the place where it ended", nil
	case errors.Is(err, errForeign):
		return "the state topic does not hold the last commit it knows", nil
	case err != nil:
		return "", err
	case r.expect != nil:
		return "the state topic does not hold the last commit it knows", nil
	}
	return "", nil
}
