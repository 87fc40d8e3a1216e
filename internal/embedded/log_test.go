package embedded

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

func TestBrokerLog(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		level  kfake.LogLevel
		format string
		want   string
		failed bool
	}{
		"errors are errors and are remembered": {kfake.LogLevelError, "persist to disk: %v", "level=ERROR", true},
		"warnings are warnings":                {kfake.LogLevelWarn, "persist topics: %v", "level=WARN", false},
		"slow commits are nothing special":     {kfake.LogLevelWarn, slowCommit + " %v", "level=DEBUG", false},
		"single requests are for debugging":    {kfake.LogLevelInfo, "request %v", "level=DEBUG", false},
		"more than that is dropped":            {kfake.LogLevelDebug, "bytes %v", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			l := &brokerLog{logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
			l.Logf(test.level, test.format, 42)
			if got := out.String(); !strings.Contains(got, test.want) || (got == "") != (test.want == "") || (got != "" && !strings.Contains(got, "42")) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if l.failed.Load() != test.failed {
				t.Errorf("failed is %v", l.failed.Load())
			}
		})
	}
}

func TestAStopThatCouldNotWriteIsNoCleanStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := Start(testContext(t), Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c.log.Logf(kfake.LogLevelError, "persist to disk: %v", "no space left on device")
	if err := c.Close(); err == nil {
		t.Error("the stop says that all is well")
	}
	if ok, err := readJSON(cleanPath(dir), new(any)); ok || err != nil {
		t.Errorf("marked as clean: %v, %v", ok, err)
	}
	start(t, dir)
}
