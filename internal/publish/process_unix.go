//go:build unix

package publish

import (
	"errors"
	"syscall"
)

// processAlive says whether a process with this id runs on this machine.
func processAlive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
