package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/consume"
	"github.com/leverstream/leverstream/internal/mask"
)

// Verdict says what a difference means.
type Verdict string

// The verdicts.
const (
	// Lag: the row agreed when it was looked at again, or its table is still being read
	// for the first time, or is paused.
	Lag Verdict = "lag"
	// Changing: Lever served another version each time. Verify again.
	Changing Verdict = "changing"
	// Unattended: no producer replicates the account, so nothing can arrive.
	Unattended Verdict = "unattended"
	// Loss: a producer runs, and the row did not arrive within the patience. A change
	// that moves no updatedAt is found by the sweep, within SWEEP_INTERVAL; anything else
	// is a fault.
	Loss Verdict = "loss"
)

// Difference is a row on which the topics and Lever do not agree.
type Difference struct {
	Table string `json:"table"`
	Key   string `json:"key"`
	// What is "missing" (only Lever has the row), "extra" (only the topic has it) or
	// "differs".
	What string `json:"what"`
	// Fields are the names of the fields that differ.
	Fields  []string `json:"fields,omitempty"`
	Verdict Verdict  `json:"verdict"`
	// Repaired says that the two sides agree after the row was read again.
	Repaired bool `json:"repaired,omitempty"`
}

// Count is the result for one table.
type Count struct {
	Table string `json:"table"`
	// Rows were compared; Lagging of them agreed only when looked at again; Different did
	// not agree at all.
	Rows      int `json:"rows"`
	Lagging   int `json:"lagging"`
	Different int `json:"different"`
}

// Report is the result.
type Report struct {
	Tables      []Count      `json:"tables"`
	Differences []Difference `json:"differences"`
}

// Config says what is compared. All fields are required unless they say otherwise.
type Config struct {
	Tables []cdc.Table
	// Topic returns the topic of a table, to be read from its beginning.
	Topic func(table string) (*consume.Topic, error)
	Masks *mask.Rules // optional
	// Extractor are the settings with which Lever is read; Tables, State, Sink and
	// SweepInterval are set here.
	Extractor extractor.Config
	// Sample is how many rows of each table that is not a child are compared, with their
	// children; 0 means everything. Rows that only Lever has are not found by a sample.
	Sample int
	// Patience is how long rows that differ are looked at again.
	Patience time.Duration
	// Attended says whether a producer replicates the account, and Behind whether a table
	// is still being read for the first time, or is paused.
	Attended bool
	Behind   func(table string) bool
	// Repair has the running producer read rows again and waits until it has; with write
	// it writes them although they have not changed for it. Optional.
	Repair func(ctx context.Context, rows []cdc.Again, write bool) error
	Logger *slog.Logger
}

// pause is the time between two looks at rows that differ.
const pause = 2 * time.Second

type verification struct {
	Config
	printers map[string]*printer
	topics   map[string]*consume.Topic
	held     map[cdc.Ref]fingerprint // what the topics hold
	parents  map[cdc.Ref]string
	lever    *collector
	reader   *extractor.Extractor
	// sampled are the rows of parent tables in the sample; nil means all.
	sampled map[cdc.Ref]bool
}

// Run compares. The error says that a side could not be read.
func Run(ctx context.Context, c Config) (Report, error) {
	v := &verification{
		Config: c, printers: map[string]*printer{}, topics: map[string]*consume.Topic{},
		held: map[cdc.Ref]fingerprint{}, parents: map[cdc.Ref]string{},
	}
	for _, t := range c.Tables {
		var err error
		if v.printers[t.Name], err = newPrinter(t, c.Masks.Table(t.Name)); err != nil {
			return Report{}, err
		}
		if v.topics[t.Name], err = c.Topic(t.Name); err != nil {
			return Report{}, err
		}
	}
	v.lever = newCollector(func(r cdc.Row) (fingerprint, error) { return v.printers[r.Table].record(r) })
	x := c.Extractor
	x.Tables, x.State, x.Sink, x.SweepInterval = c.Tables, v.lever, v.lever, 0
	x.DeleteGuard = 1 // nothing is deleted here
	var err error
	if v.reader, err = extractor.New(x); err != nil {
		return Report{}, err
	}
	return v.run(ctx)
}

