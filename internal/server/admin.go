package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"
)

// Steering changes what the program does. Errors are shown to whoever asked.
type Steering interface {
	// Pause stops a table, durably, and Resume lets it go on.
	Pause(ctx context.Context, table string) error
	Resume(ctx context.Context, table string) error
	// Resnapshot reads a table again; with all, every row is written again.
	Resnapshot(ctx context.Context, table string, all bool) error
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
			switch err := do(r.WithContext(ctx), table); {
			case errors.Is(err, context.DeadlineExceeded):
				refuse(w, http.StatusGatewayTimeout, action+" "+table+": not committed within "+steeringTimeout.String()+", but perhaps later; see /status, and ask again: doing it twice does no harm")
			case err != nil:
				refuse(w, http.StatusServiceUnavailable, action+" "+table+": "+err.Error())
			default:
				answerJSON(w, http.StatusOK, struct {
					Table string `json:"table"`
					Done  string `json:"done"`
				}{table, done})
			}
		}))
	}
	handle("pause", "paused", func(r *http.Request, table string) error { return s.Pause(r.Context(), table) })
	handle("resume", "resumed", func(r *http.Request, table string) error { return s.Resume(r.Context(), table) })
	handle("resnapshot", "the snapshot begins again", func(r *http.Request, table string) error {
		return s.Resnapshot(r.Context(), table, r.URL.Query().Get("all") == "true")
	})
}

// onlyAll refuses parameters that nobody would look at: all=true or false of resnapshot
// is the only one.
func onlyAll(r *http.Request) error {
	for name, values := range r.URL.Query() {
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
		given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
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
