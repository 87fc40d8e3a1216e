package offsets

import (
	"fmt"
	"strconv"
)

// Incarnation is what the content of a table's topic depends on. If a part of it
// changes, what the topic and the state hold no longer fits what would be written.
type Incarnation struct {
	// TopicID and StateTopicID are Kafka's ids: a topic that was deleted and created
	// again has another one.
	TopicID      string `json:"topic_id"`
	StateTopicID string `json:"state_topic_id"`
	// Partitions is the number of the data topic's partitions.
	Partitions int32 `json:"partitions"`
	// Format and KeyFormat are EVENT_FORMAT and EVENT_KEY.
	Format    string `json:"format"`
	KeyFormat string `json:"key_format"`
	// KeySchemaID is the registry's id of the key's schema. It is part of every Avro
	// key's bytes, which compaction compares. 0 for string keys.
	KeySchemaID int `json:"key_schema_id,omitempty"`
	// SchemaVersion is the number of the row schema, from 1.
	SchemaVersion int `json:"schema_version"`
	// Confidentiality is what may be read: "all" or "non-confidential".
	Confidentiality string `json:"confidentiality"`
	// StartDate is the beginning of what is replicated; empty for everything.
	StartDate string `json:"start_date,omitempty"`
	// Masking is a digest of the rules by which fields are left out or hashed.
	Masking string `json:"masking,omitempty"`
	// MaskedSince is the log sequence number up to which rows were written under other
	// rules; they are written again. It is no part of what is compared.
	MaskedSince int64 `json:"masked_since,omitempty"`
	// APIHost is the host of Lever's API: production and sandbox are two accounts.
	APIHost string `json:"api_host"`
	// Candidates is how candidates are read; empty for derived.
	Candidates string `json:"candidates,omitempty"`
}

// Difference is a part of an incarnation that has changed.
type Difference struct {
	// Field is its name in the bookmark.
	Field string
	// Was and Now are its values.
	Was, Now string
}

// String returns, for example, "partitions 6 -> 12".
func (d Difference) String() string {
	return fmt.Sprintf("%s %s -> %s", d.Field, orNone(d.Was), orNone(d.Now))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Breaking says that records written after the change do not supersede those written
// before it, so that a topic with records cannot be continued.
func (d Difference) Breaking() bool {
	switch d.Field {
	case "partitions", "format", "key_format", "key_schema_id":
		return true
	}
	return false
}

// Diff returns the parts in which now differs, in the order of the fields; none if
// the two are equal.
func (i Incarnation) Diff(now Incarnation) []Difference {
	was, is := i.parts(), now.parts()
	var out []Difference
	for n := range was {
		if was[n].value != is[n].value {
			out = append(out, Difference{Field: was[n].name, Was: was[n].value, Now: is[n].value})
		}
	}
	return out
}

type part struct{ name, value string }

func (i Incarnation) parts() []part {
	return []part{
		{"topic_id", i.TopicID},
		{"state_topic_id", i.StateTopicID},
		{"partitions", strconv.Itoa(int(i.Partitions))},
		{"format", i.Format},
		{"key_format", i.KeyFormat},
		{"key_schema_id", strconv.Itoa(i.KeySchemaID)},
		{"schema_version", strconv.Itoa(i.SchemaVersion)},
		{"confidentiality", i.Confidentiality},
		{"start_date", i.StartDate},
		{"masking", i.Masking},
		{"api_host", i.APIHost},
		{"candidates", i.Candidates},
	}
}
