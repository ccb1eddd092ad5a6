package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/filelock"
)

// lockFolder keeps other processes, and other registries of this one, from serving dir for as long as the file it returns is open.
// The file says who has it: it stays when nobody does, because only the kernel's lock counts. It is nil where there are no locks.
func (s *Registry) lockFolder(dir, address string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	switch err := filelock.Exclusive(f); {
	case errors.Is(err, filelock.ErrUnsupported):
		f.Close()
		s.logf("%s cannot be locked: %v; nothing else may serve it at the same time", dir, err)
		return nil, nil
	case err != nil:
		defer f.Close()
		return nil, &diagnostic.Error{
			Kind: diagnostic.Failure,
			Why:  holder(f) + " serves it already",
			Do:   "use that registry, end it, or serve another folder with --dir",
			Err:  err,
		}
	}
	// What cannot be written is not told: the lock holds without it.
	_ = f.Truncate(0)
	_, _ = fmt.Fprintf(f, "%d %s\n", os.Getpid(), address)
	return f, nil
}

// holder names who has the lock, as far as the file says: it may come a moment too early, or be of a file system's other machine.
func holder(f *os.File) string {
	var pid int
	var address string
	data, _ := io.ReadAll(io.LimitReader(f, 1000)) // what cannot be read is not known
	switch n, _ := fmt.Sscanln(string(data), &pid, &address); n {
	case 0:
		return "another process"
	case 1:
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d, on %s,", pid, address)
}
