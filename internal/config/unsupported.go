package config

import "strings"

// unsupported is a variable, or one value of a variable, that the documentation
// of a later version describes and this version does not have. Taking it and doing
// nothing would be the worst answer (think of a field that was to be hashed).
type unsupported struct {
	// name is the variable; its _FILE twin is meant, too.
	name string
	// value is the value that is not supported; empty means any.
	value string
	// instead says what to do, as the end of a sentence.
	instead string
}

// unsupportedVariables is the only place that knows them: delete the line when
// the variable is built.
func unsupportedVariables() []unsupported {
	const remove = "remove it"
	return []unsupported{
		{name: "LEVER_WEBHOOK_TOKEN", instead: remove + "; changes are found by polling"},
	}
}

// unsupportedVariable returns the entry that speaks of the variable as a whole.
func unsupportedVariable(name string) (unsupported, bool) {
	for _, u := range unsupportedVariables() {
		if u.value == "" && (name == u.name || name == u.name+fileSuffix) {
			return u, true
		}
	}
	return unsupported{}, false
}

// unsupportedValue says whether the variable exists, but not with this value.
func unsupportedValue(name, value string) bool {
	for _, u := range unsupportedVariables() {
		if u.value != "" && u.name == name && strings.EqualFold(u.value, value) {
			return true
		}
	}
	return false
}
