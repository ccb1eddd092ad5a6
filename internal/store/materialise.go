package store

import (
	"cmp"
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

	v1 "github.com/google/go-containerregistry/pkg/v1"

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

// Materialise puts every file of the trees into dst, which is missing or an empty directory: as a reflink,
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
	m := &materialising{dst: dst, out: out, overwrite: overwrite, busy: make(chan struct{}, min(runtime.GOMAXPROCS(0), 4))}
	err = m.all(n, next)
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
	out       *os.Root // dst
	overwrite bool
	busy      chan struct{} // holds one for each goroutine that works, and none for those that wait

	mu       sync.Mutex
	made     []string // entries of dst that this call made
	stats    Stats
	replaced map[string]int // path to how many of the entries there were when what was there was removed
}

// transfer is what Materialise does with one of the trees.
type transfer struct {
	*materialising
	tree             Tree
	noClone, noLinks atomic.Bool // the tree and dst are on file systems that cannot share files in this way

	checking sync.Mutex
	check    *checking
}

// all transfers the trees: several at the same time, unless one may replace what another has.
func (m *materialising) all(n int, next func(i int) (Tree, *checking, error)) error {
	var trees []Tree
	errs := make([]error, n)
	var failed atomic.Bool
	var helping sync.WaitGroup
	m.busy <- struct{}{}
	for i := 0; i < n && !failed.Load(); i++ {
		<-m.busy
		t, check, err := next(i)
		m.busy <- struct{}{}
		if err != nil {
			errs[i] = err
			break
		}
		trees = append(trees, t)
		run := func() {
			if errs[i] = (&transfer{materialising: m, tree: t, check: check}).run(); errs[i] != nil {
				failed.Store(true)
			}
		}
		if i == n-1 || m.overwrite || !m.help(&helping, run) {
			run()
		}
	}
	<-m.busy
	helping.Wait()
	// A file that somebody has put into a tree of the store may be in the way of another tree's. That is damage, and healed.
	for _, err := range errs {
		if _, ok := errors.AsType[*DamagedError](err); ok {
			return err
		}
	}
	err := cmp.Or(errs...)
	if taken, ok := err.(takenError); ok {
		return conflict(trees, string(taken))
	}
	return err
}

// help has another goroutine do the work, if one may.
func (m *materialising) help(helping *sync.WaitGroup, work func()) bool {
	select {
	case m.busy <- struct{}{}:
		helping.Go(func() {
			defer func() { <-m.busy }()
			work()
		})
		return true
	default:
		return false
	}
}

// takenError says of a path that something is there already.
type takenError string

func (e takenError) Error() string { return string(e) + ": the path is there already" }

// conflict is the error for trees that hold a path twice. Which of several it was that was met, and by which tree, is a
// matter of time; what is told is the first one of the first tree that has one with those before it, or at where none is found.
func conflict(trees []Tree, at string) error {
	type held struct {
		by  v1.Hash
		dir bool
	}
	all := map[string]held{}
	why := "the path is there already"
	for _, t := range trees {
		err := fs.WalkDir(os.DirFS(t.path), ".", func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return nil // whoever reads it meets it
			}
			if before, there := all[p]; there && !(before.dir && e.IsDir()) {
				at, why = p, fmt.Sprintf("two trees hold this path, %s and %s", before.by, t.digest)
				return fs.ErrExist
			}
			all[p] = held{t.digest, e.IsDir()}
			return nil
		})
		if err != nil {
			break
		}
	}
	return &diagnostic.Error{Kind: diagnostic.Refused, What: at, Why: why, Err: fs.ErrExist,
		Do: "pack the library so that each path is in one layer"}
}

func (m *transfer) run() error {
	t := m.tree
	if t.path == "" {
		return errors.New("a Tree that no store has returned")
	}
	in, err := os.OpenRoot(t.path)
	if errors.Is(err, fs.ErrNotExist) && t.store != nil {
		// A lease keeps away removals, not who found it damaged and has set it aside: it is fetched again, as by them.
		return m.damaged([]Damage{{What: "it is missing"}})
	}
	if err != nil {
		return readError("tree "+t.digest.String(), err)
	}
	defer in.Close()
	e, err := openEnds(in, m.out)
	if err != nil {
		return err
	}
	defer e.close()
	m.noClone.Store(!mayClone(t.path))
	if err := m.directory(e, 0); err != nil {
		if damaged := m.damaged(m.check.damage); damaged != nil {
			return errors.Join(damaged, err) // and may well be why
		}
		return err
	}
	if err := m.damaged(m.check.finish()); err != nil {
		return err
	}
	m.check.freshen(t.store, t.digest, false)
	return nil
}

func (m *transfer) damaged(damage []Damage) error {
	if len(damage) == 0 {
		return nil
	}
	return (&DamagedError{Digest: m.tree.digest, Tree: true, Damage: damage}).diagnostic()
}

