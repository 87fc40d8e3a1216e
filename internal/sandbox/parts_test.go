package sandbox

import (
	"cmp"
	"encoding/json"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"
)

func TestIDsAreUniqueAndLeadBackToTheirNumber(t *testing.T) {
	seen := map[string]bool{}
	for _, seed := range []uint64{0, 1, 99} {
		for _, k := range []kind{kindOpportunity, kindOffer} {
			for n := range 2000 {
				id := newID(seed, k, n)
				if seen[id] {
					t.Fatalf("%s comes twice", id)
				}
				seen[id] = true
				if got, ok := numberOf(seed, k, id); !ok || got != n {
					t.Fatalf("%s leads to %d (%t), want %d", id, got, ok, n)
				}
				if _, ok := numberOf(seed, k+1, id); ok {
					t.Fatalf("%s is an id of another kind too", id)
				}
			}
		}
	}
}

func TestAnOrderedSetStaysSorted(t *testing.T) {
	d := throw(1, kindChange, 1)
	keys := make([]int, 5000)
	for i := range keys {
		keys[i] = d.below(3000)
	}
	compare := func(a, b int32) int { return cmp.Or(cmp.Compare(keys[a], keys[b]), cmp.Compare(a, b)) }
	o := newOrdered(nil, compare)
	in := map[int32]bool{}
	for range 20_000 {
		x := int32(d.below(len(keys)))
		if in[x] {
			o.remove(x)
			delete(in, x)
		} else {
			o.insert(x)
			in[x] = true
		}
	}
	want := []int32{}
	for x := range in {
		want = append(want, x)
	}
	slices.SortFunc(want, compare)
	if got := slices.Collect(o.from(spot{})); !slices.Equal(got, want) || o.length != len(want) {
		t.Fatalf("%d members (length %d), want %d", len(got), o.length, len(want))
	}
	for range 100 {
		key := d.below(3001)
		i, _ := slices.BinarySearchFunc(want, key, func(x int32, key int) int { return cmp.Compare(keys[x], key) })
		place := o.find(func(x int32) bool { return keys[x] >= key })
		if got := slices.Collect(o.from(place)); !slices.Equal(got, want[i:]) || o.rank(place) != i {
			t.Fatalf("from %d on: %d members at rank %d, want %d at %d", key, len(got), o.rank(place), len(want)-i, i)
		}
	}
}

func FuzzStringsAreWrittenAsJSON(f *testing.F) {
	for _, s := range []string{"", "plain", "\"quoted\" \\ \n\t\x00", "Zürich 🚀"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip()
		}
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil || got != s {
			t.Errorf("%q is read as %q: %v", s, got, err)
		}
	})
}

func FuzzTokensAreReadAsTheyAreWritten(f *testing.F) {
	f.Add(3.5, int64(1767312000000), "lead-new")
	f.Fuzz(func(t *testing.T, rank float64, ms int64, id string) {
		ms %= 1 << 53
		if rank != rank || rank-rank != 0 || !utf8.ValidString(id) {
			t.Skip()
		}
		numbers, texts, ok := parseToken(formatToken(rank, ms, id), "nns")
		if !ok || !reflect.DeepEqual(numbers, []float64{rank, float64(ms)}) || texts[0] != id {
			t.Errorf("read %v %v %t", numbers, texts, ok)
		}
	})
}

func FuzzAnyTokenIsAnswered(f *testing.F) {
	l, _ := newTest(30, 1)
	for _, path := range []string{"/opportunities", "/users", "/requisitions", "/stages"} {
		f.Add(path, "%5B3%2C1767312000000%2C%22x%22%5D")
		f.Add(path, `["x"]`)
		f.Add(path, "[1e400,1]")
		f.Add(path, "[1e300,-1e300,\"\"]")
	}
	f.Fuzz(func(t *testing.T, path, token string) {
		if _, err := url.Parse("/v1" + path); err != nil || len(path) == 0 || path[0] != '/' {
			t.Skip()
		}
		switch path {
		case "/opportunities", "/postings", "/requisitions", "/users", "/stages", "/sources", "/archive_reasons", "/opportunities/deleted":
		default:
			t.Skip()
		}
		if a := get(l, path, values("offset", token)); a.status != 200 && a.status != 400 {
			t.Errorf("%s with token %q: %d", path, token, a.status)
		}
	})
}
