package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/internal/failpoint"
	"github.com/leverstream/leverstream/internal/state"
)

// tombstoneRetention is the delete.retention.ms with which the state topic is created.
const tombstoneRetention = 7 * 24 * time.Hour

// errForeign says that the state topic is not the one that the local copy was made of.
var errForeign = errors.New("foreign state topic")

// reading applies records of the state topic to the local copy.
type reading struct {
	w *Writer
	// rebuild says that the copy is empty and the topic is read from its start.
	rebuild bool
	// expect is the commit that must be the first record of its partition.
	expect  *state.CommitPosition
	batch   *state.Batch
	pos     state.Position
	records int
	pending int
}

// batchRecords is how many records are applied at a time.
const batchRecords = 10_000

func (r *reading) run(ctx context.Context, adm *kadm.Client, from map[int32]int64) (err error) {
	r.pos = r.w.store.Position()
	r.batch = r.w.store.NewBatch()
	defer func() { err = errors.Join(err, r.batch.Close()) }()
	ends, err := readToEnd(ctx, r.w.c.Kafka, adm, r.w.c.StateTopic, from, r.apply)
	if err != nil {
		return err
	}
	if r.expect != nil {
		return errForeign
	}
	r.pos.Offsets, r.pos.AtEnd = ends, r.w.c.now()
	if err := r.batch.SetPosition(r.pos); err != nil {
		return err
	}
	if err := r.batch.Commit(ctx); err != nil {
		return err
	}
	r.w.lsn = max(r.pos.Commit.LSN, r.w.lsn)
	if r.w.lsn == 0 {
		r.w.lsn = r.w.c.now().UnixMicro()
	}
	return nil
}

func (r *reading) apply(rec *kgo.Record) error {
	w := r.w
	where := func(err error) error {
		return fmt.Errorf("topic %s partition %d offset %d: %w", rec.Topic, rec.Partition, rec.Offset, err)
	}
	// What the topic holds is the same after a retry.
	strange := func(err error) error { return &ConfigError{where(err)} }
	key, err := state.ParseKey(rec.Key)
	if err != nil {
		return strange(err)
	}
	if key.Account != w.c.Account {
		return strange(fmt.Errorf("the record belongs to account %q, and this is account %q: one account per prefix; choose another KAFKA_STATE_TOPIC", key.Account, w.c.Account))
	}
	if r.expect != nil && rec.Partition == r.expect.Partition {
		known := key.Commit && rec.Offset == r.expect.Offset
		if known {
			c, err := state.ParseCommit(rec.Value)
			known = err == nil && c == r.expect.Commit
		}
		if !known {
			return errForeign
		}
		r.expect = nil
	}
	switch {
	case key.Commit:
		if rec.Value == nil {
			return nil
		}
		c, err := state.ParseCommit(rec.Value)
		if err != nil {
			return strange(err)
		}
		if c.LSN >= r.pos.Commit.LSN {
			r.pos.Commit = state.CommitPosition{Commit: c, Partition: rec.Partition, Offset: rec.Offset}
			w.commits = int64(key.N)
		}
		return nil
	case rec.Value == nil:
		err = r.batch.Delete(key.Table, key.Key)
	default:
		var row state.Record
		if row, err = state.ParseRecord(rec.Value); err != nil {
			return strange(err)
		}
		err = r.batch.Put(key.Table, key.Key, row)
		w.lsn = max(w.lsn, row.LSN)
	}
	if err != nil {
		return where(err)
	}
	if r.records++; r.rebuild {
		failpoint.Reach(failpoint.Rebuilding)
	}
	if r.pending++; r.pending >= batchRecords {
		if err := r.batch.Commit(context.Background()); err != nil {
			return err
		}
		if err := r.batch.Close(); err != nil {
			return err
		}
		r.batch, r.pending = w.store.NewBatch(), 0
		w.c.opening(fmt.Sprintf("bringing the local state up to date (%d records so far)", r.records))
	}
	return nil
}
