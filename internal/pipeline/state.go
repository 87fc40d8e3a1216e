package pipeline

import (
	"encoding/json"
	"iter"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/publish"
)

// stateView shows the writer's state to the extractors.
type stateView struct{ w *publish.Writer }

func (s stateView) Row(table, key string) (known extractor.Known, ok bool, err error) {
	rec, ok, err := s.w.Store().Get(table, key)
	if err != nil || !ok || rec.Row == nil {
		return known, false, err
	}
	return extractor.Known{Parent: rec.Parent, ReadAt: rec.ReadAt}, true, nil
}

func (s stateView) Keys(table string) iter.Seq2[string, error] { return s.w.Store().Keys(table) }

func (s stateView) KeysAfter(table, after string, limit int) ([]string, error) {
	return s.w.Store().KeysAfter(table, after, limit)
}

func (s stateView) Children(table, parent string) ([]string, error) {
	return s.w.Store().Children(table, parent)
}

func (s stateView) Count(table string) int64 { return s.w.Store().Counts()[table] }

func (s stateView) Since(table string, lsn int64, limit int) ([]cdc.Version, error) {
	return s.w.Store().Since(table, lsn, limit)
}

func (s stateView) LSN() int64 { return s.w.LSN() }

func (s stateView) Section(table, section string) json.RawMessage {
	return s.w.Section(table, section)
}
