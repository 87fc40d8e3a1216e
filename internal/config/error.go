package config

import (
	"fmt"
	"strings"
)

// Problem is one mistake in the configuration.
type Problem struct {
	// Variable is the environment variable to change.
	Variable string
	// Text says what is wrong and what is accepted.
	Text string
}

// Error is all mistakes of a configuration, in the order of the reference.
type Error struct {
	Problems []Problem
}

// Error lists all problems, one per line.
func (e *Error) Error() string {
	var b strings.Builder
	if len(e.Problems) == 1 {
		b.WriteString("the configuration has a mistake:")
	} else {
		fmt.Fprintf(&b, "the configuration has %d mistakes:", len(e.Problems))
	}
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "\n  %s: %s", p.Variable, p.Text)
	}
	return b.String()
}

// problems collects mistakes.
type problems struct {
	list []Problem
	// order is the position of each variable in the reference; others come last.
	order map[string]int
}

func (ps *problems) addf(variable, format string, args ...any) {
	ps.list = append(ps.list, Problem{Variable: variable, Text: fmt.Sprintf(format, args...)})
}

func (ps *problems) has(variable string) bool {
	for _, p := range ps.list {
		if p.Variable == variable {
			return true
		}
	}
	return false
}
