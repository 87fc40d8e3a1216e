package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/bookmarks"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/internal/publish"
)

func newBookmarks() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bookmarks",
		Short: "Look at the bookmarks, and edit them while no producer runs",
		Long: `bookmarks reads and edits the account's replication bookmarks: where the work on
each table stands, as JSON in the compacted topic KAFKA_BOOKMARKS_TOPIC.

list, get and export may be used at any time. set, reset and import are refused
while a producer owns the account (exit code 4), because it would not see the edit.
Stop it first, or use --take-over: the edit then fences the producer for a moment,
which finds that out at its next commit and goes on from the edited bookmarks (or,
if it looks in that very moment, exits 4 and must be started again).

A running producer takes edits of paused tables by HTTP: PATCH and DELETE /bookmarks
(docs/http.md).

An edit is one transaction: all of it is written, or nothing. What has not changed
in Lever makes no event when it is read again.`,
		Example: `  producer bookmarks list
  producer bookmarks export > bookmarks.json
  producer bookmarks reset postings`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBookmarksList(), newBookmarksGet(), newBookmarksSet(), newBookmarksReset(), newBookmarksExport(), newBookmarksImport())
	return cmd
}

// atKafka loads the configuration of a command that reads or writes bookmarks.
func atKafka(cmd *cobra.Command, takeOver bool) (publish.Config, error) {
	c, err := config.Load(extractor.Tables(), config.NeedKafka)
	if err != nil {
		return publish.Config{}, err
	}
	wc, err := pipeline.Writer(c, version(), newLogger(c.Program, cmd.ErrOrStderr()))
	wc.Instance, wc.TakeOver = uuid.NewString(), takeOver
	return wc, err
}

func newBookmarksList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Print a line for each bookmark, and who owns the account",
		Long:    "list prints a line for each bookmark: whether the table's snapshot is complete, the\nlog sequence number of the last event it covers, whether it is paused, and the names\nof its sections. The last line says who owns the account.",
		Example: "  producer bookmarks list\n  producer bookmarks list --json | jq '.bookmarks[] | select(.snapshot != \"complete\")'",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			wc, err := atKafka(cmd, false)
			if err != nil {
				return err
			}
			entries, err := publish.Bookmarks(cmd.Context(), wc)
			if err != nil {
				return err
			}
			lines := bookmarks.List(entries)
			if len(entries) == 0 && !asJSON {
				fmt.Fprintf(cmd.OutOrStdout(), "no bookmarks in topic %s: nothing was replicated yet\n", wc.BookmarksTopic)
				return nil
			}
			owner, live, err := publish.Owner(cmd.Context(), wc)
			if err != nil && len(entries) > 0 {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"account": wc.Account, "bookmarks": lines, "owner": owner, "owner_live": live})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "TABLE\tSNAPSHOT\tLSN\tPAUSED\tSECTIONS")
			for _, l := range lines {
				sections := strings.Join(l.Sections, " ")
				if l.Err != "" {
					sections = l.Err
				}
				fmt.Fprintf(w, "%s\t%s\t%d\t%t\t%s\n", l.Table, l.Snapshot, l.LSN, l.Paused, sections)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if !live {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "account %s has no owner now\n", wc.Account)
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "account %s is owned by instance %s on host %s, process %d, since %s\n",
				wc.Account, owner.Instance, owner.Host, owner.PID, time.UnixMilli(owner.Started).UTC().Format(time.RFC3339))
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func newBookmarksGet() *cobra.Command {
	return &cobra.Command{
		Use:     "get TABLE",
		Short:   "Print a table's bookmark as JSON",
		Long:    "get prints the bookmark exactly as it stands in the topic, also if it is damaged.",
		Example: "  producer bookmarks get opportunities | jq .snapshot",
		Args:    usageArgs(cobra.ExactArgs(1)),

		ValidArgsFunction: completeTables(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := bookmarks.Known(args[0]); err != nil {
				return usageError{err}
			}
			wc, err := atKafka(cmd, false)
			if err != nil {
				return err
			}
			entries, err := publish.Bookmarks(cmd.Context(), wc)
			if err != nil {
				return err
			}
			e, ok := entries[args[0]]
			if !ok {
				return fmt.Errorf("table %s has no bookmark; it is read from its beginning at the next start", args[0])
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(e.Value))
			return err
		},
	}
}

