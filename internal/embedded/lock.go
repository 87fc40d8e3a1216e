package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// lockDir takes the directory for this process. Closing the file gives it back.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(lockPath(dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	taken, err := tryLock(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory %s: %w", dir, err), f.Close())
	}
	if !taken {
		owner, _ := io.ReadAll(io.LimitReader(f, 64))
		who := "another process"
		if pid := strings.TrimSpace(string(owner)); pid != "" {
			who = "process " + pid
		}
		return nil, errors.Join(fmt.Errorf("data directory %s is in use by %s; stop that one or choose another directory", dir, who), f.Close())
	}
	// The process id is only for the message above.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	}
	return f, nil
}
