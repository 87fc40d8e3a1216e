package pipeline

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
	"github.com/leverstream/leverstream/offsets"
)

// Bookmarks of paused tables are changed under the running producer, which goes on from
// them when they are resumed: every row is read again, and none makes an event that has
// not changed.
func TestBookmarksAreChangedWhileTheProducerRuns(t *testing.T) {
	w := newWorld(t, kafkatest.Best(t), sandbox.Options{Opportunities: 150, Seed: 61})
	w.env["SWEEP_INTERVAL"] = "0"
	w.once()
	before := ops(w.check("first pass"))
	// One without offers, referrals and resumes, whose lists would give it away.
	listed := map[string]bool{}
	for _, table := range []string{"opportunity_offers", "opportunity_referrals", "opportunity_resumes"} {
		for _, row := range w.lever.Truth(table) {
			listed[row["opportunityId"].(string)] = true
		}
	}
	ids := w.lever.IDs("opportunities")
	gone := ids[slices.IndexFunc(ids, func(id string) bool { return !listed[id] })]
	carried := map[string]int{}
	for _, table := range extractor.Tables() {
		for key, row := range w.lever.Truth(table.Name) {
			if key == gone || row["opportunityId"] == gone {
				carried[table.Name+" d"]++
			}
		}
	}
	w.steered("changed", func(p *Pipeline) {
		all := map[string]*offsets.Bookmark{}
		for _, table := range extractor.Tables() {
			all[table.Name] = nil
		}
		var wrong *RequestError
		if err := p.SetBookmarks(t.Context(), all); !errors.As(err, &wrong) || !wrong.Conflict || !strings.Contains(err.Error(), "pause first for") || !strings.Contains(err.Error(), "stages") {
			t.Fatalf("tables that run: %v", err)
		}
		for table := range all {
			w.must(p.Pause(t.Context(), table))
		}
		was, err := p.Bookmarks()
		w.must(err)
		// Gone while nobody looks, and without a feed that could tell of it later.
		w.must(w.lever.DeleteOpportunity(gone))
		none := func(body map[string]any) { body["data"] = []any{} }
		w.between(edited(map[string]func(map[string]any){"/opportunities/deleted": none, "/applications/deleted": none}))
		w.must(p.SetBookmarks(t.Context(), all))
		now, err := p.Bookmarks()
		w.must(err)
		for table, b := range now {
			if string(b.Sections["paused"]) != "true" || b.Incarnation == nil || *b.Incarnation != *was[table].Incarnation || b.LSN < was[table].LSN {
				t.Errorf("%s: %+v, was %+v", table, b, was[table])
			}
			for name := range b.Sections {
				if name != "paused" && name != "snapshot" && name != "guard" {
					t.Errorf("%s: section %s is left", table, name)
				}
			}
		}
		w.lever.ResetRequests()
		for table := range all {
			w.must(p.Resume(t.Context(), table))
		}
		w.until("complete", func() bool {
			for table := range all {
				if !complete(p, table) {
					return false
				}
			}
			return true
		})
		if n := w.lever.Requests()["/opportunities/:id/offers"]; n < 140 {
			t.Errorf("only %d lists of offers were read", n)
		}
	})
	got := grown(before, ops(w.check("changed")))
	delete(got, "sources u")
	if !maps.Equal(got, carried) {
		t.Errorf("events %v, want %v", got, carried)
	}
}

func TestABookmarkIsAltered(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 30, Seed: 62})
	w.env["SWEEP_INTERVAL"] = "0"
	w.once()
	before := ops(w.check("first pass"))
	w.steered("altered", func(p *Pipeline) {
		w.must(p.Pause(t.Context(), "postings"))
		all, err := p.Bookmarks()
		w.must(err)
		alter := func(edit func(*offsets.Bookmark)) error {
			text, err := all["postings"].Marshal()
			w.must(err)
			b, err := offsets.Parse(text)
			w.must(err)
			edit(&b)
			return p.SetBookmarks(t.Context(), map[string]*offsets.Bookmark{"postings": &b})
		}
		for name, edit := range map[string]func(*offsets.Bookmark){
			"no such section":     func(b *offsets.Bookmark) { b.Sections["inkrement"] = json.RawMessage(`{}`) },
			"no such member":      func(b *offsets.Bookmark) { b.Sections["increment"] = json.RawMessage(`{"curser":1}`) },
			"another incarnation": func(b *offsets.Bookmark) { b.Incarnation.Partitions++ },
			"not paused":          func(b *offsets.Bookmark) { b.Sections["paused"] = json.RawMessage(`false`) },
		} {
			var wrong *RequestError
			if err := alter(edit); !errors.As(err, &wrong) || wrong.Conflict || !strings.Contains(err.Error(), "table postings") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if now, _ := p.Bookmarks(); string(now["postings"].Sections["increment"]) != string(all["postings"].Sections["increment"]) {
			t.Error("what was refused has changed something")
		}
		// As it was read, and without what need not be there.
		w.must(alter(func(b *offsets.Bookmark) {}))
		w.must(alter(func(b *offsets.Bookmark) {
			b.Incarnation, b.LSN = nil, 0
			delete(b.Sections, "paused")
			delete(b.Sections, "deletions")
			b.Sections["increment"] = json.RawMessage(`{"cursor":1795460500000}`)
		}))
		now, err := p.Bookmarks()
		w.must(err)
		b := now["postings"]
		if string(b.Sections["increment"]) != `{"cursor":1795460500000}` || b.Sections["deletions"] != nil || string(b.Sections["paused"]) != "true" || b.Incarnation == nil || b.LSN == 0 {
			t.Errorf("%+v", b)
		}
		w.must(p.Resume(t.Context(), "postings"))
		w.until("read from there", func() bool {
			now, err := p.Bookmarks()
			return err == nil && string(now["postings"].Sections["increment"]) != `{"cursor":1795460500000}`
		})
	})
	if got := grown(before, ops(w.check("altered"))); len(got) > 0 {
		t.Errorf("events %v", got)
	}
}
