package check

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/sr"
	"go.uber.org/goleak"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Lever, a Kafka and a registry, in the environment.
type world struct {
	lever *sandbox.Lever
	c     kafkatest.Cluster
}

func newWorld(t *testing.T, o sandbox.Options) *world {
	t.Helper()
	w := &world{lever: sandbox.New(o), c: kafkatest.Embedded(t)}
	server := httptest.NewServer(w.lever)
	t.Cleanup(server.Close)
	for k, v := range map[string]string{
		"LEVER_API_URL": server.URL + "/v1", "LEVER_TOKEN": "token", "LEVER_RATE": "1000", "LEVER_BURST": "100",
		"KAFKA_BROKERS": w.c.Brokers[0], "SCHEMA_REGISTRY_URL": w.c.RegistryURL, "STATE_DIR": t.TempDir(),
	} {
		t.Setenv(k, v)
	}
	return w
}

func run(t *testing.T) []Result {
	t.Helper()
	c, err := config.Load(extractor.Tables(), config.NeedLever|config.NeedKafka|config.NeedRegistry)
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	results := Run(t.Context(), c, "test", func(Result) { shown++ })
	if shown != len(results) {
		t.Errorf("%d results were shown, %d returned", shown, len(results))
	}
	return results
}

func TestAHealthyWorldPassesAndIsNotChanged(t *testing.T) {
	w := newWorld(t, sandbox.Options{Opportunities: 10})
	results := run(t)
	var fed []string
	for _, r := range results {
		if r.Status != OK {
			t.Errorf("%+v", r)
		}
		if _, tables, ok := strings.Cut(r.Text, "feeds "); ok {
			fed = append(fed, strings.Split(tables, ", ")...)
		}
	}
	for _, table := range extractor.Tables() {
		if !slices.Contains(fed, table.Name) {
			t.Errorf("no endpoint was asked for table %s", table.Name)
		}
	}
	for endpoint, n := range w.lever.Requests() {
		// The first listing is also asked whether confidential rows may be seen.
		if n > 2 || n > 1 && endpoint != "/requisitions" && endpoint != "/postings" && endpoint != "/opportunities" {
			t.Errorf("%s was asked %d times", endpoint, n)
		}
	}
	topics, err := kadm.NewClient(w.c.Client(t)).ListTopics(t.Context())
	if err != nil || len(topics) > 0 {
		t.Errorf("topics afterwards: %v, %v", topics.Names(), err)
	}
	registry, err := sr.NewClient(sr.URLs(w.c.RegistryURL))
	if err != nil {
		t.Fatal(err)
	}
	if subjects, err := registry.Subjects(t.Context()); err != nil || len(subjects) > 0 {
		t.Errorf("subjects afterwards: %v, %v", subjects, err)
	}
}

