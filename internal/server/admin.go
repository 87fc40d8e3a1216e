package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/offsets"
)

// Steering changes what the program does. Errors are shown to whoever asked.
type Steering interface {
	// Pause stops a table, durably, and Resume lets it go on.
	Pause(ctx context.Context, table string) error
	Resume(ctx context.Context, table string) error
	// Resnapshot reads a table again; with all, every row is written again.
	Resnapshot(ctx context.Context, table string, all bool) error
	// Reread has single rows of a table read again; with write they are written although
	// they have not changed.
	Reread(ctx context.Context, table string, rows []pipeline.RowKey, write bool) (pipeline.Queued, error)
	// SetBookmarks replaces bookmarks of paused tables, in one transaction; nil resets one.
	SetBookmarks(ctx context.Context, next map[string]*offsets.Bookmark) error
	// Selected says whether there is such a table.
	Selected(table string) bool
}

// steeringTimeout bounds how long a request to steer waits for its commit.
const steeringTimeout = 8 * time.Second

const noSuchTable = "no such table is selected; GET /status lists them, LEVER_TABLES selects them"

// problemBody is the body of an answer that says no. The message says what was asked
// for, why it was not done and what to do.
type problemBody struct {
	Status  int    `json:"error_code"`
	Message string `json:"message"`
}

func refuse(w http.ResponseWriter, status int, message string) {
	answerJSON(w, status, problemBody{status, message})
}

// admin adds the requests that change state. Only POST does; with a token they need
// it, without one they are answered only to programs on this machine.
func admin(mux *http.ServeMux, c Config) {
	s := c.Steering
	handle := func(action, done string, do func(r *http.Request, table string) error) {
		onlyBy(mux, "/tables/{table}/"+action, http.MethodPost)
		mux.Handle("POST /tables/{table}/"+action, authorised(c, func(w http.ResponseWriter, r *http.Request) {
			table := r.PathValue("table")
			if !s.Selected(table) {
				refuse(w, http.StatusNotFound, action+": "+noSuchTable)
				return
			}
			if err := onlyAll(r); err != nil {
				refuse(w, http.StatusBadRequest, action+" "+table+": "+err.Error())
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), steeringTimeout)
			defer cancel()
			if err := do(r.WithContext(ctx), table); err != nil {
				failed(w, action+" "+table, err)
				return
			}
			answerJSON(w, http.StatusOK, tableDone{table, done})
		}))
	}
	handle("pause", "paused", func(r *http.Request, table string) error { return s.Pause(r.Context(), table) })
	handle("resume", "resumed", func(r *http.Request, table string) error { return s.Resume(r.Context(), table) })
	handle("resnapshot", "the snapshot begins again", func(r *http.Request, table string) error {
		return s.Resnapshot(r.Context(), table, r.URL.Query().Get("all") == "true")
	})
	mux.Handle("POST /tables/{table}/reread", authorised(c, reread(s)))
	onlyBy(mux, "/tables/{table}/reread", http.MethodPost)
}

// onlyBy answers requests of a path by any method that nobody else takes.
func onlyBy(mux *http.ServeMux, path string, methods ...string) {
	allowed := strings.Join(methods, ", ")
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed)
		refuse(w, http.StatusMethodNotAllowed, r.URL.Path+" is taken by "+allowed+" only")
	})
}

// reread has single rows of a table read again.
func reread(s Steering) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		table := r.PathValue("table")
		if !s.Selected(table) {
			refuse(w, http.StatusNotFound, "reread: "+noSuchTable)
			return
		}
		if err := onlyAll(r); err != nil {
			refuse(w, http.StatusBadRequest, "reread "+table+": "+err.Error())
			return
		}
		var asked struct {
			Rows  []pipeline.RowKey `json:"rows"`
			Write bool              `json:"write"`
		}
		text, ok := readBody(w, r, "reread "+table)
		if !ok {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		err := dec.Decode(&asked)
		if _, more := dec.Token(); err == nil && !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON object")
		}
		if err != nil {
			refuse(w, http.StatusBadRequest, "reread "+table+": the body is not "+`{"rows":[{"key":"…","parent":"…"}],"write":false}`+": "+err.Error())
			return
		}
		queued, err := s.Reread(r.Context(), table, asked.Rows, asked.Write)
		if err != nil {
			failed(w, "reread "+table, err)
			return
		}
		answerJSON(w, http.StatusAccepted, struct {
			tableDone
			pipeline.Queued
		}{tableDone{table, "queued; GET /status says under rereads what became of it"}, queued})
	}
}

