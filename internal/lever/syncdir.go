package lever

import (
	"os"
	"runtime"
)

// syncDir makes a rename in the directory durable. Windows does that by itself, and
// refuses to be asked.
func syncDir(dir *os.File) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	return dir.Sync()
}
