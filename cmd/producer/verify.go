package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
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

A change that moves no updatedAt is found by the sweep, within SWEEP_INTERVAL, and
is a loss for verify until then.

A complete comparison reads all of Lever, as a first load does ("LEVER_RATE" is
shared with the producer: give verify a part of it). --sample N takes N rows of
each table at random, with their children; it does not see rows that are missing in
the topics. --repair has the running producer read the tables that differ again, by
a re-snapshot through HTTP_ADDR and ADMIN_TOKEN; only what differs is written.

It exits 1 if a difference is left.`,
		Example: `  LEVER_RATE=3 producer verify
  producer verify --sample 100 --wait 5m
  producer verify --json | jq '.differences[] | select(.verdict == "loss")'
  HTTP_ADDR=producer:8080 ADMIN_TOKEN_FILE=/run/secrets/admin producer verify --sample 100 --repair`,
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
			report, err := verify.Run(cmd.Context(), vc)
			if err != nil {
				return err
			}
			if err := printReport(cmd.OutOrStdout(), report, asJSON); err != nil {
				return err
			}
			if len(report.Differences) == 0 {
				return nil
			}
			if repair {
				if err := resnapshot(cmd.Context(), c, report, cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			return fmt.Errorf("verify: %d rows differ", len(report.Differences))
		},
	}
	cmd.Flags().IntVar(&sample, "sample", 0, "compare so many rows of each table, taken at random, with their children; 0 = all")
	cmd.Flags().DurationVar(&patience, "wait", time.Minute, "how long rows that differ are looked at again")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&repair, "repair", false, "have the running producer read the tables that differ again")
	return cmd
}

// verification connects the two sides.
func verification(ctx context.Context, c *config.Config, log *slog.Logger) (verify.Config, error) {
	tables := pipeline.Tables(c)
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
			b := entries[table].Bookmark
			s, err := b.Snapshot()
			return err != nil || !s.Complete || string(b.Sections[cdc.SectionPaused]) == "true"
		},
		Extractor: extractor.Config{
			Lever: api, Clock: clock, Confidentiality: confidentiality, NativeCandidates: c.Lever.Candidates == "native",
			StartDate: c.Lever.StartDate.Time, PollInterval: c.Lever.PollInterval, RefreshInterval: c.Lever.RefreshInterval,
			Overlap: c.Lever.Overlap, Rate: c.Lever.Rate, Concurrency: c.Lever.Concurrency, Logger: log,
		},
	}, nil
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
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s\t%s\t%s\t%s %s", d.Table, d.Key, d.Verdict, d.What, strings.Join(d.Fields, ", ")), " "))
	}
	return w.Flush()
}

// resnapshot asks the running producer to read the tables that differ again.
func resnapshot(ctx context.Context, c *config.Config, r verify.Report, out io.Writer) error {
	if c.Program.HTTPAddr == "" {
		return usageError{errors.New("HTTP_ADDR is off: --repair needs the address of the running producer")}
	}
	token, err := c.Program.AdminToken.Read()
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 30 * time.Second}
	for _, t := range r.Tables {
		if t.Different == 0 {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+string(c.Program.HTTPAddr)+"/tables/"+t.Table+"/resnapshot", nil)
		if err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("repair: ask the producer at HTTP_ADDR=%s: %w", c.Program.HTTPAddr, err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode >= 300 {
			return fmt.Errorf("repair: the producer at HTTP_ADDR=%s answers %s for table %s; check ADMIN_TOKEN, and that it replicates the account", c.Program.HTTPAddr, resp.Status, t.Table)
		}
		fmt.Fprintf(out, "%s: read again by the running producer; verify once more when its snapshot is complete\n", t.Table)
	}
	return nil
}
