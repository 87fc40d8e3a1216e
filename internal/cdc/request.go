package cdc

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Class says who waits when requests are scarce. Lower values go first.
type Class int

// The classes, most urgent first.
const (
	// ClassCheck is for answers that somebody waits for: webhooks and preflight checks.
	ClassCheck Class = iota
	// ClassLive is for increments and deletion feeds.
	ClassLive
	// ClassChildren is for the children of changed parents.
	ClassChildren
	// ClassRefresh is for full tables.
	ClassRefresh
	// ClassLoad is for the first load: snapshots, and the children of their rows.
	ClassLoad
	// ClassSweep is for re-reading what can change unseen.
	ClassSweep
	// Classes is the number of classes.
	Classes
)

var classNames = [Classes]string{"check", "live", "children", "refresh", "load", "sweep"}

// String returns the name used in metrics and on status pages.
func (c Class) String() string {
	if c < 0 || c >= Classes {
		return fmt.Sprintf("class %d", int(c))
	}
	return classNames[c]
}

// Request asks Lever for one page of a list, or for one object.
type Request struct {
	Class Class
	// Path is relative to the API's root and begins with a slash, for example
	// "/opportunities". Ids in it are already escaped.
	Path string
	// Query holds the parameters without limit and offset.
	Query url.Values
	// Limit is the page size, 1 to 100; 0 sends no limit (single objects, and
	// lists that do not take one).
	Limit int
	// Offset is the token of an earlier page's Next, as Lever gave it; empty for
	// the first page.
	Offset string
	// Attempts is how often the request is sent if it fails, and Timeout bounds each of
	// them, from sending to the last byte; 0 leaves them to the client.
	Attempts int
	Timeout  time.Duration
}

// Page is Lever's answer to a Request.
type Page struct {
	// Data are the records of the page; one record if a single object was asked for.
	Data []map[string]any
	// Next is the token of the following page, empty on the last.
	Next string
	// Sent and Arrived bound the moment at which Lever made the answer, on the
	// process's Clock.
	Sent, Arrived Instant
	// Date is Lever's own time of the answer (Date header, full seconds).
	Date time.Time
	// Key numbers the credentials with which Lever was asked, from 1; 0 if nothing was
	// sent. Others may belong to another account. It is also set beside ErrNotFound.
	Key int
}

// Errors that a caller decides on. Match them with errors.Is.
var (
	// ErrNotFound: Lever answered 404; the object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrForbidden: Lever answered 403; the key has no permission for the endpoint.
	ErrForbidden = errors.New("forbidden")
	// ErrUnauthorized: Lever answered 401; the credentials are not (or no longer) valid.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrInvalidOffset: the page token is no longer valid; the list must be read
	// again from its first page.
	ErrInvalidOffset = errors.New("invalid offset token")
	// ErrUnavailable: Lever could not be reached or kept answering with errors or
	// nonsense, also when asked again. Trying later may help.
	ErrUnavailable = errors.New("Lever unavailable")
	// ErrRejected: Lever answered with another 4xx status; asking again will not help.
	ErrRejected = errors.New("request rejected")
)
