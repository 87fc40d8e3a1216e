package publish

import "time"

// Complete says whether the table's snapshot is, as committed.
func (w *Writer) Complete(table string) bool {
	s, err := w.Bookmark(table).Snapshot()
	return err == nil && s.Complete
}

// Counts returns the number of rows in the local state, per table.
func (w *Writer) Counts() map[string]int64 { return w.store.Counts() }

// StateSize returns the bytes that the local state takes on disk.
func (w *Writer) StateSize() int64 { return w.store.Size() }

// Started is when this ownership began.
func (w *Writer) Started() time.Time { return w.started }
