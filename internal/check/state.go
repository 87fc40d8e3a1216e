package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/leverstream/leverstream/internal/config"
)

// othersMay are the permission bits of everybody but the owner.
const othersMay = 0o077

// checkState tries to write where the local copy of the state will be.
func checkState(r *report, c *config.Config) {
	const directory = "directory"
	dir := filepath.Join(c.Program.StateDir, string(c.Kafka.TopicPrefix))
	const fix = "make it writable for the program's user, or set STATE_DIR to a directory that is"
	at, err := nearest(dir)
	if err != nil {
		r.add(Failed, directory, fmt.Sprintf("%s: %v", c.Program.StateDir, err), fix)
		return
	}
	f, err := os.CreateTemp(at, ".leverstream-check-")
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		r.add(Failed, directory, fmt.Sprintf("cannot write to %s: %v", at, err), fix)
		return
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&othersMay != 0 && runtime.GOOS != "windows" {
		r.add(Warning, directory, fmt.Sprintf("%s holds rows and is open to other users (mode %04o)", dir, info.Mode().Perm()), "chmod 700 "+dir)
		return
	}
	r.okf(directory, "%s can be written", c.Program.StateDir)
}

// nearest returns the directory, or the nearest one above that exists: the rest will be
// created in it.
func nearest(dir string) (string, error) {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && info.IsDir():
			return dir, nil
		case err == nil:
			return "", fmt.Errorf("%s is not a directory", dir)
		case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir:
			return "", err
		}
		dir = filepath.Dir(dir)
	}
}
