package server

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"github.com/leverstream/leverstream/offsets"
)

// The bookmarks are shown in the form of Kafka Connect's offsets API (KIP-875): a list of
// partitions, which are tables here, with their offsets.
type (
	offsetList struct {
		Account string        `json:"account"`
		Offsets []tableOffset `json:"offsets"`
	}
	tableOffset struct {
		Partition struct {
			Table string `json:"table"`
		} `json:"partition"`
		Offset json.RawMessage `json:"offset"`
	}
)

// bookmarks adds the requests that show bookmarks. They hold ids of opportunities and
// Lever's page tokens, so that whoever may not steer may not see them either.
func bookmarks(mux *http.ServeMux, c Config) {
	show := func(w http.ResponseWriter, wanted func(table string) bool) {
		all, err := c.Source.Bookmarks()
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, "bookmarks: "+err.Error())
			return
		}
		list := offsetList{Account: c.Source.Snapshot().Account, Offsets: []tableOffset{}}
		for _, table := range slices.Sorted(maps.Keys(all)) {
			if !wanted(table) {
				continue
			}
			value, err := offsets.Bookmark.Marshal(all[table])
			if err != nil {
				refuse(w, http.StatusInternalServerError, "bookmark of "+table+": "+err.Error())
				return
			}
			o := tableOffset{Offset: value}
			o.Partition.Table = table
			list.Offsets = append(list.Offsets, o)
		}
		answerJSON(w, http.StatusOK, list)
	}
	mux.Handle("GET /bookmarks", authorised(c, func(w http.ResponseWriter, _ *http.Request) {
		show(w, func(string) bool { return true })
	}))
	mux.Handle("GET /tables/{table}/bookmark", authorised(c, func(w http.ResponseWriter, r *http.Request) {
		table := r.PathValue("table")
		if !c.Steering.Selected(table) {
			refuse(w, http.StatusNotFound, "bookmark: "+noSuchTable)
			return
		}
		show(w, func(t string) bool { return t == table })
	}))
}
