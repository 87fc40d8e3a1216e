package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/server"
)

// newConfigHelp is a help topic: "producer help config".
func newConfigHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "The environment variables that configure the program",
		Long:  "The program is configured by environment variables. Every secret can be given in a\nfile, by the variable's name with _FILE.\n\n" + config.Help(),
	}
}

// checkBuiltIn has cobra's own commands, help and completion, refuse arguments that mean
// nothing, as all others do.
func checkBuiltIn(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = namesCommand
		case "completion":
			cmd.Args, cmd.RunE = usageArgs(cobra.NoArgs), func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = usageArgs(cobra.NoArgs)
			}
		}
	}
}

// namesCommand wants the name of a command, or nothing.
func namesCommand(help *cobra.Command, args []string) error {
	found, rest, err := help.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return usageError{fmt.Errorf("there is no command %q; see %q", strings.Join(args, " "), found.CommandPath()+" --help")}
	}
	return nil
}

func newHealthcheck() *cobra.Command {
	return &cobra.Command{
		Use:     "healthcheck",
		Short:   "Ask a running producer on this machine whether it is ready",
		Long:    "healthcheck asks /readyz at HTTP_ADDR and exits 0 if the producer is ready: for\ncontainers without a shell.",
		Example: "  HTTP_ADDR=127.0.0.1:8080 producer healthcheck",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(extractor.Tables(), 0)
			if err != nil {
				return err
			}
			if c.Program.HTTPAddr == "" {
				return usageError{errors.New("HTTP_ADDR is off: there is nothing to ask")}
			}
			return server.Probe(cmd.Context(), string(c.Program.HTTPAddr))
		},
	}
}
