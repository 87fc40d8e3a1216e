package embedded

import (
	"fmt"
	"strings"
	"testing"
)

// rec returns a record with these fields.
func rec(fields ...string) string {
	return `{"type":"record","name":"x.Value","fields":[` + strings.Join(fields, ",") + `]}`
}

const (
	fieldA     = `{"name":"a","type":"string"}`
	fieldB     = `{"name":"b","type":["null","long"],"default":null}`
	fieldBare  = `{"name":"b","type":"long"}`
	fieldALong = `{"name":"a","type":"long"}`
	fieldAInt  = `{"name":"a","type":"int"}`
	fieldAMay  = `{"name":"a","type":["null","string"],"default":null}`
)

func TestCompatibilityOfTwoSchemas(t *testing.T) {
	t.Parallel()
	nested := func(fields ...string) string {
		return rec(`{"name":"n","type":["null",{"type":"record","name":"N","fields":[` + strings.Join(fields, ",") + `]}],"default":null}`)
	}
	list := func(of string) string {
		return rec(`{"name":"l","type":["null",{"type":"array","items":` + of + `}],"default":null}`)
	}
	enum := func(rest string) string { return rec(`{"name":"e","type":{"type":"enum","name":"E",` + rest + `}}`) }
	for name, test := range map[string]struct {
		old, next         string
		backward, forward bool
	}{
		"the same":                                         {rec(fieldA), rec(fieldA), true, true},
		"documentation is added":                           {rec(fieldA), rec(`{"name":"a","type":"string","doc":"d","confluent:tags":["PII"]}`), true, true},
		"a field with default is added":                    {rec(fieldA), rec(fieldA, fieldB), true, true},
		"a field with default is removed":                  {rec(fieldA, fieldB), rec(fieldA), true, true},
		"a field without default is added":                 {rec(fieldA), rec(fieldA, fieldBare), false, true},
		"a field without default is removed":               {rec(fieldA, fieldBare), rec(fieldA), true, false},
		"a field is renamed":                               {rec(fieldA), rec(`{"name":"c","type":"string"}`), false, false},
		"a field is renamed with an alias":                 {rec(fieldA), rec(`{"name":"c","type":"string","aliases":["a"]}`), true, false},
		"fields change places":                             {rec(fieldA, fieldB), rec(fieldB, fieldA), true, true},
		"int becomes long":                                 {rec(fieldAInt), rec(fieldALong), true, false},
		"long becomes int":                                 {rec(fieldALong), rec(fieldAInt), false, true},
		"string becomes long":                              {rec(fieldA), rec(fieldALong), false, false},
		"string becomes bytes":                             {rec(fieldA), rec(`{"name":"a","type":"bytes"}`), true, true},
		"a field becomes nullable":                         {rec(fieldA), rec(fieldAMay), true, false},
		"a field becomes not null":                         {rec(fieldAMay), rec(fieldA), false, true},
		"long gets a logical type":                         {rec(fieldALong), rec(`{"name":"a","type":{"type":"long","logicalType":"timestamp-millis"}}`), true, true},
		"a nested field with default is added":             {nested(fieldA), nested(fieldA, fieldB), true, true},
		"a nested field without default is added":          {nested(fieldA), nested(fieldA, fieldBare), false, true},
		"items change their type":                          {list(`"string"`), list(`"long"`), false, false},
		"items are widened":                                {list(`"int"`), list(`"double"`), true, false},
		"a union gets a branch":                            {rec(fieldAMay), rec(`{"name":"a","type":["null","string","long"],"default":null}`), true, false},
		"the record gets another name":                     {rec(fieldA), strings.Replace(rec(fieldA), "x.Value", "x.Other", 1), false, false},
		"an enum gets a symbol":                            {enum(`"symbols":["A"]`), enum(`"symbols":["A","B"]`), true, false},
		"an enum with a default gets a symbol":             {enum(`"symbols":["A"],"default":"A"`), enum(`"symbols":["A","B"],"default":"A"`), true, true},
		"a primitive becomes a record":                     {`"string"`, rec(fieldA), false, false},
		"a fixed changes its size":                         {`{"type":"fixed","name":"F","size":4}`, `{"type":"fixed","name":"F","size":8}`, false, false},
		"a map becomes an array":                           {`{"type":"map","values":"long"}`, `{"type":"array","items":"long"}`, false, false},
		"a recursive record gets a field without default":  {recursive(), recursive(fieldBare), false, true},
		"a recursive record gets a field with default":     {recursive(), recursive(fieldB), true, true},
		"a nullable record is added that another one uses": {rec(fieldA), rec(fieldA, `{"name":"s","type":["null","x.Value"],"default":null}`), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for level, want := range map[level]bool{
				levelNone: true, levelBackward: test.backward, levelForward: test.forward, levelFull: test.backward && test.forward,
				levelBackwardTransitive: test.backward, levelForwardTransitive: test.forward, levelFullTransitive: test.backward && test.forward,
			} {
				why, err := level.check(test.next, []string{test.old})
				if err != nil {
					t.Fatal(err)
				}
				if got := len(why) == 0; got != want {
					t.Errorf("%s: compatible is %v, want %v: %v", level, got, want, why)
				}
			}
		})
	}
}

