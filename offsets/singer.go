package offsets

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ParseSinger reads the state of a Singer tap for Lever (tap-lever): how far each stream
// has been read, by stream. ok is false if the text is something else. A state may stand
// alone, in a STATE message of the tap's output, or as Meltano keeps it.
//
// The tap reads windows of time and writes down where the last one began:
//
//	{"bookmarks":{"opportunities":{"field":"updated_at","last_record":"2026-01-31T00:00:00Z"}}}
//
// Everything that changed before last_record has been read; what came after may have
// been. Streams without last_record are read whole each time.
func ParseSinger(text []byte) (read map[string]time.Time, ok bool, err error) {
	var outer struct {
		Bookmarks   json.RawMessage `json:"bookmarks"`
		Value       json.RawMessage `json:"value"`
		SingerState json.RawMessage `json:"singer_state"`
		Type        string          `json:"type"`
	}
	if json.Unmarshal(text, &outer) != nil {
		return nil, false, nil
	}
	switch {
	case outer.Bookmarks != nil:
	case outer.Type == "STATE" && outer.Value != nil:
		return ParseSinger(outer.Value)
	case outer.SingerState != nil:
		return ParseSinger(outer.SingerState)
	default:
		return nil, false, nil
	}
	var streams map[string]struct {
		LastRecord *string `json:"last_record"`
	}
	if err := json.Unmarshal(outer.Bookmarks, &streams); err != nil {
		return nil, true, errors.New("the bookmarks of the Singer state are not objects with a last_record")
	}
	read = map[string]time.Time{}
	for stream, b := range streams {
		if b.LastRecord == nil {
			continue
		}
		at, err := singerTime(*b.LastRecord)
		if err != nil {
			return nil, true, fmt.Errorf("stream %s: last_record is no time", stream)
		}
		read[stream] = at
	}
	return read, true, nil
}

// singerTime reads the forms that the tap writes: with Z, with an offset, and without
// either, which is UTC.
func singerTime(s string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		at, err = time.Parse("2006-01-02T15:04:05.999999999", s)
	}
	return at.UTC(), err
}
