package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/internal/pipeline"
)

func TestTheTimeLeftFollowsTheLastMinute(t *testing.T) {
	var p pace
	at := time.Unix(1_800_000_000, 0)
	pr := pipeline.Progress{ListsKnown: 3000}
	if _, known := p.left(at, pr); known {
		t.Error("a time is known before anything was read")
	}
	look := func(lists int64, after time.Duration) time.Duration {
		at, pr.ListsRead = at.Add(after), lists
		left, known := p.left(at, pr)
		if known != (pr.ParentsComplete) {
			t.Errorf("known: %v, parents complete: %v", known, pr.ParentsComplete)
		}
		return left
	}
	look(100, 10*time.Second) // the number of lists still grows
	pr.ParentsComplete = true
	if left := look(200, 10*time.Second); left != 280*time.Second {
		t.Errorf("%v left for 2800 lists at 10 a second", left)
	}
	for i := range int64(12) {
		look(200+(i+1)*50, 10*time.Second)
	}
	if left := look(850, 10*time.Second); left != 430*time.Second {
		t.Errorf("%v left for 2150 lists at 5 a second, of late", left)
	}
	if got := progressText(pr, 430*time.Second, true); !strings.HasPrefix(got, "28%, 7m10s left: ") {
		t.Error(got)
	}
}

func TestLinesAreWrittenWithAndWithoutABar(t *testing.T) {
	var out bytes.Buffer
	l := &lines{out: &out}
	want := ""
	write := func(line string) {
		if _, err := l.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		want += line
	}
	write("before\n")
	bar := l.open(func() string { return "text" })
	bar.SetTotal(10, false)
	write("above\n")
	l.close(bar)
	write("after\n")
	for line := range strings.Lines(want) {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the output lacks %q:\n%s", line, out.String())
		}
	}
}
