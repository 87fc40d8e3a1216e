package kafkatest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ControlVariable names a program that breaks the real Kafka and knows where its files are
// (see cmd/producer/faults_test.go).
const ControlVariable = "TEST_KAFKA_CONTROL"

// LogDirs returns the directories in which the brokers keep their logs, one a line of what
// the program of ControlVariable prints for "logs". Without one the test is skipped.
func (c Cluster) LogDirs(t testing.TB) []string {
	t.Helper()
	control := os.Getenv(ControlVariable)
	if control == "" || !c.Real {
		t.Skipf("set %s, and %s to a program that prints where the brokers keep their logs", BrokersVariable, ControlVariable)
	}
	out, err := exec.CommandContext(t.Context(), control, "logs").Output() //nolint:gosec // whoever runs the tests names the program
	if err != nil {
		t.Fatalf("%s logs: %v", control, err)
	}
	return strings.Fields(string(out))
}

// Holding returns the files under the directory that hold the text and whose path contains
// part. Files that vanish meanwhile hold nothing.
func Holding(t testing.TB, dir, part, text string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() || !strings.Contains(path, part) {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(b, []byte(text)) {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}
