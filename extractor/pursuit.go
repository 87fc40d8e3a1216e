package extractor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

const (
	// backlogBatch is how many parents are taken from the state at a time.
	backlogBatch = 500
	// mostUncommitted bounds the parents whose lists were read and wait for their commit.
	// A commit takes as long for a thousand lists as for one, and requests go on meanwhile.
	mostUncommitted = 1_000
	// cursorInterval is the least time between two writes of a cursor that moves.
	cursorInterval = time.Second
)

// pursuit is the working state of a follower from one start to the next: what is in
// flight and what is done. Only its loop touches it; the reads themselves run in
// goroutines of their own and report an outcome.
type pursuit struct {
	f      *follower
	cursor childrenSection
	// backlog are parents taken from the state and not asked for yet; taken is the LSN
	// of the last one taken.
	backlog []cdc.Version
	taken   int64
	// order holds the LSNs of the backlog's parents in flight or done. The cursor moves
	// over those at its head that are done.
	order    []int64
	done     map[int64]bool
	inFlight map[string]bool
	outcomes chan outcome
	// reading is the number of those in flight whose lists are not with the writer yet, and
	// retrying that of those among them that are set aside.
	reading, retrying int
	// fresh holds, for parents read out of turn, the LSN up to which they are done.
	fresh map[string]int64
	// retry are parents set aside that are to be asked for once more.
	retry []string
	// once says that the follower is to end, so a parent cannot be tried for ever.
	once bool

	moved   bool // the cursor differs from the one written
	saved   time.Time
	written <-chan cdc.Result // of the last cursor

	// complete says that the snapshot of all tables is. Before that, upTo is the LSN
	// the cursor must reach for it, as soon as that is known.
	complete bool
	upTo     int64
	// drained says that the state had no more parents when last asked, at a time when
	// parentsComplete had been true already.
	drained, parentsComplete bool
}

// outcome is what became of one parent.
type outcome struct {
	key string
	// lsn is the parent's place in the backlog; 0 if it was read out of turn.
	lsn int64
	// submitted says that the list is with the writer, and nothing more.
	submitted bool
	// unread says that it never was.
	unread bool
	// again says that the parent was set aside before.
	again bool
	// seen is the LSN of the state before the list was asked for.
	seen int64
	// aside says that the list could not be read, though others could.
	aside bool
	err   error
}

