//go:build unix

package embedded

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the exclusive lock on the file. It goes with the process, however
// that ends.
func tryLock(f *os.File) (taken bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
