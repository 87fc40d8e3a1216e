package publish

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// DeniedError says which right the Kafka user lacks. docs/security.md lists all that the
// program needs.
type DeniedError struct {
	// Operation and Resource are Kafka's names, for example "Write" and "topic
	// lever.stages".
	Operation, Resource string
	err                 error
}

// Error names the missing right.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("the Kafka user lacks the right %s on %s; grant it (docs/security.md lists all that are needed)", e.Operation, e.Resource)
}

// Unwrap returns the broker's answer.
func (e *DeniedError) Unwrap() error { return e.err }

// denied makes a DeniedError of an answer that says so; any other error stays as it is.
func denied(err error, operation, resource string) error {
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return &DeniedError{operation, resource, err}
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return &DeniedError{operation, resource, err}
	}
	return err
}

func onTopic(name string) string { return "topic " + name }

func onTransactionalID(c *Config) string { return "transactional id " + c.transactionalID() }

// Names of rights, as Kafka's tools write them.
const (
	rightRead            = "Read"
	rightWrite           = "Write"
	rightCreate          = "Create"
	rightDescribe        = "Describe"
	rightDescribeConfigs = "DescribeConfigs"
)
