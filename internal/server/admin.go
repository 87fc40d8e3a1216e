package server

import (
	"context"
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

// admin adds the requests that change state. Only POST does; with a token they need
// it, without one they are answered only to programs on this machine.
func admin(mux *http.ServeMux, s Steering, token func() (string, error)) {
	handle := func(action string, do func(r *http.Request, table string) error) {
		mux.Handle("POST /tables/{table}/"+action, authorised(token, func(w http.ResponseWriter, r *http.Request) {
			table := r.PathValue("table")
			if !s.Selected(table) {
				answer(w, http.StatusNotFound, textPlain, "no such table is selected; see `producer tables`")
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), steeringTimeout)
			defer cancel()
			if err := do(r.WithContext(ctx), table); err != nil {
				answer(w, http.StatusServiceUnavailable, textPlain, err.Error())
				return
			}
			answer(w, http.StatusOK, textPlain, "ok")
		}))
	}
	handle("pause", func(r *http.Request, table string) error { return s.Pause(r.Context(), table) })
	handle("resume", func(r *http.Request, table string) error { return s.Resume(r.Context(), table) })
	handle("resnapshot", func(r *http.Request, table string) error {
		return s.Resnapshot(r.Context(), table, r.URL.Query().Get("all") == "true")
	})
}

// authorised lets requests pass that may change state. Pages of other sites that a
// browser shows are refused in any case.
func authorised(token func() (string, error), next http.HandlerFunc) http.Handler {
	check := func(w http.ResponseWriter, r *http.Request) {
		if token == nil {
			if !local(r.Host) {
				answer(w, http.StatusForbidden, textPlain, "ask under the address that HTTP_ADDR names, or set ADMIN_TOKEN")
				return
			}
			next(w, r)
			return
		}
		want, err := token()
		given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case err != nil || want == "":
			answer(w, http.StatusServiceUnavailable, textPlain, "ADMIN_TOKEN cannot be read")
		case !bearer || subtle.ConstantTimeCompare([]byte(given), []byte(want)) != 1:
			w.Header().Set("WWW-Authenticate", `Bearer realm="leverstream"`)
			answer(w, http.StatusUnauthorized, textPlain, "this needs the header Authorization: Bearer with ADMIN_TOKEN")
		default:
			next(w, r)
		}
	}
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(check))
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