// readBody reads a body of JSON. If there is none, it has answered.
func readBody(w http.ResponseWriter, r *http.Request, what string) (text []byte, ok bool) {
	// A form of another site's page can send anything but this type.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, what+": the body must be JSON and say so, with the header Content-Type: application/json")
		return nil, false
	}
	text, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("%s: the body is larger than %d KiB; send it in parts", what, large.Limit>>10))
		return nil, false
	case err != nil:
		refuse(w, http.StatusBadRequest, what+": the body did not arrive in time")
		return nil, false
	}
	return text, true
}

// tableDone is the body of an answer that says yes.
type tableDone struct {
	Table string `json:"table"`
	Done  string `json:"done"`
}

// failed says why something was not done.
func failed(w http.ResponseWriter, what string, err error) {
	var wrong *pipeline.RequestError
	switch {
	case errors.As(err, &wrong) && wrong.Conflict:
		refuse(w, http.StatusConflict, what+": "+err.Error())
	case errors.As(err, &wrong):
		refuse(w, http.StatusBadRequest, what+": "+err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		refuse(w, http.StatusGatewayTimeout, what+": not committed within "+steeringTimeout.String()+", but perhaps later; see /status, and ask again: doing it twice does no harm")
	default:
		refuse(w, http.StatusServiceUnavailable, what+": "+err.Error())
	}
}

// onlyAll refuses parameters that nobody would look at: all=true or false of resnapshot
// is the only one.
func onlyAll(r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery) // URL.Query drops what it cannot read
	if err != nil {
		return errors.New("the parameters cannot be read; resnapshot takes all=true")
	}
	for name, values := range query {
		if name != "all" || !strings.HasSuffix(r.URL.Path, "/resnapshot") {
			return errors.New("it takes no parameter of that name; resnapshot takes all=true")
		}
		if len(values) != 1 || values[0] != "true" && values[0] != "false" {
			return errors.New("all is true or false")
		}
	}
	return nil
}

// authorised lets requests pass that may change state. Pages of other sites that a
// browser shows are refused in any case.
func authorised(c Config, next http.HandlerFunc) http.Handler {
	no := func(w http.ResponseWriter, r *http.Request, status int, message string) {
		c.Logger.Warn("refused an admin request", "status", status, "remote", r.RemoteAddr)
		refuse(w, status, message)
	}
	check := func(w http.ResponseWriter, r *http.Request) {
		if c.AdminToken == nil {
			if !local(r.Host) {
				no(w, r, http.StatusForbidden, "without ADMIN_TOKEN only requests to this machine's own name or address are taken; ask under the address that HTTP_ADDR names, or set ADMIN_TOKEN")
				return
			}
			next(w, r)
			return
		}
		want, err := c.AdminToken()
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		bearer := strings.EqualFold(scheme, "Bearer")
		switch {
		case err != nil || want == "":
			no(w, r, http.StatusServiceUnavailable, "ADMIN_TOKEN cannot be read, so nobody may steer; check ADMIN_TOKEN_FILE")
		case !bearer || !equal(given, want):
			w.Header().Set("WWW-Authenticate", `Bearer realm="leverstream"`)
			no(w, r, http.StatusUnauthorized, "this needs the header Authorization: Bearer with the value of ADMIN_TOKEN")
		default:
			next(w, r)
		}
	}
	p := http.NewCrossOriginProtection()
	p.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		no(w, r, http.StatusForbidden, "requests from pages of other sites are refused; use curl or another program")
	}))
	return p.Handler(http.HandlerFunc(check))
}

// equal compares in a time that says nothing of either, their lengths included.
func equal(given, want string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// local says whether a request was addressed to this machine by one of its own names. A
// page whose own name leads here does not pass (DNS rebinding).
func local(host string) bool {
	name, _, err := net.SplitHostPort(host)
	var missing *net.AddrError
	if errors.As(err, &missing) {
		name = host
	}
	if name == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return ip != nil && ip.IsLoopback()
}
