package server

import (
	"net/http"

	"github.com/leverstream/leverstream/offsets"
)

// bookmarks adds the requests that show bookmarks, in the form of Kafka Connect's offsets
// API. They hold ids of opportunities and Lever's page tokens, so that whoever may not
// steer may not see them either.
func bookmarks(mux *http.ServeMux, c Config) {
	show := func(w http.ResponseWriter, wanted func(table string) bool) {
		all, err := c.Source.Bookmarks()
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, "bookmarks: "+err.Error())
			return
		}
		d := offsets.Document{Account: c.Source.Snapshot().Account, Bookmarks: map[string]*offsets.Bookmark{}}
		for table, b := range all {
			if wanted(table) {
				d.Bookmarks[table] = &b
			}
		}
		text, err := d.Marshal()
		if err != nil {
			refuse(w, http.StatusInternalServerError, "bookmarks: "+err.Error())
			return
		}
		answer(w, http.StatusOK, "application/json", string(text))
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
