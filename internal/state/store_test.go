package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

var identity = Identity{ClusterID: "cluster", StateTopicID: "topic", Account: "default", Prefix: "lever"}

// fatal is what a test does when a disk fails unexpectedly.
func fatal(err error) { panic(err) }

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, identity, fatal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func position(n int64) Position {
	return Position{
		Offsets: map[int32]int64{0: n}, AtEnd: time.UnixMilli(1000 + n),
		Commit: CommitPosition{Commit: Commit{Version: 1, ID: fmt.Sprint(n), LSN: n, Time: n}, Offset: n},
	}
}

// put writes records at a position.
func put(t testing.TB, s *Store, n int64, records map[cdc.Ref]*Record) {
	t.Helper()
	b := s.NewBatch()
	defer b.Close()
	for ref, r := range records {
		var err error
		if r == nil {
			err = b.Delete(ref.Table, ref.Key)
		} else {
			err = b.Put(ref.Table, ref.Key, *r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.SetPosition(position(n)), b.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// model is what a store should answer.
type model map[cdc.Ref]Record

func (m model) check(t *testing.T, s *Store, tables, parents []string, keys int) {
	t.Helper()
	counts := map[string]int64{}
	for _, table := range tables {
		for i := range keys {
			ref := cdc.Ref{Table: table, Key: key(i)}
			want, there := m[ref]
			got, ok, err := s.Get(ref.Table, ref.Key)
			if err != nil || ok != there || !equal(got, want) {
				t.Fatalf("get %v: %+v %v %v, want %+v %v", ref, got, ok, err, want, there)
			}
		}
		var listed, rows []string
		for k, err := range s.Keys(table) {
			if err != nil {
				t.Fatal(err)
			}
			listed = append(listed, k)
		}
		var since []cdc.Version
		for ref, r := range m {
			if ref.Table == table && r.Row != nil {
				rows = append(rows, ref.Key)
				counts[table]++
				if r.Parent == "" && r.FollowLSN > 5 {
					since = append(since, cdc.Version{Key: ref.Key, LSN: r.FollowLSN})
				}
			}
		}
		slices.Sort(listed)
		slices.Sort(rows)
		if !slices.Equal(listed, rows) {
			t.Fatalf("keys of %s: %q, want %q", table, listed, rows)
		}
		var paged []string
		for after := ""; ; after = paged[len(paged)-1] {
			page, err := s.KeysAfter(table, after, 2)
			if err != nil || len(page) > 2 {
				t.Fatalf("keys of %s after %q: %q %v", table, after, page, err)
			}
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
		}
		if !slices.Equal(paged, rows) {
			t.Fatalf("pages of keys of %s: %q, want %q", table, paged, rows)
		}
		got, err := s.Since(table, 5, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(got, func(a, b cdc.Version) int { return int(a.LSN - b.LSN) }) {
			t.Fatalf("since %s is not in order: %v", table, got)
		}
		byKey := func(a, b cdc.Version) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) }
		slices.SortFunc(got, byKey)
		slices.SortFunc(since, byKey)
		if !slices.Equal(got, since) {
			t.Fatalf("since %s: %v, want %v", table, got, since)
		}
		for _, parent := range parents {
			var children, claims []string
			for ref, r := range m {
				if ref.Table == table && r.Row != nil && r.Parent == parent {
					children = append(children, ref.Key)
				}
				if ref.Table == table && r.Row != nil && slices.Contains(r.Claimants, parent) {
					claims = append(claims, ref.Key)
				}
			}
			slices.Sort(children)
			slices.Sort(claims)
			if got, err := s.Children(table, parent); err != nil || !slices.Equal(got, children) {
				t.Fatalf("children of %q in %s: %q %v, want %q", parent, table, got, err, children)
			}
			if got, err := s.Claims(table, parent); err != nil || !slices.Equal(got, claims) {
				t.Fatalf("claims of %q in %s: %q %v, want %q", parent, table, got, err, claims)
			}
		}
	}
	records := 0
	if err := s.scan([]byte{kindRecord}, nil, func([]byte, []byte) (bool, error) { records++; return true, nil }); err != nil {
		t.Fatal(err)
	}
	if records != len(m) {
		t.Fatalf("%d records of %d rows", records, len(m))
	}
	for table, n := range s.Counts() {
		if counts[table] != n {
			t.Fatalf("counts %v, want %v", s.Counts(), counts)
		}
	}
}

// key returns keys that are easily mixed up.
func key(i int) string {
	return []string{"a", "a\x00", "a\x00b", "\x00", "ab", "b", "Ü", "a\x00\xff", "a\x00\x01", "z"}[i]
}

func equal(a, b Record) bool {
	return bytes.Equal(AppendRecord(nil, a), AppendRecord(nil, b)) && (a.Row == nil) == (b.Row == nil)
}

// A rebuild that is ended has changed nothing that counts.
func TestARebuildThatIsEndedIsNotComplete(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	b := s.NewBatch()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(b.Put("t", "a", Record{Row: []byte("x")}), b.SetPosition(position(1))); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Commit(ctx), b.Close()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if fresh, _ := s.Fresh(); !fresh {
		t.Error("it is complete")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if _, ok, err := s.Get("t", "a"); ok || err != nil {
		t.Errorf("a row is left (%v)", err)
	}
}

func TestAStoreAnswersAsAMapWould(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	tables, parents := []string{"t", "t\x00", "u"}, []string{"p", "p\x00q", "q"}
	want := model{}
	s := open(t, dir)
	defer func(n int) { loadedAtOnce = n }(loadedAtOnce)
	loadedAtOnce = 1 + random.IntN(10)
	complete := random.Int64N(30) // until then the store is being rebuilt
	for n := range int64(60) {
		b := s.NewBatch()
		for range random.IntN(12) {
			ref := cdc.Ref{Table: tables[random.IntN(3)], Key: key(random.IntN(10))}
			if random.IntN(4) == 0 {
				delete(want, ref)
				if err := b.Delete(ref.Table, ref.Key); err != nil {
					t.Fatal(err)
				}
				continue
			}
			r := Record{Schema: 1, LSN: random.Int64N(50), FollowLSN: random.Int64N(20), ReadAt: time.UnixMilli(random.Int64N(1000)).UTC(), Anonymized: random.IntN(2) == 0}
			if random.IntN(5) > 0 {
				r.Row = []byte(fmt.Sprint(random.Int()))[:random.IntN(5)]
			}
			if random.IntN(2) == 0 {
				r.Parent = parents[random.IntN(3)]
			}
			for _, p := range parents {
				if p != r.Parent && random.IntN(3) == 0 {
					r.Claimants = append(r.Claimants, p)
				}
			}
			want[ref] = r
			if err := b.Put(ref.Table, ref.Key, r); err != nil {
				t.Fatal(err)
			}
		}
		if n < complete {
			if err := errors.Join(b.Commit(t.Context()), b.Close()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := errors.Join(b.SetPosition(position(n)), b.Commit(t.Context()), b.Close()); err != nil {
			t.Fatal(err)
		}
		if random.IntN(8) == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
			if fresh, reason := s.Fresh(); fresh {
				t.Fatalf("fresh after %d: %s", n, reason)
			}
		}
		if got := s.Position(); got.Offsets[0] != n || got.Commit != position(n).Commit || !got.AtEnd.Equal(position(n).AtEnd) {
			t.Fatalf("position %+v", got)
		}
		want.check(t, s, tables, parents, 10)
	}
}

func TestABatchThatIsNotCommittedChangesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	b := s.NewBatch()
	if err := errors.Join(b.Put("t", "k", Record{Row: []byte("x")}), b.SetPosition(position(1)), b.Close()); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Get("t", "k"); ok || err != nil || len(s.Position().Offsets) > 0 {
		t.Errorf("found %v, %v; position %+v", ok, err, s.Position())
	}
}

func TestWhatIsNotAWholeCopyIsEmptied(t *testing.T) {
	for _, test := range []struct {
		name   string
		spoil  func(t *testing.T, dir string) Identity
		reason string
	}{
		{"nothing there", func(t *testing.T, dir string) Identity {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			return identity
		}, "there was none"},
		{"another cluster", func(*testing.T, string) Identity { i := identity; i.ClusterID = "x"; return i }, "it belongs to another Kafka cluster"},
		{"another account", func(*testing.T, string) Identity { i := identity; i.Account = "x"; return i }, "it belongs to another state topic, prefix or account"},
		{"another state topic", func(*testing.T, string) Identity { i := identity; i.StateTopicID = "x"; return i }, "it belongs to another state topic, prefix or account"},
		{"a rebuild that was cut off", func(t *testing.T, dir string) Identity {
			s, err := Open(dir, identity, fatal)
			if err != nil {
				t.Fatal(err)
			}
			b := s.NewBatch()
			if err := errors.Join(s.Clear(), b.Close()); err != nil {
				t.Fatal(err)
			}
			b = s.NewBatch()
			if err := errors.Join(b.Put("t", "half", Record{Row: []byte("x")}), b.Commit(t.Context()), b.Close(), s.Close()); err != nil {
				t.Fatal(err)
			}
			return identity
		}, "it was never complete"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			s, err := Open(dir, identity, fatal)
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, 1, map[cdc.Ref]*Record{{Table: "t", Key: "k"}: {Row: []byte("x")}})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = Open(dir, test.spoil(t, dir), fatal)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			fresh, reason := s.Fresh()
			if !fresh || reason != test.reason {
				t.Errorf("fresh %v: %q, want %q", fresh, reason, test.reason)
			}
			for _, k := range []string{"k", "half"} {
				if _, ok, err := s.Get("t", k); ok || err != nil {
					t.Errorf("%s is still there (%v)", k, err)
				}
			}
			if len(s.Counts()) > 0 {
				t.Errorf("counts %v", s.Counts())
			}
		})
	}
}

func TestAnotherProcessCannotOpenTheStore(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(dir, identity, fatal); !errors.Is(err, ErrLocked) {
		t.Errorf("error %v", err)
	}
}

// Whatever happens to the files, the answer is right or there is none.
func TestDamagedFilesNeverGiveAWrongAnswer(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const rows = 200
	want := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 50) }
	template := t.TempDir()
	s, err := Open(template, identity, fatal)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		records := map[cdc.Ref]*Record{}
		for i := range rows {
			if i%4 == n {
				records[cdc.Ref{Table: "t", Key: fmt.Sprint(i)}] = &Record{Schema: 1, LSN: int64(i), FollowLSN: int64(i), Row: want(i)}
			}
		}
		put(t, s, int64(n+1), records)
		if n == 2 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "rows", "*"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		path := files[random.IntN(len(files))]
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) == 0 {
			continue
		}
		what := "cut"
		if random.IntN(3) == 0 {
			content = content[:random.IntN(len(content))]
		} else {
			what = "flipped a byte of"
			content[random.IntN(len(content))] ^= byte(1 + random.IntN(255))
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, identity, fatal)
		if err != nil {
			t.Logf("%s %s: %v", what, filepath.Base(path), err)
			continue
		}
		through := s.Position().Offsets[0]
		if fresh, _ := s.Fresh(); fresh {
			through = 0
		}
		damaged := false
		for i := range rows {
			r, ok, err := s.Get("t", fmt.Sprint(i))
			switch {
			case err != nil:
				damaged = true
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("%s %s: error %v", what, filepath.Base(path), err)
				}
			case ok != (int64(i%4+1) <= through), ok && !bytes.Equal(r.Row, want(i)):
				t.Fatalf("%s %s: row %d is there: %v, at position %d", what, filepath.Base(path), i, ok, through)
			}
		}
		if err := s.Close(); err != nil && !damaged {
			t.Errorf("close: %v", err)
		}
		if !damaged {
			continue
		}
		if s, err = Open(dir, identity, fatal); err != nil {
			t.Fatal(err)
		}
		if fresh, _ := s.Fresh(); !fresh {
			t.Errorf("%s %s: what could not be read is not rebuilt", what, filepath.Base(path))
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// What is asked for again and again (400 questions) is held in memory, and whether a parent has children is
// known without reading a file.
func TestWhatIsReadOftenIsReadOnce(t *testing.T) {
	s := open(t, t.TempDir())
	random := rand.NewChaCha8([32]byte{})
	for i := range 200 { // enough to fill the memtables, which take their share of the cache
		row := make([]byte, 100<<10)
		_, _ = random.Read(row)
		put(t, s, int64(i), map[cdc.Ref]*Record{{Table: "postings", Key: fmt.Sprint(i)}: {LSN: 1, Row: row}})
	}
	records := map[cdc.Ref]*Record{}
	for i := range 200 {
		records[cdc.Ref{Table: "offers", Key: fmt.Sprint("o", i)}] = &Record{LSN: 1, Row: []byte("row"), Parent: fmt.Sprint("p", i)}
	}
	put(t, s, 200, records)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	read := func(parents string) (misses int64) {
		before := s.db.Metrics().BlockCache.Misses
		v, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		for i := range 200 {
			if _, _, err := v.Get("offers", fmt.Sprint("o", i)); err != nil {
				t.Fatal(err)
			}
			if _, err := v.Children("offers", fmt.Sprint(parents, i)); err != nil {
				t.Fatal(err)
			}
		}
		return s.db.Metrics().BlockCache.Misses - before
	}
	read("p")
	if n := read("p"); n > 100 { // files that were merged meanwhile are others
		t.Errorf("%d blocks were read from files once more", n)
	}
	before := s.db.Metrics().Filter.Hits
	read("nobody")
	if n := s.db.Metrics().Filter.Hits - before; n < 190 {
		t.Errorf("the filters answered for %d of 200 parents without children", n)
	}
}