// editing adds what the commands that edit have in common.
func editing(cmd *cobra.Command, prepare func(account string, args []string) (bookmarks.Edit, []string, error)) *cobra.Command {
	var takeOver bool
	cmd.Flags().BoolVar(&takeOver, "take-over", false, "fence a producer that owns the account for the moment of the edit, instead of refusing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		wc, err := atKafka(cmd, takeOver)
		if err != nil {
			return err
		}
		edit, notes, err := prepare(wc.Account, args)
		if err != nil {
			return usageError{err}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
		defer cancel()
		if err := publish.EditBookmarks(ctx, wc, edit); err != nil {
			return err
		}
		for _, n := range notes {
			fmt.Fprintln(cmd.OutOrStdout(), n)
		}
		return nil
	}
	return cmd
}

func newBookmarksSet() *cobra.Command {
	var section string
	cmd := editing(&cobra.Command{
		Use:   "set TABLE VALUE",
		Short: "Replace a table's bookmark, or one section of it",
		Long: `set replaces the bookmark of a table by VALUE, JSON as "get" prints it; - reads it
from standard input. Where VALUE has no lsn or incarnation, those of the present
bookmark stay. With --section only that section is replaced; null removes it.

Unknown sections and members are refused: they would be ignored in silence.`,
		Example: `  producer bookmarks set opportunities --section increment '{"cursor":1795460500000}'
  producer bookmarks set stages --section paused true
  producer bookmarks get postings | producer bookmarks set postings -`,
		Args:              usageArgs(cobra.ExactArgs(2)),
		ValidArgsFunction: completeTables(1),
	}, func(_ string, args []string) (bookmarks.Edit, []string, error) {
		value := []byte(args[1])
		if args[1] == "-" {
			var err error
			if value, err = readInput("-"); err != nil {
				return nil, nil, err
			}
		}
		edit, err := bookmarks.Set(args[0], section, value)
		return edit, []string{args[0] + ": set"}, err
	})
	cmd.Flags().StringVar(&section, "section", "", "replace this section only")
	return cmd
}

func newBookmarksReset() *cobra.Command {
	var all bool
	cmd := editing(&cobra.Command{
		Use:   "reset TABLE...",
		Short: "Remove bookmarks, so that the tables are read again from their beginning",
		Long: `reset removes the bookmarks of the named tables, or with --all of every table. They
are read again from their beginning; rows that have not changed make no event. Rows
that were deleted in Lever meanwhile are found by the sweep. To read a table again
while the producer runs, use a re-snapshot (docs/operating.md) instead.`,
		Example: "  producer bookmarks reset postings requisitions\n  producer bookmarks reset --all",

		ValidArgsFunction: completeTables(0),
	}, func(_ string, args []string) (bookmarks.Edit, []string, error) {
		if all != (len(args) == 0) {
			return nil, nil, errors.New("name the tables to reset, or use --all")
		}
		if all {
			for _, t := range extractor.Tables() {
				args = append(args, t.Name)
			}
		}
		edit, err := bookmarks.Reset(args)
		var notes []string
		for _, t := range args {
			notes = append(notes, t+": reset")
		}
		return edit, notes, err
	})
	cmd.Flags().BoolVar(&all, "all", false, "reset every table")
	return cmd
}

func newBookmarksExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Print all bookmarks as one JSON document",
		Long: `export prints all bookmarks in the form of Kafka Connect's offsets API:

  {"account":"default","offsets":[{"partition":{"table":"stages"},"offset":{...}}]}`,
		Example: "  producer bookmarks export > bookmarks.json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			wc, err := atKafka(cmd, false)
			if err != nil {
				return err
			}
			entries, err := publish.Bookmarks(cmd.Context(), wc)
			if err != nil {
				return err
			}
			d, err := bookmarks.Export(wc.Account, entries)
			if err != nil {
				return err
			}
			text, err := d.Marshal()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}

func newBookmarksImport() *cobra.Command {
	return editing(&cobra.Command{
		Use:   "import FILE",
		Short: "Set bookmarks from an export, or from the state of tap-lever",
		Long: `import reads FILE (- for standard input) and sets the bookmarks in it; tables that
it does not name stay, an offset of null resets its table. It reads

  - what "export" writes. Bookmarks of another cluster or topic are accepted, and
    then have all rows of their tables written again at the next start;
  - the state.json of the Singer tap tap-lever (also inside a STATE message, or as
    Meltano keeps it), so that its users can move without a gap. Every row that was
    updated (requisitions: created) since a stream's last_record is read at once,
    and the feeds of deletions from there on, before and while the first snapshot
    reads every row; candidates and opportunities, which are one listing, from the
    earlier of the two. Reference tables, offers, referrals and resumes are read
    whole. Nothing is left out because the tap has read it: the topics are to hold
    every row.`,
		Example: `  producer bookmarks import bookmarks.json
  meltano state get dev:tap-lever-to-warehouse | producer bookmarks import -`,
		Args: usageArgs(cobra.ExactArgs(1)),
	}, func(account string, args []string) (bookmarks.Edit, []string, error) {
		text, err := readInput(args[0])
		if err != nil {
			return nil, nil, err
		}
		return bookmarks.Import(account, text)
	})
}

// mostInput bounds what is read from a file or from standard input.
const mostInput = 64 << 20

// readInput reads a file, or standard input if its name is -.
func readInput(name string) ([]byte, error) {
	f := os.Stdin
	if name != "-" {
		var err error
		if f, err = os.Open(name); err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
	}
	text, err := io.ReadAll(io.LimitReader(f, mostInput+1))
	if err == nil && len(text) > mostInput {
		err = fmt.Errorf("%s is larger than %d MiB; is it the right file?", name, mostInput>>20)
	}
	return text, err
}

// printJSON prints a document for programs.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
