package server

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/leverstream/leverstream/offsets"
)

// bookmarks adds the requests that show and change bookmarks, in the form of Kafka
// Connect's offsets API (KIP-875): GET shows them, PATCH alters those that it names, DELETE
// resets. As a connector must be stopped for that, a table must be paused. Bookmarks hold
// ids of opportunities and Lever's page tokens, so that whoever may not steer may not see
// them either.
func bookmarks(mux *http.ServeMux, c Config) {
	b := bookmarkRequests{c}
	all := func(string) bool { return true }
	mux.Handle("GET /bookmarks", authorised(c, func(w http.ResponseWriter, _ *http.Request) { b.show(w, all) }))
	mux.Handle("PATCH /bookmarks", authorised(c, func(w http.ResponseWriter, r *http.Request) { b.alter(w, r, all) }))
	mux.Handle("DELETE /bookmarks", authorised(c, func(w http.ResponseWriter, r *http.Request) { b.reset(w, r, all) }))
	one := func(do func(w http.ResponseWriter, r *http.Request, wanted func(string) bool)) http.Handler {
		return authorised(c, func(w http.ResponseWriter, r *http.Request) {
			table := r.PathValue("table")
			if !c.Steering.Selected(table) {
				refuse(w, http.StatusNotFound, "bookmark: "+noSuchTable)
				return
			}
			do(w, r, func(t string) bool { return t == table })
		})
	}
	mux.Handle("GET /tables/{table}/bookmark", one(func(w http.ResponseWriter, _ *http.Request, wanted func(string) bool) { b.show(w, wanted) }))
	mux.Handle("PATCH /tables/{table}/bookmark", one(b.alter))
	mux.Handle("DELETE /tables/{table}/bookmark", one(b.reset))
	for _, path := range []string{"/bookmarks", "/tables/{table}/bookmark"} {
		onlyBy(mux, path, http.MethodGet, http.MethodPatch, http.MethodDelete)
	}
}

type bookmarkRequests struct{ Config }

// show answers with the wanted bookmarks.
func (b bookmarkRequests) show(w http.ResponseWriter, wanted func(table string) bool) {
	all, err := b.Source.Bookmarks()
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "bookmarks: "+err.Error())
		return
	}
	d := offsets.Document{Account: b.Source.Snapshot().Account, Bookmarks: map[string]*offsets.Bookmark{}}
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

// alter sets the bookmarks that the body names, which all must be wanted.
func (b bookmarkRequests) alter(w http.ResponseWriter, r *http.Request, wanted func(table string) bool) {
	const what = "alter bookmarks"
	text, ok := readBody(w, r, what)
	if !ok {
		return
	}
	d, err := offsets.ParseDocument(text)
	if err != nil {
		refuse(w, http.StatusBadRequest, what+": "+err.Error()+`; the body is {"offsets":[{"partition":{"table":"…"},"offset":{…}}]}, as GET /bookmarks shows it`)
		return
	}
	if account := b.Source.Snapshot().Account; d.Account != "" && d.Account != account {
		refuse(w, http.StatusBadRequest, what+": they are of another account; this one is "+account)
		return
	}
	for _, table := range slices.Sorted(maps.Keys(d.Bookmarks)) {
		if !b.Steering.Selected(table) || !wanted(table) {
			refuse(w, http.StatusBadRequest, what+": the body names a table that is not selected, or not the one of the path; GET /status lists them, LEVER_TABLES selects them")
			return
		}
	}
	b.set(w, r, what, "altered", d.Bookmarks)
}

// reset resets the wanted bookmarks.
func (b bookmarkRequests) reset(w http.ResponseWriter, r *http.Request, wanted func(table string) bool) {
	const what = "reset bookmarks"
	if r.ContentLength != 0 {
		refuse(w, http.StatusBadRequest, what+": DELETE takes no body; PATCH with an offset of null resets single tables")
		return
	}
	all, err := b.Source.Bookmarks()
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, what+": "+err.Error())
		return
	}
	next := map[string]*offsets.Bookmark{}
	for table := range all {
		if wanted(table) {
			next[table] = nil
		}
	}
	b.set(w, r, what, "reset", next)
}

func (b bookmarkRequests) set(w http.ResponseWriter, r *http.Request, what, done string, next map[string]*offsets.Bookmark) {
	if len(r.URL.Query()) > 0 {
		refuse(w, http.StatusBadRequest, what+": it takes no parameters")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), steeringTimeout)
	defer cancel()
	if err := b.Steering.SetBookmarks(ctx, next); err != nil {
		failed(w, what, err)
		return
	}
	answerJSON(w, http.StatusOK, struct {
		Tables []string `json:"tables"`
		Done   string   `json:"done"`
	}{slices.Sorted(maps.Keys(next)), done})
}
