// Command producer replicates a Lever account (an applicant tracking system) into
// Apache Kafka: every table a topic, every change an Avro change event.
//
// See README.md for what it does and how to run it, and `producer help`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
