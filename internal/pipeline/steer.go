package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/bookmarks"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/publish"
	"github.com/leverstream/leverstream/offsets"
)

// Errors of steering a pipeline.
var (
	// ErrUnknownTable: no such table is selected.
	ErrUnknownTable = errors.New("is not one of the selected tables")
	// ErrNotRunning: this process does not replicate the account at the moment.
	ErrNotRunning = errors.New("this producer does not replicate the account at the moment; see /readyz")
)

// A RequestError says that something cannot be done as it was asked for.
type RequestError struct {
	// Conflict says that it can be done, but not in the state in which things are.
	Conflict bool
	text     string
}

func (e *RequestError) Error() string { return e.text }

func refused(format string, args ...any) error {
	return &RequestError{text: fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) error {
	return &RequestError{Conflict: true, text: fmt.Sprintf(format, args...)}
}

// An edit is a change of bookmarks that an operator asked for. It is committed while
// nothing reads from Lever, so that no scan under way overwrites it.
type edit struct {
	changes func(w *publish.Writer) ([]cdc.Change, error)
	done    chan error
}

// Pause stops reading a table, until Resume, whatever is restarted meanwhile. The tables
// under it are paused with it. What happens in Lever in the meantime is found by Resume.
func (p *Pipeline) Pause(ctx context.Context, table string) error {
	return p.setPaused(ctx, "pause", table, json.RawMessage("true"))
}

// Resume goes on reading a table that was paused, from where it was.
func (p *Pipeline) Resume(ctx context.Context, table string) error {
	return p.setPaused(ctx, "resume", table, nil)
}

func (p *Pipeline) setPaused(ctx context.Context, action, table string, value json.RawMessage) error {
	if err := p.steerable(table); err != nil {
		return err
	}
	return p.edit(ctx, action, table, func(*publish.Writer) ([]cdc.Change, error) {
		return []cdc.Change{{Table: table, Section: cdc.SectionPaused, Value: value}}, nil
	})
}

// Resnapshot reads a table again from its beginning while changes go on being followed.
// Only what differs is written, or all rows if all is true (see extractor.Resnapshot).
func (p *Pipeline) Resnapshot(ctx context.Context, table string, all bool) error {
	if err := p.steerable(table); err != nil {
		return err
	}
	return p.edit(ctx, "resnapshot", table, func(w *publish.Writer) ([]cdc.Change, error) {
		kind, since := cdc.SnapshotIncremental, w.LSN()
		if all {
			kind = cdc.SnapshotAll
		}
		// What was promised before stays promised.
		var was cdc.Snapshot
		if json.Unmarshal(stateView{w}.Section(table, cdc.SectionSnapshot), &was) == nil && was.Kind == cdc.SnapshotAll && !was.Complete && !all {
			kind, since = was.Kind, was.Since
		}
		return extractor.Resnapshot(table, kind, since), nil
	})
}

// SetBookmarks replaces the bookmarks of tables that are paused, all in one transaction;
// nil resets one. Resumed, the tables are read from there; what is known and has not
// changed makes no event.
func (p *Pipeline) SetBookmarks(ctx context.Context, next map[string]*offsets.Bookmark) error {
	tables := slices.Sorted(maps.Keys(next))
	if len(tables) == 0 {
		return refused("no bookmarks are named")
	}
	for _, table := range tables {
		if err := p.steerable(table); err != nil {
			return err
		}
		if b := next[table]; b != nil {
			if err := bookmarks.Check(table, *b); err != nil {
				return refused("%s", err.Error())
			}
		}
	}
	changes := func(w *publish.Writer) (out []cdc.Change, err error) {
		paused := p.pausedNow(w)
		running := slices.DeleteFunc(slices.Clone(tables), func(t string) bool { return paused[t] })
		if len(running) > 0 {
			return nil, conflict("a bookmark can be set only while its table is paused; POST /tables/{table}/pause first for: %s", strings.Join(running, ", "))
		}
		rows := w.Counts()
		for _, table := range tables {
			c, err := bookmarks.Changes(table, w.Bookmark(table), next[table], rows[table])
			if err != nil {
				return nil, refused("%s", err.Error())
			}
			out = append(out, c...)
		}
		return out, nil
	}
	// What cannot be done is to disturb nobody.
	p.looking.RLock()
	var err error
	if p.writer != nil {
		_, err = changes(p.writer)
	}
	p.looking.RUnlock()
	if err != nil {
		return err
	}
	return p.edit(ctx, "set bookmarks", strings.Join(tables, ","), changes)
}

// Bookmarks returns the committed bookmarks, by table.
func (p *Pipeline) Bookmarks() (map[string]offsets.Bookmark, error) {
	p.looking.RLock()
	defer p.looking.RUnlock()
	if p.writer == nil {
		return nil, ErrNotRunning
	}
	out := map[string]offsets.Bookmark{}
	for _, t := range p.tables {
		out[t.Name] = p.writer.Bookmark(t.Name)
	}
	return out, nil
}

// Selected says whether the table is replicated, or paused.
func (p *Pipeline) Selected(table string) bool {
	return slices.ContainsFunc(p.tables, func(t cdc.Table) bool { return t.Name == table })
}

// steerable says whether the table can be steered in this process, now.
func (p *Pipeline) steerable(table string) error {
	if !p.Selected(table) {
		return fmt.Errorf("%q %w: %s", table, ErrUnknownTable, strings.Join(names(p.tables), ", "))
	}
	if p.o.Once || p.Ready() != nil {
		return ErrNotRunning
	}
	return nil
}

// edit has the changes committed. It returns when they are; action names it in the log.
func (p *Pipeline) edit(ctx context.Context, action, table string, changes func(w *publish.Writer) ([]cdc.Change, error)) error {
	e := edit{changes: changes, done: make(chan error, 1)}
	select {
	case p.edits <- e:
	case <-ctx.Done():
		return fmt.Errorf("%w (%w)", ErrNotRunning, ctx.Err())
	}
	select {
	case err := <-e.done:
		if err == nil {
			p.o.Logger.Info("steered by an operator", "action", action, "table", table)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func names(tables []cdc.Table) []string {
	out := make([]string, len(tables))
	for i, t := range tables {
		out[i] = t.Name
	}
	return out
}

// extract runs an extractor until ctx ends or it fails. For an edit it is stopped and
// another one goes on from the bookmarks.
func (p *Pipeline) extract(ctx context.Context, w *publish.Writer, confidentiality string) error {
	for {
		tables := p.running(w)
		e, err := p.extractor(w, tables, confidentiality)
		if err != nil {
			return err
		}
		if p.o.Once {
			return e.Once(ctx)
		}
		extracting, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			err := e.Run(extracting)
			if err == nil {
				<-extracting.Done() // all tables are paused
			}
			ended <- err
		}()
		select {
		case err := <-ended:
			stop()
			return err
		case change := <-p.edits:
			stop()
			err := <-ended
			var changes []cdc.Change
			var wrong *RequestError
			if err == nil {
				changes, err = change.changes(w)
			}
			if err == nil {
				err = commit(ctx, w, changes)
			}
			change.done <- err
			if err != nil && !errors.As(err, &wrong) {
				return err
			}
		}
	}
}

// commit commits changes of bookmarks.
func commit(ctx context.Context, w *publish.Writer, changes []cdc.Change) error {
	results, err := w.Submit(ctx, &cdc.Unit{Scan: "edit", Changes: changes})
	if err != nil {
		return err
	}
	select {
	case r := <-results:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// running returns the tables that are not paused, and whose parent is not either.
func (p *Pipeline) running(w *publish.Writer) []cdc.Table {
	paused := p.pausedNow(w)
	for table, is := range paused {
		p.status.SetPaused(table, is)
	}
	return slices.DeleteFunc(slices.Clone(p.tables), func(t cdc.Table) bool { return paused[t.Name] })
}

// pausedNow says which tables are paused, or under one that is.
func (p *Pipeline) pausedNow(w *publish.Writer) map[string]bool {
	paused := map[string]bool{}
	for _, t := range p.tables {
		var is bool
		if raw := w.Section(t.Name, cdc.SectionPaused); raw != nil {
			is = json.Unmarshal(raw, &is) == nil && is
		}
		paused[t.Name] = is || paused[t.Parent]
	}
	return paused
}

func (p *Pipeline) extractor(w *publish.Writer, tables []cdc.Table, confidentiality string) (*extractor.Extractor, error) {
	c := p.c.Lever
	return extractor.New(extractor.Config{
		Tables: tables, Lever: p.lever, State: stateView{w}, Sink: w, Clock: p.clock,
		NativeCandidates: c.Candidates == native, Confidentiality: confidentiality, ExcludeConfidential: c.Confidential == "exclude", StartDate: c.StartDate.Time,
		PollInterval: c.PollInterval, RefreshInterval: c.RefreshInterval, SweepInterval: c.SweepInterval, Overlap: c.Overlap,
		DeleteGuard: float64(c.DeleteGuard), Rate: c.Rate, Concurrency: c.Concurrency,
		Logger: p.o.Logger, Status: p.status, Rereads: p.rereads,
	})
}
