package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Who finds a list that cannot be read has the store rebuilt, as who finds such a row: the next
// Open would find nothing wrong, and the list would be asked for again, for ever.
func TestAListThatCannotBeReadIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, 1, nil)
	parents, offers := make([]string, 4000), map[cdc.Ref]*Record{}
	for i := range parents {
		parents[i] = rand.Text()
		offers[cdc.Ref{Table: "offers", Key: fmt.Sprint(i)}] = &Record{Row: []byte("row"), Parent: parents[i]}
	}
	put(t, s, 2, offers)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(parents)
	parent := parents[len(parents)/2] // Open reads the blocks of others
	const shared = 6                  // what the one before may have, too, is not written twice
	for _, name := range holding(t, dir, parent[shared:]) {
		damage(t, filepath.Join(dir, "rows", name), parent[shared:])
	}
	s = open(t, dir)
	if fresh, reason := s.Fresh(); fresh {
		t.Fatalf("it is fresh at once: %s", reason)
	}
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := v.Children("offers", parent); !errors.Is(err, ErrDamaged) {
		t.Errorf("children %q, error %v", keys, err)
	}
	_ = v.Close() // it says the same once more
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if fresh, _ := open(t, dir).Fresh(); !fresh {
		t.Error("it is not rebuilt")
	}
}

// That there are no claims is remembered, until there is one: also in a store that is opened again.
func TestTheFirstClaimIsSeenByTheNextView(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	claims := func() []string {
		t.Helper()
		v, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		keys, err := v.Claims("opportunity_offers", "other")
		if err := errors.Join(err, v.Close()); err != nil {
			t.Fatal(err)
		}
		return keys
	}
	offer := cdc.Ref{Table: "opportunity_offers", Key: "offer"}
	put(t, s, 1, map[cdc.Ref]*Record{offer: {Row: []byte("x"), Parent: "owner"}})
	if got := claims(); len(got) > 0 {
		t.Fatalf("claims %q of nothing", got)
	}
	put(t, s, 2, map[cdc.Ref]*Record{offer: {Row: []byte("x"), Parent: "owner", Claimants: []string{"other"}}})
	if got := claims(); !slices.Equal(got, []string{"offer"}) {
		t.Errorf("claims %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := claims(); !slices.Equal(got, []string{"offer"}) {
		t.Errorf("claims %q after a restart", got)
	}
}
