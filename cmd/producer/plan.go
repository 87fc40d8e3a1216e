package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
)

func newPlan() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say what a first load of this account costs, and following it after that",
		Long: `plan sends Lever about 50 to 170 cheap requests and prints rows, requests and time
of a first load for each selected table, at the configured LEVER_RATE, and what
following the account costs then.

It is exact for up to a hundred opportunities and for lists of up to 2,000 rows; "≥"
says that a list is longer. The number of opportunities of a larger account is
estimated from random samples of its past, and that of their children, in every
account, from sixteen of them; ± is two standard errors. Requests of the first load
depend almost only on the number of opportunities.`,
		Example: "  producer plan\n  LEVER_RATE=5 producer plan --json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(extractor.Tables(), config.NeedLever)
			if err != nil {
				return err
			}
			client, err := pipeline.Lever(c, cdc.NewClock(), version(), 0, newLogger(c.Program, cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			defer client.Close()
			tables := pipeline.Tables(c)
			confidentiality, err := extractor.Confidentiality(cmd.Context(), client, tables, c.Lever.Confidential)
			if err != nil {
				return err
			}
			plan, err := extractor.PlanFor(cmd.Context(), extractor.Config{
				Tables: tables, Lever: client, Confidentiality: confidentiality, NativeCandidates: c.Lever.Candidates == "native",
				Rate: c.Lever.Rate, StartDate: c.Lever.StartDate.Time, PollInterval: c.Lever.PollInterval,
				RefreshInterval: c.Lever.RefreshInterval, SweepInterval: c.Lever.SweepInterval,
			})
			if err != nil {
				return err
			}
			if asJSON {
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetIndent("", "  ")
				return out.Encode(plan)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), planText(plan, c.Lever.PollInterval, c.Lever.RefreshInterval))
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// planText is the plan for people.
func planText(p extractor.Plan, poll, refresh time.Duration) string {
	const line = "%-48s %9s %9s %10s %9s\n"
	out := &strings.Builder{}
	fmt.Fprintf(out, line, "TABLE", "ROWS", "±", "REQUESTS", "TIME")
	for _, t := range p.Tables {
		if t.Problem != "" {
			fmt.Fprintf(out, line+"    %s\n", t.Table, "?", "?", "?", "?", t.Problem)
			continue
		}
		rows, table, requests, took := strconv.FormatInt(t.Rows, 10), t.Table, strconv.FormatInt(t.Requests, 10), hours(t.Hours)
		if t.AtLeast {
			rows = "≥ " + rows
		}
		if t.With != "" {
			table, requests, took = table+" (with "+t.With+")", "", ""
		}
		fmt.Fprintf(out, line, table, rows, strconv.FormatInt(t.Error, 10), requests, took)
	}
	fmt.Fprintf(out, line, fmt.Sprintf("first load at %g requests a second", p.Rate), "", "", strconv.FormatInt(p.Requests, 10), hours(p.Hours))
	i := p.Idle
	fmt.Fprintf(out, `
Following it takes %.1f%% of the rate while nothing changes:
  %5.2f requests a second for polls (%d every %s)
  %5.2f for full lists (every %s)
`, 100*i.Share, i.Poll, i.PollRequests, poll, i.Refresh, refresh)
	if i.SweepSeconds > 0 {
		fmt.Fprintf(out, "  %5.2f for the sweep, which reads everything again within %s\n", i.Sweep, hours(i.SweepSeconds/3600))
	} else {
		fmt.Fprintln(out, "  no sweep (SWEEP_INTERVAL=0): what changes without a trace is not found")
	}
	fmt.Fprintf(out, "Each changed opportunity takes %d more. This plan took %d requests.\n", p.ChangeRequests, p.Asked)
	return out.String()
}

// hours is a time for people.
func hours(h float64) string {
	d := time.Duration(h * float64(time.Hour))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 72*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
	return fmt.Sprintf("%.1f days", d.Hours()/24)
}
