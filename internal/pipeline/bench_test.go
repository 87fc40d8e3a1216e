package pipeline

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

var loaded = flag.Int("loaded", 1000, "opportunities that BenchmarkFirstLoad loads")

// BenchmarkFirstLoad loads an account from nothing, with the simulated Lever and, unless
// TEST_KAFKA_BROKERS names another, the broker in the same process: for profiles.
// Figures of the producer alone are printed by go run ./bench.
func BenchmarkFirstLoad(b *testing.B) {
	c := kafkatest.Best(b)
	lever := sandbox.New(sandbox.Options{Opportunities: *loaded, Seed: 1})
	server := httptest.NewServer(lever)
	defer server.Close()
	rows := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		env := map[string]string{
			"LEVER_API_URL": server.URL + "/v1", "LEVER_TOKEN": "key", "LEVER_RATE": "10000", "LEVER_BURST": "1000", "LEVER_CONCURRENCY": "64",
			"KAFKA_BROKERS": strings.Join(c.Brokers, ","), "SCHEMA_REGISTRY_URL": c.RegistryURL, "KAFKA_REPLICATION_FACTOR": "1",
			"KAFKA_TOPIC_PREFIX": "b" + uuid.NewString()[:8], "STATE_DIR": b.TempDir(),
		}
		for k, v := range env {
			b.Setenv(k, v)
		}
		config, err := config.Load(extractor.Tables(), config.NeedLever|config.NeedKafka|config.NeedRegistry)
		if err != nil {
			b.Fatal(err)
		}
		p, err := New(*config, Options{Once: true, Version: "bench", Instance: uuid.NewString(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Run(context.Background()); err != nil {
			b.Fatal(err)
		}
		rows += p.Snapshot().Totals.Events
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