func (v *verification) run(ctx context.Context) (Report, error) {
	if err := v.readTopics(ctx); err != nil {
		return Report{}, err
	}
	if err := v.readLever(ctx); err != nil {
		return Report{}, fmt.Errorf("read Lever: %w", err)
	}
	if err := v.readTopics(ctx); err != nil {
		return Report{}, err
	}
	counts := map[string]*Count{}
	for _, t := range v.Tables {
		counts[t.Name] = &Count{Table: t.Name}
	}
	all := v.all()
	for _, ref := range all {
		counts[ref.Table].Rows++
	}
	first := v.compare(all)
	left := maps.Clone(first)
	changing := map[cdc.Ref]bool{}
	for deadline := time.Now().Add(v.Patience); len(left) > 0 && v.Attended && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return Report{}, ctx.Err()
		case <-time.After(pause):
		}
		before := map[cdc.Ref]known{}
		for ref := range left {
			before[ref], _ = v.lever.get(ref)
		}
		if err := v.lookAgain(ctx, left); err != nil {
			return Report{}, err
		}
		for ref, was := range before {
			now, _ := v.lever.get(ref)
			changing[ref] = !slices.Equal(was.fields, now.fields)
		}
		left = v.compare(slices.Collect(maps.Keys(left)))
	}
	report := Report{Differences: []Difference{}}
	for ref := range first {
		if _, still := left[ref]; !still {
			counts[ref.Table].Lagging++
		}
	}
	for _, ref := range slices.SortedFunc(maps.Keys(left), byTableAndKey) {
		d := left[ref]
		counts[ref.Table].Different++
		switch {
		case v.Behind(ref.Table):
			d.Verdict = Lag
		case !v.Attended:
			d.Verdict = Unattended
		case changing[ref]:
			d.Verdict = Changing
		default:
			d.Verdict = Loss
		}
		report.Differences = append(report.Differences, d)
	}
	for _, t := range v.Tables {
		report.Tables = append(report.Tables, *counts[t.Name])
	}
	return report, v.repair(ctx, &report, left)
}

// repair has the rows read again that were lost. Those that still differ then are the same
// for the producer and for Lever: their topic has lost them, or was written to by others,
// and they are written again.
func (v *verification) repair(ctx context.Context, report *Report, left map[cdc.Ref]Difference) error {
	if v.Repair == nil || !v.Attended {
		return nil
	}
	maps.DeleteFunc(left, func(ref cdc.Ref, _ Difference) bool { return v.Behind(ref.Table) })
	for _, write := range []bool{false, true} {
		if len(left) == 0 {
			return nil
		}
		if err := v.Repair(ctx, v.places(slices.SortedFunc(maps.Keys(left), byTableAndKey)), write); err != nil {
			return err
		}
		if err := v.lookAgain(ctx, left); err != nil {
			return err
		}
		still := v.compare(slices.Collect(maps.Keys(left)))
		for i, d := range report.Differences {
			ref := cdc.Ref{Table: d.Table, Key: d.Key}
			_, was := left[ref]
			_, is := still[ref]
			if was && !is {
				report.Differences[i].Repaired = true
			}
		}
		left = still
	}
	return nil
}

func byTableAndKey(a, b cdc.Ref) int {
	if a.Table != b.Table {
		if a.Table < b.Table {
			return -1
		}
		return 1
	}
	switch {
	case a.Key < b.Key:
		return -1
	case a.Key > b.Key:
		return 1
	}
	return 0
}

