// Command bench loads a simulated Lever account into Kafka, from nothing, and prints how
// fast that was and what it took.
//
//	go run ./bench                                  10,000 opportunities, embedded broker
//	KAFKA_BROKERS=localhost:9092 SCHEMA_REGISTRY_URL=http://localhost:8081 \
//	  go run ./bench -opportunities 10000,100000    a real Kafka
//	go run ./bench -exec ./limited                  the producer under limits: a script that
//	                                                sets them and ends in exec "$@"
//
// The producer is a process of its own, the one that users run; the simulated Lever,
// which has no rate limit here, and the embedded broker run in this one. What Kafka itself
// allows is measured in the same run: a loop that does nothing but produce the same
// records, already encoded, in transactions of the same size.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/leverstream/leverstream/internal/embedded"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to clean up
	}
}

// options are what the command line asks for.
type options struct {
	concurrency int
	compression string
	idle        time.Duration
	memory      string
	rebuild     bool
	// wrap is a command that runs the producer in its place.
	wrap []string
}

// kafka is where the records go.
type kafka struct {
	brokers, registry string
	name              string
}

func run(ctx context.Context) (err error) {
	var o options
	sizes := flag.String("opportunities", "10000", "comma-separated numbers of opportunities")
	flag.IntVar(&o.concurrency, "concurrency", 64, "requests in flight (LEVER_CONCURRENCY)")
	flag.StringVar(&o.compression, "compression", "zstd", "KAFKA_COMPRESSION")
	flag.DurationVar(&o.idle, "idle", 0, "time to watch the producer while nothing changes; 0 = not at all")
	flag.BoolVar(&o.rebuild, "rebuild", true, "restart once without the local state")
	flag.StringVar(&o.memory, "memory", "", "GOMEMLIMIT of the producer, for example 128MiB")
	wrap := flag.String("exec", "", "command that the producer is run by, which must become it (exec), as one that limits its memory")
	flag.Parse()
	o.wrap = strings.Fields(*wrap)
	dir, err := os.MkdirTemp("", "leverstream-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := filepath.Join(dir, "producer")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/leverstream/leverstream/cmd/producer") //nolint:gosec // the path is the one just made
	build.Env = append(os.Environ(), "CGO_ENABLED=0")                                                                 // as the container image is built
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the producer: %w", err)
	}
	k := kafka{os.Getenv("KAFKA_BROKERS"), os.Getenv("SCHEMA_REGISTRY_URL"), "Kafka at KAFKA_BROKERS"}
	if k.brokers == "" || k.registry == "" {
		cluster, err := embedded.Start(ctx, embedded.Options{DataDir: filepath.Join(dir, "kafka")})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cluster.Close()) }()
		k = kafka{strings.Join(cluster.Brokers, ","), cluster.RegistryURL, "embedded broker, in the process of the benchmark"}
	}
	fmt.Printf("%s\n%s, %s, %d requests in flight\n\n", machine(), k.name, o.compression, o.concurrency)
	fmt.Printf(line, "opportunities", "rows", "requests", "seconds", "rows/s", "bare", "share", "CPU s", "RssAnon", "disk", "restart", "rebuild", "idle")
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("-opportunities takes numbers: %w", err)
		}
		w := workload{o: o, kafka: k, binary: binary, dir: filepath.Join(dir, strconv.Itoa(n)), prefix: fmt.Sprintf("bench%d-%d", n, time.Now().Unix())}
		f, err := w.run(ctx, n)
		if err != nil {
			return fmt.Errorf("%d opportunities: %w", n, err)
		}
		f.print()
	}
	return nil
}

const line = "%13s %9s %9s %8s %8s %8s %6s %7s %9s %9s %8s %8s %6s\n"

// A figure is one line of the table.
type figure struct {
	opportunities, rows, requests int64
	// took is the time of the load, cpu what of it the producer computed.
	took, cpu time.Duration
	// bare is the number of rows per second of the loop that only produces.
	bare float64
	// anonymous is the most memory of the producer, disk what its local state takes.
	anonymous, disk int64
	// restart is the time from the start of the program to its first poll; rebuild the
	// same without the local state.
	restart, rebuild time.Duration
	// idle is the share of a core while nothing changes.
	idle float64
}

func (f *figure) print() {
	speed := float64(f.rows) / f.took.Seconds()
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	seconds := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) }
	mega := func(bytes int64) string { return strconv.FormatInt(bytes>>20, 10) + " MiB" }
	bare, share, rebuild, idle := "-", "-", "-", "-"
	if f.bare > 0 {
		bare, share = number(int64(f.bare)), fmt.Sprintf("%.0f%%", 100*speed/f.bare)
	}
	if f.rebuild > 0 {
		rebuild = seconds(f.rebuild) + " s"
	}
	if f.idle > 0 {
		idle = fmt.Sprintf("%.2f%%", 100*f.idle)
	}
	fmt.Printf(line, number(f.opportunities), number(f.rows), number(f.requests), seconds(f.took), number(int64(speed)),
		bare, share, seconds(f.cpu), mega(f.anonymous), mega(f.disk),
		seconds(f.restart)+" s", rebuild, idle)
}
