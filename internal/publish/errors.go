package publish

import (
	"errors"
	"fmt"
	"time"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/offsets"
)

// OwnedError says that another producer owns the account.
type OwnedError struct {
	Account string
	Owner   offsets.Owner
}

// Error names the owner and says what to do.
func (e *OwnedError) Error() string {
	return fmt.Sprintf("another producer owns account %q: instance %s on host %s, process %d, since %s; stop it, or start this one with --take-over to replace it",
		e.Account, e.Owner.Instance, e.Owner.Host, e.Owner.PID, time.UnixMilli(e.Owner.Started).UTC().Format(time.RFC3339))
}

// ConfigError says that what is in Kafka or in the registry does not fit the
// configuration. Trying again does not help; its text says what does.
type ConfigError struct{ err error }

// Error says what does not fit and what to do.
func (e *ConfigError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.err }

// refused makes a ConfigError of what the registry refuses.
func refused(err error) error {
	if errors.Is(err, avro.ErrRefused) {
		return &ConfigError{err}
	}
	return err
}
