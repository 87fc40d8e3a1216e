package sandbox

import (
	"maps"
	"net"
	"net/http"
	"sync"
)

// Faults are what goes wrong on purpose. The zero value is a healthy server.
type Faults struct {
	// ErrorRate is the share of requests, from 0 to 1, that are answered badly at
	// random: with 500, 503 or 429, a reset connection, a body that ends early, or
	// HTML with status 200.
	ErrorRate float64
	// Status makes endpoints answer with a status only, for example
	// "/opportunities/:id/referrals" with 403.
	Status map[string]int
	// Down answers everything with 503.
	Down bool
	// Unauthorized answers everything with 401, as if the key had been revoked.
	Unauthorized bool
	// NoConfidential answers lists with confidentiality=all or =confidential, and requests
	// for single confidential records, with 403, as for a key that was made without the grant.
	NoConfidential bool
	// InvalidTokens answers requests with a page token with 400, as for tokens that
	// are too old.
	InvalidTokens bool
}

// SetFaults replaces the faults. It may be called at any time.
func (l *Lever) SetFaults(f Faults) { l.faults.set(f) }

// trouble is a bad answer that is more than a status.
type trouble int

const (
	none trouble = iota
	reset
	cut
	html
)

// An injector decides which requests are answered badly.
type injector struct {
	mu     sync.Mutex
	faults Faults
	dice   dice
}

func (i *injector) set(f Faults) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f.Status = maps.Clone(f.Status)
	i.faults = f
}

func (i *injector) get() Faults {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.faults
}

// hit says what goes wrong with a request, if anything does.
func (i *injector) hit(endpoint string) (*failure, trouble) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if status := i.faults.Status[endpoint]; status != 0 {
		return injected(status), none
	}
	if i.faults.ErrorRate <= 0 || float64(i.dice.below(1_000_000)) >= i.faults.ErrorRate*1_000_000 {
		return nil, none
	}
	switch i.dice.below(6) {
	case 0:
		return injected(http.StatusInternalServerError), none
	case 1:
		return injected(http.StatusServiceUnavailable), none
	case 2:
		return injected(http.StatusTooManyRequests), none
	case 3:
		return nil, reset
	case 4:
		return nil, cut
	default:
		return nil, html
	}
}

func injected(status int) *failure {
	codes := map[int]string{
		http.StatusForbidden: "ForbiddenError", http.StatusNotFound: "ResourceNotFound", http.StatusUnauthorized: "UnauthorizedError",
		http.StatusTooManyRequests: "TooManyRequestsError", http.StatusServiceUnavailable: "ServiceUnavailableError",
	}
	code := codes[status]
	if code == "" {
		code = "InternalError"
	}
	return &failure{status, code, http.StatusText(status)}
}

// resetConnection drops the connection so that the client sees a reset; false if the
// server does not let go of it.
func resetConnection(w http.ResponseWriter) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		// With unsent data discarded, closing sends a reset. If it cannot be set, the
		// client sees an end of file, which is as bad.
		_ = tcp.SetLinger(0)
	}
	return conn.Close() == nil
}
