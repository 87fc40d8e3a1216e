package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/check"
	"github.com/leverstream/leverstream/internal/config"
)

func newCheck() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look at everything a producer needs, and say what is missing",
		Long: `check is the preflight. It looks at

  Lever            credentials, permission for each endpoint (asked once, for one
                   record), the right to confidential rows, the rate limit
  Kafka            brokers, rights on topics and the transactional id, how existing
                   topics differ from what they should be, who owns the account
  schema registry  reachability, and whether this program's schemas are registered
                   or compatible
  state            whether STATE_DIR can be written

and prints a line for each: ok, warning or failed, and what to do. It changes
nothing, and does not disturb a producer that runs. With --json it prints one JSON
document.

It exits 1 if anything failed.`,
		Example: `  producer check
  producer check --json | jq '.results[] | select(.status == "failed")'`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(extractor.Tables(), config.NeedLever|config.NeedKafka|config.NeedRegistry)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			results := check.Run(cmd.Context(), c, version(), func(r check.Result) {
				if asJSON {
					return
				}
				line := fmt.Sprintf("%-8s %-16s %s: %s", r.Status, r.System, r.Check, r.Text)
				if r.Fix != "" {
					line += "  -> " + r.Fix
				}
				fmt.Fprintln(out, line)
			})
			failed := check.Count(results, check.Failed)
			if asJSON {
				err = printJSON(out, map[string]any{"results": results, "failed": failed, "warnings": check.Count(results, check.Warning)})
				if err != nil {
					return err
				}
			}
			if failed > 0 {
				return fmt.Errorf("check: %d of %d checks failed", failed, len(results))
			}
			return cmd.Context().Err()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}
