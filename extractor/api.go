package extractor

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Lever answers requests. It retries what is worth retrying and keeps to the
// account's rate limit; the error kinds are those of package cdc.
type Lever interface {
	Get(ctx context.Context, r cdc.Request) (cdc.Page, error)
}

// State is what the extractor must know of the rows that were emitted before.
// It may lag behind units that are not committed yet.
type State interface {
	// Row returns what is known of a row that was emitted and not deleted since.
	Row(table, key string) (Known, bool, error)
	// Keys yields the keys of all rows of the table.
	Keys(table string) iter.Seq2[string, error]
	// KeysAfter returns up to limit keys of the table's rows that sort behind after,
	// in order.
	KeysAfter(table, after string, limit int) ([]string, error)
	// Children returns the keys of a child table's rows that belong to the parent.
	Children(table, parent string) ([]string, error)
	// Count is the number of the table's rows.
	Count(table string) int64
	// Since returns up to limit rows of a parent table with an LSN above lsn, in
	// the order of their LSNs.
	Since(table string, lsn int64, limit int) ([]cdc.Version, error)
	// LSN is the log sequence number of the last committed event.
	LSN() int64
	// Section is the committed value of a bookmark's section; nil if there is none.
	Section(table, section string) json.RawMessage
}

// Known is what the state remembers of a row besides its content.
type Known struct {
	// Parent is the parent that the row belongs to.
	Parent string
	// ReadAt is Lever's time of the read that wrote the row, in full seconds.
	ReadAt time.Time
}
