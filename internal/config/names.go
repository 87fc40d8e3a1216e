package config

import (
	"os"
	"regexp"
	"slices"
	"strings"
)

// checkNames reports variables of the environment that nobody would read.
func checkNames(fields []field, ps *problems) {
	var known []string
	for _, f := range fields {
		known = append(known, f.name)
		if f.secret {
			known = append(known, f.name+fileSuffix)
		}
	}
	service := regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_[0-9]+_.*)$`)
	environment := os.Environ()
	slices.Sort(environment)
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		if value == "" {
			continue // set but empty counts as not set
		}
		u, later := unsupportedVariable(name)
		switch {
		case slices.Contains(known, name):
			checkValue(name, value, ps)
		case later:
			ps.addf(name, "is not supported by this version; %s", u.instead)
		case !reserved(name):
		case service.MatchString(name):
			// Kubernetes injects these for a service of such a name.
		default:
			ps.addf(name, "is not a known variable%s", didYouMean(strings.ToUpper(name), known))
		}
	}
}

// checkValue reports a value that a later version has.
func checkValue(name, value string, ps *problems) {
	for _, u := range unsupportedVariables() {
		if u.value != "" && u.name == name && strings.EqualFold(u.value, value) {
			ps.addf(name, "%s is not supported by this version; %s", u.value, u.instead)
		}
	}
}

// reserved says whether the name is one that only this program would use. Lower
// case counts, because lever_token is as easily written as it is not read.
func reserved(name string) bool {
	upper := strings.ToUpper(name)
	for _, prefix := range []string{"LEVER_", "KAFKA_", "SCHEMA_REGISTRY_"} {
		if strings.HasPrefix(upper, prefix) {
			return true
		}
	}
	return false
}

// didYouMean returns a suggestion as the end of a sentence, or nothing if no known
// word is close.
func didYouMean(word string, known []string) string {
	best, least := "", max(2, len(word)/4)+1
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		// Not a slip of the finger: perhaps only half of the name.
		for _, k := range known {
			if word != "" && strings.Contains(k, word) {
				best = k
				break
			}
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance returns how many characters must be inserted, deleted, replaced or
// swapped with their neighbour to make b of a.
func distance(a, b string) int {
	// Three rows of the usual matrix: two back, one back, current.
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
