package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// The HTTP interface of the registry, as far as clients use it: errors have the
// codes of Confluent's, unknown query parameters are ignored, unknown paths are
// answered at once.

// contentType is what registries answer with.
const contentType = "application/vnd.schemaregistry.v1+json"

// maxSchemaBytes bounds a request's body.
const maxSchemaBytes = 4 << 20

// apiError is an answer that is not a success.
type apiError struct {
	Status  int    `json:"-"`
	Code    int    `json:"error_code"`
	Message string `json:"message"`
}

// Error returns the message.
func (e *apiError) Error() string { return e.Message }

func subjectNotFound(subject string) error {
	return &apiError{404, 40401, fmt.Sprintf("Subject '%s' not found.", subject)}
}

func versionNotFound(v string) error {
	return &apiError{404, 40402, fmt.Sprintf("Version %s not found.", v)}
}

func schemaNotFound() error { return &apiError{404, 40403, "Schema not found"} }

func invalidSchema(err error) error {
	return &apiError{422, 42201, "Invalid schema: " + err.Error()}
}

// handler returns the registry's HTTP handler.
func (r *registry) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /{$}":                                            func(*http.Request) (any, error) { return struct{}{}, nil },
		"GET /subjects":                                       r.getSubjects,
		"POST /subjects/{subject}":                            r.lookup,
		"DELETE /subjects/{subject}":                          r.deleteSubject,
		"GET /subjects/{subject}/versions":                    r.getVersions,
		"POST /subjects/{subject}/versions":                   r.postVersion,
		"GET /subjects/{subject}/versions/{v}":                r.getVersion,
		"DELETE /subjects/{subject}/versions/{v}":             r.deleteVersion,
		"GET /subjects/{subject}/versions/{v}/schema":         r.getVersionSchema,
		"GET /subjects/{subject}/versions/{v}/referencedby":   func(*http.Request) (any, error) { return []int{}, nil },
		"GET /schemas/types":                                  func(*http.Request) (any, error) { return []string{"AVRO"}, nil },
		"GET /schemas/ids/{id}":                               r.getSchema,
		"GET /schemas/ids/{id}/schema":                        r.getSchemaText,
		"GET /schemas/ids/{id}/subjects":                      r.getSchemaSubjects,
		"GET /schemas/ids/{id}/versions":                      r.getSchemaVersions,
		"GET /config":                                         r.getLevel,
		"PUT /config":                                         r.putLevel,
		"GET /config/{subject}":                               r.getLevel,
		"PUT /config/{subject}":                               r.putLevel,
		"DELETE /config/{subject}":                            r.deleteLevel,
		"GET /mode":                                           getMode,
		"GET /mode/{subject}":                                 getMode,
		"POST /compatibility/subjects/{subject}/versions":     r.postCompatibility,
		"POST /compatibility/subjects/{subject}/versions/{v}": r.postCompatibility,
		"/": func(*http.Request) (any, error) { return nil, &apiError{404, 404, "HTTP 404 Not Found"} },
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			req.Body = http.MaxBytesReader(w, req.Body, maxSchemaBytes)
			body, err := answer(req)
			status := http.StatusOK
			if err != nil {
				e := (*apiError)(nil)
				if !errors.As(err, &e) {
					e = &apiError{500, 50001, err.Error()}
				}
				status, body = e.Status, e
			}
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			if text, ok := body.(rawSchema); ok {
				_, _ = io.WriteString(w, string(text))
				return
			}
			_ = json.NewEncoder(w).Encode(body)
		})
	}
	return mux
}

// rawSchema is an answer that is the schema's text itself.
type rawSchema string

// schemaRequest is the body of requests that carry a schema.
type schemaRequest struct {
	Schema     string            `json:"schema"`
	SchemaType string            `json:"schemaType"`
	References []json.RawMessage `json:"references"`
}

func readSchema(req *http.Request) (string, error) {
	var body schemaRequest
	if err := readBody(req, &body); err != nil {
		return "", err
	}
	if body.SchemaType != "" && body.SchemaType != "AVRO" {
		return "", &apiError{422, 42201, "the embedded registry takes Avro schemas only, not " + body.SchemaType}
	}
	if len(body.References) > 0 {
		return "", &apiError{422, 42201, "the embedded registry takes no references; define all types in the schema"}
	}
	if _, err := levelNone.check(body.Schema, nil); err != nil {
		return "", invalidSchema(err)
	}
	return body.Schema, nil
}

func readBody(req *http.Request, into any) error {
	if err := json.NewDecoder(req.Body).Decode(into); err != nil {
		return &apiError{422, 422, "the body is not the JSON that is expected here: " + err.Error()}
	}
	return nil
}

