package main

import (
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"
)

func newTables() *cobra.Command {
	return &cobra.Command{
		Use:     "tables",
		Short:   "Print the catalogue of tables",
		Long:    "tables prints every table: how its changes are found, its primary key, its parent,\nwhere it is read from, whether LEVER_TABLES selects it, and its topic.",
		Example: "  producer tables\n  LEVER_TABLES=opportunities,postings producer tables",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(extractor.Tables(), 0)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "TABLE\tMETHOD\tKEY\tPARENT\tENDPOINT\tSELECTED\tTOPIC")
			for _, t := range extractor.Tables() {
				selected := "no"
				if slices.Contains(c.Lever.Tables, t.Name) {
					selected = "yes"
				}
				parent := t.Parent
				if parent == "" {
					parent = "-"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s.%s\n", t.Name, t.Method, t.Key, parent, t.Endpoint, selected, c.Kafka.TopicPrefix, t.Name)
			}
			return w.Flush()
		},
	}
}
