package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/publish"
)

// Exit codes, as the help of the program lists them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitOwned  = 4
)

// run executes the command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	checkBuiltIn(root)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "producer:", err)
	}
	return exitCode(err)
}

// usageError is an error of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var usage usageError
	var settings *config.Error
	var owned *publish.OwnedError
	var conflict *publish.ConfigError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), errors.As(err, &settings), errors.As(err, &conflict), errors.Is(err, extractor.ErrOtherAccount), errors.Is(err, extractor.ErrBookmark):
		return exitUsage
	case errors.As(err, &owned):
		return exitOwned
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "producer",
		Short: "Replicate a Lever account into Apache Kafka as change events",
		Long: `producer replicates a Lever account (an applicant tracking system) into Apache
Kafka. Each of the sixteen tables has a topic; every new, changed or deleted row
is an Avro change event there, exactly once, keyed by the row's primary key.

It is configured by environment variables; "producer help config" lists them.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 4 another producer
owns the account.`,
		Example: `  producer demo                        everything simulated, nothing to install
  producer check                       is everything there that it needs?
  producer run --once                  one complete pass, then exit
  producer run                         replicate until stopped
  producer tail opportunities          read a topic
  producer verify --sample 100         do the topics say what Lever says?`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %q", err, cmd.CommandPath()+" --help")}
	})
	root.AddCommand(
		newRun(), newCheck(), newBookmarks(), newPlan(), newVerify(), newDemo(), newSandbox(), newTables(), newSchemas(), newTail(), newVersion(),
		newHealthcheck(), newConfigHelp(),
	)
	return root
}

// usageArgs marks what the check finds as an error of the command line.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; see %q", err, cmd.CommandPath()+" --help")}
		}
		return nil
	}
}
