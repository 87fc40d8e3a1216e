package offsets_test

import (
	"encoding/json"
	"fmt"

	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/offsets"
)

// A consumer that must wait for a table's first snapshot reads its bookmark.
func ExampleParse() {
	b, err := offsets.Parse([]byte(`{"version":1,"lsn":1795460862043001,"snapshot":{"complete":true}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := b.Snapshot()
	fmt.Println(s.Complete, b.LSN, err)
	// Output: true 1795460862043001 <nil>
}

// Loops change sections of their own.
func ExampleBookmark_Apply() {
	b := offsets.Bookmark{LSN: 7}
	b, err := b.Apply(cdc.Change{Table: "stages", Section: "full", Value: json.RawMessage(`{"at":1795460862043}`)})
	if err != nil {
		fmt.Println(err)
		return
	}
	value, err := b.Marshal()
	fmt.Println(string(value), err)
	// Output: {"version":1,"lsn":7,"full":{"at":1795460862043}} <nil>
}

// What has changed decides whether a topic can be continued.
func ExampleIncarnation_Diff() {
	was := offsets.Incarnation{Partitions: 6, Format: "debezium", Confidentiality: "all"}
	now := offsets.Incarnation{Partitions: 6, Format: "flat", Confidentiality: "non-confidential"}
	for _, d := range was.Diff(now) {
		fmt.Println(d, d.Breaking())
	}
	// Output:
	// format debezium -> flat true
	// confidentiality all -> non-confidential false
}
