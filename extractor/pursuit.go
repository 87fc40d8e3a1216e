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
	// later holds, for parents in flight, the LSNs of changes since they were asked for.
	later    map[string][]int64
	outcomes chan outcome
	readers  crew
	// reading is the number of those in flight that hold one of the slots: their lists are
	// asked for the first time, and not with the writer yet.
	reading int
	// suspects are the slots of those that could not be read at once. What cannot be read
	// leaves most requests to what can.
	suspects chan struct{}
	// fresh holds, for parents read out of turn, the LSN up to which they are done.
	fresh map[string]int64
	// retry are parents set aside that are to be asked for once more, retrying the number
	// of those that are being asked for, and newer holds the LSNs of their last changes.
	retry    []string
	retrying int
	newer    map[string]int64
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
	// lsns are the parent's places in the backlog; none if it was read out of turn.
	lsns []int64
	// frees says that a slot is free: the list is with the writer, could not be read at
	// once, or the read has ended. underWay says that it has not.
	frees, underWay bool
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
		done: map[int64]bool{}, inFlight: map[string]bool{}, later: map[string][]int64{}, fresh: map[string]int64{}, newer: map[string]int64{},
		outcomes: make(chan outcome, f.e.Concurrency), suspects: make(chan struct{}, max(1, f.e.Concurrency/4)),
		readers: newCrew(),
	}
	defer func() { p.readers.dismiss() }()
	if err := p.open(); err != nil {
		return errors.Join(errState, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	err := p.run(ctx, until)
	cancel()
	for len(p.inFlight) > 0 {
		if o := <-p.outcomes; !o.underWay {
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
	for parent := range p.cursor.Retry {
		p.f.nowApart(parent, true)
	}
	p.taken = p.cursor.LSN
	read := p.cursor.Read
	if p.complete {
		read = p.f.e.State.Count(p.f.lead)
	}
	p.f.e.Status.listsRead(p.f.loop, p.f.lead, read)
	p.retry = slices.Sorted(maps.Keys(p.cursor.Retry))
	return nil
}

func (p *pursuit) run(ctx context.Context, until <-chan struct{}) error {
	again := time.NewTicker(p.f.e.RefreshInterval)
	defer again.Stop()
	ending := false
	for {
		if len(p.inFlight) == 0 {
			p.f.e.Status.beat(p.f.loop) // at least every RefreshInterval
		}
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
		switch _, apart := p.cursor.Retry[key]; {
		case p.inFlight[key]: // perhaps asked for too early; the backlog will see to it
		case apart:
			p.retry = append(p.retry, key)
		default:
			p.start(ctx, key, nil, cdc.ClassChildren)
			return true, nil
		}
	}
	for _, key := range p.f.takeAside() {
		if _, was := p.cursor.Retry[key]; !was {
			p.setAside(key)
		}
	}
	for len(p.retry) > 0 && p.retrying < max(1, p.f.e.Concurrency/8) {
		key := p.retry[0]
		p.retry = p.retry[1:]
		if _, apart := p.cursor.Retry[key]; apart && !p.inFlight[key] {
			p.start(ctx, key, nil, cdc.ClassChildren)
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
		p.backlog = p.backlog[1:]
		p.order = append(p.order, v.LSN)
		_, apart := p.cursor.Retry[v.Key]
		switch {
		case p.fresh[v.Key] >= v.LSN:
			p.isDone(v.LSN)
		case apart: // it stays so until it was read after this change
			p.newer[v.Key] = v.LSN
			p.isDone(v.LSN)
		case p.inFlight[v.Key]:
			p.later[v.Key] = append(p.later[v.Key], v.LSN)
		default:
			class := cdc.ClassChildren
			if !p.complete {
				class = cdc.ClassLoad
			}
			p.start(ctx, v.Key, []int64{v.LSN}, class)
			return true, nil
		}
	}
}

// setAside has a parent asked for apart from the others.
func (p *pursuit) setAside(key string) {
	p.cursor.Retry[key] = time.Now().UnixMilli()
	p.moved = true
	p.f.nowApart(key, true)
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

func (p *pursuit) start(ctx context.Context, key string, lsns []int64, class cdc.Class) {
	p.inFlight[key] = true
	o := outcome{key: key, lsns: lsns, seen: p.f.e.State.LSN()}
	if _, o.again = p.cursor.Retry[key]; o.again {
		p.retrying++
	} else {
		p.reading++
	}
	p.readers.run(func() {
		holds := !o.again
		o.aside, o.err = p.read(ctx, key, class, o.again, func() {
			if holds {
				holds = false
				p.outcomes <- outcome{key: key, frees: true, underWay: true}
			}
		})
		o.frees = holds
		p.outcomes <- o
	})
}

// read reads and commits one parent's list, with patience. aside says that only this
// parent cannot be read, which again says that it could not be before. next is called when
// others may be asked for: the list is with the writer, or could not be read at once.
func (p *pursuit) read(ctx context.Context, key string, class cdc.Class, again bool, next func()) (aside bool, err error) {
	for attempt := 1; ; attempt++ {
		broken, err := p.attempt(ctx, key, class, attempt, again, next)
		p.f.e.Status.beat(p.f.loop)
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
		next()
		if attempt > 1 { // once may happen
			p.f.e.Status.failed(p.f.loop, err)
		}
		if !sleep(ctx, p.f.e.pause(cdc.ErrUnavailable, attempt)) {
			return false, ctx.Err()
		}
	}
}

// attempt tries once: quickly at first, then to find out whether it is this parent, and with
// all patience if it was.
func (p *pursuit) attempt(ctx context.Context, key string, class cdc.Class, attempt int, again bool, submitted func()) (broken bool, err error) {
	switch {
	case again:
		return true, p.f.one(ctx, key, cdc.Request{Class: class, Attempts: 1}, submitted)
	case attempt == 1:
		return false, p.f.one(ctx, key, quick(class), submitted)
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case p.suspects <- struct{}{}:
	}
	defer func() { <-p.suspects }()
	return p.f.try(ctx, key, class, submitted)
}

// settled takes note of an outcome.
func (p *pursuit) settled(ctx context.Context, o outcome) error {
	if o.frees {
		p.reading--
	}
	if o.underWay {
		return nil
	}
	if o.again {
		p.retrying--
	}
	delete(p.inFlight, o.key)
	if o.err != nil {
		return o.err
	}
	_, was := p.cursor.Retry[o.key]
	switch {
	case o.aside && !was:
		p.setAside(o.key)
		p.f.e.Logger.Warn("the list of one parent cannot be read; it is set aside and the others go on", "scan", p.f.loop.name, "parent", o.key)
	case !o.aside && was && p.newer[o.key] > o.seen: // it changed meanwhile
		p.retry = append(p.retry, o.key)
	case !o.aside && was:
		delete(p.cursor.Retry, o.key)
		delete(p.newer, o.key)
		p.moved = true
		p.f.nowApart(o.key, false)
	}
	if !o.aside {
		p.f.e.served(p.f.loop)
	}
	if len(o.lsns) == 0 {
		p.fresh[o.key] = o.seen
	}
	p.isDone(o.lsns...)
	p.settleLater(ctx, o)
	if !p.complete {
		p.f.e.Status.listsRead(p.f.loop, p.f.lead, p.cursor.Read+int64(len(p.done)))
	}
	if p.moved && time.Since(p.saved) >= cursorInterval {
		return p.save(ctx)
	}
	return nil
}

// settleLater sees to the changes since the parent was asked for.
func (p *pursuit) settleLater(ctx context.Context, o outcome) {
	later := p.later[o.key]
	delete(p.later, o.key)
	var unread []int64
	for _, lsn := range later {
		switch {
		case lsn <= o.seen:
			p.isDone(lsn)
		case o.aside:
			p.newer[o.key] = lsn
			p.isDone(lsn)
		default:
			unread = append(unread, lsn)
		}
	}
	if len(unread) > 0 {
		p.start(ctx, o.key, unread, cdc.ClassChildren)
	}
}

// isDone notes that nothing is left to do for the places in the backlog.
func (p *pursuit) isDone(lsns ...int64) {
	for _, lsn := range lsns {
		p.done[lsn] = true
	}
	p.advance()
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
	p.readers.dismiss()
	p.readers = newCrew()
	if !p.moved && (p.complete || !p.parentsComplete || len(p.cursor.Retry) > 0) {
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
	u := &cdc.Unit{Scan: p.f.loop.name, Changes: changes(p.f.tables, sectionChildren+p.f.name, p.cursor)}
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
