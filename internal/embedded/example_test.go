package embedded_test

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/leverstream/leverstream/internal/embedded"
)

func ExampleStart() {
	ctx := context.Background()
	cluster, err := embedded.Start(ctx, embedded.Options{}) // in memory
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cluster.Close() }()

	kafka, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers...))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer kafka.Close()
	registry, err := sr.NewClient(sr.URLs(cluster.RegistryURL))
	if err != nil {
		fmt.Println(err)
		return
	}
	schema, err := registry.CreateSchema(ctx, "greetings-value", sr.Schema{Schema: `"string"`})
	fmt.Println(kafka.Ping(ctx), schema.ID, err)
	// Output: <nil> 1 <nil>
}
