package sandbox

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// A failure is an answer other than 200, with a body as Lever writes it.
type failure struct {
	status        int
	code, message string
}

func (f *failure) body() []byte {
	return appendObject(nil, newObject("code", f.code, "message", f.message))
}

func notFound(collection, id string) *failure {
	return &failure{http.StatusNotFound, "ResourceNotFound", collection + " " + id + " was not found"}
}

func withoutGrant() *failure {
	return &failure{http.StatusForbidden, "ForbiddenError", "The key has no access to confidential data."}
}

func badRequest(format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, "BadRequestError", fmt.Sprintf(format, args...)}
}

func badToken() *failure {
	return &failure{http.StatusBadRequest, "BadRequestError", "Invalid offset token"}
}

// A query is what a list request asks for.
type query struct {
	values url.Values
	limit  int
	offset string // "" = the first page
}

func newQuery(values url.Values, defaultLimit int) (query, *failure) {
	q := query{values: values, limit: defaultLimit, offset: values.Get("offset")}
	if text := values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100 {
			return q, badRequest("limit must be a number from 1 to 100")
		}
		q.limit = n
	}
	return q, nil
}

// A window is a span of time, both ends included.
type window struct {
	set        bool
	start, end int64
}

func (w window) holds(ms int64) bool { return !w.set || w.start <= ms && ms <= w.end }

// window reads the parameters name_start and name_end, each of which may be missing.
func (q query) window(name string) (window, *failure) {
	w := window{end: math.MaxInt64}
	for suffix, to := range map[string]*int64{"_start": &w.start, "_end": &w.end} {
		text := q.values.Get(name + suffix)
		if text == "" {
			continue
		}
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return w, badRequest("%s must be a time in milliseconds", name+suffix)
		}
		*to, w.set = ms, true
	}
	return w, nil
}

// confidentiality reads the parameter of that name, as a predicate on records.
func (q query) confidentiality() (shows func(confidential bool) bool, fail *failure) {
	switch q.values.Get("confidentiality") {
	case "", "non-confidential":
		return func(c bool) bool { return !c }, nil
	case "confidential":
		return func(c bool) bool { return c }, nil
	case "all":
		return func(bool) bool { return true }, nil
	}
	return nil, badRequest("confidentiality must be confidential, non-confidential or all")
}

func (q query) expands(field string) bool { return slices.Contains(q.values["expand"], field) }

// onlyWith fails if there are other parameters than the named ones and those of paging.
func (q query) onlyWith(names ...string) *failure {
	for name := range q.values {
		if name != "limit" && name != "offset" && !slices.Contains(names, name) {
			return badRequest("%s cannot be combined with updated_at_start and updated_at_end", name)
		}
	}
	return nil
}

// longestFeed is the longest window of a feed of deletions.
const longestFeed = 30 * day

// feedWindow reads deleted_at_start and deleted_at_end. Strict feeds want both, at
// most 30 days apart, and leave the end out.
func (q query) feedWindow(strict bool) (window, *failure) {
	w, fail := q.window("deleted_at")
	if fail != nil || !strict {
		return w, fail
	}
	if q.values.Get("deleted_at_start") == "" || q.values.Get("deleted_at_end") == "" {
		return w, badRequest("deleted_at_start and deleted_at_end are required")
	}
	if time.Duration(w.end-w.start) > longestFeed/time.Millisecond || w.end < w.start {
		return w, badRequest("deleted_at_start and deleted_at_end must not be more than 30 days apart")
	}
	w.end--
	return w, nil
}