func flag(req *http.Request, name string) bool {
	b, _ := strconv.ParseBool(req.URL.Query().Get(name))
	return b
}

func (r *registry) getSubjects(req *http.Request) (any, error) {
	d := r.read()
	subjects := []string{}
	for _, s := range slices.Sorted(maps.Keys(d.Subjects)) {
		if flag(req, "deleted") || len(d.live(s)) > 0 {
			subjects = append(subjects, s)
		}
	}
	return subjects, nil
}

// versionAnswer describes one version of a subject.
type versionAnswer struct {
	Subject string `json:"subject"`
	Version int    `json:"version"`
	ID      int    `json:"id"`
	Schema  string `json:"schema"`
}

func (r *registry) lookup(req *http.Request) (any, error) {
	subject := req.PathValue("subject")
	schema, err := readSchema(req)
	if err != nil {
		return nil, err
	}
	d := r.read()
	if len(d.live(subject)) == 0 && !flag(req, "deleted") {
		return nil, subjectNotFound(subject)
	}
	v, ok := d.find(subject, schema, flag(req, "deleted"))
	if !ok {
		return nil, schemaNotFound()
	}
	return versionAnswer{subject, v.Version, v.ID, d.Schemas[v.ID]}, nil
}

func (r *registry) postVersion(req *http.Request) (any, error) {
	schema, err := readSchema(req)
	if err != nil {
		return nil, err
	}
	id, err := r.register(req.PathValue("subject"), schema)
	if err != nil {
		return nil, err
	}
	return map[string]int{"id": id}, nil
}

func (r *registry) getVersions(req *http.Request) (any, error) {
	subject := req.PathValue("subject")
	d := r.read()
	var numbers []int
	for _, v := range d.Subjects[subject] {
		if !v.Deleted || flag(req, "deleted") {
			numbers = append(numbers, v.Version)
		}
	}
	if len(numbers) == 0 {
		return nil, subjectNotFound(subject)
	}
	return numbers, nil
}

// version returns the version that the path names, by number or as latest.
func (d registryData) version(req *http.Request, deleted bool) (version, error) {
	subject, name := req.PathValue("subject"), req.PathValue("v")
	vs := d.live(subject)
	if deleted {
		vs = d.Subjects[subject]
	}
	if len(vs) == 0 {
		return version{}, subjectNotFound(subject)
	}
	if name == "latest" || name == "-1" {
		return vs[len(vs)-1], nil
	}
	number, err := strconv.Atoi(name)
	if err != nil || number < 1 {
		return version{}, &apiError{422, 42202, fmt.Sprintf("The specified version '%s' is not a valid version id. Allowed values are 1 and above, and the string \"latest\"", name)}
	}
	for _, v := range vs {
		if v.Version == number {
			return v, nil
		}
	}
	return version{}, versionNotFound(name)
}

func (r *registry) getVersion(req *http.Request) (any, error) {
	d := r.read()
	v, err := d.version(req, flag(req, "deleted"))
	if err != nil {
		return nil, err
	}
	return versionAnswer{req.PathValue("subject"), v.Version, v.ID, d.Schemas[v.ID]}, nil
}

func (r *registry) getVersionSchema(req *http.Request) (any, error) {
	d := r.read()
	v, err := d.version(req, flag(req, "deleted"))
	if err != nil {
		return nil, err
	}
	return rawSchema(d.Schemas[v.ID]), nil
}

func (r *registry) deleteSubject(req *http.Request) (any, error) {
	subject := req.PathValue("subject")
	numbers := []int{}
	err := r.change(func(d *registryData) error {
		if !flag(req, "permanent") {
			if len(d.live(subject)) == 0 {
				return subjectNotFound(subject)
			}
			for i, v := range d.Subjects[subject] {
				if !v.Deleted {
					d.Subjects[subject][i].Deleted = true
					numbers = append(numbers, v.Version)
				}
			}
			return nil
		}
		if len(d.live(subject)) > 0 {
			return &apiError{404, 40405, fmt.Sprintf("Subject '%s' was not deleted first before being permanently deleted", subject)}
		}
		if len(d.Subjects[subject]) == 0 {
			return subjectNotFound(subject)
		}
		for _, v := range d.Subjects[subject] {
			numbers = append(numbers, v.Version)
		}
		delete(d.Subjects, subject)
		delete(d.Levels, subject)
		return nil
	})
	return numbers, err
}

func (r *registry) deleteVersion(req *http.Request) (any, error) {
	subject := req.PathValue("subject")
	number := 0
	err := r.change(func(d *registryData) error {
		permanent := flag(req, "permanent")
		v, err := d.version(req, permanent)
		if err != nil {
			return err
		}
		number = v.Version
		i := slices.Index(d.Subjects[subject], v)
		switch {
		case !permanent:
			d.Subjects[subject][i].Deleted = true
		case !v.Deleted:
			return &apiError{404, 40407, fmt.Sprintf("Subject '%s' Version %d was not deleted first before being permanently deleted", subject, number)}
		default:
			d.Subjects[subject] = slices.Delete(d.Subjects[subject], i, i+1)
		}
		return nil
	})
	return number, err
}

