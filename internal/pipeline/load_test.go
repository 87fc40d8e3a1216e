package pipeline

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// Each table says how far its snapshot is, and what is not known is not guessed.
func TestEachTableSaysHowFarItsSnapshotIs(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 120, Seed: 71})
	w.env["SWEEP_INTERVAL"], w.env["REFRESH_INTERVAL"] = "0", "1h"
	const allowed = 30
	var lists atomic.Int64
	var open atomic.Bool
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/resumes") && !open.Load() && lists.Add(1) > allowed {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		lever.ServeHTTP(rw, r)
	})
	w.steered("loaded", func(p *Pipeline) {
		load := func(table string) *extractor.Load {
			tables := p.Snapshot().Tables
			return tables[slices.IndexFunc(tables, func(t extractor.TableStatus) bool { return t.Table == table })].Load
		}
		w.until("the lists that are served are read", func() bool {
			l := load("candidate_resumes")
			return load("opportunities") == nil && load("opportunity_offers") == nil && l != nil && l.Lists == allowed
		})
		for _, table := range []string{"opportunity_resumes", "candidate_resumes"} {
			l := load(table)
			if l.Kind != "first" || l.Lists != allowed || l.ListsKnown != 120 || l.Share == nil || *l.Share != allowed/120. || l.Rows == 0 || l.Expected != 0 {
				t.Errorf("%s: %+v", table, l)
			}
		}
		if pr := p.Progress(); pr.Complete || !pr.ParentsComplete || pr.ListsKnown != 360 || pr.ListsRead != 240+allowed {
			t.Errorf("%+v", pr)
		}
		open.Store(true)
		w.until("complete", func() bool { return p.Progress().Complete && load("candidate_resumes") == nil })

		// A list that is read again is about as long as it was.
		held := make(chan struct{})
		w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
			if r.URL.Query().Get("offset") != "" || r.URL.Query().Get("created_at_start") != "" {
				<-held
			}
			lever.ServeHTTP(rw, r)
		})
		w.must(p.Resnapshot(t.Context(), "opportunities", false))
		w.until("the first page is read again", func() bool { l := load("opportunities"); return l != nil && l.Rows == 100 })
		if l := load("opportunities"); l.Kind != "incremental" || l.Expected != 120 || l.Share == nil || *l.Share != 100./120 {
			t.Errorf("%+v", l)
		}
		close(held)
		w.until("complete", func() bool { return complete(p, "opportunities") && load("opportunities") == nil })
	})
}
