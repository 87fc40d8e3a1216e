package publish

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// BenchmarkCommit commits pages of a hundred opportunities, many at a time, as in a first load
// and afterwards: every row has changed, or one of ten. Each iteration is
// ten thousand rows. It writes to the Kafka of TEST_KAFKA_BROKERS and
// TEST_SCHEMA_REGISTRY_URL, if they are set.
func BenchmarkCommit(b *testing.B) {
	const rows, page = 10_000, 100
	truth := sandbox.New(sandbox.Options{Opportunities: rows, Seed: 1}).Truth("opportunities")
	keys := slices.Sorted(maps.Keys(truth))
	for name, changed := range map[string]int{"every row changed": 1, "one of ten changed": 10} {
		b.Run(name, func(b *testing.B) {
			a := newAccount(b, kafkatest.Best(b))
			w := a.open()
			defer w.stop()
			load := func(version int) {
				var pages sync.WaitGroup
				for some := range slices.Chunk(keys, page) {
					u := &cdc.Unit{Scan: "bench", Sent: a.Clock.Now(), Arrived: a.Clock.Now(), ReadAt: time.Now()}
					for i, key := range some {
						if i%changed == 0 {
							fields := maps.Clone(truth[key])
							fields["headline"] = strconv.Itoa(version)
							truth[key] = fields
						}
						u.Rows = append(u.Rows, cdc.Row{Table: "opportunities", Key: key, Fields: truth[key]})
					}
					pages.Go(func() { w.submitUnit(u) })
				}
				pages.Wait()
			}
			load(0)
			b.ReportAllocs()
			version := 0
			for b.Loop() {
				version++
				load(version)
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
