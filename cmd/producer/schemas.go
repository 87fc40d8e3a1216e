package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
)

func newSchemas() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schemas",
		Short: "The Avro schemas of the topics",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var key bool
	printCmd := &cobra.Command{
		Use:   "print [TABLE...]",
		Short: "Print the schemas as they are registered, one per line",
		Long: `print prints the value schemas of the given tables, or of all selected ones, exactly
as they are registered under <topic>-value: one JSON text per line. With --key it
prints those of the keys (<topic>-key); there are none with EVENT_KEY=string.`,
		Example: `  producer schemas print opportunities
  EVENT_FORMAT=flat producer schemas print --key postings`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(extractor.Tables(), 0)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				args = c.Lever.Tables
			}
			for _, name := range args {
				codec, err := codecOf(c, name)
				if err != nil {
					return err
				}
				text := codec.ValueSchema()
				if key {
					text = codec.KeySchema()
				}
				if text != "" {
					fmt.Fprintln(cmd.OutOrStdout(), text)
				}
			}
			return nil
		},
	}
	printCmd.Flags().BoolVar(&key, "key", false, "print the schemas of the keys")
	cmd.AddCommand(printCmd)
	return cmd
}

// codecOf returns the codec of a table as the configuration wants it.
func codecOf(c *config.Config, name string) (*avro.Codec, error) {
	tables := extractor.Tables()
	var names []string
	for _, t := range tables {
		if t.Name == name {
			return avro.NewCodec(t, string(c.Kafka.TopicPrefix)+"."+name, pipeline.Format(c.Events), pipeline.KeyFormat(c.Events))
		}
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return nil, usageError{fmt.Errorf("there is no table %q; the tables are %s", name, strings.Join(names, ", "))}
}
