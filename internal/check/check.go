package check

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/leverstream/leverstream/internal/config"
)

// Status is the outcome of a check.
type Status string

// The outcomes.
const (
	// OK: nothing to do.
	OK Status = "ok"
	// Warning: the producer works, but not as well as it could, or not as was asked.
	Warning Status = "warning"
	// Failed: the producer will not work, or a table will not be read.
	Failed Status = "failed"
)

// Result is one line of the report.
type Result struct {
	// System is what was looked at: "Lever", "Kafka", "schema registry" or "state".
	System string `json:"system"`
	// Check is what about it, for example "token" or "topic lever.stages".
	Check  string `json:"check"`
	Status Status `json:"status"`
	// Text says what was found.
	Text string `json:"text"`
	// Fix says what to do; empty if there is nothing to do.
	Fix string `json:"fix,omitempty"`
}

// The systems.
const (
	systemLever    = "Lever"
	systemKafka    = "Kafka"
	systemRegistry = "schema registry"
	systemState    = "state"
)

const (
	// leverAttempts is how often a request to Lever is sent: somebody waits.
	leverAttempts = 2
	// leverRequests is more than the endpoints that there are.
	leverRequests = 30
	// patience bounds the checks of one system.
	patience = 30 * time.Second
)

// A report collects results and hands each on as it comes.
type report struct {
	// stopped returns an error when the whole run was stopped.
	stopped func() error
	system  string
	results []Result
	show    func(Result)
}

func (r *report) add(s Status, name, text, fix string) {
	if r.stopped() != nil {
		return // what was cut off says nothing
	}
	one := Result{System: r.system, Check: name, Status: s, Text: text, Fix: fix}
	r.results = append(r.results, one)
	r.show(one)
}

func (r *report) okf(name, format string, args ...any) {
	r.add(OK, name, fmt.Sprintf(format, args...), "")
}

// Run makes all checks and returns their results. Each is also handed to show as it
// comes. Version is the program's.
func Run(ctx context.Context, c *config.Config, version string, show func(Result)) []Result {
	log := slog.New(slog.DiscardHandler) // what a check finds is its result
	r := &report{stopped: ctx.Err, show: show}
	r.system = "configuration"
	for _, w := range c.Warnings() {
		r.add(Warning, "variables", w, "")
	}
	for _, part := range []struct {
		system string
		check  func(context.Context)
	}{
		{systemLever, func(ctx context.Context) { checkLever(ctx, r, c, version, log) }},
		{systemKafka, func(ctx context.Context) { checkKafka(ctx, r, c, version, log) }},
		{systemRegistry, func(ctx context.Context) { checkRegistry(ctx, r, c, log) }},
		{systemState, func(context.Context) { checkState(r, c) }},
	} {
		enough := patience
		if part.system == systemLever { // its requests wait for LEVER_RATE
			enough += time.Duration(float64(leverRequests) / c.Lever.Rate * float64(time.Second))
		}
		limited, cancel := context.WithTimeout(ctx, enough)
		r.system = part.system
		part.check(limited)
		cancel()
		if ctx.Err() != nil {
			break
		}
	}
	return r.results
}

// Count returns how many results have the status.
func Count(results []Result, s Status) int {
	n := 0
	for _, r := range results {
		if r.Status == s {
			n++
		}
	}
	return n
}
