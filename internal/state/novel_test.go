package state

import (
	"fmt"
	"testing"
)

// What was added is never taken for new, across all filters, and what is new seldom for known.
func TestWhatWasPutIsNeverTakenForNew(t *testing.T) {
	n := newNovel()
	const keys = 5 * keysInBlock * firstBlocks // a third filter has begun
	key := func(i int) []byte { return fmt.Appendf(nil, "r%d-52d4-4b1e-8f63", i) }
	for i := range keys {
		if !n.add(key(i)) {
			t.Fatalf("no room for key %d", i)
		}
		if n.isNew(key(i)) {
			t.Fatalf("key %d, just added, is taken for new", i)
		}
	}
	if len(*n.filters.Load()) != 3 {
		t.Errorf("%d filters", len(*n.filters.Load()))
	}
	mistaken := 0
	for i := range keys {
		if n.isNew(key(i)) {
			t.Fatalf("key %d is taken for new", i)
		}
		if !n.isNew(key(keys + i)) {
			mistaken++
		}
	}
	if mistaken > keys/20 {
		t.Errorf("%d of %d new keys are taken for known", mistaken, keys)
	}
}

func TestAFullFilterSaysSo(t *testing.T) {
	n := newNovel()
	last := newFilter(mostBlocks)
	last.keys = keysInBlock * mostBlocks
	n.filters.Store(&[]*filter{last})
	if n.add([]byte("key")) {
		t.Error("there is room")
	}
}
