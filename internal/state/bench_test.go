package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

const (
	benchRows  = 100_000
	benchTable = "opportunities"
	childTable = "opportunity_resumes"
	benchBatch = 1_000 // rows of a transaction
)

// benchRow is a row of usual size: an opportunity has some 700 bytes.
func benchRow(i int) Record {
	row := make([]byte, 700)
	for j := range row {
		row[j] = "abcdefghijklmnopqrstuvwxyz0123456789-"[(i*7+j*j)%37]
	}
	return Record{Schema: 1, LSN: int64(i + 1), FollowLSN: int64(i + 1), ReadAt: time.UnixMilli(1_800_000_000_000), Row: row}
}

// benchKey is an id as Lever makes them, in no order.
func benchKey(i int) string {
	return fmt.Sprintf("%08x-52d4-4b1e-8f63-%012x", uint32(i)*2654435761, i)
}

func filled(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), Identity{ClusterID: "c", StateTopicID: "t", Account: "a", Prefix: "p"}, fatal)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	for i := 0; i < benchRows; i += benchBatch {
		storePut(b, s, i)
	}
	return s
}

// storePut commits one transaction: parents and a child of each.
func storePut(b *testing.B, s *Store, from int) {
	b.Helper()
	batch := s.NewBatch()
	for i := from; i < from+benchBatch; i += 2 {
		r := benchRow(i)
		if err := batch.Put(benchTable, benchKey(i), r); err != nil {
			b.Fatal(err)
		}
		r.Parent, r.FollowLSN = benchKey(i), 0
		if err := batch.Put(childTable, benchKey(i+1), r); err != nil {
			b.Fatal(err)
		}
	}
	if err := batch.SetPosition(Position{AtEnd: time.Now()}); err != nil {
		b.Fatal(err)
	}
	if err := batch.Commit(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := batch.Close(); err != nil {
		b.Fatal(err)
	}
}

// perRow reports what one row costs; each iteration handles n of them.
func perRow(b *testing.B, n int) {
	b.Helper()
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "rows/s")
}

func disk(b *testing.B, dir string) float64 {
	b.Helper()
	n := int64(0)
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return float64(n) / benchRows
}

func BenchmarkStorePut(b *testing.B) {
	s := filled(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		storePut(b, s, i%benchRows)
		i += benchBatch
	}
	perRow(b, benchBatch)
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(disk(b, s.dir), "disk-B/row")
}

func BenchmarkStoreGet(b *testing.B) {
	s := filled(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok, err := s.Get(benchTable, benchKey(i*2*7919%benchRows)); !ok || err != nil {
			b.Fatal(ok, err)
		}
		i++
	}
	perRow(b, 1)
}

func BenchmarkStoreChildren(b *testing.B) {
	s := filled(b)
	v, err := s.View()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if keys, err := v.Children(childTable, benchKey(i*2*7919%benchRows)); len(keys) != 1 || err != nil {
			b.Fatal(keys, err)
		}
		i++
	}
	perRow(b, 1)
}

// BenchmarkStoreChildless looks for the children of parents that have none, as most have no
// offers and no referrals.
func BenchmarkStoreChildless(b *testing.B) {
	s := filled(b)
	v, err := s.View()
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if keys, err := v.Children(childTable, benchKey((i*2*7919+1)%benchRows)+"-"); len(keys) != 0 || err != nil {
			b.Fatal(keys, err)
		}
		i++
	}
	perRow(b, 1)
}

// BenchmarkStoreOpen is a restart with a store that is there.
func BenchmarkStoreOpen(b *testing.B) {
	dir := b.TempDir()
	id := Identity{ClusterID: "c", StateTopicID: "t", Account: "a", Prefix: "p"}
	s, err := Open(dir, id, fatal)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < benchRows; i += benchBatch {
		storePut(b, s, i)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(dir, id, fatal)
		if err != nil {
			b.Fatal(err)
		}
		if fresh, reason := s.Fresh(); fresh {
			b.Fatal(reason)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// The same work on bbolt, for docs/performance.md: rows, and the index of children or of
// what is to be followed, in buckets of one transaction without syncing.
func bolt(b *testing.B) *bbolt.DB {
	b.Helper()
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "rows"), 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{"rows", "index"} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < benchRows; i += benchBatch {
		boltPut(b, db, i)
	}
	return db
}

func boltPut(b *testing.B, db *bbolt.DB, from int) {
	b.Helper()
	err := db.Update(func(tx *bbolt.Tx) error {
		rows, index := tx.Bucket([]byte("rows")), tx.Bucket([]byte("index"))
		for i := from; i < from+benchBatch; i += 2 {
			r := benchRow(i)
			_ = rows.Get(rowKey(nil, benchTable, benchKey(i))) // its index entry, if it moves
			if err := rows.Put(rowKey(nil, benchTable, benchKey(i)), AppendRecord(nil, r)); err != nil {
				return err
			}
			if err := index.Put([]byte("f"+strconv.FormatInt(r.FollowLSN, 16)+benchKey(i)), nil); err != nil {
				return err
			}
			r.Parent, r.FollowLSN = benchKey(i), 0
			_ = rows.Get(rowKey(nil, childTable, benchKey(i+1)))
			if err := rows.Put(rowKey(nil, childTable, benchKey(i+1)), AppendRecord(nil, r)); err != nil {
				return err
			}
			if err := index.Put([]byte("p"+benchKey(i)+benchKey(i+1)), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkBoltPut(b *testing.B) {
	db := bolt(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		boltPut(b, db, i%benchRows)
		i += benchBatch
	}
	perRow(b, benchBatch)
	b.ReportMetric(disk(b, filepath.Dir(db.Path())), "disk-B/row")
}

func BenchmarkBoltGet(b *testing.B) {
	db := bolt(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		err := db.View(func(tx *bbolt.Tx) error {
			v := tx.Bucket([]byte("rows")).Get(rowKey(nil, benchTable, benchKey(i*2*7919%benchRows)))
			_, err := ParseRecord(append([]byte(nil), v...))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		i++
	}
	perRow(b, 1)
}
