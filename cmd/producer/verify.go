package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/consume"
	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/internal/publish"
	"github.com/leverstream/leverstream/internal/verify"
	"github.com/leverstream/leverstream/offsets"
)

func newVerify() *cobra.Command {
	var sample int
	var patience time.Duration
	var asJSON, repair bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare what the topics say with what Lever says now",
		Long: `verify reads every selected table from its topic and from Lever, and compares the
rows field by field. It prints a line for each table and for each row that differs:
its key and the names of the fields, never their values.

A difference is no loss yet: what changed a moment ago is still on its way. Rows
that differ are looked at again, on both sides, for --wait. What agrees then was a
lag and is only counted. What is left is one of

  lag         the table's first snapshot is running, or the table is paused
  changing    Lever served another version each time; verify again
  unattended  no producer replicates the account, so nothing can arrive
  loss        a producer runs, and the row did not arrive

What the producer finds later than --wait is a loss for verify until then: a change
of a reference table or requisition, within REFRESH_INTERVAL, and one that moves no
updatedAt, by the sweep within SWEEP_INTERVAL. A --wait longer than REFRESH_INTERVAL
tells the first from a real loss.

A complete comparison reads all of Lever, as a first load does ("LEVER_RATE" is
shared with the producer: give verify a part of it). --sample N takes N rows of
each table at random, with their children; it does not see rows that are missing in
the topics.

--repair has the running producer read the rows that differ again, through HTTP_ADDR
and ADMIN_TOKEN, and then looks at them once more: a request to Lever for each row,
or for the list of its parent; only what differs is written. Rows that differ even
then are the same for the producer and for Lever, so that the topic has lost them, or
somebody else has written to it: they are written again, as r, and those that Lever
does not have get a tombstone. A table of which more than 500 rows differ is read
whole by a re-snapshot instead, and verify says so.

It exits 1 if a row differed, repaired or not.`,
		Example: `  LEVER_RATE=3 producer verify
  producer verify --sample 100 --wait 5m
  producer verify --json | jq '.differences[] | select(.verdict == "loss")'
  HTTP_ADDR=producer:8080 ADMIN_TOKEN_FILE=/run/secrets/admin producer verify --repair`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if sample < 0 || patience < 0 {
				return usageError{errors.New("--sample and --wait must not be negative")}
			}
			c, err := config.Load(extractor.Tables(), config.NeedLever|config.NeedKafka|config.NeedRegistry)
			if err != nil {
				return err
			}
			log := newLogger(c.Program, cmd.ErrOrStderr())
			vc, err := verification(cmd.Context(), c, log)
			if err != nil {
				return err
			}
			vc.Sample, vc.Patience = sample, patience
			var notes strings.Builder // behind the report
			if repair {
				r, err := newRepairer(c, &notes)
				if err != nil {
					return err
				}
				vc.Repair = r.repair
			}
			report, err := verify.Run(cmd.Context(), vc)
			if len(report.Tables) > 0 {
				err = errors.Join(printReport(cmd.OutOrStdout(), report, asJSON), err)
			}
			fmt.Fprint(cmd.ErrOrStderr(), notes.String())
			if err != nil || len(report.Differences) == 0 {
				return err
			}
			return verdict(report, repair, vc.Attended)
		},
	}
	cmd.Flags().IntVar(&sample, "sample", 0, "compare so many rows of each table, taken at random, with their children; 0 = all")
	cmd.Flags().DurationVar(&patience, "wait", time.Minute, "how long rows that differ are looked at again")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&repair, "repair", false, "have the running producer read the rows that differ again")
	return cmd
}

// verification connects the two sides.
func verification(ctx context.Context, c *config.Config, log *slog.Logger) (verify.Config, error) {
	tables := pipeline.Tables(c)
	parents := map[string]string{}
	for _, t := range tables {
		parents[t.Name] = t.Parent
	}
	clock := cdc.NewClock()
	api, err := pipeline.Lever(c, clock, version(), 0, log)
	if err != nil {
		return verify.Config{}, err
	}
	confidentiality, err := extractor.Confidentiality(ctx, api, tables, c.Lever.Confidential)
	if err != nil {
		return verify.Config{}, err
	}
	wc, err := pipeline.Writer(c, version(), log)
	if err != nil {
		return verify.Config{}, err
	}
	_, attended, err := publish.Owner(ctx, wc)
	if err != nil {
		return verify.Config{}, err
	}
	entries, err := publish.Bookmarks(ctx, wc)
	if err != nil {
		return verify.Config{}, err
	}
	return verify.Config{
		Tables: tables, Masks: wc.Masks, Attended: attended, Logger: log,
		Topic: func(table string) (*consume.Topic, error) { return topicOf(c, table) },
		Behind: func(table string) bool {
			paused := func(b offsets.Bookmark) bool { return string(b.Sections[cdc.SectionPaused]) == "true" }
			b := entries[table].Bookmark
			s, err := b.Snapshot()
			return err != nil || !s.Complete || paused(b) || paused(entries[parents[table]].Bookmark)
		},
		Extractor: extractor.Config{
			Lever: api, Clock: clock, Confidentiality: confidentiality, NativeCandidates: c.Lever.Candidates == "native",
			StartDate: c.Lever.StartDate.Time, PollInterval: c.Lever.PollInterval, RefreshInterval: c.Lever.RefreshInterval,
			Overlap: c.Lever.Overlap, Rate: c.Lever.Rate, Concurrency: c.Lever.Concurrency, Logger: log,
		},
	}, nil
}

// verdict is the error of a report that has differences.
func verdict(r verify.Report, repair, attended bool) error {
	repaired := 0
	for _, d := range r.Differences {
		if d.Repaired {
			repaired++
		}
	}
	switch {
	case repair && !attended:
		return fmt.Errorf("verify: %d rows differ; none was repaired, because no producer replicates the account", len(r.Differences))
	case repair:
		return fmt.Errorf("verify: %d rows differed, %d of them were repaired", len(r.Differences), repaired)
	}
	return fmt.Errorf("verify: %d rows differ", len(r.Differences))
}

func printReport(out io.Writer, r verify.Report, asJSON bool) error {
	if asJSON {
		return printJSON(out, r)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TABLE\tROWS\tLAGGING\tDIFFERENT")
	for _, t := range r.Tables {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", t.Table, t.Rows, t.Lagging, t.Different)
	}
	for i, d := range r.Differences {
		if i == 0 {
			fmt.Fprintln(w, "\nTABLE\tKEY\tVERDICT\tDIFFERENCE")
		}
		line := strings.TrimRight(fmt.Sprintf("%s\t%s\t%s\t%s %s", d.Table, d.Key, d.Verdict, d.What, strings.Join(d.Fields, ", ")), " ")
		if d.Repaired {
			line += " (repaired)"
		}
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}
