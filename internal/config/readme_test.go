package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var updateReadme = flag.Bool("update-readme", false, "write the reference into the README")

// The README's table of variables is the program's own.
func TestTheReadmeHasTheReference(t *testing.T) {
	const path, begin, end = "../../README.md", "<!-- variables -->\n", "<!-- end of variables -->"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the README has no place for the reference")
	}
	want := head + begin + Markdown() + end + tail
	if *updateReadme {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(raw) != want {
		t.Error("the README's variables are not those of the program; run go test ./internal/config -update-readme")
	}
}
