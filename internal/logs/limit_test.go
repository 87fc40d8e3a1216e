package logs

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func lines(b *bytes.Buffer) (out []map[string]any) {
	for line := range strings.Lines(b.String()) {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			panic(err)
		}
		out = append(out, m)
	}
	b.Reset()
	return out
}

func TestRepetitionIsCountedInsteadOfLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(Limit(slog.NewJSONHandler(&b, nil)))
		for i := range 100 {
			log.Warn("cannot read", "scan", "offers", "error", strconv.Itoa(i))
		}
		if n := len(lines(&b)); n != Burst {
			t.Errorf("%d lines of 100, want %d", n, Burst)
		}
		time.Sleep(Window)
		log.Warn("cannot read", "scan", "offers")
		log.Warn("cannot read", "scan", "offers")
		got := lines(&b)
		if len(got) != 2 || got[0][Suppressed] != 95.0 || got[1][Suppressed] != nil {
			t.Errorf("after the window: %v", got)
		}
	})
}

func TestDifferentThingsDoNotHideEachOther(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(Limit(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for range 100 {
		log.Warn("cannot read", "scan", "offers")
	}
	lines(&b)
	log.Warn("cannot read", "scan", "resumes")
	log.Error("cannot read", "scan", "offers")
	log.Warn("cannot write", "scan", "offers")
	log.With("scan", "users").Warn("cannot read")
	log.WithGroup("g").With("scan", "stages").Warn("cannot read")
	if n := len(lines(&b)); n != 5 {
		t.Errorf("%d of 5 different lines", n)
	}
	for range 100 {
		log.Info("snapshot", "table", "users")
		log.Debug("page")
	}
	if n := len(lines(&b)); n != 200 {
		t.Errorf("%d of 200 lines that are no warnings", n)
	}
	for i := range 100 {
		log.Warn("smaller page", "path", "/opportunities/"+strconv.Itoa(i)+"/offers")
	}
	if n := len(lines(&b)); n != Burst {
		t.Errorf("%d lines about one kind of path", n)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	h, _ := Limit(slog.DiscardHandler).(*limited)
	for i := range 10 * mostKinds {
		h.kinds.count(strconv.Itoa(i), time.Now())
	}
	if n := len(h.kinds.seen); n > mostKinds {
		t.Errorf("%d kinds", n)
	}
}
