package pipeline

import (
	"context"
	"crypto/rand"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// marks puts words into the records of opportunities, and of all that hangs under them, on
// their way from Lever.
type marks struct {
	mu    sync.Mutex
	words map[string]string // by opportunity
}

func (m *marks) forget(opportunity string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.words, opportunity)
}

func (m *marks) between(w http.ResponseWriter, r *http.Request, lever http.Handler) {
	path := strings.TrimPrefix(r.URL.Path, "/v1")
	edit := func(body map[string]any) {
		m.mu.Lock()
		defer m.mu.Unlock()
		records := data(body)
		if one, ok := body["data"].(map[string]any); ok {
			records = []any{one}
		}
		for opportunity, word := range m.words {
			for _, x := range records {
				record, _ := x.(map[string]any)
				switch {
				case record["id"] == opportunity:
					record["headline"] = word
					applications, _ := record["applications"].([]any)
					for _, x := range applications {
						if application, ok := x.(map[string]any); ok {
							application["comments"] = word
						}
					}
				case strings.HasPrefix(path, "/opportunities/"+opportunity+"/"):
					record["unknown"] = word // kept in _extra
				}
			}
		}
	}
	edited(map[string]func(map[string]any){path: edit})(w, r, lever)
}

// word returns a word that is nowhere else. Its letters are capitals, so that compression
// finds no parts of it in other text.
func word() string { return strings.ToUpper(rand.Text()) }

// After a candidate was deleted, and another anonymised, nothing of what they were is left in
// the brokers' segments, although nothing is written to their partitions any more, nor in the
// files of the local state.
func TestErasedPeopleVanishFromTheFiles(t *testing.T) {
	c := kafkatest.Best(t)
	dirs := c.LogDirs(t)
	w := newWorld(t, c, sandbox.Options{Opportunities: 20, Seed: 71})
	const seconds = "3000"
	w.env["KAFKA_REPLICATION_FACTOR"] = strconv.Itoa(min(3, len(c.Brokers)))
	w.env["KAFKA_COMPRESSION"] = "none" // so that words are found
	w.env["KAFKA_TOPIC_CONFIG"] = "min.compaction.lag.ms=0,max.compaction.lag.ms=" + seconds + ",segment.ms=" + seconds + ",file.delete.delay.ms=1000"
	ids := w.lever.IDs("opportunities")
	deleted, anonymised := ids[0], ids[1]
	m := &marks{words: map[string]string{deleted: word(), anonymised: word()}}
	words := []string{m.words[deleted], m.words[anonymised]}
	for _, id := range ids[:2] {
		for _, add := range []func(string) (string, error){w.lever.AddApplication, w.lever.AddOffer, w.lever.AddReferral, w.lever.AddResume} {
			if _, err := add(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.between(m.between)

	prefix := w.env["KAFKA_TOPIC_PREFIX"]
	// found returns the topics, and "STATE_DIR", whose files hold a word.
	found := func(word string) (out []string) {
		for _, dir := range dirs {
			for _, name := range kafkatest.Holding(t, dir, "/"+prefix+".", word) {
				partition := filepath.Base(filepath.Dir(name))
				out = append(out, strings.TrimPrefix(partition[:strings.LastIndexByte(partition, '-')], prefix+"."))
			}
		}
		if len(kafkatest.Holding(t, w.env["STATE_DIR"], "", word)) > 0 {
			out = append(out, "STATE_DIR")
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	everywhere := []string{"STATE_DIR", "state"}
	for _, table := range extractor.Tables() {
		if strings.HasPrefix(table.Name, "candidate") || strings.HasPrefix(table.Name, "opportunit") {
			everywhere = append(everywhere, table.Name)
		}
	}
	slices.Sort(everywhere)

	ctx, cancel := context.WithCancel(t.Context())
	p := w.pipeline(Options{EraseInterval: time.Second})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	// until waits for the words to be where they should be.
	until := func(want []string, within time.Duration) {
		t.Helper()
		began := time.Now()
		var where [][]string
		for time.Since(began) < within {
			where = [][]string{found(words[0]), found(words[1])}
			if slices.Equal(where[0], want) && slices.Equal(where[1], want) {
				t.Logf("after %s", time.Since(began).Round(time.Second))
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
		t.Fatalf("after %s the words of the deleted person are in %q, those of the anonymised in %q, want %q\n%s", within, where[0], where[1], want, w.log.String())
	}
	until(everywhere, 2*time.Minute)

	value := seconds
	altered, err := kadm.NewClient(c.Client(t)).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{
		{Name: "max.compaction.lag.ms", Value: &value},
		{Name: "segment.ms", Value: &value},
		{Name: "file.delete.delay.ms", Value: &value},
	}, w.env["KAFKA_TOPIC_PREFIX"]+".state")
	if err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
	if err := w.lever.DeleteOpportunity(deleted); err != nil {
		t.Fatal(err)
	}
	m.forget(anonymised)
	if err := w.lever.Anonymize(anonymised); err != nil {
		t.Fatal(err)
	}
	until(nil, 3*time.Minute)

	for table, h := range w.histories() { // their chains are compacted, their rows are right
		if diffs := kafkatest.Differences(h.Rows, w.lever.Truth(table)); len(diffs) > 0 {
			t.Errorf("%s: %q", table, diffs[:min(3, len(diffs))])
		}
	}
}
