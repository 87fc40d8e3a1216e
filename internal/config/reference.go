package config

import (
	"fmt"
	"strings"
)

// Variable describes one environment variable.
type Variable struct {
	// Section groups variables that belong together, for example "Kafka".
	Section string
	// Name is the variable's name.
	Name string
	// Default is the value if the variable is not set, in words if it is computed;
	// empty if there is none.
	Default string
	// Meaning is one line.
	Meaning string
	// File says that NAME_FILE may be set instead.
	File bool
}

// Variables returns all variables in the order of the reference.
func Variables() []Variable {
	var vars []Variable
	for _, f := range fieldsOf(&Config{}) {
		v := Variable{Section: f.section, Name: f.name, Default: f.def, Meaning: f.desc, File: f.secret}
		if f.shown != "" {
			v.Default = f.shown
		}
		vars = append(vars, v)
	}
	return vars
}

// Help returns the reference for a terminal: a line for each variable.
func Help() string {
	width := 0
	for _, v := range Variables() {
		width = max(width, len(v.title()))
	}
	var b strings.Builder
	section := ""
	for _, v := range Variables() {
		if v.Section != section {
			if section != "" {
				b.WriteByte('\n')
			}
			section = v.Section
			fmt.Fprintf(&b, "%s:\n", section)
		}
		fmt.Fprintf(&b, "  %-*s  %s", width, v.title(), v.Meaning)
		if v.Default != "" {
			fmt.Fprintf(&b, " (default %s)", v.Default)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Markdown returns the reference as a table for the documentation.
func Markdown() string {
	cell := strings.NewReplacer("|", `\|`, "<", `\<`)
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n| --- | --- | --- |\n")
	for _, v := range Variables() {
		name, def := "`"+v.Name+"`", ""
		if v.File {
			name += ", `" + v.Name + fileSuffix + "`"
		}
		if v.Default != "" {
			def = "`" + v.Default + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, def, cell.Replace(v.Meaning))
	}
	return b.String()
}

func (v Variable) title() string {
	if v.File {
		return v.Name + "[" + fileSuffix + "]"
	}
	return v.Name
}
