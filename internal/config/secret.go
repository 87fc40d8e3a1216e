package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// redacted is what a secret prints as.
const redacted = "[redacted]"

// maxSecretBytes bounds the size of a secret's file, so that a wrong file name is
// noticed instead of read.
const maxSecretBytes = 64 << 10

// Secret is a password, token or key. Nothing prints it: not fmt with any verb,
// not slog, not an encoder, and not a debugger's dump of a struct that holds it in
// an unexported field. Only Read gives it away. The zero Secret is not set.
type Secret struct {
	// The value sits in a closure, because fmt reads unexported fields.
	read func() (string, error)
}

// NewSecret returns a secret with the given value, not set if it is empty.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{read: func() (string, error) { return value, nil }}
}

// FileSecret returns a secret that is read from the file each time it is needed.
func FileSecret(path string) Secret {
	return Secret{read: func() (string, error) { return readSecret(path) }}
}

// IsSet says whether the secret was given.
func (s Secret) IsSet() bool { return s.read != nil }

// Read returns the secret, from its file if it was given as one: a file that was
// replaced is seen without a restart. A secret that is not set is empty. The error
// says which file cannot be read, if its name is an absolute path.
func (s Secret) Read() (string, error) {
	if s.read == nil {
		return "", nil
	}
	return s.read()
}

// Set is how envconfig hands over the value.
func (s *Secret) Set(value string) error {
	*s = NewSecret(trimLineBreak(value))
	return nil
}

// String returns a placeholder.
func (s Secret) String() string {
	if !s.IsSet() {
		return ""
	}
	return redacted
}

// Format writes the placeholder whatever the verb, so that %x or %#v show nothing.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText writes the placeholder. JSON and most other encoders use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue logs the placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if named := (*fs.PathError)(nil); errors.As(err, &named) && !filepath.IsAbs(path) {
		// The error would repeat what may be no name, but the secret in the wrong variable.
		return "", fmt.Errorf("cannot read the file: %w; it takes the name of a file, not the secret itself", named.Err)
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the file: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", fmt.Errorf("cannot read the file: %w", err)
	}
	if len(b) > maxSecretBytes {
		return "", fmt.Errorf("the file %s is larger than %d KiB; is it the right one?", path, maxSecretBytes>>10)
	}
	value := trimLineBreak(string(b))
	if value == "" {
		return "", errors.New("the file " + path + " is empty")
	}
	return value, nil
}

// trimLineBreak drops what editors and echo leave at the end.
func trimLineBreak(s string) string { return strings.TrimRight(s, "\r\n") }
