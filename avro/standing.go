package avro

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"
)

// Standing says where a schema stands in the registry.
type Standing string

// The standings.
const (
	// Registered: the subject has the schema.
	Registered Standing = "registered"
	// Missing: the subject does not exist; the schema would be its first.
	Missing Standing = "missing"
	// Compatible: the subject has other schemas, and this one may follow them.
	Compatible Standing = "compatible"
	// Incompatible: the subject has other schemas, and this one may not follow them.
	Incompatible Standing = "incompatible"
)

// Stand asks where the schema stands under the subject, without registering anything.
// For an incompatible one, reasons are the registry's words.
func (r *Registry) Stand(ctx context.Context, subject, schema string) (s Standing, reasons string, err error) {
	text := sr.Schema{Schema: schema}
	failed := func(err error) error {
		return fmt.Errorf("look up subject %s in the schema registry%s: %w", subject, hint(err), err)
	}
	_, err = r.client.LookupSchema(ctx, subject, text)
	switch {
	case err == nil:
		return Registered, "", nil
	case !notFound(err):
		return "", "", failed(err)
	}
	versions, err := r.client.SubjectVersions(ctx, subject)
	switch {
	case err != nil && !notFound(err):
		return "", "", failed(err)
	case len(versions) == 0:
		return Missing, "", nil
	}
	answer, err := r.client.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), subject, everyVersion, text)
	if err != nil {
		return "", "", failed(err)
	}
	if !answer.Is {
		return Incompatible, strings.Join(answer.Messages, "; "), nil
	}
	return Compatible, "", nil
}

// everyVersion has the registry compare with all versions of a subject that its level
// asks for.
const everyVersion = -2

// MayRegister says whether this client registers what is missing.
func (r *Registry) MayRegister() bool { return r.register }
