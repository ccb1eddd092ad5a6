//go:build unix

package store

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// ends are the two directories of a transfer, by their handles. The names that its functions take are single components
// and followed nowhere, so that nothing outside the two is ever touched: what os.Root ensures as well, for more than
// twice the calls.
type ends struct {
	in, out int
	dir     *os.File // in, for reading
	rel     string   // where they are in their trees, for messages
}

// openEnds opens the roots of both trees once more.
func openEnds(in, out *os.Root) (*ends, error) {
	var fds [2]int
	for i, root := range []*os.Root{in, out} {
		dir, err := root.Open(".")
		if err == nil {
			fds[i], err = openDir(int(dir.Fd()), ".")
			dir.Close()
		}
		if err != nil {
			if i > 0 {
				unix.Close(fds[0])
			}
			return nil, err
		}
	}
	return newEnds(fds[0], fds[1], "."), nil
}

func newEnds(in, out int, rel string) *ends {
	return &ends{in: in, out: out, dir: os.NewFile(uintptr(in), rel), rel: rel}
}

func openDir(at int, name string) (fd int, err error) {
	err = uninterrupted(func() error {
		var err error
		fd, err = unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// below opens the directory name, which is in both.
func (e *ends) below(name string) (*ends, error) {
	in, err := openDir(e.in, name)
	if err != nil {
		return nil, e.fault("open", name, err)
	}
	out, err := openDir(e.out, name)
	if err != nil {
		unix.Close(in)
		return nil, e.fault("open", name, err)
	}
	return newEnds(in, out, path.Join(e.rel, name)), nil
}

func (e *ends) close() {
	e.dir.Close()
	unix.Close(e.out)
}

func (e *ends) fault(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: path.Join(e.rel, name), Err: err}
}

// do does what may be interrupted.
func (e *ends) do(op, name string, call func() error) error {
	if err := uninterrupted(call); err != nil {
		return e.fault(op, name, err)
	}
	return nil
}

// names returns the names of what is in the directory that is read, sorted: of several faults the same one is told on
// each system.
func (e *ends) names() ([]string, error) {
	names, err := e.dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func (e *ends) look(name string) (look, error)  { return e.lookAt(e.in, name) }
func (e *ends) taken(name string) (look, error) { return e.lookAt(e.out, name) }

func (e *ends) lookAt(dir int, name string) (look, error) {
	var st unix.Stat_t
	err := e.do("lstat", name, func() error { return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	l := look{mode: fs.FileMode(st.Mode & 0o777), size: st.Size, written: time.Unix(st.Mtim.Unix())}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		l.mode |= fs.ModeDir
	case unix.S_IFLNK:
		l.mode |= fs.ModeSymlink
	default:
		l.mode |= fs.ModeIrregular
	}
	return l, err
}

func (e *ends) readlink(name string) (string, error) {
	var buf [unix.PathMax]byte
	n := 0
	err := e.do("readlink", name, func() error {
		var err error
		n, err = unix.Readlinkat(e.in, name, buf[:])
		return err
	})
	return string(buf[:max(n, 0)]), err
}

func (e *ends) mkdir(name string) error {
	return e.do("mkdir", name, func() error { return unix.Mkdirat(e.out, name, 0o755) })
}

func (e *ends) symlink(target, name string) error {
	return e.do("symlink", name, func() error { return unix.Symlinkat(target, e.out, name) })
}

func (e *ends) open(name string) (*os.File, error) {
	return e.file(e.in, name, unix.O_RDONLY, 0)
}

// create makes a file for writing. A mode without write permission is no obstacle to the handle that makes it.
func (e *ends) create(name string, mode fs.FileMode) (*os.File, error) {
	return e.file(e.out, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, mode)
}

func (e *ends) file(dir int, name string, flags int, mode fs.FileMode) (*os.File, error) {
	fd := -1
	err := e.do("open", name, func() error {
		var err error
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(mode))
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path.Join(e.rel, name)), nil
}

// remove takes away a file that create has made.
func (e *ends) remove(name string) error {
	return e.do("remove", name, func() error { return unix.Unlinkat(e.out, name, 0) })
}

// link makes the file name of the one directory a hard link to the other's. It follows no link in it on either side.
func (e *ends) link(name string) error {
	return e.do("link", name, func() error { return unix.Linkat(e.in, name, e.out, name, 0) })
}
