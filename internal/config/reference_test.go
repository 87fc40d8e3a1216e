package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestReference(t *testing.T) {
	t.Parallel()
	for name, got := range map[string]string{"help.txt": Help(), "reference.md": Markdown()} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is not what the program prints now; run the tests with -update", path)
		}
	}
}

func TestEveryFieldIsDescribedAndItsDefaultAccepted(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, f := range fieldsOf(&Config{}) {
		if f.desc == "" || strings.HasSuffix(f.desc, ".") {
			t.Errorf("%s: description %q", f.name, f.desc)
		}
		if names[f.name] {
			t.Errorf("%s twice", f.name)
		}
		names[f.name] = true
		if later, ok := unsupportedVariable(f.name); ok {
			t.Errorf("%s is both supported and not (%s)", f.name, later.instead)
		}
		for _, bound := range []string{f.min, f.max} {
			if bound != "" && f.value.Kind() == reflect.String {
				t.Errorf("%s: a text has no bound", f.name)
			}
		}
	}
}
