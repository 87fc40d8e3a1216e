package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
)

// brokerLog passes the broker's messages on. What it calls info is about single
// requests, so it becomes debug here.
type brokerLog struct {
	logger *slog.Logger
	// failed says that the broker could not write something down.
	failed atomic.Bool
	// lost says that this was part of a transaction or of a producer's state. The
	// broker would go on and acknowledge it; see honestListener.
	lost atomic.Bool
}

// slowCommit begins a warning about every commit that took more than 5 ms, which
// is any that touches many partitions.
const slowCommit = "txn: EndTxn slow"

// unwritten begin the broker's messages about what it acknowledges although it could
// not write it down: the marker of a transaction, the epoch of a producer.
var unwritten = []string{"endTx: failed to persist", "persist pid entry"}

// Logf implements kfake.Logger.
func (l *brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	for _, u := range unwritten {
		if strings.HasPrefix(format, u) {
			l.failed.Store(true)
			l.lost.Store(true)
		}
	}
	switch level {
	case kfake.LogLevelError:
		l.failed.Store(true)
		to = slog.LevelError
	case kfake.LogLevelWarn:
		if !strings.HasPrefix(format, slowCommit) {
			to = slog.LevelWarn
		}
	case kfake.LogLevelDebug, kfake.LogLevelNone:
		return
	case kfake.LogLevelInfo:
	}
	if l.logger.Enabled(context.Background(), to) {
		l.logger.Log(context.Background(), to, "embedded broker: "+fmt.Sprintf(format, args...))
	}
}
