// Package logs keeps a log readable while the same thing goes wrong again and again.
package logs

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Burst warnings about the same thing are logged within Window; the others are counted,
// and the first line of a later window says how many there were.
const (
	Burst  = 5
	Window = 10 * time.Minute
)

// mostKinds bounds what is remembered.
const mostKinds = 1000

// Suppressed is the field that says how many lines about the same thing were left out.
const Suppressed = "suppressed"

// Limit returns a handler that limits repetition: of warnings and errors with the same
// message about the same table, scan, topic or path, Burst lines pass within Window. What
// is less severe passes always.
func Limit(next slog.Handler) slog.Handler {
	return &limited{next: next, kinds: &kinds{seen: map[string]*kind{}}}
}

type limited struct {
	next  slog.Handler
	about string // what WithAttrs has said already
	kinds *kinds
}

// kinds counts lines; handlers made of one another share it.
type kinds struct {
	mu   sync.Mutex
	seen map[string]*kind
}

type kind struct {
	began      time.Time
	lines      int
	suppressed int
}

// Enabled asks the handler behind.
func (l *limited) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

// Handle passes the record on, or counts it.
func (l *limited) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return l.next.Handle(ctx, r)
	}
	about := l.about
	r.Attrs(func(a slog.Attr) bool {
		about += subject(a)
		return true
	})
	pass, suppressed := l.kinds.count(r.Level.String()+"\x00"+r.Message+about, r.Time)
	if !pass {
		return nil
	}
	if suppressed > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int(Suppressed, suppressed))
	}
	return l.next.Handle(ctx, r)
}

// WithAttrs returns a handler whose records have the attributes.
func (l *limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	about := []string{l.about}
	for _, a := range attrs {
		about = append(about, subject(a))
	}
	return &limited{next: l.next.WithAttrs(attrs), about: strings.Join(about, ""), kinds: l.kinds}
}

// WithGroup returns a handler whose records have their attributes in the group.
func (l *limited) WithGroup(name string) slog.Handler {
	return &limited{next: l.next.WithGroup(name), about: l.about, kinds: l.kinds}
}

// subject is the attribute if it says what a line is about.
func subject(a slog.Attr) string {
	switch a.Key {
	case "table", "scan", "topic":
		return "\x00" + a.Key + "=" + a.Value.String()
	case "path":
		// With ids, each of which would be a kind of its own.
		path, _, _ := strings.Cut(strings.TrimPrefix(a.Value.String(), "/"), "/")
		return "\x00path=" + path
	}
	return ""
}

// count says whether a line may pass, and how many did not since the last that did.
func (k *kinds) count(key string, now time.Time) (pass bool, suppressed int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.seen[key]
	if s == nil {
		if len(k.seen) >= mostKinds {
			clear(k.seen) // at worst a few lines more
		}
		s = &kind{began: now}
		k.seen[key] = s
	}
	if now.Sub(s.began) >= Window {
		suppressed = s.suppressed
		*s = kind{began: now}
	}
	if s.lines >= Burst {
		s.suppressed++
		return false, 0
	}
	s.lines++
	return true, suppressed
}
