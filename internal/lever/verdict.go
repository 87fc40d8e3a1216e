package lever

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// A step is what Get does after an attempt.
type step int

const (
	giveUp step = iota
	giveBack
	tryAgain
	slowDown
	follow
	renewKey
)

// Outcomes of requests that were sent, as counted in Stats.
const (
	outcomeGood      = "2xx"
	outcomeNetwork   = "network"
	outcomeUnusable  = "unusable"
	outcomeCancelled = "cancelled"
)

const (
	// maxHops is how many redirects are followed in a row.
	maxHops = 3
	// maxRetryAfter bounds what a server may ask for with Retry-After.
	maxRetryAfter = 60 * time.Second
)

// A verdict is what an answer means.
type verdict struct {
	next     step
	outcome  string
	page     cdc.Page
	err      *failure
	after    time.Duration // least pause, if the server asked for one
	location *url.URL
}

// judge says what to do about the answer. It does not look at clocks or counters.
func (k *call) judge(a answer) verdict {
	if a.err != nil {
		return k.judgeBroken(a.err)
	}
	v := verdict{outcome: strconv.Itoa(a.status/100) + "xx"}
	code, message, theirs := errorCode(a)
	say := func(kind error, hint string) verdict {
		text := strings.TrimSpace(strconv.Itoa(a.status) + " " + http.StatusText(a.status))
		if code != "" {
			text += ": " + code
		}
		if hint != "" {
			text += ": " + hint
		}
		v.err = k.fail(kind, text)
		return v
	}
	switch s := a.status; {
	case s == http.StatusOK:
		page, err := decodePage(a.body)
		if err != nil {
			v.next, v.outcome = tryAgain, outcomeUnusable
			return say(cdc.ErrUnavailable, "the answer "+err.Error())
		}
		v.next, v.page, v.page.Date = giveBack, page, date(a.header)
		return v
	case s == http.StatusTooManyRequests:
		v.next, v.after = slowDown, retryAfter(a.header)
		return say(cdc.ErrUnavailable, "")
	case s >= 500, s == http.StatusRequestTimeout:
		v.next, v.after = tryAgain, retryAfter(a.header)
		return say(cdc.ErrUnavailable, "")
	case s < 300:
		v.next, v.outcome = tryAgain, outcomeUnusable
		return say(cdc.ErrUnavailable, "a page was expected with status 200")
	case s < 400:
		location, problem := k.redirect(a)
		if problem != "" {
			return say(cdc.ErrUnavailable, problem)
		}
		v.next, v.location = follow, location
		return v
	// The status of this one is not documented, only its message (lever-api.md 1.5).
	case k.paged && strings.Contains(strings.ToLower(message), "invalid offset"):
		return say(cdc.ErrInvalidOffset, "Lever no longer accepts the page token; read the list again from its first page")
	case s == http.StatusUnauthorized:
		v.next = renewKey
		return say(cdc.ErrUnauthorized, "Lever does not accept the credentials; "+credentialAdvice)
	case s == http.StatusForbidden:
		return say(cdc.ErrForbidden, "")
	case s == http.StatusNotFound && !theirs:
		v.next = tryAgain
		return say(cdc.ErrUnavailable, "the answer is not Lever's; check LEVER_API_URL, and the proxy if there is one")
	case s == http.StatusNotFound:
		return say(cdc.ErrNotFound, "")
	default:
		return say(cdc.ErrRejected, "")
	}
}

// judgeBroken is for attempts without an answer. A page that is too large will be so
// again.
func (k *call) judgeBroken(err error) verdict {
	f := k.fail(cdc.ErrUnavailable, describe(err))
	if errors.Is(err, errTooLarge) {
		return verdict{next: giveUp, outcome: outcomeUnusable, err: f}
	}
	return verdict{next: tryAgain, outcome: outcomeNetwork, err: f}
}

// describe says in plain words what went wrong on the way. An error of unknown type
// is not repeated: net/http quotes bytes of the answer in some of them.
func describe(err error) string {
	var (
		timeout  net.Error
		lookup   *net.DNSError
		op       *net.OpError
		record   tls.RecordHeaderError
		verify   *tls.CertificateVerificationError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		hostname x509.HostnameError
	)
	switch {
	case errors.Is(err, errTooLarge):
		return "the answer is " + errTooLarge.Error() + "; ask for smaller pages"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no complete answer in time"
	case errors.As(err, &lookup):
		return "cannot find the API's host in the DNS"
	case errors.As(err, &verify), errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &hostname):
		return "the server's certificate is not trusted; check the clock, the proxy and the certificate authorities"
	case errors.As(err, &record):
		return "the server does not speak TLS; check LEVER_API_URL"
	case errors.As(err, &op):
		return "connection failed: " + op.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed in the middle of an answer"
	default:
		return "the connection failed, or what came was not a proper HTTP answer"
	}
}

// redirect returns where the answer points to, or what is wrong with that. Only the
// host that was meant to see the key may get it again.
func (k *call) redirect(a answer) (location *url.URL, problem string) {
	switch a.status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, "a page was expected with status 200"
	}
	location, err := k.url.Parse(a.header.Get("Location"))
	switch {
	case err != nil || a.header.Get("Location") == "":
		return nil, "a redirect without a usable Location"
	case location.Scheme != k.url.Scheme || !strings.EqualFold(location.Host, k.url.Host):
		return nil, "a redirect to another host is not followed, because the API key would go with it; check LEVER_API_URL"
	case k.hops >= maxHops:
		return nil, fmt.Sprintf("more than %d redirects in a row", maxHops)
	}
	location.User, location.Fragment = nil, ""
	return location, ""
}

var plainCode = regexp.MustCompile(`^[A-Za-z]{1,40}$`)

// errorCode returns Lever's code for an error, if it looks like one, and the message,
// which is not for printing. theirs says that the answer has the form of Lever's errors
// (lever-api.md 1.4). A proxy that lost its way answers 404, too, and rows are deleted for
// a 404 of Lever's.
func errorCode(a answer) (code, message string, theirs bool) {
	if a.status < 400 {
		return "", "", false
	}
	// Other fields may have any type; a field of the wrong type leaves the others.
	var e struct {
		Code    any `json:"code"`
		Message any `json:"message"`
	}
	if err := json.Unmarshal(a.body, &e); err != nil {
		return "", "", false
	}
	code, _ = e.Code.(string)
	message, _ = e.Message.(string)
	if !plainCode.MatchString(code) {
		code = ""
	}
	return code, message, e.Code != nil
}

// date returns the server's time, or ours if it gave none.
func date(h http.Header) time.Time {
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		return t.UTC()
	}
	return time.Now().UTC()
}

// retryAfter returns how long the server asks to wait, at most maxRetryAfter, 0 if it
// does not say. Lever does not send it; proxies before it may.
func retryAfter(h http.Header) time.Duration {
	s := strings.TrimSpace(h.Get("Retry-After"))
	var d time.Duration
	if seconds, err := strconv.ParseUint(s, 10, 32); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if t, err := http.ParseTime(s); err == nil {
		d = time.Until(t)
	}
	return min(max(d, 0), maxRetryAfter)
}
