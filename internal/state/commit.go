package state

import (
	"encoding/json"
	"fmt"
	"time"
)

// commitVersion is the format that Marshal writes.
const commitVersion = 1

// Commit is the record by which a transaction is known. Two commits are the same if
// they are equal.
type Commit struct {
	// Version is the format's: 1.
	Version int `json:"version"`
	// ID is unique among all commits.
	ID string `json:"id"`
	// LSN is the log sequence number of the last event up to the commit.
	LSN int64 `json:"lsn"`
	// Time is when it was made, in milliseconds since 1970.
	Time int64 `json:"time"`
}

// Marshal returns the record's value, as JSON.
func (c Commit) Marshal() []byte { return marshal(c) }

// ParseCommit reads the value of a commit record.
func ParseCommit(b []byte) (Commit, error) {
	var c Commit
	if err := json.Unmarshal(b, &c); err != nil {
		return Commit{}, fmt.Errorf("the commit record is damaged: %w", err)
	}
	if c.Version != commitVersion {
		return Commit{}, fmt.Errorf("the commit record was written by another version of the program (format %d, this one knows %d): use that version", c.Version, commitVersion)
	}
	return c, nil
}

// CommitPosition is a commit and where in the state topic it is.
type CommitPosition struct {
	Commit
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// Position is how far a store has followed the state topic.
type Position struct {
	// Offsets are those to read next, by partition.
	Offsets map[int32]int64 `json:"offsets"`
	// Commit is the last commit applied.
	Commit CommitPosition `json:"last_commit"`
	// AtEnd is when the store last held everything that the topic did.
	AtEnd time.Time `json:"at_end"`
}