// follow reads the lists of parents until ctx ends, or until is closed and no parent
// is left, or the list cannot be read for reasons that are not one parent's own.
func (f *follower) follow(ctx context.Context, until <-chan struct{}) error {
	p := &pursuit{
		f: f, once: until != nil, saved: time.Now(),
		done: map[int64]bool{}, inFlight: map[string]bool{}, fresh: map[string]int64{},
		outcomes: make(chan outcome, f.e.Concurrency),
	}
	if err := p.open(); err != nil {
		return errors.Join(errState, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	err := p.run(ctx, until)
	cancel()
	for len(p.inFlight) > 0 {
		if o := <-p.outcomes; !o.submitted {
			delete(p.inFlight, o.key)
		}
	}
	return err
}

// open reads the cursor: the smallest of the tables', and everything set aside.
func (p *pursuit) open() error {
	p.cursor.Retry = map[string]int64{}
	p.complete = true
	for i, t := range p.f.tables {
		var s childrenSection
		if _, err := section(p.f.e.State, t, sectionChildren+p.f.name, &s); err != nil {
			return err
		}
		if i == 0 || s.LSN < p.cursor.LSN {
			p.cursor.LSN, p.cursor.Read = s.LSN, s.Read
		}
		maps.Copy(p.cursor.Retry, s.Retry)
		p.complete = p.complete && p.f.e.complete(t)
	}
	p.f.nowAside(len(p.cursor.Retry))
	p.taken = p.cursor.LSN
	read := p.cursor.Read
	if p.complete {
		read = p.f.e.State.Count(p.f.lead)
	}
	p.f.e.Status.listsRead(p.f.loop(), p.f.lead, read)
	p.retry = slices.Sorted(maps.Keys(p.cursor.Retry))
	return nil
}

func (p *pursuit) run(ctx context.Context, until <-chan struct{}) error {
	again := time.NewTicker(p.f.e.RefreshInterval)
	defer again.Stop()
	ending := false
	for {
		started, err := p.dispatch(ctx)
		if err != nil {
			return err
		}
		if started {
			continue
		}
		if len(p.inFlight) == 0 && p.drained {
			if err := p.idle(ctx); err != nil {
				return err
			}
			if ending {
				return p.ended(ctx)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case o := <-p.outcomes:
			if err := p.settled(ctx, o); err != nil {
				return err
			}
		case <-p.f.signal:
		case <-again.C:
			p.retry = slices.Sorted(maps.Keys(p.cursor.Retry))
		case <-until:
			ending, until = true, nil
		}
	}
}

// ended waits until the cursor is committed and says whether everything could be read.
func (p *pursuit) ended(ctx context.Context) error {
	if p.written != nil {
		if _, err := await(ctx, p.written); err != nil {
			return err
		}
	}
	if n := len(p.cursor.Retry); n > 0 {
		return fmt.Errorf("%w: %s of %d opportunities could not be read; their ids are in the bookmark and they will be asked for again", cdc.ErrUnavailable, p.f.name, n)
	}
	return nil
}

// dispatch starts to read the next parent, if there is one and a slot is free.
func (p *pursuit) dispatch(ctx context.Context) (started bool, err error) {
	if p.reading >= p.f.e.Concurrency || len(p.inFlight) >= mostUncommitted {
		return false, nil
	}
	for {
		key, ok := p.f.next()
		if !ok {
			break
		}
		// One in flight was perhaps asked for too early; the backlog will see to it.
		if !p.inFlight[key] {
			p.start(ctx, key, 0, cdc.ClassChildren)
			return true, nil
		}
	}
	for _, key := range p.f.takeAside() {
		if _, was := p.cursor.Retry[key]; !was {
			p.cursor.Retry[key] = time.Now().UnixMilli()
			p.moved = true
		}
		p.f.nowAside(len(p.cursor.Retry))
	}
	// What cannot be read leaves most of the slots to what can.
	for len(p.retry) > 0 && p.retrying < max(1, p.f.e.Concurrency/4) {
		key := p.retry[0]
		p.retry = p.retry[1:]
		if !p.inFlight[key] {
			p.start(ctx, key, 0, cdc.ClassChildren)
			return true, nil
		}
	}
	for {
		if len(p.backlog) == 0 {
			if err := p.refill(); err != nil || len(p.backlog) == 0 {
				return false, err
			}
		}
		v := p.backlog[0]
		if p.inFlight[v.Key] {
			return false, nil
		}
		p.backlog = p.backlog[1:]
		p.order = append(p.order, v.LSN)
		if p.fresh[v.Key] >= v.LSN {
			p.done[v.LSN] = true
			p.advance()
			continue
		}
		class := cdc.ClassChildren
		if !p.complete {
			class = cdc.ClassLoad
		}
		p.start(ctx, v.Key, v.LSN, class)
		return true, nil
	}
}

// refill takes the next parents from the state.
func (p *pursuit) refill() (err error) {
	// In this order: what the snapshot committed before it was complete is in the state.
	p.parentsComplete = p.f.e.complete(p.f.lead)
	if p.parentsComplete && p.upTo == 0 {
		p.upTo = p.f.e.State.LSN()
	}
	p.backlog, err = p.f.e.State.Since(p.f.lead, p.taken, backlogBatch)
	if err != nil {
		return errors.Join(errState, err)
	}
	p.drained = len(p.backlog) == 0
	if !p.drained {
		p.taken = p.backlog[len(p.backlog)-1].LSN
	}
	return nil
}

func (p *pursuit) start(ctx context.Context, key string, lsn int64, class cdc.Class) {
	p.inFlight[key] = true
	p.reading++
	_, again := p.cursor.Retry[key]
	if again {
		p.retrying++
	}
	o := outcome{key: key, lsn: lsn, seen: p.f.e.State.LSN(), unread: true, again: again}
	go func() {
		o.aside, o.err = p.read(ctx, key, class, again, func() {
			if o.unread {
				o.unread = false
				p.outcomes <- outcome{key: key, submitted: true, again: again}
			}
		})
		p.outcomes <- o
	}()
}

// read reads and commits one parent's list, with patience. aside says that only this
// parent cannot be read, which again says that it could not be before.
func (p *pursuit) read(ctx context.Context, key string, class cdc.Class, again bool, submitted func()) (aside bool, err error) {
	for attempt := 1; ; attempt++ {
		broken, err := p.f.try(ctx, key, class, submitted)
		switch {
		case err == nil, errors.Is(err, cdc.ErrForbidden) && p.f.hidden(ctx, key):
			return false, nil
		case fatal(ctx, err), errors.Is(err, cdc.ErrForbidden), errors.Is(err, cdc.ErrUnauthorized):
			return false, err
		case again:
			return true, nil
		case broken, p.once && attempt == onceAttempts:
			if p.f.roomAside() {
				return true, nil
			}
			return false, fmt.Errorf("the lists of more than %d parents cannot be read: %w", mostAside, err)
		}
		p.f.e.Status.failed(p.f.loop(), err)
		if !sleep(ctx, p.f.e.pause(cdc.ErrUnavailable, attempt)) {
			return false, ctx.Err()
		}
	}
}

// settled takes note of an outcome.
func (p *pursuit) settled(ctx context.Context, o outcome) error {
	if o.submitted || o.unread {
		p.reading--
		if o.again {
			p.retrying--
		}
	}
	if o.submitted {
		return nil
	}
	delete(p.inFlight, o.key)
	if o.err != nil {
		return o.err
	}
	_, was := p.cursor.Retry[o.key]
	switch {
	case o.aside && !was:
		p.cursor.Retry[o.key] = time.Now().UnixMilli()
		p.moved = true
		p.f.e.Logger.Warn("the list of one parent cannot be read; it is set aside and the others go on", "scan", p.f.loop().name, "parent", o.key)
	case !o.aside && was:
		delete(p.cursor.Retry, o.key)
		p.moved = true
	}
	p.f.nowAside(len(p.cursor.Retry))
	if !o.aside {
		p.f.e.served(p.f.loop())
	}
	if o.lsn == 0 {
		p.fresh[o.key] = o.seen
	} else {
		p.done[o.lsn] = true
		p.advance()
	}
	if !p.complete {
		p.f.e.Status.listsRead(p.f.loop(), p.f.lead, p.cursor.Read+int64(len(p.done)))
	}
	if p.moved && time.Since(p.saved) >= cursorInterval {
		return p.save(ctx)
	}
	return nil
}

// advance moves the cursor over the parents that are done.
func (p *pursuit) advance() {
	for len(p.order) > 0 && p.done[p.order[0]] {
		p.cursor.LSN = p.order[0]
		p.cursor.Read++
		delete(p.done, p.order[0])
		p.order = p.order[1:]
		p.moved = true
	}
}

// idle is called when no parent is left: the cursor is written, and the first time
// after the parents' snapshot the tables' own is complete.
func (p *pursuit) idle(ctx context.Context) error {
	if !p.moved && (p.complete || !p.parentsComplete) {
		return nil
	}
	return p.save(ctx)
}

// save submits the cursor. It does not wait for the commit: nothing depends on it.
func (p *pursuit) save(ctx context.Context) error {
	for key, lsn := range p.fresh {
		if lsn <= p.cursor.LSN {
			delete(p.fresh, key)
		}
	}
	reached := p.drained && len(p.order) == 0 || p.cursor.LSN >= p.upTo
	finished := !p.complete && p.parentsComplete && reached && len(p.cursor.Retry) == 0
	if p.complete || finished {
		p.cursor.Read = 0
	}
	u := &cdc.Unit{Scan: p.f.loop().name, Changes: changes(p.f.tables, sectionChildren+p.f.name, p.cursor)}
	if finished {
		for _, t := range p.f.tables {
			var s cdc.Snapshot
			if _, err := section(p.f.e.State, t, cdc.SectionSnapshot, &s); err != nil {
				return errors.Join(errState, err)
			}
			s.Complete = true
			u.Changes = append(u.Changes, changes([]string{t}, cdc.SectionSnapshot, s)...)
		}
		p.complete = true
	}
	written, err := p.f.e.Sink.Submit(ctx, u)
	if err != nil {
		return err
	}
	p.moved, p.saved, p.written = false, time.Now(), written
	return nil
}