func TestWhatIsWrongIsNamedWithAFix(t *testing.T) {
	for _, test := range []struct {
		name   string
		o      sandbox.Options
		env    map[string]string
		spoil  func(*testing.T, *world)
		status Status
		check  string
		says   string
		fix    string
	}{
		{name: "a refused key", o: sandbox.Options{Token: "another"}, status: Failed, check: "credentials", says: "401", fix: "LEVER_TOKEN"},
		{
			name: "a forbidden endpoint", o: sandbox.Options{Faults: sandbox.Faults{Status: map[string]int{"/opportunities/:id/referrals": 403}}},
			status: Failed, check: "GET /opportunities/:id/referrals", says: "opportunity_referrals, candidate_referrals", fix: "LEVER_TABLES",
		},
		{name: "no confidential rows", o: sandbox.Options{Faults: sandbox.Faults{NoConfidential: true}}, status: Warning, check: "confidential rows", says: "left out", fix: "confidential grant"},
		{
			name: "confidential rows that were asked for", o: sandbox.Options{Faults: sandbox.Faults{NoConfidential: true}}, env: map[string]string{"LEVER_CONFIDENTIAL": "include"},
			status: Failed, check: "confidential rows", says: "may not see confidential rows",
		},
		{name: "a Lever that is down", o: sandbox.Options{Faults: sandbox.Faults{Down: true}}, status: Failed, check: "API", says: "503", fix: "LEVER_API_URL"},
		{
			name: "a Lever that is not there", spoil: func(t *testing.T, _ *world) {
				t.Helper()
				t.Setenv("LEVER_API_URL", strings.TrimSuffix(os.Getenv("LEVER_API_URL"), "/v1"))
			}, status: Failed, check: "API", says: "404", fix: "LEVER_API_URL",
		},
		{
			name: "a Lever that is not there, without confidential rows", env: map[string]string{"LEVER_CONFIDENTIAL": "exclude"}, spoil: func(t *testing.T, _ *world) {
				t.Helper()
				t.Setenv("LEVER_API_URL", strings.TrimSuffix(os.Getenv("LEVER_API_URL"), "/v1"))
			}, status: Failed, check: "API", says: "404", fix: "LEVER_API_URL",
		},
		{name: "a key that others use", o: sandbox.Options{Rate: 5, Burst: 2}, status: Warning, check: "rate limit", says: "429", fix: "LEVER_RATE"},
		{name: "no broker", env: map[string]string{"KAFKA_BROKERS": "127.0.0.1:1"}, status: Failed, check: "brokers", says: "127.0.0.1:1", fix: "KAFKA_BROKERS"},
		{
			name: "a topic with another configuration", spoil: func(t *testing.T, w *world) {
				t.Helper()
				keep := "delete"
				if _, err := kadm.NewClient(w.c.Client(t)).CreateTopic(t.Context(), 3, 1, map[string]*string{"cleanup.policy": &keep}, "lever.stages"); err != nil {
					t.Fatal(err)
				}
			}, status: Warning, check: "topic lever.stages", says: "cleanup.policy is delete", fix: "--add-config cleanup.policy=compact",
		},
		{name: "no registry", env: map[string]string{"SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}, status: Failed, check: "schemas", says: "look up subject", fix: "SCHEMA_REGISTRY_URL"},
		{name: "schemas that may not be registered", env: map[string]string{"SCHEMA_REGISTRY_REGISTER": "false"}, status: Failed, check: "subject lever.stages-value", says: "SCHEMA_REGISTRY_REGISTER=false", fix: "schemas register"},
		{
			name: "a foreign schema", spoil: func(t *testing.T, w *world) {
				t.Helper()
				registry, err := sr.NewClient(sr.URLs(w.c.RegistryURL))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := registry.CreateSchema(t.Context(), "lever.stages-value", sr.Schema{Schema: `{"type":"record","name":"X","fields":[{"name":"a","type":"int"}]}`}); err != nil {
					t.Fatal(err)
				}
			}, status: Failed, check: "subject lever.stages-value", says: "not compatible", fix: "KAFKA_TOPIC_PREFIX",
		},
		{
			name: "a file where the state should be", spoil: func(t *testing.T, _ *world) {
				t.Helper()
				path := filepath.Join(t.TempDir(), "file")
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				t.Setenv("STATE_DIR", path)
			}, status: Failed, check: "directory", says: "not a directory", fix: "STATE_DIR",
		},
		{
			name: "a state that others can read", spoil: func(t *testing.T, _ *world) {
				t.Helper()
				dir := t.TempDir()
				if err := os.Mkdir(filepath.Join(dir, "lever"), 0o755); err != nil {
					t.Fatal(err)
				}
				t.Setenv("STATE_DIR", dir)
			}, status: Warning, check: "directory", says: "open to other users", fix: "chmod 700",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.o.Opportunities = 5
			w := newWorld(t, test.o)
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			if test.spoil != nil {
				test.spoil(t, w)
			}
			results := run(t)
			i := slices.IndexFunc(results, func(r Result) bool { return r.Check == test.check && strings.Contains(r.Text, test.says) })
			if i < 0 {
				t.Fatalf("nothing says %q about %s: %+v", test.says, test.check, results)
			}
			if r := results[i]; r.Status != test.status || !strings.Contains(r.Fix, test.fix) {
				t.Errorf("got %+v", r)
			}
			for _, r := range results {
				if r.Check != test.check && r.Status == Failed && !strings.HasPrefix(r.Check, "subject ") {
					t.Errorf("this failed, too: %+v", r)
				}
			}
		})
	}
}

func TestACheckThatIsStoppedEnds(t *testing.T) {
	newWorld(t, sandbox.Options{Opportunities: 5})
	c, err := config.Load(extractor.Tables(), config.NeedLever|config.NeedKafka|config.NeedRegistry)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := Run(ctx, c, "test", func(Result) { cancel() })
	if len(results) != 1 {
		t.Errorf("it went on, or took for a result what was cut off: %+v", results)
	}
}
