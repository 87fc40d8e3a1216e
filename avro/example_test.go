package avro_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
)

func Example() {
	table := cdc.Table{Name: "stages", Key: "id"}
	codec, err := avro.NewCodec(table, "lever.stages", avro.Debezium, avro.KeyAvro)
	if err != nil {
		fmt.Println(err)
		return
	}
	codec.SetIDs(1, 2) // what the schema registry answered

	dec := json.NewDecoder(strings.NewReader(`{"id": "lead-new", "text": "New lead", "color": "red"}`))
	dec.UseNumber()
	var record map[string]any
	if err := dec.Decode(&record); err != nil {
		fmt.Println(err)
		return
	}
	row, report, err := codec.EncodeRow(nil, cdc.Row{Table: "stages", Key: "lead-new", Fields: record})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("not in the schema:", report.Paths())

	event := codec.AppendEvent(nil, avro.Event{
		Op: avro.Create, After: row, LSN: 1795460862043001, Snapshot: "false",
		Time: time.UnixMilli(1795460862050), SourceTime: time.UnixMilli(1795460862000),
		Account: "default", Version: "v1.0.0",
	})
	decoder := avro.NewDecoder(func(context.Context, int) (string, error) { return codec.ValueSchema(), nil })
	value, err := decoder.Decode(context.Background(), event)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(value["op"], value["after"])
	// Output:
	// not in the schema: [color]
	// c map[_extra:{"color":"red"} id:lead-new text:New lead]
}

func ExampleCodec_Changed() {
	codec, err := avro.NewCodec(cdc.Table{Name: "stages", Key: "id"}, "lever.stages", avro.Debezium, avro.KeyAvro)
	if err != nil {
		fmt.Println(err)
		return
	}
	encode := func(text string) []byte {
		row, _, err := codec.EncodeRow(nil, cdc.Row{Key: "offer", Fields: map[string]any{"id": "offer", "text": text}})
		if err != nil {
			fmt.Println(err)
		}
		return row
	}
	fmt.Println(codec.Changed(encode("Offer"), encode("Offer extended")))
	// Output: [text] <nil>
}
