package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/leverstream/leverstream/internal/pipeline"
)

const (
	// progressInterval is the time between two log lines about a snapshot, barInterval
	// that between two looks at it for the bar.
	progressInterval = 10 * time.Second
	barInterval      = 500 * time.Millisecond
	// paceWindow is the time of which the pace is the average.
	paceWindow = time.Minute
)

// lines is a terminal, or whatever stands in its place, that has a bar below what is
// written to it while there is one.
type lines struct {
	out io.Writer
	// broken is told when out cannot be written to any more. Optional.
	broken func()
	mu     sync.Mutex
	bar    *mpb.Progress
}

// Write writes whole lines above the bar.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bar != nil {
		if n, err := l.bar.Write(b); err == nil {
			return n, nil
		}
	}
	n, err := l.out.Write(b)
	if err != nil && l.broken != nil {
		l.broken()
	}
	return n, err
}

// open shows an empty bar. What follows it is text.
func (l *lines) open(text func() string) *mpb.Bar {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bar = mpb.New(mpb.WithOutput(l.out), mpb.WithAutoRefresh())
	return l.bar.AddBar(1,
		mpb.BarRemoveOnComplete(), mpb.BarWidth(24),
		mpb.PrependDecorators(decor.Name("snapshot")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return text() })),
	)
}

// close removes the bar.
func (l *lines) close(b *mpb.Bar) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.Abort(true)
	l.bar.Wait()
	l.bar = nil
}

// A pace tells from the progress of the last minute when the snapshot will be complete.
type pace struct{ seen []paceMark }

type paceMark struct {
	at    time.Time
	lists int64
}

// left takes note of the progress and returns the time that is left; ok is false while
// nobody knows.
func (p *pace) left(now time.Time, pr pipeline.Progress) (left time.Duration, ok bool) {
	p.seen = append(p.seen, paceMark{now, pr.ListsRead})
	for len(p.seen) > 2 && now.Sub(p.seen[0].at) > paceWindow {
		p.seen = p.seen[1:]
	}
	first := p.seen[0]
	took, read := now.Sub(first.at), pr.ListsRead-first.lists
	if !pr.ParentsComplete || read <= 0 {
		return 0, false
	}
	return max(time.Duration(float64(took)*float64(pr.ListsKnown-pr.ListsRead)/float64(read)), time.Second).Round(time.Second), true
}

// percent is how much of the snapshot is done. Almost all of it are the lists of children.
func percent(pr pipeline.Progress) int {
	if pr.ListsKnown == 0 {
		return 0
	}
	return int(min(100*pr.ListsRead/pr.ListsKnown, 99))
}

// progressText is the progress in words.
func progressText(pr pipeline.Progress, left time.Duration, known bool) string {
	end := "counting"
	if known {
		end = left.String() + " left"
	}
	return fmt.Sprintf("%d%%, %s: %d rows, %d of %d tables complete, %d requests (%.1f/s)",
		percent(pr), end, pr.Rows, pr.TablesComplete, pr.Tables, pr.Requests, pr.Rate)
}

// showProgress shows how far the first snapshot is, until it is complete: a bar on a
// terminal, log lines elsewhere.
func showProgress(ctx context.Context, p *pipeline.Pipeline, log *slog.Logger, errOut *lines) {
	if isTerminal(errOut.out) {
		showBar(ctx, p, errOut)
		return
	}
	logProgress(ctx, p, log)
}

// showBar shows a bar below the lines until the snapshot is complete.
func showBar(ctx context.Context, p *pipeline.Pipeline, l *lines) {
	tick := time.NewTicker(barInterval)
	defer tick.Stop()
	var (
		mu   sync.Mutex
		text string
		pace pace
		bar  *mpb.Bar
	)
	defer func() {
		if bar != nil {
			l.close(bar)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pr := p.Progress()
		if pr.Complete {
			return
		}
		if !pr.Running {
			continue
		}
		left, known := pace.left(time.Now(), pr)
		mu.Lock()
		text = progressText(pr, left, known)
		mu.Unlock()
		if bar == nil {
			bar = l.open(func() string {
				mu.Lock()
				defer mu.Unlock()
				return text
			})
		}
		bar.SetTotal(max(pr.ListsKnown, 1)+1, false) // it is removed when all is complete, not before
		bar.SetCurrent(pr.ListsRead)
	}
}

// logProgress logs how far the first snapshot is, until it is complete.
func logProgress(ctx context.Context, p *pipeline.Pipeline, log *slog.Logger) {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	var pace pace
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pr := p.Progress()
		if pr.Complete {
			return
		}
		if !pr.Running {
			continue
		}
		left, known := pace.left(time.Now(), pr)
		end := "unknown"
		if known {
			end = left.String()
		}
		log.Info("snapshot", "percent", percent(pr), "left", end, "rows", pr.Rows, "events", pr.Events, "requests", pr.Requests, "requests_per_second", pr.Rate,
			"lists_read", pr.ListsRead, "lists_known", pr.ListsKnown, "tables_complete", pr.TablesComplete, "tables", pr.Tables)
	}
}