// schemaByID returns the id in the path and its schema.
func (d registryData) schemaByID(req *http.Request) (int, string, error) {
	id, err := strconv.Atoi(req.PathValue("id"))
	if err != nil {
		return 0, "", &apiError{404, 404, "HTTP 404 Not Found"}
	}
	schema, ok := d.Schemas[id]
	if !ok {
		return 0, "", schemaNotFound()
	}
	return id, schema, nil
}

func (r *registry) getSchema(req *http.Request) (any, error) {
	_, schema, err := r.read().schemaByID(req)
	if err != nil {
		return nil, err
	}
	return map[string]string{"schema": schema}, nil
}

func (r *registry) getSchemaText(req *http.Request) (any, error) {
	_, schema, err := r.read().schemaByID(req)
	if err != nil {
		return nil, err
	}
	return rawSchema(schema), nil
}

// usage is a place where a schema is used.
type usage struct {
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

func (r *registry) getSchemaVersions(req *http.Request) (any, error) {
	d := r.read()
	id, _, err := d.schemaByID(req)
	if err != nil {
		return nil, err
	}
	usages := []usage{}
	for _, s := range slices.Sorted(maps.Keys(d.Subjects)) {
		for _, v := range d.Subjects[s] {
			if v.ID == id && (!v.Deleted || flag(req, "deleted")) {
				usages = append(usages, usage{s, v.Version})
			}
		}
	}
	return usages, nil
}

func (r *registry) getSchemaSubjects(req *http.Request) (any, error) {
	answer, err := r.getSchemaVersions(req)
	if err != nil {
		return nil, err
	}
	subjects := []string{}
	usages, _ := answer.([]usage)
	for _, u := range usages {
		subjects = append(subjects, u.Subject)
	}
	return slices.Compact(subjects), nil
}

func (r *registry) getLevel(req *http.Request) (any, error) {
	subject := req.PathValue("subject")
	d := r.read()
	l, ok := d.Levels[subject]
	if !ok && subject != "" && !flag(req, "defaultToGlobal") {
		return nil, &apiError{404, 40408, fmt.Sprintf("Subject '%s' does not have subject-level compatibility configured", subject)}
	}
	if !ok {
		l = d.level("")
	}
	return map[string]level{"compatibilityLevel": l}, nil
}

func (r *registry) putLevel(req *http.Request) (any, error) {
	var body struct {
		Compatibility string `json:"compatibility"`
	}
	if err := readBody(req, &body); err != nil {
		return nil, err
	}
	l, ok := parseLevel(body.Compatibility)
	if !ok {
		return nil, &apiError{422, 42203, "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive"}
	}
	err := r.change(func(d *registryData) error {
		d.Levels[req.PathValue("subject")] = l
		return nil
	})
	return map[string]level{"compatibility": l}, err
}

func (r *registry) deleteLevel(req *http.Request) (any, error) {
	subject := req.PathValue("subject")
	var was level
	err := r.change(func(d *registryData) error {
		l, ok := d.Levels[subject]
		if !ok {
			return &apiError{404, 40408, fmt.Sprintf("Subject '%s' does not have subject-level compatibility configured", subject)}
		}
		was = l
		delete(d.Levels, subject)
		return nil
	})
	return map[string]level{"compatibilityLevel": was}, err
}

func getMode(*http.Request) (any, error) { return map[string]string{"mode": "READWRITE"}, nil }

func (r *registry) postCompatibility(req *http.Request) (any, error) {
	schema, err := readSchema(req)
	if err != nil {
		return nil, err
	}
	subject := req.PathValue("subject")
	d := r.read()
	level := d.level(subject)
	var earlier []string
	switch {
	case req.PathValue("v") != "":
		// One version is compared, whatever the level says about the others.
		v, err := d.version(req, false)
		if err != nil {
			return nil, err
		}
		earlier = []string{d.Schemas[v.ID]}
	default:
		for _, v := range d.live(subject) {
			earlier = append(earlier, d.Schemas[v.ID])
		}
	}
	why, err := level.check(schema, earlier)
	if err != nil {
		return nil, invalidSchema(err)
	}
	answer := struct {
		Compatible bool     `json:"is_compatible"`
		Messages   []string `json:"messages,omitempty"`
	}{Compatible: len(why) == 0}
	if flag(req, "verbose") {
		answer.Messages = why
	}
	return answer, nil
}
