//go:build !unix

package publish

// processAlive cannot be found out here; the owner's record must grow old.
func processAlive(int) bool { return true }
