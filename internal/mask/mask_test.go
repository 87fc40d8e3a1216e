package mask

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
)

const key = "0123456789abcdef"

func tables() []cdc.Table {
	out := []cdc.Table{{Name: "sources", Key: "text"}}
	for _, name := range []string{"opportunities", "candidates", "users", "requisitions", "postings", "stages"} {
		out = append(out, cdc.Table{Name: name, Key: "id"})
	}
	for _, name := range []string{"opportunity_applications", "opportunity_offers", "opportunity_resumes", "opportunity_referrals"} {
		out = append(out, cdc.Table{Name: name, Key: "id", Parent: "opportunities", ParentFields: []string{"opportunityId"}})
	}
	return out
}

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func rules(t testing.TB, exclude, hash []string) *Rules {
	t.Helper()
	r, err := New(tables(), exclude, hash, key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRulesDoWhatTheySay(t *testing.T) {
	const row = `{"id":"o1","name":"Ada","headline":"","emails":["a@x","b@x"],"phones":[{"type":"home","value":"1"},{"value":"2"}],
		"archived":{"reason":"r","archivedAt":5},"createdAt":7,"isAnonymized":false,"news":{"a":1}}`
	hash := rules(t, nil, []string{"users.name"}).Table("users").hash
	for name, test := range map[string]struct {
		exclude, hash []string
		row, want     string
	}{
		"one field":               {[]string{"opportunities.name"}, nil, row, strings.Replace(row, `"name":"Ada",`, "", 1)},
		"inside a list":           {[]string{"opportunities.phones.value"}, nil, row, strings.NewReplacer(`,"value":"1"`, "", `"value":"2"`, "").Replace(row)},
		"inside a record":         {[]string{"*.archived.reason"}, nil, row, strings.Replace(row, `"reason":"r",`, "", 1)},
		"text by its hash":        {nil, []string{"opportunities.name"}, row, strings.Replace(row, `"Ada"`, `"`+hash("Ada")+`"`, 1)},
		"empty text stays":        {nil, []string{"opportunities.headline"}, row, row},
		"each item of a list":     {nil, []string{"opportunities.emails"}, row, strings.NewReplacer("a@x", hash("a@x"), "b@x", hash("b@x")).Replace(row)},
		"exclusion wins":          {[]string{"opportunities.name"}, []string{"*.name"}, row, strings.Replace(row, `"name":"Ada",`, "", 1)},
		"a hashed record":         {nil, []string{"opportunities.archived"}, row, strings.Replace(row, `"reason":"r","archivedAt":5`, `"reason":"`+hash("r")+`"`, 1)},
		"everything but keys":     {[]string{"opportunities.*"}, nil, row, `{"id":"o1","isAnonymized":false}`},
		"unknown fields":          {[]string{"opportunities._extra"}, nil, row, strings.Replace(row, `,"news":{"a":1}`, "", 1)},
		"unknown nested fields":   {[]string{"opportunities._extra"}, nil, `{"phones":[{"value":"1","x":2}]}`, `{"phones":[{"value":"1"}]}`},
		"another shape":           {[]string{"opportunities.phones.value"}, nil, `{"id":"o1","phones":"555"}`, `{"id":"o1"}`},
		"another shape in a list": {[]string{"opportunities.phones.value"}, nil, `{"phones":[{"value":"1"},"555"]}`, `{}`},
		"a hash of another type":  {nil, []string{"opportunities.name"}, `{"name":{"b":1,"a":"x"}}`, `{"name":"` + hash(`{"a":"x","b":1}`) + `"}`},
		"null stays":              {nil, []string{"opportunities.*"}, `{"id":"o1","name":null,"phones":null}`, `{"id":"o1","name":null,"phones":null}`},
		"another table's":         {[]string{"users.name"}, nil, row, row},
	} {
		t.Run(name, func(t *testing.T) {
			in := parse(t, test.row)
			r := rules(t, test.exclude, test.hash)
			got := in
			if m := r.Table("opportunities"); m != nil {
				got = m.Apply(in)
			}
			if want := parse(t, test.want); !reflect.DeepEqual(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
			if !reflect.DeepEqual(in, parse(t, test.row)) {
				t.Error("the record itself was changed")
			}
		})
	}
}

// marked fills every field of a schema with text that says whether it is tagged.
func marked(fields []avro.Field, tagged bool) map[string]any {
	m := map[string]any{"unknown": "SECRET"}
	for _, f := range fields {
		secret := tagged || f.PII
		var v any = "open"
		if secret {
			v = "SECRET"
		}
		if f.Fields != nil {
			v = marked(f.Fields, secret)
		}
		if f.List {
			v = []any{v, v}
		}
		m[f.Name] = v
	}
	return m
}

func TestNothingTaggedComesOutOfPII(t *testing.T) {
	for _, table := range tables() {
		fields, err := avro.Fields(table.Name)
		if err != nil {
			t.Fatal(err)
		}
		row := marked(fields, false)
		before, _ := json.Marshal(row)
		if !strings.Contains(string(before), "SECRET") || !strings.Contains(string(before), "open") {
			t.Fatalf("%s: nothing to see", table.Name)
		}
		for name, r := range map[string]*Rules{"excluded": rules(t, []string{tagPII}, nil), "hashed": rules(t, nil, []string{tagPII}), "of the table": rules(t, []string{table.Name + "." + tagPII}, nil)} {
			after, _ := json.Marshal(r.Table(table.Name).Apply(row))
			if strings.Contains(string(after), "SECRET") {
				t.Errorf("%s %s: %s", table.Name, name, after)
			}
			if !strings.Contains(string(after), "open") {
				t.Errorf("%s %s: nothing is left", table.Name, name)
			}
		}
	}
}

func TestADigestChangesWithRulesAndKeyAndNothingElse(t *testing.T) {
	digest := func(key string, exclude, hash []string) string {
		r, err := New(tables(), exclude, hash, key)
		if err != nil {
			t.Fatal(err)
		}
		return r.Digest("opportunities")
	}
	a := digest(key, []string{"opportunities.name"}, nil)
	if a == "" || a != digest("another key......", []string{"opp*.name", "users.name"}, nil) {
		t.Error("it depends on more than the table's rules")
	}
	if digest(key, []string{"users.name"}, nil) != "" || (*Rules)(nil).Digest("users") != "" {
		t.Error("a table without rules has a digest")
	}
	seen := map[string]bool{a: true}
	for _, d := range []string{
		digest(key, []string{"opportunities.headline"}, nil), digest(key, nil, []string{"opportunities.name"}),
		digest("another key......", nil, []string{"opportunities.name"}), digest(key, []string{"opportunities.name", "opportunities._extra"}, nil),
	} {
		if seen[d] {
			t.Error("two sets of rules have one digest")
		}
		seen[d] = true
		if strings.Contains(d, "name") || strings.Contains(d, key) {
			t.Error("it gives something away")
		}
	}
}

// Hashing a record leaves out what the schema does not know of it, hashing each of its fields
// does not: who goes from one to the other wants the rows written again.
func TestADigestTellsARecordFromItsFields(t *testing.T) {
	whole := rules(t, nil, []string{"opportunities.phones"}).Table("opportunities")
	each := rules(t, nil, []string{"opportunities.phones.type", "opportunities.phones.value"}).Table("opportunities")
	record := parse(t, `{"id":"o1","phones":[{"type":"home","value":"1","extension":"SECRET"}]}`)
	if a, b := fmt.Sprint(whole.Apply(record)), fmt.Sprint(each.Apply(record)); strings.Contains(a, "SECRET") || !strings.Contains(b, "SECRET") {
		t.Fatalf("the rules do the same: %s and %s", a, b)
	}
	if whole.digest == each.digest {
		t.Error("they have one digest")
	}
}

func TestStoredRowsLoseWhatTheRulesMean(t *testing.T) {
	table := cdc.Table{Name: "opportunities", Key: "id"}
	codec, err := avro.NewCodec(table, "lever.opportunities", avro.Debezium, avro.KeyString)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(text string) []byte {
		b, _, err := codec.EncodeRow(nil, cdc.Row{Table: table.Name, Key: "o1", Fields: parse(t, text)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	row := encode(`{"id":"o1","name":"SECRET","stage":"s","phones":[{"type":"home","value":"SECRET"}],"createdAt":7,"news":"SECRET"}`)
	m := rules(t, []string{"opportunities.phones.value"}, []string{"opportunities.name"}).Table(table.Name)
	got, err := codec.Blank(row, m.Blank())
	if err != nil {
		t.Fatal(err)
	}
	if want := encode(`{"id":"o1","stage":"s","phones":[{"type":"home"}],"createdAt":7}`); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := codec.Blank(row[1:], m.Blank()); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("a damaged row: %v", err)
	}
}

func FuzzApply(f *testing.F) {
	f.Add(`{"phones":[{"value":"1"}],"name":"a"}`)
	f.Add(`{"phones":{"value":["1"]},"archived":[1,{}],"x":{"y":[null]}}`)
	r := rules(f, []string{"opportunities.phones.value", "opportunities.archived"}, []string{"opportunities.emails", "opportunities.links"})
	m := r.Table("opportunities")
	f.Fuzz(func(t *testing.T, text string) {
		var in map[string]any
		if json.Unmarshal([]byte(text), &in) != nil || in == nil {
			return
		}
		out := m.Apply(in)
		if _, ok := out["archived"]; ok {
			t.Error("archived came out")
		}
		list, ok := out["phones"].([]any)
		if !ok && out["phones"] != nil {
			t.Errorf("phones came out as %T", out["phones"])
		}
		for _, item := range list {
			if _, ok := item.(map[string]any)["value"]; ok {
				t.Error("a phone's value came out")
			}
		}
	})
}
