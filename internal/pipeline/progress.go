package pipeline

import (
	"slices"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/config"

	"github.com/leverstream/leverstream/avro"
)

// Progress says how far the first snapshot of the selected tables is.
type Progress struct {
	// Running says that the pipeline owns the account and reads.
	Running bool
	// Complete says that the snapshots of all tables are.
	Complete bool
	// Tables is the number of selected tables, TablesComplete of those whose snapshot
	// is complete.
	Tables, TablesComplete int
	// Rows and Events were committed since the program started.
	Rows, Events int64
	// Requests were sent since then; Rate is the average per second.
	Requests int64
	Rate     float64
	// ListsRead is the number of child lists that the snapshot has read, also before a
	// restart. ListsKnown is the number of lists of all parents known by now; it grows
	// until ParentsComplete says that the parents' own snapshot is complete, which is
	// after one hundredth of the requests.
	ListsRead, ListsKnown int64
	ParentsComplete       bool
}

// Progress returns how far the first snapshot is.
func (p *Pipeline) Progress() Progress {
	s := p.Snapshot()
	pr := Progress{
		Running: s.Phase == "running", Tables: len(s.Tables), Rows: s.Totals.Rows,
		Events: s.Totals.Events, Requests: s.Requests.Total(), Complete: true,
	}
	if took := time.Since(p.started).Seconds(); took > 0 {
		pr.Rate = float64(int(float64(pr.Requests)/took*10)) / 10
	}
	// Complete stays what is complete, also while Lever does not serve it or it is paused.
	isComplete := func(t extractor.TableStatus) bool { return pr.Running && t.Load == nil }
	for _, t := range s.Tables {
		if isComplete(t) {
			pr.TablesComplete++
		}
	}
	pr.Complete = pr.TablesComplete == pr.Tables
	pr.ParentsComplete = !slices.ContainsFunc(s.Tables, func(t extractor.TableStatus) bool {
		return (t.Table == "opportunities" || t.Table == "candidates") && !isComplete(t)
	})
	read, kinds := p.status.Lists()
	pr.ListsRead, pr.ListsKnown = read, max(s.State["opportunities"], s.State["candidates"])*int64(kinds)
	return pr
}

// Format returns the event format that the configuration names.
func Format(e config.Events) avro.Format {
	if e.Format == "flat" {
		return avro.Flat
	}
	return avro.Debezium
}

// KeyFormat returns the key format that the configuration names.
func KeyFormat(e config.Events) avro.KeyFormat {
	if e.Key == "string" {
		return avro.KeyString
	}
	return avro.KeyAvro
}
