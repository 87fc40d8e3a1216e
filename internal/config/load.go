package config

import (
	"cmp"
	"errors"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"

	"github.com/leverstream/leverstream/internal/cdc"
)

// fileSuffix makes a secret's variable the one that names its file.
const fileSuffix = "_FILE"

// Load reads the configuration from the environment. Tables is the catalogue that
// LEVER_TABLES selects from; need says what the command talks to. The error is an
// *Error with all mistakes.
func Load(tables []cdc.Table, need Need) (*Config, error) {
	c := &Config{set: map[string]bool{}}
	ps := &problems{order: map[string]int{}}
	fields := fieldsOf(c)
	for i, f := range fields {
		ps.order[f.name] = i
		f.load(c, ps)
	}
	checkNames(fields, ps)
	c.complete(tables, ps)
	for _, f := range fields {
		if f.required && need&f.need != 0 && !c.set[f.name] && !ps.has(f.name) {
			ps.addf(f.name, "is not set; it is required: %s", f.desc+f.orFile())
		}
	}
	c.check(tables, need, ps)
	if len(ps.list) > 0 {
		slices.SortStableFunc(ps.list, func(a, b Problem) int {
			return cmp.Compare(ps.position(a.Variable), ps.position(b.Variable))
		})
		return nil, &Error{Problems: ps.list}
	}
	return c, nil
}

func (ps *problems) position(variable string) int {
	for _, name := range []string{variable, strings.TrimSuffix(variable, fileSuffix)} {
		if i, ok := ps.order[name]; ok {
			return i
		}
	}
	return len(ps.order)
}

// field is one variable: its tags, and where its value goes.
type field struct {
	name, def, shown, desc string
	min, max               string
	oneof                  []string
	required, secret       bool
	need                   Need
	section                string

	tag   reflect.StructTag
	value reflect.Value
}

// fieldsOf returns the variables of c in the order of the struct.
func fieldsOf(c *Config) []field {
	needs := map[string]Need{"Lever": NeedLever, "Kafka": NeedKafka, "Registry": NeedRegistry}
	var fields []field
	for section, v := range reflect.ValueOf(c).Elem().Fields() {
		if !section.IsExported() {
			continue
		}
		for sf, value := range v.Fields() {
			name, ok := sf.Tag.Lookup("envconfig")
			if !ok {
				continue
			}
			fields = append(fields, field{
				name: name, def: sf.Tag.Get("default"), shown: sf.Tag.Get("shown"), desc: sf.Tag.Get("desc"),
				min: sf.Tag.Get("min"), max: sf.Tag.Get("max"), oneof: strings.Fields(sf.Tag.Get("oneof")),
				required: sf.Tag.Get("required") == "true",
				secret:   sf.Type == reflect.TypeFor[Secret](),
				need:     needs[section.Name], section: section.Tag.Get("title"),
				tag: sf.Tag, value: value,
			})
		}
	}
	return fields
}

// load reads the variable and checks what its type and tags say.
func (f field) load(c *Config, ps *problems) {
	given := os.Getenv(f.name) != ""
	if f.secret && f.loadFile(c, ps, given) {
		return
	}
	if !given && f.def == "" {
		return
	}
	c.set[f.name] = given
	if given && unsupportedValue(f.name, os.Getenv(f.name)) {
		return // checkNames reports it
	}
	if err := f.process(given); err != nil {
		ps.addf(f.name, "%s", f.explain(err))
		return
	}
	if text := f.outside(); text != "" {
		ps.addf(f.name, "%s", text)
	}
}

// loadFile takes the secret from its file, if it has one.
func (f field) loadFile(c *Config, ps *problems, given bool) bool {
	path := os.Getenv(f.name + fileSuffix)
	if path == "" {
		return false
	}
	c.set[f.name] = true
	if given {
		ps.addf(f.name, "is set, and so is %s; keep one of them", f.name+fileSuffix)
		return true
	}
	f.value.Set(reflect.ValueOf(FileSecret(path)))
	return true
}

// process has envconfig read one field. A struct of its own for each is needed
// because envconfig stops at the first mistake.
func (f field) process(given bool) error {
	if given && f.value.CanInt() && f.value.Type() != reflect.TypeFor[time.Duration]() {
		// envconfig would take a leading zero for octal.
		n, err := strconv.ParseInt(os.Getenv(f.name), 10, f.value.Type().Bits())
		f.value.SetInt(n)
		return err
	}
	tag := f.tag
	if !given {
		// Set but empty counts as not set, which envconfig sees otherwise. No
		// variable can have this name, so the default is taken.
		tag = reflect.StructTag(strings.Replace(string(tag), strconv.Quote(f.name), `"="`, 1))
	}
	one := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "Value", Type: f.value.Type(), Tag: tag}}))
	err := envconfig.Process("", one.Interface())
	f.value.Set(one.Elem().Field(0))
	return err
}

// explain turns envconfig's error into what the user reads.
func (f field) explain(err error) string {
	if parse := (*envconfig.ParseError)(nil); errors.As(err, &parse) {
		err = parse.Err
	}
	given := strconv.Quote(os.Getenv(f.name))
	switch kind := f.value.Kind(); {
	case f.value.Addr().Type().Implements(reflect.TypeFor[envconfig.Setter]()):
		return err.Error()
	case f.value.Type() == reflect.TypeFor[time.Duration]():
		return given + " is not a duration; use a number with a unit, such as 10s, 5m or 24h"
	case kind == reflect.Bool:
		return given + " is neither true nor false"
	case f.value.CanInt():
		return given + " is not a whole number" + f.bounds()
	case f.value.CanFloat():
		return given + " is not a number" + f.bounds()
	default:
		return err.Error()
	}
}

// outside says what is wrong with a value that the tags min, max and oneof do not
// allow, and normalises the case of one that oneof does.
func (f field) outside() string {
	if len(f.oneof) > 0 {
		for _, accepted := range f.oneof {
			if strings.EqualFold(f.value.String(), accepted) {
				f.value.SetString(accepted)
				return ""
			}
		}
		return strconv.Quote(f.value.String()) + " is not known; use " + alternatives(f.oneof)
	}
	if (f.min == "" || f.compare(f.min) >= 0) && (f.max == "" || f.compare(f.max) <= 0) {
		return ""
	}
	return os.Getenv(f.name) + " is out of range" + f.bounds()
}

// compare compares the value with a bound. NaN compares as less than everything.
func (f field) compare(bound string) int {
	switch {
	case f.value.Type() == reflect.TypeFor[time.Duration]():
		d, _ := time.ParseDuration(bound)
		return cmp.Compare(f.value.Int(), int64(d))
	case f.value.CanInt():
		n, _ := strconv.ParseInt(bound, 10, 64)
		return cmp.Compare(f.value.Int(), n)
	default:
		x, _ := strconv.ParseFloat(bound, 64)
		return cmp.Compare(f.value.Float(), x)
	}
}

// bounds says which values are accepted.
func (f field) bounds() string {
	switch {
	case f.min != "" && f.max != "":
		return "; use " + f.min + " to " + f.max
	case f.min != "":
		return "; use " + f.min + " or more"
	default:
		return ""
	}
}

func (f field) orFile() string {
	if f.secret {
		return " (or set " + f.name + fileSuffix + " to the name of a file that holds it)"
	}
	return ""
}

// alternatives joins words the way a sentence does: a, b or c.
func alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
