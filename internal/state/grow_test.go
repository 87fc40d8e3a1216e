package state

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// BenchmarkStoreGrow is what a first load asks of the store: of each row whether it is there, and
// then to keep it. It reports the CPU time, compactions included, that a row of a hundred thousand takes,
// as the store grows.
func BenchmarkStoreGrow(b *testing.B) {
	const step, steps = 100_000, 8
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for b.Loop() {
		s, err := Open(b.TempDir(), Identity{ClusterID: "c", StateTopicID: "t", Account: "a", Prefix: "p"}, fatal)
		if err != nil {
			b.Fatal(err)
		}
		put := func(from int) error {
			v, err := s.View()
			if err != nil {
				return err
			}
			batch := s.NewBatch()
			for i := from; i < from+benchBatch; i++ {
				table, r := benchTable, grownRow(i)
				if i%2 == 1 {
					table, r.Parent, r.FollowLSN = childTable, benchKey(i-1), 0
				}
				if _, ok, err := v.Get(table, benchKey(i)); ok || err != nil {
					return fmt.Errorf("%v %w", ok, err)
				}
				if err := batch.Replace(table, benchKey(i), nil, &r, AppendRecord(nil, r)); err != nil {
					return err
				}
			}
			if err := batch.SetPosition(Position{AtEnd: time.Now()}); err != nil {
				return err
			}
			if err := batch.Commit(b.Context()); err != nil {
				return err
			}
			if err := batch.Close(); err != nil {
				return err
			}
			return v.Close()
		}
		first := s.NewBatch()
		if err := first.SetPosition(Position{AtEnd: time.Now()}); err != nil {
			b.Fatal(err)
		}
		if err := first.Commit(b.Context()); err != nil {
			b.Fatal(err)
		}
		for n := range steps {
			before := cpu()
			for i := n * step; i < (n+1)*step; i += benchBatch {
				if err := put(i); err != nil {
					b.Fatal(err)
				}
			}
			if n == 0 || n == steps/2-1 || n == steps-1 {
				b.ReportMetric(float64((cpu()-before).Nanoseconds())/1000/step, fmt.Sprintf("µs/row@%dk", (n+1)*step/1000))
			}
		}
		if err := s.db.Flush(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(s.Size())/(step*steps), "disk-B/row")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// grownRow is a row that compresses to about half of its size, as those of an account do.
func grownRow(i int) Record {
	r := benchRow(i)
	random := rand.New(rand.NewPCG(uint64(i), 0))
	for j := 0; j+8 <= len(r.Row); j += 16 {
		n := random.Uint64()
		for k := range 8 {
			r.Row[j+k] = byte(n >> (8 * k))
		}
	}
	return r
}
