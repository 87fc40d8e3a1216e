package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/lever"
	"github.com/leverstream/leverstream/internal/publish"
)

// stalled is how long the supervisor and the writer may show no sign of progress
// before the process counts as stuck. The writer renews its owner record every ten
// seconds, and whoever waits looks again within a minute.
const stalled = 3 * time.Minute

// stuck is how long a loop's read may go on without a sign of progress: longer than a
// request with all its attempts, timeouts and pauses, and than the wait for its turn.
func (p *Pipeline) stuck() time.Duration {
	// However low its class, every twentieth request or so is for who waits longest.
	const turns = 100
	return 30*time.Minute + time.Duration(turns/p.c.Lever.Rate*float64(time.Second))
}

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

// setWriter replaces the writer. When it returns, nobody looks into the one before.
func (p *Pipeline) setWriter(w *publish.Writer) {
	p.looking.Lock()
	defer p.looking.Unlock()
	p.writer = w
}

// Live returns an error if nothing makes progress any more, so that a restart might
// help. It says nothing of Lever or Kafka being away: then the supervisor, or every
// loop, tries again and again, which is progress.
func (p *Pipeline) Live() error {
	p.mu.Lock()
	beat, phase := p.beat, p.phase
	p.mu.Unlock()
	r := p.lever.Stats()
	ready := p.Ready() == nil
	if !ready && r.LastSent.After(beat) {
		beat = r.LastSent // a first question that Lever does not answer is asked again and again
	}
	if idle := time.Since(beat); idle > stalled {
		return fmt.Errorf("no progress for %s while %s", idle.Round(time.Second), phase)
	}
	if !ready || p.o.Once {
		return nil
	}
	loops := p.status.Stuck(time.Now().Add(-p.stuck() - max(p.c.Lever.PollInterval, p.c.Lever.RefreshInterval)))
	if len(loops) == 0 {
		return nil
	}
	// If Lever has not answered anybody, the fault is not here, unless nobody asks.
	const lately = 5 * time.Minute
	if time.Since(r.LastSent) < lately && time.Since(r.LastGood) > lately {
		return nil
	}
	return fmt.Errorf("no progress for %s of: %s", p.stuck(), strings.Join(loops, ", "))
}

// Ready returns an error until this process owns the account and replicates it.
func (p *Pipeline) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looking.RLock()
	defer p.looking.RUnlock()
	if p.writer == nil || p.phase != "running" {
		return errors.New(p.phase)
	}
	return nil
}

// Status describes the pipeline. It holds no row's content and no secret.
type Status struct {
	Account  string `json:"account"`
	Version  string `json:"version"`
	Instance string `json:"instance"`
	// Phase is what the supervisor is doing, in words; "running" while this process
	// replicates the account.
	Phase string `json:"phase"`
	// Started is when the program did, Now when this was told.
	Started  time.Time         `json:"started"`
	Now      time.Time         `json:"now"`
	Owner    publish.Ownership `json:"ownership"`
	Totals   totals            `json:"totals"`
	Requests lever.Stats       `json:"requests"`
	// Tables says how the tables are read, Topics what was written of them.
	Tables []extractor.TableStatus `json:"tables"`
	Topics []publish.TableStats    `json:"topics"`
	State  map[string]int64        `json:"state_rows,omitempty"`
	// StateBytes is the size on disk of the local copy of the state.
	StateBytes int64 `json:"state_bytes"`
	// SweepSeconds is the effective time of one pass of the sweep; 0 if there is none.
	SweepSeconds float64 `json:"sweep_interval_seconds"`
	// Rereads are the rows that somebody wants to have read again.
	Rereads extractor.RereadStatus `json:"rereads"`
}

// Snapshot returns what the pipeline is doing.
func (p *Pipeline) Snapshot() Status {
	p.mu.Lock()
	s := Status{
		Account: string(p.c.Lever.Account), Version: p.o.Version, Instance: p.o.Instance,
		Phase: p.phase, Totals: p.totals, Started: p.started, Now: time.Now(),
	}
	p.mu.Unlock()
	s.Owner, s.Topics = p.stats.Ownership(), p.stats.Tables()
	s.Requests = p.lever.Stats()
	s.SweepSeconds = p.status.SweepInterval().Seconds()
	s.Rereads = p.rereads.Status()
	p.looking.RLock()
	defer p.looking.RUnlock()
	if p.writer == nil {
		s.Tables = p.status.Tables(nil)
		return s
	}
	s.Tables = p.status.Tables(stateView{p.writer})
	s.State, s.StateBytes = p.writer.Counts(), p.writer.StateSize()
	return s
}
