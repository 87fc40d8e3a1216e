package main

import (
	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/extractor"
)

// completeTables completes the first most arguments with the names of tables; 0 means all.
func completeTables(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, t := range extractor.Tables() {
			names = append(names, t.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
