package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Stats says how the files of trees came to where they were wanted.
type Stats struct {
	Files     int   // regular files: Linked + Reflinked + Copied
	Linked    int   // hard links, which share the store's inode
	Reflinked int   // files of their own that share the store's blocks
	Copied    int   // files of their own
	Bytes     int64 // what the files hold together, however they came

	Entries []Entry // the files and the symbolic links, in the order of their paths
}

// Entry is a file or a symbolic link that Materialise put somewhere. Path is relative to there, slash-separated.
type Entry struct {
	Path    string
	Symlink bool
}

// Materialise puts every file of the trees, in order, into dst, which is missing or an empty directory: as a reflink,
// else a hard link, else a copy, whichever the file systems allow, decided for each file. All of them are read-only:
// a hard link is the store's own file, and what one file system refuses should not work by accident on another.
// Relative symbolic links are made again.
//
// Directories that several trees hold merge. Any other path that two of them hold is an error that names it, unless
// overwrite is set: then the later tree's stands. On an error, what the call has made is deleted.
//
// Each tree is compared with its record on the way: names, kinds, sizes, and the bytes of files that were written or made
// writable since. A difference is a DamagedError in a diagnostic of kind Corrupt; SetAside, and fetching again, heals it.
//
// Nothing is written outside dst, whatever the trees hold. Nothing is synced either: dst can be made again.
func Materialise(dst string, overwrite bool, trees ...Tree) (Stats, error) {
	// The records of all are read while the first trees are linked.
	var reading sync.WaitGroup
	defer reading.Wait()
	checks := make([]chan *checking, len(trees))
	for i, t := range trees {
		checks[i] = make(chan *checking, 1)
		reading.Go(func() { checks[i] <- t.checking() })
	}
	return materialise(dst, overwrite, len(trees), func(i int) (Tree, *checking, error) { return trees[i], <-checks[i], nil })
}

// checking compares what is met in the tree with its record. Without one there is nothing to compare with.
func (t Tree) checking() *checking {
	var rec *record
	if t.store != nil {
		rec, _ = t.store.record(t.digest)
	}
	return newChecking(t.path, rec, false)
}

