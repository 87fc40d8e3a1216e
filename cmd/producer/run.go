package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
)

// memoryLimit is the soft limit (bytes) of the memory that Go manages, unless GOMEMLIMIT sets
// another. It is well above what the program holds while it loads (some 75 MiB), and keeps
// garbage from piling up beyond that; 256 MiB is a usual limit of a container.
const memoryLimit = 128 << 20

func newRun() *cobra.Command {
	var once, embed, takeOver bool
	var dataDir string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Replicate continuously until SIGINT or SIGTERM",
		Long: `run replicates the selected tables until it is told to stop. It then commits what
is under way and exits 0 within 10 seconds.

With --once it makes one complete pass over every table (a snapshot or what has
changed since, children, deletions) and exits 0, or 1 if a table could not be
read or it was stopped before the end; what was read is committed all the same.

With --embedded it brings its own Kafka-protocol broker and schema registry, which
keep their data in --data-dir, and prints their addresses, so that any Kafka
client can read the topics.

While another producer owns the account, run waits as a standby. With --take-over
it takes the account; the other one stops and exits 4, and waits as a standby if it
is started again, even with --take-over.`,
		Example: `  LEVER_TOKEN_FILE=/run/secrets/lever KAFKA_BROKERS=kafka:9092 \
    SCHEMA_REGISTRY_URL=http://registry:8081 producer run
  producer run --once
  producer run --embedded --data-dir ./leverstream-data`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (dataDir != "") != embed {
				return usageError{errors.New("--embedded and --data-dir go together: --data-dir says where the embedded broker keeps its data")}
			}
			need := config.NeedLever
			if !embed {
				need |= config.NeedKafka | config.NeedRegistry
			}
			c, err := config.Load(extractor.Tables(), need)
			if err != nil {
				return err
			}
			if embed && (c.IsSet("KAFKA_BROKERS") || c.IsSet("SCHEMA_REGISTRY_URL")) {
				return usageError{errors.New("--embedded brings its own broker and registry: unset KAFKA_BROKERS and SCHEMA_REGISTRY_URL, or leave --embedded out")}
			}
			errOut := &lines{out: cmd.ErrOrStderr()}
			if c.Program.LogFormat == "auto" && isTerminal(errOut.out) {
				c.Program.LogFormat = "text"
			}
			log := newLogger(c.Program, errOut)
			for _, w := range c.Warnings() {
				log.Warn(w)
			}
			ctx := cmd.Context()
			if embed {
				cluster, err := startEmbedded(context.WithoutCancel(ctx), c, dataDir, log)
				if err != nil {
					return err
				}
				defer func() {
					if err := cluster.Close(); err != nil {
						log.Error("stop the embedded broker", "error", err)
					}
				}()
				fmt.Fprintf(cmd.OutOrStdout(), "Kafka broker:     %s\nschema registry:  %s\n", c.Kafka.Brokers[0], c.Registry.URL)
			}
			if !embed && os.Getenv("GOMEMLIMIT") == "" {
				debug.SetMemoryLimit(memoryLimit)
			}
			o := pipeline.Options{Once: once, TakeOver: takeOver, Logger: log}
			return replicate(ctx, c, o, func(ctx context.Context, p *pipeline.Pipeline) { showProgress(ctx, p, log, errOut) })
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "make one complete pass, then exit")
	cmd.Flags().BoolVar(&takeOver, "take-over", false, "replace another producer that owns the account, instead of waiting for it")
	cmd.Flags().BoolVar(&embed, "embedded", false, "bring a broker and a schema registry")
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "where the embedded broker and registry keep their data")
	return cmd
}
