package embedded

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/avro"
)

// level is a compatibility level as Confluent's registry names it.
type level string

const (
	levelNone               level = "NONE"
	levelBackward           level = "BACKWARD"
	levelBackwardTransitive level = "BACKWARD_TRANSITIVE"
	levelForward            level = "FORWARD"
	levelForwardTransitive  level = "FORWARD_TRANSITIVE"
	levelFull               level = "FULL"
	levelFullTransitive     level = "FULL_TRANSITIVE"

	// levelDefault is in force where nothing was set, as in Confluent's registry.
	levelDefault = levelBackward
)

func parseLevel(s string) (level, bool) {
	l := level(strings.ToUpper(s))
	return l, slices.Contains([]level{
		levelNone, levelBackward, levelBackwardTransitive, levelForward,
		levelForwardTransitive, levelFull, levelFullTransitive,
	}, l)
}

// check says why the schema may not follow the earlier ones, oldest first; nothing
// if it may. The error is for a schema that is not Avro.
//
// Backward means that a reader with the new schema can read old data, forward that
// a reader with an old schema can read new data. Transitive levels compare with
// all earlier schemas, the others with the latest.
func (l level) check(schema string, earlier []string) (why []string, err error) {
	next, err := avro.Parse(schema)
	if err != nil {
		return nil, err
	}
	if l == levelNone {
		return nil, nil
	}
	if !strings.HasSuffix(string(l), "_TRANSITIVE") {
		earlier = earlier[max(0, len(earlier)-1):]
	}
	backward := strings.HasPrefix(string(l), "BACKWARD") || strings.HasPrefix(string(l), "FULL")
	forward := strings.HasPrefix(string(l), "FORWARD") || strings.HasPrefix(string(l), "FULL")
	for _, text := range slices.Backward(earlier) {
		old, err := avro.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("an earlier schema: %w", err)
		}
		if backward {
			if err := avro.CheckCompatibility(old, next); err != nil {
				why = append(why, "the new schema cannot read data of the old one: "+err.Error())
			}
		}
		if forward {
			if err := avro.CheckCompatibility(next, old); err != nil {
				why = append(why, "the old schema cannot read data of the new one: "+err.Error())
			}
		}
	}
	return why, nil
}