func recursive(fields ...string) string {
	fields = append(fields, `{"name":"next","type":["null","x.Value"],"default":null}`)
	return rec(fields...)
}

func TestOnlyTransitiveLevelsCompareWithAllVersions(t *testing.T) {
	t.Parallel()
	// b comes and goes with types that do not fit: each step is compatible, the
	// first and the last schema are not.
	earlier := []string{rec(fieldA, fieldB), rec(fieldA)}
	next := rec(fieldA, `{"name":"b","type":["null","string"],"default":null}`)
	for level, want := range map[level]bool{
		levelNone: true, levelBackward: true, levelForward: true, levelFull: true,
		levelBackwardTransitive: false, levelForwardTransitive: false, levelFullTransitive: false,
	} {
		why, err := level.check(next, earlier)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(why) == 0; got != want {
			t.Errorf("%s: compatible is %v, want %v: %v", level, got, want, why)
		}
	}
}

func TestWhatIsNotAvroIsAnError(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"", "{", "record", `"nosuch"`, `{"type":"record"}`, `{"type":"record","name":"R","fields":[{"name":"a","type":"long","default":"x"}]}`} {
		if _, err := levelNone.check(schema, nil); err == nil {
			t.Errorf("%s was taken for Avro", schema)
		}
	}
}

func TestSchemaKey(t *testing.T) {
	t.Parallel()
	base := `{"type":"record","name":"R","doc":"d","fields":[]}`
	for other, same := range map[string]bool{
		` { "name" : "R", "fields":[ ], "type":"record", "doc":"d"}`: true,
		`{"type":"record","name":"R","doc":"e","fields":[]}`:         false,
		`{"type":"record","name":"R","fields":[]}`:                   false,
		`{"type":"record","name":"R","doc":"d","fields":[],"x":1}`:   false,
	} {
		if got := schemaKey(base) == schemaKey(other); got != same {
			t.Errorf("%s: same is %v, want %v", other, got, same)
		}
	}
}

func FuzzSchema(f *testing.F) {
	f.Add(`"string"`)
	f.Add(rec(fieldA, fieldB))
	f.Add(recursive(fieldBare))
	f.Fuzz(func(t *testing.T, schema string) {
		if schemaKey(schema) != schemaKey(schemaKey(schema)) {
			t.Errorf("the key of the key of %q differs", schema)
		}
		why, err := levelFullTransitive.check(schema, []string{schema})
		if err == nil && len(why) > 0 {
			t.Errorf("%q is not compatible with itself: %s", schema, fmt.Sprint(why))
		}
	})
}
