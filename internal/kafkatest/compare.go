package kafkatest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Differences compares the rows of a topic, by key, with Lever's records. It returns
// a line for each difference: missing and extra rows, and fields by name.
//
// Both sides are flattened to paths and leaves. Null and absent are the same; what
// the schema does not know stands under its path in _extra.
func Differences(rows, lever map[string]map[string]any) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(lever)) {
		row, ok := rows[key]
		if !ok {
			out = append(out, "missing row "+key)
			continue
		}
		for _, d := range rowDifferences(row, lever[key]) {
			out = append(out, "row "+key+": "+d)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if _, ok := lever[key]; !ok {
			out = append(out, "extra row "+key)
		}
	}
	return out
}

func rowDifferences(row, record map[string]any) []string {
	have, want := map[string]string{}, map[string]string{}
	for name, v := range record {
		flatten(want, name, v)
	}
	for name, v := range row {
		if name != "_extra" {
			flattenRow(have, name, v, record[name])
		}
	}
	if text, ok := row["_extra"].(string); ok {
		extra, err := parse(text)
		if err != nil {
			return []string{"_extra is no JSON"}
		}
		for path, v := range extra.(map[string]any) {
			flatten(have, path, v)
		}
	}
	if want["headcountTotal"] == `"unlimited"` {
		delete(want, "headcountTotal")
		want["headcountInfinite"] = "true"
	}
	var out []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if have[path] != want[path] {
			out = append(out, fmt.Sprintf("%s is %s, Lever says %s", path, have[path], want[path]))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[path]; !ok {
			out = append(out, fmt.Sprintf("%s is %s, Lever has no such field", path, have[path]))
		}
	}
	return out
}

// flattenRow flattens a field of a row; where Lever has an object or a list and the
// row has text, the text is JSON.
func flattenRow(into map[string]string, path string, v, lever any) {
	switch lever := lever.(type) {
	case map[string]any:
		if text, ok := v.(string); ok {
			parsed, err := parse(text)
			if err != nil {
				into[path] = "no JSON"
				return
			}
			flatten(into, path, parsed)
			return
		}
		if m, ok := v.(map[string]any); ok {
			for name, x := range m {
				flattenRow(into, path+"."+name, x, lever[name])
			}
			return
		}
	case []any:
		if text, ok := v.(string); ok {
			if parsed, err := parse(text); err == nil {
				flatten(into, path, parsed)
				return
			}
		}
		if list, ok := v.([]any); ok && len(list) > 0 {
			for i, x := range list {
				var item any
				if i < len(lever) {
					item = lever[i]
				}
				flattenRow(into, path+"["+strconv.Itoa(i)+"]", x, item)
			}
			return
		}
	}
	flatten(into, path, v)
}

func parse(text string) (any, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	err := dec.Decode(&v)
	return v, err
}

func flatten(into map[string]string, path string, v any) {
	switch v := v.(type) {
	case nil:
	case map[string]any:
		for name, x := range v {
			flatten(into, path+"."+name, x)
		}
	case []any:
		if len(v) == 0 {
			into[path] = "[]"
		}
		for i, x := range v {
			flatten(into, path+"["+strconv.Itoa(i)+"]", x)
		}
	case string:
		into[path] = strconv.Quote(v)
	case json.Number:
		into[path] = number(v.String())
	case time.Time:
		into[path] = number(strconv.FormatInt(v.UnixMilli(), 10))
	case float64:
		into[path] = number(strconv.FormatFloat(v, 'g', -1, 64))
	default:
		into[path] = fmt.Sprint(v)
	}
}

// number is one spelling for all spellings of a number.
func number(text string) string {
	if r, ok := new(big.Rat).SetString(text); ok {
		return r.RatString()
	}
	return text
}
