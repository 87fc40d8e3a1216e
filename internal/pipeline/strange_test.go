package pipeline

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// One opportunity becomes confidential, and the key has not the right to see such: Lever
// answers 403 for it and its lists. The others go on as ever.
func TestOneConfidentialOpportunityDoesNotStopTheOthers(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 71})
	w.env["SWEEP_INTERVAL"] = "1ms"
	w.lever.SetFaults(sandbox.Faults{NoConfidential: true})
	w.once()
	offered, offer := w.parent("opportunity_offers")
	ids := w.lever.IDs("opportunities")
	hidden := ids[slices.IndexFunc(ids, func(id string) bool { return id != offered })]
	w.must(w.lever.SetConfidential(hidden, true))
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		if strings.HasPrefix(r.URL.Path, "/v1/opportunities/"+hidden) {
			http.Error(rw, `{"code":"Forbidden"}`, http.StatusForbidden)
			return
		}
		lever.ServeHTTP(rw, r)
	})
	w.must(w.lever.EditOffer(offer))
	w.once()
	h := w.histories()
	if h["opportunity_offers"].Ops["u"] != 1 {
		t.Errorf("events of offers: %v", h["opportunity_offers"].Ops)
	}
	if h["opportunities"].Rows[hidden] == nil {
		t.Error("a row that nobody called gone was deleted")
	}
}

// LEVER_CONFIDENTIAL=exclude leaves confidential rows out, although the key may see them,
// and those that become confidential.
func TestConfidentialRowsAreExcluded(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 72})
	w.env["SWEEP_INTERVAL"], w.env["LEVER_DELETE_GUARD"] = "1ms", "100%"
	ids := w.lever.IDs("opportunities")
	w.must(w.lever.SetConfidential(ids[3], true))
	w.once()
	w.check("with all rows")
	offered, _ := w.parent("opportunity_offers")
	w.env["LEVER_CONFIDENTIAL"] = "exclude"
	w.once()
	w.must(w.lever.SetConfidential(offered, true))
	w.once()
	h := w.histories()
	for _, table := range []string{"opportunities", "candidates", "postings", "requisitions"} {
		for key, row := range h[table].Rows {
			if row["confidentiality"] == "confidential" {
				t.Errorf("%s %s is confidential", table, key)
			}
		}
		for _, p := range h[table].Problems {
			t.Errorf("%s: %s", table, p)
		}
	}
	for key, row := range h["opportunity_offers"].Rows {
		if row["opportunityId"] == offered {
			t.Errorf("offer %s of a confidential opportunity", key)
		}
	}
	if len(h["opportunities"].Rows) == 0 {
		t.Error("no rows at all")
	}
}

// A parent is deleted while none of its child tables is selected.
func TestNoOrphansAfterAllChildrenWereDeselected(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 40, Seed: 73})
	all := "opportunities,opportunity_applications,opportunity_offers,opportunity_resumes"
	w.env["LEVER_TABLES"] = all
	w.once()
	id, _ := w.parent("opportunity_offers")
	w.env["LEVER_TABLES"] = "opportunities"
	w.once()
	w.must(w.lever.DeleteOpportunity(id))
	w.once()
	w.env["LEVER_TABLES"] = all
	w.once()
	for _, table := range strings.Split(all, ",") {
		h := kafkatest.Fold(w.c.Read(t, w.env["KAFKA_TOPIC_PREFIX"]+"."+table))
		for _, d := range append(h.Problems, kafkatest.Differences(h.Rows, w.lever.Truth(table))...) {
			t.Errorf("%s: %s", table, d)
		}
	}
}

// A list names the same row twice: the first counts, every time.
func TestARowThatIsListedTwice(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 5, Seed: 74})
	w.between(edited(map[string]func(map[string]any){
		"/sources": func(body map[string]any) {
			twin := map[string]any{}
			for k, v := range data(body)[0].(map[string]any) {
				twin[k] = v
			}
			twin["count"] = 123456
			body["data"] = append(data(body), twin)
		},
	}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := w.start(ctx)
	w.until("many reads", func() bool { return w.lever.Requests()["/sources"] > 10 })
	cancel()
	w.must(<-done)
	w.check("after many reads")
	if strings.Contains(w.log.String(), "going back to what Kafka says") {
		t.Error("it started again")
	}
}

// One of the lists by which an account is recognised cannot be read.
func TestTheAccountIsRecognisedByWhatCanBeRead(t *testing.T) {
	for _, path := range []string{"/v1/users", "/v1/stages"} {
		w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 20, Seed: 75})
		w.once()
		w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
			if r.URL.Path == path {
				http.Error(rw, "no", http.StatusBadRequest)
				return
			}
			lever.ServeHTTP(rw, r)
		})
		w.lever.Touch(w.lever.IDs("opportunities")[0])
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := w.run(ctx, Options{Once: true})
		cancel()
		if err == nil || !strings.Contains(err.Error(), path[len("/v1"):]) {
			t.Errorf("%s: error %v", path, err)
		}
		if n := w.histories()["opportunities"].Ops["u"]; n != 1 {
			t.Errorf("%s: %d updates of opportunities", path, n)
		}
	}
}

