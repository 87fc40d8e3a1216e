package main

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// station is a simulated Lever and a cluster, for commands to be run against.
type station struct {
	t     *testing.T
	lever *sandbox.Lever
	c     kafkatest.Cluster
	env   map[string]string
}

func newStation(t *testing.T, o sandbox.Options) *station {
	t.Helper()
	lever, env := world(t, o)
	c := kafkatest.Best(t)
	maps.Copy(env, map[string]string{
		"KAFKA_BROKERS": strings.Join(c.Brokers, ","), "SCHEMA_REGISTRY_URL": c.RegistryURL,
		"KAFKA_TOPIC_PREFIX": "s" + uuid.NewString()[:8], "STATE_DIR": t.TempDir(),
	})
	return &station{t: t, lever: lever, c: c, env: env}
}

// does runs a command to its end, checks the exit status and returns its output.
func (s *station) does(status int, args ...string) string {
	s.t.Helper()
	p := start(s.t, s.env, args...)
	p.exits(status, time.Minute)
	return p.out.String()
}

func TestCheckExitsByWhatItFinds(t *testing.T) {
	s := newStation(t, sandbox.Options{Opportunities: 5})
	if out := s.does(exitDone, "check"); !strings.Contains(out, "credentials: accepted") || strings.Contains(out, "failed") {
		t.Error(out)
	}
	s.lever.SetFaults(sandbox.Faults{Status: map[string]int{"/users": 403}})
	var report struct {
		Failed int `json:"failed"`
	}
	p := start(t, s.env, "check", "--json")
	p.exits(exitFailed, time.Minute)
	document, _, _ := strings.Cut(p.out.String(), "\nproducer:")
	if err := json.Unmarshal([]byte(document), &report); err != nil || report.Failed != 1 {
		t.Errorf("%v, %d failed:\n%s", err, report.Failed, document)
	}
}