// materialise is Materialise for n trees that need not be there yet: next waits for the i-th.
func materialise(dst string, overwrite bool, n int, next func(i int) (Tree, *checking, error)) (Stats, error) {
	what := "materialise " + dst
	out, made, err := openEmpty(dst)
	if err != nil {
		if made {
			_ = os.Remove(dst)
		}
		return Stats{}, materialiseError(dst, err)
	}
	m := &materialising{dst: dst, trees: make([]Tree, n), overwrite: overwrite, busy: make(chan struct{}, min(runtime.GOMAXPROCS(0), 4))}
	m.busy <- struct{}{}
	for i := range n {
		if m.trees[i], m.check, err = next(i); err == nil {
			err = m.tree(i, out)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		// Only what this call has made: of two that run into one directory, at least one fails, and must not take the
		// other's files with it.
		for _, name := range m.made {
			_ = out.RemoveAll(name)
		}
	}
	out.Close()
	if err == nil {
		m.stats.Entries = m.entries()
		return m.stats, nil
	}
	if made {
		_ = os.Remove(dst)
	}
	if _, ok := errors.AsType[*diagnostic.Error](err); ok {
		return m.stats, diagnostic.Wrap(err, "%s", what)
	}
	return m.stats, materialiseError(dst, err)
}

// openEmpty opens the directory dst, which it makes if need be and refuses if something is in it.
func openEmpty(dst string) (root *os.Root, made bool, err error) {
	if _, err := os.Stat(dst); errors.Is(err, fs.ErrNotExist) {
		made = true
		if err := os.MkdirAll(dst, 0o755); err != nil {
			return nil, false, err
		}
	}
	root, err = os.OpenRoot(dst)
	if err != nil {
		return nil, made, err
	}
	entries, err := readDir(root)
	if err == nil && len(entries) > 0 {
		err = &diagnostic.Error{Kind: diagnostic.Usage, What: "materialise " + dst,
			Why: fmt.Sprintf("the directory is not empty (%s)", entries[0].Name()), Do: "name a new or an empty directory"}
	}
	if err != nil {
		root.Close()
		return nil, made, err
	}
	return root, made, nil
}

func materialiseError(dst string, err error) error {
	if _, ok := errors.AsType[*diagnostic.Error](err); ok {
		return err
	}
	d := &diagnostic.Error{Kind: diagnostic.Failure, What: "materialise " + dst, Err: err}
	switch {
	case isFull(err):
		d.Why = fmt.Sprintf("no space left on its disk (%v)", err)
		d.Do = "free space there"
	case readOnly(err):
		d.Why = fmt.Sprintf("it cannot be written (%v)", err)
		d.Do = "make the directory writable"
	}
	return d
}

// materialising is one call of Materialise.
type materialising struct {
	dst       string
	trees     []Tree
	overwrite bool
	made      []string      // entries of dst that this call made
	busy      chan struct{} // holds one for each goroutine that works, and none for those that wait

	now              int         // the tree at hand, an index of trees
	noClone, noLinks atomic.Bool // the tree at hand and dst are on file systems that cannot share files in this way

	mu       sync.Mutex
	stats    Stats
	replaced map[string]int // path to how many of the entries there were when what was there was removed
	check    *checking      // of the tree at hand
}

func (m *materialising) tree(i int, out *os.Root) error {
	t := m.trees[i]
	if t.path == "" {
		return errors.New("a Tree that no store has returned")
	}
	in, err := os.OpenRoot(t.path)
	if errors.Is(err, fs.ErrNotExist) && t.store != nil {
		// A lease keeps away removals, not who found it damaged and has set it aside: it is fetched again, as by them.
		return m.damaged(t, []Damage{{What: "it is missing"}})
	}
	if err != nil {
		return readError("tree "+t.digest.String(), err)
	}
	defer in.Close()
	m.now = i
	m.noClone.Store(!mayClone(t.path))
	m.noLinks.Store(false)
	if err := m.directory(in, out, ".", 0); err != nil {
		if damaged := m.damaged(t, m.check.damage); damaged != nil {
			return errors.Join(damaged, err) // and may well be why
		}
		return err
	}
	if err := m.damaged(t, m.check.finish()); err != nil {
		return err
	}
	m.check.freshen(t.store, t.digest, false)
	return nil
}

func (m *materialising) damaged(t Tree, damage []Damage) error {
	if len(damage) == 0 {
		return nil
	}
	return (&DamagedError{Digest: t.digest, Tree: true, Damage: damage}).diagnostic()
}

// directory puts what is in the directory in, at rel in its tree and depth levels below its root, into the directory
// out. Both are opened level by level, so that every name used is a single component: then no symbolic link is ever
// passed through, neither one in the tree nor one that an earlier tree has put into out.
//
// Where a goroutine is idle, it takes a folder: systems make links in two folders at the same time, in one they do not.
// After an error the other folders are done all the same, so that of several faults the same one is told each time.
func (m *materialising) directory(in, out *os.Root, rel string, depth int) error {
	var dirs []string
	err := func() error { // closes both handles before going deeper, which would hold two more for each level
		ends, err := openEnds(in, out)
		if err != nil {
			return err
		}
		defer ends.close()
		entries, err := ends.read()
		if err != nil {
			return err
		}
		for _, e := range entries {
			name, at := e.Name(), e.Name()
			if rel != "." {
				at = rel + "/" + name
			}
			var err error
			switch e.Type() {
			case fs.ModeDir:
				m.met(at, fs.ModeDir, nil, "")
				dirs = append(dirs, name)
				err = m.mkdir(out, at)
			case 0:
				err = m.file(ends, at, e)
			case fs.ModeSymlink:
				err = m.symlink(ends, at, depth)
			default:
				err = refused(at, "it is neither a file nor a directory nor a symbolic link")
			}
			if err != nil {
				return err
			}
		}
		return nil
	}()
	if err != nil {
		return err
	}
	errs := make([]error, len(dirs))
	var helping sync.WaitGroup
	for i, name := range dirs {
		select {
		case m.busy <- struct{}{}:
			helping.Go(func() {
				errs[i] = m.below(in, out, path.Join(rel, name), depth+1)
				<-m.busy
			})
		default:
			errs[i] = m.below(in, out, path.Join(rel, name), depth+1)
		}
	}
	<-m.busy
	helping.Wait()
	m.busy <- struct{}{}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// below goes on with the folder at rel, which lies in the directory in, and in out.
func (m *materialising) below(in, out *os.Root, rel string, depth int) error {
	subIn, err := in.OpenRoot(path.Base(rel))
	if err != nil {
		return err
	}
	defer subIn.Close()
	subOut, err := out.OpenRoot(path.Base(rel))
	if err != nil {
		return err
	}
	defer subOut.Close()
	return m.directory(subIn, subOut, rel, depth)
}

func (m *materialising) met(at string, kind fs.FileMode, fi fs.FileInfo, target string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.check.met(at, kind, fi, target)
}

// errMerges is what a create of put returns where nothing needs to be made.
var errMerges = errors.New("the directory is there already")

// put makes the entry at, of the directory out, by create, which fails with fs.ErrExist and changes nothing if
// something is there. Only then is it asked what to do: the usual case costs no look beforehand.
func (m *materialising) put(out *os.Root, at string, create func() error) error {
	err := create()
	if errors.Is(err, fs.ErrExist) {
		if !m.overwrite {
			return m.conflict(at)
		}
		if err := out.RemoveAll(path.Base(at)); err != nil {
			return err
		}
		m.gone(at)
		err = create()
	}
	if errors.Is(err, errMerges) {
		return nil
	}
	if err == nil && !strings.Contains(at, "/") {
		m.made = append(m.made, at)
	}
	return err
}

// gone notes that what was at a path and below it, by now, is no longer there.
func (m *materialising) gone(at string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.replaced == nil {
		m.replaced = map[string]int{}
	}
	m.replaced[at] = len(m.stats.Entries)
}

// entries are those that are still there, sorted.
func (m *materialising) entries() []Entry {
	left := m.stats.Entries
	if m.replaced != nil {
		left = nil
		for i, e := range m.stats.Entries {
			there := true
			for at := e.Path; at != "." && there; at = path.Dir(at) {
				there = m.replaced[at] <= i
			}
			if there {
				left = append(left, e)
			}
		}
	}
	slices.SortFunc(left, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return left
}

func (m *materialising) mkdir(out *os.Root, at string) error {
	name := path.Base(at)
	return m.put(out, at, func() error {
		err := out.Mkdir(name, 0o755)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Lstat, because a symbolic link to a directory is not one: what belongs into it would land in its target.
		if fi, statErr := out.Lstat(name); statErr == nil && fi.IsDir() {
			return errMerges
		}
		return err
	})
}

func (m *materialising) symlink(e *ends, at string, depth int) error {
	name := path.Base(at)
	target, err := e.in.Readlink(name)
	if err != nil {
		return err
	}
	m.met(at, fs.ModeSymlink, nil, target)
	// AddTree has looked at it, too. Here it is looked at again because what lies in a directory of the user's may
	// have been changed since, and this is where it would do harm.
	if !staysInside(target, depth) {
		return refused(at, fmt.Sprintf("it is a symbolic link to %q, which may lead out of %s", target, m.dst))
	}
	err = m.put(e.out, at, func() error {
		// A link to a link is a link, and unlike a new one it takes no inode, which a file system has to find. Only Linux's have it all.
		if runtime.GOOS == "linux" && !m.noLinks.Load() {
			if err := link(e, name, nil); err == nil || errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		return uninterrupted(func() error { return e.out.Symlink(target, name) })
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Entries = append(m.stats.Entries, Entry{Path: at, Symlink: true})
	return nil
}

func (m *materialising) file(e *ends, at string, entry fs.DirEntry) error {
	name := path.Base(at)
	fi, err := entry.Info()
	if err != nil {
		return err
	}
	m.met(at, 0, fi, "")
	var kind *int
	err = m.put(e.out, at, func() error {
		var err error
		kind, err = m.share(e, name, fi)
		return err
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	*kind++
	m.stats.Entries = append(m.stats.Entries, Entry{Path: at})
	m.stats.Files++
	m.stats.Bytes += fi.Size()
	return nil
}

// share makes one file by the first method that works and returns its counter. An error that says "not this way" leads
// to the next method; any other ends it.
func (m *materialising) share(e *ends, name string, fi fs.FileInfo) (*int, error) {
	for _, method := range []struct {
		make   func(e *ends, name string, fi fs.FileInfo) error
		off    *atomic.Bool // set once the file systems are known not to have it
		counts *int
	}{
		{clone, &m.noClone, &m.stats.Reflinked},
		{link, &m.noLinks, &m.stats.Linked},
	} {
		if method.off.Load() {
			continue
		}
		err := method.make(e, name, fi)
		switch {
		case err == nil:
			return method.counts, nil
		case otherFileSystem(err):
			method.off.Store(true)
		case !notThisFile(err):
			return nil, err
		}
	}
	return &m.stats.Copied, copyFile(e, name, fi)
}

// copyFile makes the file name of e.out, which must not exist, a copy of e.in's.
func copyFile(e *ends, name string, fi fs.FileInfo) error {
	src, err := e.in.Open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	// A mode without write permission is no obstacle to the handle that makes the file.
	dst, err := e.out.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode(fi))
	if err != nil {
		return err
	}
	n, err := io.Copy(dst, src)
	if err == nil && n != fi.Size() {
		err = fmt.Errorf("%s: %d of %d bytes copied: %w", name, n, fi.Size(), io.ErrUnexpectedEOF)
	}
	if err == nil {
		err = dst.Chmod(fileMode(fi)) // whatever the umask
	}
	if closeErr := dst.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = e.out.Remove(name)
	}
	return err
}

// conflict is the error for the path at, which the tree at hand and an earlier one hold.
func (m *materialising) conflict(at string) error {
	why := "the path is there already"
	earlier := slices.IndexFunc(m.trees[:m.now], func(t Tree) bool {
		root, err := os.OpenRoot(t.path)
		if err != nil {
			return false
		}
		defer root.Close()
		_, err = root.Lstat(at)
		return err == nil
	})
	if earlier >= 0 {
		why = fmt.Sprintf("two trees hold this path, %s and %s", m.trees[earlier].digest, m.trees[m.now].digest)
	}
	return &diagnostic.Error{Kind: diagnostic.Refused, What: at, Why: why, Err: fs.ErrExist,
		Do: "pack the library so that each path is in one layer"}
}