// readTopics folds what is new in the topics.
func (v *verification) readTopics(ctx context.Context) error {
	for _, t := range v.Tables {
		p := v.printers[t.Name]
		err := v.topics[t.Name].Read(ctx, false, func(e consume.Event) error {
			ref := cdc.Ref{Table: t.Name, Key: e.Key}
			row := e.Row()
			if row == nil {
				delete(v.held, ref)
				return nil
			}
			fields, err := p.row(row)
			if err != nil {
				return err
			}
			v.held[ref] = fields
			if len(t.ParentFields) > 0 {
				v.parents[ref], _ = row[t.ParentFields[0]].(string)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readLever reads everything, or the sample.
func (v *verification) readLever(ctx context.Context) error {
	if v.Sample == 0 {
		return v.reader.Once(ctx)
	}
	v.sampled = map[cdc.Ref]bool{}
	var rows []cdc.Again
	for _, t := range v.Tables {
		if t.Parent != "" {
			continue
		}
		var keys []string
		for ref := range v.held {
			if ref.Table == t.Name {
				keys = append(keys, ref.Key)
			}
		}
		rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		for _, key := range keys[:min(v.Sample, len(keys))] {
			ref := cdc.Ref{Table: t.Name, Key: key}
			v.sampled[ref] = true
			rows = append(rows, cdc.Again{Ref: ref})
			for _, child := range v.Tables {
				if child.Parent == t.Name {
					rows = append(rows, cdc.Again{Ref: cdc.Ref{Table: child.Name}, Parent: key})
				}
			}
		}
	}
	return v.reader.Reread(ctx, rows)
}

// inSample says whether the row is to be compared.
func (v *verification) inSample(ref cdc.Ref) bool {
	t := v.printers[ref.Table].table
	if v.sampled == nil {
		return true
	}
	if t.Parent == "" {
		return v.sampled[ref]
	}
	parent := v.parents[ref]
	if k, ok := v.lever.get(ref); ok {
		parent = k.parent
	}
	return v.sampled[cdc.Ref{Table: t.Parent, Key: parent}]
}

// all returns every row that is to be compared.
func (v *verification) all() []cdc.Ref {
	refs := map[cdc.Ref]bool{}
	for ref := range v.held {
		refs[ref] = true
	}
	for _, t := range v.Tables {
		for _, key := range v.lever.keys(t.Name) {
			refs[cdc.Ref{Table: t.Name, Key: key}] = true
		}
	}
	return slices.DeleteFunc(slices.Collect(maps.Keys(refs)), func(r cdc.Ref) bool { return !v.inSample(r) })
}

// compare returns the rows that differ.
func (v *verification) compare(refs []cdc.Ref) map[cdc.Ref]Difference {
	out := map[cdc.Ref]Difference{}
	for _, ref := range refs {
		d := Difference{Table: ref.Table, Key: ref.Key}
		lever, there := v.lever.get(ref)
		held, here := v.held[ref]
		switch {
		case there && !here:
			d.What = "missing"
		case here && !there:
			d.What = "extra"
		case here && there:
			d.What, d.Fields = "differs", v.printers[ref.Table].differing(held, lever.fields, lever.claimed)
			if len(d.Fields) == 0 {
				continue
			}
		default:
			continue
		}
		out[ref] = d
	}
	return out
}

// lookAgain reads the rows from Lever, and what has come to the topics since.
func (v *verification) lookAgain(ctx context.Context, left map[cdc.Ref]Difference) error {
	err := v.reader.Reread(ctx, v.places(slices.Collect(maps.Keys(left))))
	switch {
	case errors.Is(err, cdc.ErrUnavailable):
		v.Logger.Warn("cannot look at rows again; trying until the patience is over", "error", err)
	case err != nil:
		return fmt.Errorf("read Lever: %w", err)
	}
	return v.readTopics(ctx)
}

// places says where the rows are to be read: under the parent that serves them or, if none
// does, under the one that the topic names.
func (v *verification) places(refs []cdc.Ref) []cdc.Again {
	rows := make([]cdc.Again, len(refs))
	for i, ref := range refs {
		rows[i] = cdc.Again{Ref: ref}
		if t := v.printers[ref.Table].table; t.Parent != "" {
			rows[i].Parent = v.parents[ref]
			if k, ok := v.lever.get(ref); ok {
				rows[i].Parent = k.parent
			}
		}
	}
	return rows
}