// directory puts what is in the directory into its counterpart; its names are single components, and it is level by level
// that both are opened. So no symbolic link is ever passed through, neither one in the tree nor one that an earlier tree
// has put into dst.
//
// Where a goroutine is idle, it takes a folder: systems make links in two folders at the same time, in one they do not.
// After an error the other folders are done all the same, so that of several faults the same one is told each time.
func (m *transfer) directory(e *ends, depth int) error {
	names, err := e.names()
	if err != nil {
		return err
	}
	var dirs []string
	for _, name := range names {
		at := path.Join(e.rel, name)
		l, err := e.look(name)
		if err != nil {
			return err
		}
		switch l.mode.Type() {
		case fs.ModeDir:
			m.met(at, l, "")
			dirs = append(dirs, name)
		case 0:
			err = m.file(e, name, at, l)
		case fs.ModeSymlink:
			err = m.symlink(e, name, at, l, depth)
		default:
			err = refused(at, "it is neither a file nor a directory nor a symbolic link")
		}
		if err != nil {
			return err
		}
	}
	errs := make([]error, len(dirs))
	var helping sync.WaitGroup
	helped := false
	for i, name := range dirs {
		below := func() { errs[i] = m.below(e, name, depth+1) }
		if m.help(&helping, below) {
			helped = true
		} else {
			below()
		}
	}
	if helped {
		<-m.busy
		helping.Wait()
		m.busy <- struct{}{}
	}
	return cmp.Or(errs...)
}

// below makes the directory name, and goes on there.
func (m *transfer) below(e *ends, name string, depth int) error {
	if err := m.mkdir(e, name); err != nil {
		return err
	}
	sub, err := e.below(name)
	if err != nil {
		return err
	}
	defer sub.close()
	return m.directory(sub, depth)
}

func (m *transfer) met(at string, l look, target string) {
	m.checking.Lock()
	defer m.checking.Unlock()
	m.check.met(at, l, target)
}

// errMerges is what a create of put returns where nothing needs to be made.
var errMerges = errors.New("the directory is there already")

// put makes the entry at of dst by create, which fails with fs.ErrExist and changes nothing if
// something is there. Only then is it asked what to do: the usual case costs no look beforehand.
func (m *materialising) put(at string, create func() error) error {
	err := create()
	if errors.Is(err, fs.ErrExist) {
		if !m.overwrite {
			return takenError(at)
		}
		if err := m.out.RemoveAll(at); err != nil {
			return err
		}
		m.gone(at)
		err = create()
	}
	if errors.Is(err, errMerges) {
		return nil
	}
	if err == nil && !strings.Contains(at, "/") {
		m.mu.Lock()
		defer m.mu.Unlock()
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

func (m *transfer) mkdir(e *ends, name string) error {
	return m.put(path.Join(e.rel, name), func() error {
		err := e.mkdir(name)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// A symbolic link to a directory is not one: what belongs into it would land in its target.
		if l, lookErr := e.taken(name); lookErr == nil && l.mode.IsDir() {
			return errMerges
		}
		return err
	})
}

func (m *transfer) symlink(e *ends, name, at string, l look, depth int) error {
	target, err := e.readlink(name)
	if err != nil {
		return err
	}
	m.met(at, l, target)
	// AddTree has looked at it, too. Here it is looked at again because what lies in a directory of the user's may
	// have been changed since, and this is where it would do harm.
	if !staysInside(target, depth) {
		return refused(at, fmt.Sprintf("it is a symbolic link to %q, which may lead out of %s", target, m.dst))
	}
	err = m.put(at, func() error {
		// A link to a link is a link, and unlike a new one it takes no inode, which a file system has to find. Only Linux's have it all.
		if runtime.GOOS == "linux" && !m.noLinks.Load() {
			if err := e.link(name); err == nil || errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		return e.symlink(target, name)
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Entries = append(m.stats.Entries, Entry{Path: at, Symlink: true})
	return nil
}

func (m *transfer) file(e *ends, name, at string, l look) error {
	m.met(at, l, "")
	var kind *int
	err := m.put(at, func() error {
		var err error
		kind, err = m.share(e, name, l)
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
	m.stats.Bytes += l.size
	return nil
}

// share makes one file by the first method that works and returns its counter. An error that says "not this way" leads
// to the next method; any other ends it.
func (m *transfer) share(e *ends, name string, l look) (*int, error) {
	for _, method := range []struct {
		make   func(e *ends, name string, l look) error
		off    *atomic.Bool // set once the file systems are known not to have it
		counts *int
	}{
		{clone, &m.noClone, &m.stats.Reflinked},
		{func(e *ends, name string, _ look) error { return e.link(name) }, &m.noLinks, &m.stats.Linked},
	} {
		if method.off.Load() {
			continue
		}
		err := method.make(e, name, l)
		switch {
		case err == nil:
			return method.counts, nil
		case otherFileSystem(err):
			method.off.Store(true)
		case !notThisFile(err):
			return nil, err
		}
	}
	return &m.stats.Copied, copyFile(e, name, l)
}

// copyFile makes the file name, which must not exist, a copy of the other's.
func copyFile(e *ends, name string, l look) error {
	src, err := e.open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := e.create(name, l.treeMode())
	if err != nil {
		return err
	}
	n, err := io.Copy(dst, src)
	if err == nil && n != l.size {
		err = fmt.Errorf("%s: %d of %d bytes copied: %w", name, n, l.size, io.ErrUnexpectedEOF)
	}
	if err == nil {
		err = dst.Chmod(l.treeMode()) // whatever the umask
	}
	if closeErr := dst.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = e.remove(name)
	}
	return err
}
