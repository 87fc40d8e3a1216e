package pipeline

import (
	"errors"
	"fmt"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/lever"
	"github.com/leverstream/leverstream/internal/publish"
)

// stalled is how long the supervisor and the writer may show no sign of progress
// before the process counts as stuck. The writer renews its owner record every ten
// seconds, and whoever waits looks again within a minute.
const stalled = 3 * time.Minute

// totals counts what was committed since the program started.
type totals struct {
	Transactions int64     `json:"transactions"`
	Rows         int64     `json:"rows_compared"`
	Events       int64     `json:"events"`
	Letters      int64     `json:"dead_letters"`
	Bytes        int64     `json:"bytes"`
	LSN          int64     `json:"lsn"`
	LastCommit   time.Time `json:"last_commit,omitzero"`
	LastEvent    time.Time `json:"last_event,omitzero"`
}

// committed takes note of a commit.
func (p *Pipeline) committed(c publish.Commit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.beat = now
	p.totals.Transactions++
	p.totals.Rows += int64(c.Rows)
	p.totals.Events += int64(c.Events)
	p.totals.Letters += int64(c.Letters)
	p.totals.Bytes += int64(c.Bytes)
	p.totals.LSN, p.totals.LastCommit = c.LSN, now
	if c.Events > 0 {
		p.totals.LastEvent = now
	}
}

// note says what the supervisor is doing.
func (p *Pipeline) note(phase string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase, p.beat = phase, time.Now()
}

func (p *Pipeline) setWriter(w *publish.Writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writer = w
}

// Live returns an error if nothing makes progress any more, so that a restart might
// help. It says nothing of Lever or Kafka being away.
func (p *Pipeline) Live() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if idle := time.Since(p.beat); idle > stalled {
		return fmt.Errorf("no progress for %s while %s", idle.Round(time.Second), p.phase)
	}
	return nil
}

// Ready returns an error until this process owns the account and replicates it.
func (p *Pipeline) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writer == nil || p.phase != "running" {
		return errors.New(p.phase)
	}
	return nil
}

// Status describes the pipeline. It holds no row's content and no secret.
type Status struct {
	Account  string                  `json:"account"`
	Version  string                  `json:"version"`
	Instance string                  `json:"instance"`
	Phase    string                  `json:"phase"`
	Totals   totals                  `json:"totals"`
	Requests lever.Stats             `json:"requests"`
	Tables   []extractor.TableStatus `json:"tables"`
	State    map[string]int64        `json:"state_rows,omitempty"`
	// SweepSeconds is the effective time of one pass of the sweep; 0 if there is none.
	SweepSeconds float64 `json:"sweep_interval_seconds"`
}

// Status returns what the pipeline is doing, as it is served under /status.
func (p *Pipeline) Status() any { return p.Snapshot() }

// Snapshot returns what the pipeline is doing.
func (p *Pipeline) Snapshot() Status {
	p.mu.Lock()
	w := p.writer
	s := Status{
		Account: string(p.c.Lever.Account), Version: p.o.Version, Instance: p.o.Instance,
		Phase: p.phase, Totals: p.totals,
	}
	p.mu.Unlock()
	s.Requests = p.lever.Stats()
	s.SweepSeconds = p.status.SweepInterval().Seconds()
	s.Tables = p.status.Tables(func(table string) bool { return w != nil && w.Complete(table) })
	if w != nil {
		s.State = w.Counts()
	}
	return s
}
