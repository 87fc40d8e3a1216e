package cdc

import "sync"

// Instant is a point on a Clock. It orders events of one process and means
// nothing outside it.
type Instant uint64

// Clock orders requests and answers within the process. It counts, so it cannot
// jump when somebody sets the machine's clock, and two instants never tie.
//
// It also knows which reads are still under way, so that the writer can forget
// what it remembers only for their sake.
type Clock struct {
	mu   sync.Mutex
	last Instant
	open map[Instant]struct{}
}

// NewClock returns a clock that starts at 1.
func NewClock() *Clock { return &Clock{open: map[Instant]struct{}{}} }

// Now returns a new instant, later than all before.
func (c *Clock) Now() Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	return c.last
}

// Begin notes that a read has begun. Every request of that read is sent later
// than the returned instant. Pass it to End when the read's unit is settled or
// the read was given up.
func (c *Clock) Begin() Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.open[c.last] = struct{}{}
	return c.last
}

// End notes that the read is over. A second call does nothing.
func (c *Clock) End(read Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, read)
}

// Oldest returns the instant before which no open read began: answers that
// arrived earlier can no longer be overtaken by an older request.
func (c *Clock) Oldest() Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := c.last + 1
	for i := range c.open {
		oldest = min(oldest, i)
	}
	return oldest
}
