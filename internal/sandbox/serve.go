package sandbox

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP answers GET requests for paths under /v1 as Lever does. The Date header
// is the account's clock.
func (l *Lever) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.o.Latency > 0 {
		wait := time.NewTimer(l.o.Latency)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
			return
		}
	}
	endpoint, handle := l.route(r)
	status := http.StatusOK
	var body []byte
	trouble := none
	if fail := l.refusal(r, endpoint); fail != nil {
		status, body = fail.status, fail.body()
	} else if fail, trouble = l.faults.hit(endpoint); fail != nil {
		status, body = fail.status, fail.body()
	} else {
		l.mu.RLock()
		b, fail := handle()
		l.mu.RUnlock()
		if body = b; fail != nil {
			status, body = fail.status, fail.body()
		}
	}
	if status == http.StatusTooManyRequests {
		endpoint = "429"
	}
	if endpoint != "" {
		l.requests.add(endpoint)
	}
	h := w.Header()
	h.Set("Date", l.o.Now().UTC().Format(http.TimeFormat))
	h.Set("Server", "lever-data-api")
	h.Set("Content-Type", "application/json; charset=utf-8")
	switch trouble {
	case reset:
		if resetConnection(w) {
			return
		}
		status, body = http.StatusBadGateway, nil
	case cut:
		h.Set("Content-Length", strconv.Itoa(len(body)))
		body = body[:len(body)/2]
	case html:
		h.Set("Content-Type", "text/html")
		body = []byte("<html><body><h1>We'll be right back</h1></body></html>")
	}
	w.WriteHeader(status)
	// The client may be gone; there is nobody to tell.
	_, _ = w.Write(body)
}

// refusal says why a request is refused before its endpoint looks at it.
func (l *Lever) refusal(r *http.Request, endpoint string) *failure {
	f := l.faults.get()
	switch {
	case f.Down:
		return &failure{http.StatusServiceUnavailable, "ServiceUnavailableError", "The service is down for maintenance."}
	case f.Unauthorized || !l.authorized(r):
		return &failure{http.StatusUnauthorized, "UnauthorizedError", "The request requires authentication."}
	case !l.bucket.take():
		return &failure{http.StatusTooManyRequests, "TooManyRequestsError", "Too many requests."}
	case endpoint == "":
		return &failure{http.StatusNotFound, "ResourceNotFound", r.URL.Path + " does not exist"}
	}
	values := r.URL.Query()
	if c := values.Get("confidentiality"); f.NoConfidential && (c == "all" || c == "confidential") {
		return withoutGrant()
	}
	if f.InvalidTokens && values.Get("offset") != "" {
		return badToken()
	}
	return nil
}

// authorized takes a key as the user name with an empty password, or as a bearer token.
func (l *Lever) authorized(r *http.Request) bool {
	key, password, ok := r.BasicAuth()
	if !ok {
		key, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	return ok && key != "" && password == "" && (l.o.Token == "" || key == l.o.Token)
}

// A handler writes the body of an answer. The lock is held for reading.
type handler func() ([]byte, *failure)

// route finds the endpoint of a request; "" if there is none.
func (l *Lever) route(r *http.Request) (endpoint string, handle handler) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok || r.Method != http.MethodGet {
		return "", nil
	}
	parts := strings.Split(path, "/")
	values := r.URL.Query()
	list := func(answer func(query) ([]byte, *failure), defaultLimit int) handler {
		return func() ([]byte, *failure) {
			q, fail := newQuery(values, defaultLimit)
			if fail != nil {
				return nil, fail
			}
			return answer(q)
		}
	}
	name := parts[0]
	switch {
	case len(parts) == 1:
		lists := map[string]func(query) ([]byte, *failure){
			"archive_reasons": l.listReasons, "sources": l.listSources, "stages": l.listStages, "users": l.listUsers,
			"postings": l.listPostings, "requisitions": l.listRequisitions,
			"opportunities": l.listOpportunities, "candidates": l.listOpportunities,
		}
		if answer := lists[name]; answer != nil {
			return "/" + name, list(answer, 100)
		}
	case len(parts) == 2 && parts[1] == "deleted":
		feeds := map[string]*feed{
			"opportunities": &l.deletedOpportunities, "postings": &l.deletedPostings, "applications": &l.deletedApplications,
		}
		if f := feeds[name]; f != nil {
			limit := 100
			if name == "applications" {
				limit = 50
			}
			return "/" + name + "/deleted", list(func(q query) ([]byte, *failure) {
				return l.listDeleted(f, q, name != "opportunities")
			}, limit)
		}
	case len(parts) == 2:
		if find := l.single(name); find != nil {
			return "/" + name + "/:id", func() ([]byte, *failure) {
				return enveloped(find(parts[1], query{values: values}))
			}
		}
	case name != "opportunities" && name != "candidates":
	case len(parts) == 3 && l.childrenOf(parts[2]) != nil:
		return "/" + name + "/:id/" + parts[2], list(func(q query) ([]byte, *failure) {
			n, ok := l.opportunities.number(parts[1])
			if !ok {
				return nil, notFound(name, parts[1])
			}
			return l.listChildren(l.childrenOf(parts[2]), n, q)
		}, 100)
	case len(parts) == 4 && parts[2] != "offers" && l.childrenOf(parts[2]) != nil:
		return "/" + name + "/:id/" + parts[2] + "/:id", func() ([]byte, *failure) {
			return enveloped(l.singleChild(parts))
		}
	}
	return "", nil
}

func enveloped(row []byte, fail *failure) ([]byte, *failure) {
	if fail != nil {
		return nil, fail
	}
	return append(append([]byte(`{"data":`), row...), '}'), nil
}

// single returns what writes one record of a collection, nil if there is no such
// endpoint. Confidential records are shown if the key has the grant.
func (l *Lever) single(name string) func(id string, q query) ([]byte, *failure) {
	never := func(int32) bool { return false }
	find := func(number func(string) (int32, bool), confidential func(int32) bool, render func([]byte, int32) []byte) func(string, query) ([]byte, *failure) {
		return func(id string, _ query) ([]byte, *failure) {
			n, ok := number(id)
			switch {
			case !ok:
				return nil, notFound(name, id)
			case confidential(n) && l.faults.get().NoConfidential:
				return nil, withoutGrant()
			}
			return render(nil, n), nil
		}
	}
	switch name {
	case "archive_reasons":
		return find(l.reasons.number, never, rendered(l.reasons.row))
	case "stages":
		return find(l.stages.number, never, rendered(l.stages.row))
	case "users":
		return find(l.users.number, never, rendered(l.users.row))
	case "postings":
		return find(l.postings.number, l.postingConfidential, rendered(l.postings.row))
	case "requisitions":
		return find(l.requisitions.number, l.requisitionConfidential, rendered(l.requisitions.row))
	case "opportunities", "candidates":
		return func(id string, q query) ([]byte, *failure) {
			confidential := func(n int32) bool { return l.outline(n).confidential }
			return find(l.opportunities.number, confidential, l.opportunityRenderer(q))(id, q)
		}
	}
	return nil
}

// singleChild writes the record of a path such as opportunities/:id/resumes/:id.
func (l *Lever) singleChild(parts []string) ([]byte, *failure) {
	n, ok := l.opportunities.number(parts[1])
	if !ok {
		return nil, notFound(parts[0], parts[1])
	}
	c := l.childrenOf(parts[2])
	parent, at, ok := c.find(parts[3])
	if !ok || parent != n {
		return nil, notFound(parts[2], parts[3])
	}
	return appendObject(nil, c.list(n)[at]), nil
}
