package state

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// holding returns the files under the directory that hold the text.
func holding(t *testing.T, dir, text string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if bytes.Contains(b, []byte(text)) {
			names = append(names, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// vanishes waits until no file holds the text.
func vanishes(t *testing.T, dir, text string) {
	t.Helper()
	var names []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if names = holding(t, dir, text); len(names) == 0 {
			return
		}
	}
	t.Fatalf("%q is in %q", text, names)
}

func row(text string) *Record {
	return &Record{Schema: 1, LSN: 1, FollowLSN: 1, Row: []byte(text)}
}

const secret = "the-secret-of-a-person"

// withSecret is a store in which a row with the secret lies in a file, among others.
func withSecret(t *testing.T, dir string) *Store {
	t.Helper()
	s := open(t, dir)
	was := map[string]*Record{}
	for i := range 5 {
		rows := map[string]*Record{"erased": row(fmt.Sprint(secret, i))}
		for j := range 50 {
			rows[fmt.Sprint("other", j)] = row(fmt.Sprint("other", i, j))
		}
		b := s.NewBatch()
		for key, r := range rows {
			if err := replace(b, key, was[key], r); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(b.SetPosition(position(int64(i))), b.Commit(t.Context()), b.Close()); err != nil {
			t.Fatal(err)
		}
		was = rows
		// The oldest value is at the bottom, where nothing touches it by itself, and the newest
		// in the log alone.
		if i == 0 {
			if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(holding(t, dir, secret)) == 0 {
		t.Fatal("the secret is in no file before it is erased")
	}
	return s
}

func checkOthers(t *testing.T, s *Store) {
	t.Helper()
	for j := range 50 {
		r, ok, err := s.Get("stages", fmt.Sprint("other", j))
		if err != nil || !ok || string(r.Row) != fmt.Sprint("other", 4, j) {
			t.Fatalf("another row is %q, %v, %v", r.Row, ok, err)
		}
	}
}

func TestErasedValuesVanishFromTheFiles(t *testing.T) {
	erased := cdc.Ref{Table: "stages", Key: "erased"}
	for _, test := range []struct {
		name  string
		write func(t *testing.T, s *Store)
		reset bool // the store is opened again before it erases
	}{
		{"deleted", func(t *testing.T, s *Store) { put(t, s, 9, map[cdc.Ref]*Record{erased: nil}) }, false},
		{"deleted before a restart", func(t *testing.T, s *Store) { put(t, s, 9, map[cdc.Ref]*Record{erased: nil}) }, true},
		{"written anew", func(t *testing.T, s *Store) {
			b := s.NewBatch()
			defer b.Close()
			if err := errors.Join(b.Erase(erased.Table, erased.Key), replace(b, erased.Key, row(secret+"4"), row("anonymous")), b.Commit(t.Context())); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"found changed in the topic", func(t *testing.T, s *Store) { put(t, s, 9, map[cdc.Ref]*Record{erased: row("anonymous")}) }, false},
		{"rebuilt from a topic that holds both", func(t *testing.T, s *Store) {
			if err := s.Clear(); err != nil {
				t.Fatal(err)
			}
			b := s.NewBatch()
			for j := range 50 {
				if err := replace(b, fmt.Sprint("other", j), nil, row(fmt.Sprint("other", 4, j))); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(replace(b, erased.Key, nil, row(secret)), b.Commit(t.Context()), b.Close(), s.db.Flush()); err != nil {
				t.Fatal(err)
			}
			put(t, s, 9, map[cdc.Ref]*Record{erased: row("anonymous")})
		}, false},
		{"more deleted than are noted", func(t *testing.T, s *Store) {
			many := map[cdc.Ref]*Record{}
			for i := range 2*mostDue + 1 {
				many[cdc.Ref{Table: "users", Key: fmt.Sprint("u", i)}] = row(fmt.Sprint("user", i))
			}
			put(t, s, 9, many)
			for ref := range many {
				many[ref] = nil
			}
			many[erased] = nil
			put(t, s, 10, many)
			if n := len(dueEntries(t, s)); n != mostDue+1 {
				t.Errorf("%d entries", n)
			}
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := withSecret(t, dir)
			test.write(t, s)
			if test.reset {
				// As a crash leaves it: Close would erase.
				if err := errors.Join(s.db.Close(), s.lock.Close()); err != nil {
					t.Fatal(err)
				}
				s.db = nil
				s = open(t, dir)
			}
			if len(dueEntries(t, s)) == 0 {
				t.Error("no row is due")
			}
			if !test.reset && len(holding(t, dir, secret)) == 0 {
				t.Fatal("the secret has vanished by itself")
			}
			if err := s.Erase(t.Context()); err != nil {
				t.Fatal(err)
			}
			vanishes(t, dir, secret)
			checkOthers(t, s)
			if n := len(dueEntries(t, s)); n != 0 {
				t.Errorf("%d rows are due still", n)
			}
		})
	}
}

// dueEntries returns the entries of rows that are due.
func dueEntries(t *testing.T, s *Store) (out []string) {
	t.Helper()
	err := s.scan([]byte{kindErase}, nil, func(rest, _ []byte) (bool, error) {
		out = append(out, string(rest))
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnEndedEraseIsMadeUpFor(t *testing.T) {
	dir := t.TempDir()
	s := withSecret(t, dir)
	put(t, s, 9, map[cdc.Ref]*Record{{Table: "stages", Key: "erased"}: nil})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Erase(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
	if err := s.Erase(t.Context()); err != nil {
		t.Fatal(err)
	}
	vanishes(t, dir, secret)
}

func TestACloseErases(t *testing.T) {
	dir := t.TempDir()
	s := withSecret(t, dir)
	put(t, s, 9, map[cdc.Ref]*Record{{Table: "stages", Key: "erased"}: nil})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if names := holding(t, dir, secret); len(names) > 0 {
		t.Errorf("the secret is in %q", names)
	}
}

func TestAClearedStoreLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := withSecret(t, dir)
	if err := s.SetRolled(map[string]int64{"topic/0": 7}); err != nil {
		t.Fatal(err)
	}
	if err := s.Clear(); err != nil {
		t.Fatal(err)
	}
	if names := holding(t, dir, secret); len(names) > 0 {
		t.Errorf("the secret is in %q", names)
	}
	if ends, err := s.Rolled(); err != nil || len(ends) > 0 {
		t.Errorf("it remembers %v, %v", ends, err)
	}
}

// meanwhile does something again and again, until stop or an error, which stop returns.
func meanwhile(do func() error) (stop func() error) {
	stopped, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stopped:
				done <- nil
				return
			default:
				if err := do(); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	return func() error {
		close(stopped)
		return <-done
	}
}

// What becomes due while Erase works waits for the next one, and is not forgotten.
func TestRowsMayBecomeDueDuringErase(t *testing.T) {
	dir := t.TempDir()
	s := withSecret(t, dir)
	stop := meanwhile(func() error { return s.Erase(t.Context()) })
	ref := cdc.Ref{Table: "users", Key: "u"}
	for i := range 200 {
		put(t, s, int64(10+2*i), map[cdc.Ref]*Record{ref: row(fmt.Sprint("user-", secret, i))})
		put(t, s, int64(11+2*i), map[cdc.Ref]*Record{ref: nil})
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Erase(t.Context()); err != nil {
		t.Fatal(err)
	}
	vanishes(t, dir, "user-"+secret)
}

// A snapshot of the database that is older than a deletion keeps the deleted value, which nothing
// would erase later: whoever reads a row takes none.
func TestReadersKeepNothingFromBeingErased(t *testing.T) {
	s := withSecret(t, t.TempDir())
	stop := meanwhile(func() error {
		_, _, err := s.Get("stages", "erased")
		return err
	})
	snapshots := 0
	for range 2000 {
		snapshots = max(snapshots, s.db.Metrics().Snapshots.Count)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if snapshots > 0 {
		t.Error("a reader held a snapshot")
	}
}

// Erase does nothing if nothing is due.
func TestAnEraseOfNothingIsCheap(t *testing.T) {
	s := withSecret(t, t.TempDir())
	before := s.db.Metrics()
	for range 10 {
		if err := s.Erase(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	after := s.db.Metrics()
	if before.Flush.Count != after.Flush.Count || before.Compact.Count != after.Compact.Count {
		t.Errorf("%d flushes and %d compactions", after.Flush.Count-before.Flush.Count, after.Compact.Count-before.Compact.Count)
	}
}

// A file that cannot be read keeps Erase from its work: the store is rebuilt then.
func TestADamagedFileIsNoticedByErase(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	// So that the blocks that Open reads are others.
	fill := map[cdc.Ref]*Record{}
	for i := range 100 {
		fill[cdc.Ref{Table: "archive_reasons", Key: fmt.Sprint(i)}] = row(rand.Text() + strings.Repeat(rand.Text(), 40))
	}
	put(t, s, 9, fill)
	if err := errors.Join(s.Close(), withSecret(t, dir).Close()); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(dir, "rows", holding(t, dir, secret)[0]), secret) // the oldest, at the bottom
	s = open(t, dir)
	b := s.NewBatch()
	if err := errors.Join(replace(b, "erased", row(secret+"4"), nil), b.Commit(t.Context()), b.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.Erase(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	s = open(t, dir)
	if fresh, _ := s.Fresh(); !fresh {
		t.Error("it is not rebuilt")
	}
}

// damage changes a bit of the text wherever it is in the file.
func damage(t *testing.T, path, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := bytes.Index(b, []byte(text)); at >= 0; at = bytes.Index(b, []byte(text)) {
		b[at] ^= 1
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace replaces the record of a stage.
func replace(b *Batch, key string, was, r *Record) error {
	var value []byte
	if r != nil {
		value = AppendRecord(nil, *r)
	}
	return b.Replace("stages", key, was, r, value)
}
