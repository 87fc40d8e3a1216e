package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/check"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
)

func newSchemas() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schemas",
		Short: "The Avro schemas of the topics",
		Long: `schemas prints the Avro schemas of the topics, checks them against a registry, and
registers them. Subjects are <topic>-key and <topic>-value.`,
		Example: `  producer schemas print opportunities | jq .
  producer schemas check
  producer schemas register`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
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
		ValidArgsFunction: completeTables(0),
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
				if text == "" {
					continue
				}
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
					return err
				}
			}
			return nil
		},
	}
	printCmd.Flags().BoolVar(&key, "key", false, "print the schemas of the keys")
	cmd.AddCommand(printCmd, newSchemasCheck(), newSchemasRegister())
	return cmd
}

// subjectsOf returns the subjects of the named tables, or of all selected ones, and a
// client of the registry.
func subjectsOf(cmd *cobra.Command, tables []string) ([]check.Subject, *avro.Registry, error) {
	c, err := config.Load(extractor.Tables(), config.NeedRegistry)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range tables {
		if _, err := codecOf(c, name); err != nil {
			return nil, nil, err
		}
	}
	if len(tables) == 0 {
		tables = c.Lever.Tables
	}
	c.Lever.Tables = tables
	c.Registry.Register = true // the command is asked to, whatever a producer may do
	subjects, err := check.Subjects(c, tables)
	if err != nil {
		return nil, nil, err
	}
	registry, err := pipeline.Registry(c, newLogger(c.Program, cmd.ErrOrStderr()))
	return subjects, registry, err
}

func newSchemasCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check [TABLE...]",
		Short: "Look up the schemas in the registry, and whether they are compatible",
		Long: `check prints a line for each subject of the given tables, or of all selected ones:

  registered    the subject has this schema
  missing       the subject does not exist; the schema would be its first
  compatible    the subject has other schemas, and this one may follow them
  incompatible  it may not; the registry's reasons follow

It registers nothing, and exits 1 if a schema is incompatible.`,
		Example:           "  producer schemas check\n  producer schemas check opportunities",
		ValidArgsFunction: completeTables(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			subjects, registry, err := subjectsOf(cmd, args)
			if err != nil {
				return err
			}
			bad := 0
			for _, s := range subjects {
				standing, reasons, err := registry.Stand(cmd.Context(), s.Name, s.Schema)
				if err != nil {
					return err
				}
				if standing == avro.Incompatible {
					bad++
				}
				fmt.Fprintln(cmd.OutOrStdout(), strings.TrimRight(fmt.Sprintf("%-12s  %s  %s", standing, s.Name, reasons), " "))
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d subjects hold schemas with which this program's are not compatible: use another KAFKA_TOPIC_PREFIX, or delete the subjects if nothing reads them", bad, len(subjects))
			}
			return nil
		},
	}
}

func newSchemasRegister() *cobra.Command {
	return &cobra.Command{
		Use:   "register [TABLE...]",
		Short: "Register the schemas, for producers that may not",
		Long: `register registers the schemas of the given tables, or of all selected ones, that the
registry does not have yet, and prints the ids of all. Subjects that it creates get
the compatibility FULL_TRANSITIVE. Use it in a pipeline, beside producers that run
with SCHEMA_REGISTRY_REGISTER=false, whose EVENT_FORMAT, EVENT_KEY and
KAFKA_TOPIC_PREFIX must be set here, too.`,
		Example:           "  KAFKA_TOPIC_PREFIX=hr producer schemas register",
		ValidArgsFunction: completeTables(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			subjects, registry, err := subjectsOf(cmd, args)
			if err != nil {
				return err
			}
			for _, s := range subjects {
				id, err := registry.Register(cmd.Context(), s.Name, s.Schema)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%6d  %s\n", id, s.Name)
			}
			return nil
		},
	}
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
