package state

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// A power failure takes the end of the database's log, or all of it. What is left is a whole copy of
// an earlier position, or none, and goes on from there as if nothing had come after: no row gets
// the place of another, and none is taken for new.
func TestAStoreWithoutTheEndOfItsLogIsAnEarlierCopy(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	tables, parents := []string{"t", "u"}, []string{"p", "q"}
	goOn := func(s *Store, want model, n int64) {
		t.Helper()
		v, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		b := s.NewBatch()
		for i := range 10 {
			ref := cdc.Ref{Table: tables[random.IntN(2)], Key: key(i)}
			was, known, err := v.Get(ref.Table, ref.Key)
			if r, there := want[ref]; err != nil || known != there || !equal(was, r) {
				t.Fatalf("view of %v: %+v %v %v, want %+v %v", ref, was, known, err, r, there)
			}
			var old, r *Record
			var encoded []byte
			if known {
				old = &was
			}
			if delete(want, ref); random.IntN(3) > 0 {
				r = &Record{Schema: 1, FollowLSN: random.Int64N(20), Row: fmt.Appendf(nil, "%v at %d", ref, n)}
				if random.IntN(2) == 0 {
					r.Parent, r.Claimants = parents[0], parents[1:]
				}
				encoded, want[ref] = AppendRecord(nil, *r), *r
			}
			if err := b.Replace(ref.Table, ref.Key, old, r, encoded); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(b.SetPosition(position(n)), b.Commit(t.Context()), b.Close(), v.Close()); err != nil {
			t.Fatal(err)
		}
		want.check(t, s, tables, parents, 10)
	}
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, 0, nil)
	want := model{}
	history := map[int64]model{0: {}}
	for n := range int64(20) {
		goOn(s, want, n+1)
		history[n+1] = maps.Clone(want)
		if random.IntN(4) == 0 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		crashed := t.TempDir()
		if err := os.CopyFS(crashed, os.DirFS(dir)); errors.Is(err, os.ErrNotExist) {
			continue // the database has just removed a file
		} else if err != nil {
			t.Fatal(err)
		}
		logs, err := filepath.Glob(filepath.Join(crashed, "rows", "*.log"))
		if err != nil || len(logs) == 0 {
			t.Fatal(logs, err)
		}
		last := logs[len(logs)-1]
		info, err := os.Stat(last)
		if err == nil {
			err = os.Truncate(last, random.Int64N(info.Size()+1))
		}
		if err != nil {
			t.Fatal(err)
		}
		c := open(t, crashed)
		if fresh, _ := c.Fresh(); fresh {
			put(t, c, 0, nil)
		}
		at := c.Position().Offsets[0]
		left := maps.Clone(history[at])
		left.check(t, c, tables, parents, 10)
		for m := range int64(3) {
			goOn(c, left, at+m+1)
		}
	}
}