// twoAccounts has another account answer to the key "other".
func twoAccounts(w *world, other http.Handler) {
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		switch key, _, _ := r.BasicAuth(); key {
		case "other":
			other.ServeHTTP(rw, r)
		case "revoked":
			http.Error(rw, `{"code":"UnauthorizedError"}`, http.StatusUnauthorized)
		default:
			lever.ServeHTTP(rw, r)
		}
	})
}

// The key is replaced under a running producer: by another of the same account, and then
// by one of another account, none of whose rows may be written, nor ours deleted.
func TestTheKeyIsReplacedUnderTheProducer(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 76})
	w.env["SWEEP_INTERVAL"], w.env["LEVER_DELETE_GUARD"] = "1ms", "100%"
	twoAccounts(w, sandbox.New(sandbox.Options{Opportunities: 60, Seed: 77}))
	file := filepath.Join(t.TempDir(), "key")
	write := func(key string) { w.must(os.WriteFile(file, []byte(key), 0o600)) }
	write("first")
	delete(w.env, "LEVER_TOKEN")
	w.env["LEVER_TOKEN_FILE"] = file
	w.once()
	w.check("first pass")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := w.pipeline(Options{})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	w.until("it runs", func() bool { return p.Ready() == nil })
	write("second")
	w.lever.Mutate(10)
	w.until("the key is recognised", func() bool { return strings.Contains(w.log.String(), "credentials for Lever have changed") })
	w.equal("another key of the same account")
	write("other")
	if err := <-done; !errors.Is(err, extractor.ErrOtherAccount) {
		t.Errorf("it ended with %v", err)
	}
	w.check("a key of another account")
	cancel()
}

// Neither users nor stages are replicated, and the key is that of another account.
func TestAnotherAccountIsRecognisedWithoutUsersAndStages(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 60, Seed: 78})
	twoAccounts(w, sandbox.New(sandbox.Options{Opportunities: 60, Seed: 79}))
	w.env["LEVER_TABLES"], w.env["LEVER_DELETE_GUARD"] = "opportunities,opportunity_offers", "100%"
	w.once()
	w.env["LEVER_TOKEN"] = "other"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := w.run(ctx, Options{Once: true}); !errors.Is(err, extractor.ErrOtherAccount) {
		t.Errorf("error %v", err)
	}
	w.env["LEVER_TOKEN"] = "ours"
	w.once()
	h := kafkatest.Fold(w.c.Read(t, w.env["KAFKA_TOPIC_PREFIX"]+".opportunities"))
	if len(h.Rows) != 60 || len(h.Ops) != 1 {
		t.Errorf("%d rows, events %v", len(h.Rows), h.Ops)
	}
}

// The root of the API is wrong: Lever knows none of its lists.
func TestAWrongRootIsExplained(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 1, Seed: 80})
	w.env["LEVER_API_URL"] += "/opportunities"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := w.run(ctx, Options{Once: true}); err == nil || !strings.Contains(err.Error(), "check LEVER_API_URL") {
		t.Errorf("error %v", err)
	}
}

// Something on the way answers 404 to one path while the rest is served: what it says of a
// list is not that the list is empty.
func TestA404ThatIsNotLeversEmptiesNoList(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 10, Seed: 95})
	id := w.lever.IDs("opportunities")[0]
	for range 3 {
		_, err := w.lever.AddOffer(id)
		w.must(err)
	}
	w.once()
	w.check("before")
	w.must(w.lever.Touch(id)) // so that its lists are read again
	lost := 0
	w.between(func(rw http.ResponseWriter, r *http.Request, lever http.Handler) {
		if r.URL.Path == "/v1/opportunities/"+id+"/offers" {
			lost++
			http.Error(rw, "<html>404 Not Found</html>", http.StatusNotFound)
			return
		}
		lever.ServeHTTP(rw, r)
	})
	_, _ = w.run(t.Context(), Options{Once: true}) // it says that it could not read one list
	if lost == 0 {
		t.Error("the list was not asked for")
	}
	w.check("while something answers for Lever")
}
