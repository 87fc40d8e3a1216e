package avro

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"context"
)

func TestDecodeReturnsPlainValues(t *testing.T) {
	c := newTestCodec(t, opportunities, Debezium)
	row, _ := encode(t, c, "o1", `{"id":"o1","emails":["a"],"createdAt":5,"dataProtection":{"store":{"allowed":true}}}`)
	framed := c.AppendEvent(nil, Event{Op: Create, After: row, LSN: 9, Snapshot: "true", Time: time.UnixMilli(1), SourceTime: time.UnixMilli(2)})
	asked := 0
	d := NewDecoder(func(_ context.Context, id int) (string, error) {
		if asked++; id != 8 {
			return "", errors.New("unknown")
		}
		return c.ValueSchema(), nil
	})
	for range 2 {
		got, err := d.Decode(t.Context(), framed)
		if err != nil {
			t.Fatal(err)
		}
		after := got["after"].(map[string]any)
		if !reflect.DeepEqual(after["emails"], []any{"a"}) || after["createdAt"] != int64(5) || got["op"] != "c" || got["before"] != nil {
			t.Errorf("event %v", got)
		}
		if store := after["dataProtection"].(map[string]any)["store"].(map[string]any); store["allowed"] != true {
			t.Errorf("store %v", store)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	for name, damaged := range map[string][]byte{
		"empty": nil, "not framed": []byte("hello"), "cut": framed[:len(framed)-3], "longer": append(framed[:len(framed):len(framed)], 1),
		"another id": {0, 0, 0, 0, 9, 1},
	} {
		if _, err := d.Decode(t.Context(), damaged); err == nil {
			t.Errorf("%s was decoded", name)
		} else if strings.Contains(err.Error(), "o1") {
			t.Errorf("%s: the error quotes a value: %v", name, err)
		}
	}
}
