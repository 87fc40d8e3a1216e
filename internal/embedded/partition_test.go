package embedded

import (
	"os"
	"path/filepath"
	"testing"
)

// data and control return batches of producer 1 as add sees them.
func data(epoch int16, firstSequence int32) *batch {
	return &batch{attributes: 0x10, producer: 1, epoch: epoch, firstSequence: firstSequence}
}

func control(epoch int16, commit bool) *batch {
	return &batch{attributes: 0x30, producer: 1, epoch: epoch, commit: commit}
}

func TestOutcomeOfAnOpenTransaction(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// partitions are what two partitions hold; the first has the open transaction.
		partitions [2][]*batch
		want       bool
	}{
		"no marker anywhere aborts":                       {[2][]*batch{{data(5, 0)}, {data(5, 0)}}, false},
		"a commit marker elsewhere commits":               {[2][]*batch{{data(5, 0)}, {data(5, 0), control(5, true)}}, true},
		"an abort marker elsewhere aborts":                {[2][]*batch{{data(5, 0)}, {data(5, 0), control(5, false)}}, false},
		"a marker of the transaction before says nothing": {[2][]*batch{{data(5, 0)}, {data(4, 0), control(4, true)}}, false},
		"an open transaction elsewhere says nothing":      {[2][]*batch{{data(5, 0)}, {data(4, 0), control(4, true), data(5, 0)}}, false},
		"a name used twice here says nothing":             {[2][]*batch{{data(5, 0), control(5, true), data(5, 1)}, {data(5, 0), control(5, true)}}, false},
		"a name used twice elsewhere says nothing":        {[2][]*batch{{data(5, 0)}, {data(5, 0), control(5, true), data(5, 1), control(5, true)}}, false},
		"an abort after a timeout has the next epoch":     {[2][]*batch{{data(5, 0)}, {data(5, 0), control(6, false)}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ps []*partition
			for _, batches := range test.partitions {
				p := &partition{open: map[int64]openTransaction{}, ended: map[int64]ending{}}
				for _, b := range batches {
					p.add(b)
				}
				ps = append(ps, p)
			}
			commit, open := outcomes(ps)[transaction{1, 5}]
			if !open || commit != test.want {
				t.Errorf("commit is %v (open %v), want %v", commit, open, test.want)
			}
		})
	}
}

func FuzzReadPartition(f *testing.F) {
	whole := marker(transaction{1, 2}, true, 0, 0)
	f.Add(whole)
	f.Add(append(whole, marker(transaction{1, 3}, false, 1, 0)...))
	f.Add(whole[:len(whole)-3])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "0.dat")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := readPartition(dir)
		if err != nil {
			return
		}
		// What was read and ended is read again without anything to drop or end.
		if err := p.end(nil); err != nil {
			t.Fatal(err)
		}
		again, err := readPartition(dir)
		if err != nil {
			t.Fatal(err)
		}
		if s := again.segments[0]; len(again.open) > 0 || s.size != s.fileSize || again.next != p.next {
			t.Errorf("not repaired: open %v, %d of %d bytes, next %d and %d", again.open, s.size, s.fileSize, again.next, p.next)
		}
	})
}

func FuzzTrimLog(f *testing.F) {
	f.Add(logEntry([]byte(`{"type":"init","pid":1}`)))
	f.Add(logEntry(nil)[:9])
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := trimLog(path)
		if err != nil {
			return
		}
		if err := appendFile(path, logEntry([]byte("more"))); err != nil {
			t.Fatal(err)
		}
		after, err := trimLog(path)
		if err != nil || len(after) != len(before)+1 || string(after[len(before)]) != "more" {
			t.Errorf("%d entries, then %d, %v", len(before), len(after), err)
		}
	})
}
