package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/internal/sandbox"
)

func newDemo() *cobra.Command {
	o := sandbox.Options{Rate: 10, Burst: 20}
	var dataDir string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on this machine: simulated Lever, broker, registry, replication",
		Long: `demo replicates a simulated Lever account that keeps changing into an embedded
Kafka-protocol broker, and prints the change events as they are committed. It needs
nothing installed and nothing configured; any Kafka client can read the topics
meanwhile. Ctrl-C ends it. The data goes to a temporary directory that is removed at
the end, unless --data-dir names one to keep.`,
		Example: `  producer demo
  producer demo --opportunities 2000 --changes-per-minute 300`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := notNegative(o); err != nil {
				return err
			}
			c, err := config.Load(extractor.Tables(), config.NeedHTTP)
			if err != nil {
				return err
			}
			if dataDir == "" {
				if dataDir, err = os.MkdirTemp("", "leverstream-demo-"); err != nil {
					return err
				}
				defer func() { err = errors.Join(err, os.RemoveAll(dataDir)) }()
			}
			signal.Ignore(syscall.SIGPIPE) // it would end the program (demo | head) before it has tidied up
			return demo(cmd.Context(), c, o, dataDir, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Opportunities, "opportunities", 200, "opportunities in the simulated account")
	f.Float64Var(&o.ChangesPerMinute, "changes-per-minute", 60, "random changes made to it")
	f.Uint64Var(&o.Seed, "seed", 1, "what its data is generated from")
	f.StringVar(&dataDir, "data-dir", "", "keep the broker's data here and go on from it the next time")
	return cmd
}

func demo(ctx context.Context, c *config.Config, o sandbox.Options, dataDir string, out, errOut io.Writer) error {
	if !c.IsSet("LOG_LEVEL") {
		c.Program.LogLevel = "warn" // the events are the show
	}
	if !c.IsSet("POLL_INTERVAL") {
		c.Lever.PollInterval = 2 * time.Second
	}
	c.Program.StateDir = filepath.Join(dataDir, "state") // never that of a real account
	log := newLogger(c.Program, errOut)
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	l, err := sameAddr(ctx, filepath.Join(dataDir, "lever.addr"))
	if err != nil {
		return err
	}
	lever := sandbox.New(o)
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- serveSandbox(serving, l, lever) }()
	defer func() { stopServing(); <-served }()
	c.Lever.APIURL = config.URL("http://" + l.Addr().String() + "/v1")
	c.Lever.Token = config.NewSecret("demo")
	c.NoOAuth() // a refresh token is used up by whoever sends it

	cluster, err := startEmbedded(context.WithoutCancel(ctx), c, dataDir, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()

	screen := newScreen(out, stop)
	screen.printf("simulated Lever:  %s  (%d opportunities, %g changes a minute)\n", c.Lever.APIURL, o.Opportunities, o.ChangesPerMinute)
	screen.printf("Kafka broker:     %s  (topics %s.<table>)\n", cluster.Brokers[0], c.Kafka.TopicPrefix)
	screen.printf("schema registry:  %s\n", cluster.RegistryURL)
	screen.printf("Ctrl-C to stop.\n\n")

	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan error, 1)
	go func() { watched <- watch(watching, c, screen) }()
	err = replicate(ctx, c, pipeline.Options{Logger: log}, func(ctx context.Context, p *pipeline.Pipeline) {
		screen.progress(ctx, p)
	})
	stopWatching()
	if werr := <-watched; werr != nil {
		err = errors.Join(err, werr)
	}
	screen.summary()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}
