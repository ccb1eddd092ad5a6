package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What goes wrong here goes wrong at the nth system call of a kind. strace counts them for each thread: so the role runs
// on the first one, which it alone follows, and the nth call is the same one each time.
func init() {
	roles["everything"] = func(args []string) error {
		s, err := Open(args[0])
		if err != nil {
			return err
		}
		return everything(s, args[1:])
	}
	if os.Getenv(roleVar) == "everything" {
		mayClone = func(string) bool { return true } // where it fails, it has to be undone
		runtime.LockOSThread()
	}
}

const (
	coming, going = 7, 8 // seeds of what everything brings and takes away

	newView, otherView, goingView = "example.com/lib/__7", "example.com/lib/__latest", "example.com/old/__8"
)

// called is the tree whose making is disturbed: of each kind what there is, and no more.
var called = files{"include/sub/y.h": {data: "int y;"}, "bin/tool": {data: "#!", exec: true}, "liby.h": {target: "include/sub/y.h"}}

func seedRef(seed int) string { return fmt.Sprintf("example.com/lib:%d", seed) }

// prepare gives a store what everything replaces and removes.
func prepare(t *testing.T, s *Store) {
	t.Helper()
	// A process that is started for another case has this one's locks until it is the other program.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	tree, err := s.AddTree(t.Context(), seedDigest(going), nil, called.fill)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Release()
	d, err := s.PutBlob(seedBlob(going))
	if err == nil {
		err = s.SetName(seedRef(going), d)
	}
	for _, view := range []string{otherView, goingView} {
		if err == nil {
			_, err = s.PutView(t.Context(), view, d, false, tree)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// everything goes through all that writes. It can be repeated, whatever one before has come to.
func everything(s *Store, dsts []string) error {
	ctx := context.Background()
	tree, err := s.AddTree(ctx, seedDigest(coming), nil, called.fill)
	if err != nil {
		return err
	}
	defer tree.Release()
	d, err := s.PutBlob(seedBlob(coming))
	if err != nil {
		return err
	}
	if err := s.SetName(seedRef(coming), d); err != nil {
		return err
	}
	for _, view := range []string{newView, otherView} {
		if _, err := s.PutView(ctx, view, d, false, tree); err != nil {
			return err
		}
	}
	for _, dst := range dsts {
		if _, err := Materialise(dst, false, tree); err != nil {
			return err
		}
	}
	r := s.Remove()
	err = func() error {
		if _, err := r.View(goingView); err != nil {
			return err
		}
		names, err := s.Names()
		if err != nil {
			return err
		}
		for _, n := range names {
			if n.Ref == seedRef(going) {
				if err := r.Name(n, nil); err != nil {
					return err
				}
			}
		}
		if err := r.Tree(seedDigest(going), nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := r.Blob(digestOf(seedBlob(going)), nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}()
	if errors.Is(err, ErrInUse) { // where there is no lock, what is new is left alone
		err = nil
	}
	return errors.Join(err, r.Finish())
}

// disturbed is one run of everything in which a system call ends it, or fails.
type disturbed struct {
	store *Store
	near  string // where it materialises, on the store's disk
	far   string // and elsewhere, if there is another
	waits bool   // for the disk, as where boots cannot be told apart
	out   []byte
	err   error
	trace string // the calls of the kinds that strace was told
}

func newDisturbed(t *testing.T, call string) *disturbed {
	t.Helper()
	elsewhere := t.TempDir()
	near := elsewhere
	// In memory syncing takes no time, and from there to the disk files are copied.
	if shm, err := os.MkdirTemp("/dev/shm", "ocipkg-store-test"); err == nil {
		t.Cleanup(func() { os.RemoveAll(shm) })
		near = shm
	}
	d := &disturbed{store: open(t, filepath.Join(near, "store")), near: filepath.Join(near, "near"), far: filepath.Join(elsewhere, "far"), waits: strings.Contains(call, "sync")}
	prepare(t, d.store)
	return d
}

// run runs everything below strace with these arguments.
func (d *disturbed) run(t *testing.T, strace string, args ...string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "trace")
	cmd := child(t, "everything", d.store.root, d.near, d.far)
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1") // or others help to materialise
	if d.waits {
		cmd.Env = append(cmd.Env, bootVar+"=")
	}
	// Under this umask modes have to be set right, too.
	cmd.Args = slices.Concat([]string{"sh", "-c", `umask 077; exec "$@"`, "sh", strace, "-qq", "-o", log}, args, []string{cmd.Path}, cmd.Args[1:])
	cmd.Path = "/bin/sh"
	d.out, d.err = cmd.CombinedOutput()
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatalf("strace: %v\n%s", d.err, d.out)
	}
	d.trace = string(trace)
}

// check looks at what is visible, and goes on as the next process would.
func (d *disturbed) check(t *testing.T) {
	t.Helper()
	syscall.ForkLock.RLock() // as in prepare
	defer syscall.ForkLock.RUnlock()
	s := d.store
	visible := func(when string) {
		for _, seed := range []int{coming, going} {
			tree, err := s.Tree(t.Context(), seedDigest(seed))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err := errors.Join(err, called.check(tree.Path()), s.VerifyTree(t.Context(), seedDigest(seed))); err != nil {
				t.Errorf("%s: a tree is visible and not whole: %v\n%s", when, err, d.out)
			}
			tree.Release()
		}
		blobs, err := s.Blobs()
		if err != nil {
			t.Error(err)
		}
		for _, o := range blobs {
			if err := s.VerifyBlob(o.Digest); err != nil {
				t.Errorf("%s: %v\n%s", when, err, d.out)
			}
		}
		names, err := s.Names()
		if err != nil || len(names) != len(below(t, s, "names")) {
			t.Errorf("%s: of %d names %d are legible: %v", when, len(below(t, s, "names")), len(names), err)
		}
		for _, n := range names {
			// Set after its blob, and removed before.
			if _, err := s.PeekBlob(n.Digest); err != nil {
				t.Errorf("%s: %s points to what is not there: %v\n%s", when, n.Ref, err, d.out)
			}
		}
		views, err := s.Views()
		if err != nil {
			t.Error(err)
		}
		for _, v := range views {
			dir := filepath.Join(s.root, filepath.FromSlash(v.Path))
			openFolders(t, dir)
			checkView(t, dir, called)
		}
	}
	visible("afterwards")
	again := t.TempDir()
	if err := everything(s, []string{filepath.Join(again, "a"), filepath.Join(again, "b")}); err != nil {
		t.Errorf("the next one: %v", err)
	}
	sweepNow(t, s)
	idle(t, s, 1)
	visible("after the next one")
	want := digestOf(seedBlob(coming))
	if got, err := s.Name(seedRef(coming)); err != nil || got != want {
		t.Errorf("the name is %s, %v", got, err)
	}
	views, err := s.Views()
	if err != nil || len(views) != 2 || views[0].Digest != want || views[1].Digest != want {
		t.Errorf("views %+v, %v", views, err)
	}
	if blobs, err := s.Blobs(); err != nil || len(blobs) != 1 {
		t.Errorf("blobs %+v, %v", blobs, err)
	}
}

// openFolders takes the umask off what everything has laid out.
func openFolders(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chmod(p, 0o755)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// counted returns how many system calls of each kind everything makes when one of them is disturbed.
func counted(t *testing.T, strace string, calls []string) map[string]int {
	t.Helper()
	if out, err := exec.Command(strace, "-qq", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, strace does not work here: %v\n%s", err, out)
	}
	counts := map[string]int{}
	for _, like := range []string{"", "fsync"} {
		d := newDisturbed(t, like)
		d.run(t, strace, "-e", "trace="+strings.Join(calls, ","))
		if d.err != nil {
			t.Fatalf("undisturbed: %v\n%s", d.err, d.out)
		}
		for _, call := range regexp.MustCompile(`(?m)^\w+`).FindAllString(d.trace, -1) {
			if strings.Contains(call, "sync") == d.waits {
				counts[call]++
			}
		}
	}
	for _, call := range calls {
		if counts[call] == 0 {
			t.Errorf("%s is never called; what is shown with it is nothing", call)
		}
	}
	return counts
}

// sample returns n numbers from 1 to count, the first and the last among them, or all.
func sample(count, n int) []int {
	var at []int
	for i := range min(n, count) {
		at = append(at, 1+i*(count-1)/max(min(n, count)-1, 1))
	}
	return at
}

// Invariant: a writer may die at any system call: what is visible is whole, and the next one goes on. TestKilledWriters dies
// at any time, this at each call in turn: at all of them with OCIPKG_SOAK, at some otherwise.
func TestKilledAtEachCall(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some hundred processes")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED, needs strace:", err)
	}
	calls := []string{"openat", "mkdirat", "write", "pwrite64", "flock", "linkat", "symlinkat", "unlinkat", "renameat", "renameat2", "fchmod", "fsync", "syncfs"}
	counts := counted(t, strace, calls)
	for _, call := range calls {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			if os.Getenv("OCIPKG_SOAK") == "" {
				for _, nth := range sample(counts[call], 4) {
					if !killedAt(t, strace, call, nth) {
						t.Errorf("it was not killed at %d of %d", nth, counts[call])
					}
				}
				return
			}
			nth := 1
			for killedAt(t, strace, call, nth) {
				nth++
			}
			if nth <= counts[call] {
				t.Errorf("killed %d times, and it calls it %d times", nth-1, counts[call])
			}
			t.Logf("killed %d times", nth-1)
		})
	}
}

// killedAt kills everything at its nth system call of a kind. It reports whether it came so far.
func killedAt(t *testing.T, strace, call string, nth int) (killed bool) {
	t.Run(strconv.Itoa(nth), func(t *testing.T) {
		d := newDisturbed(t, call)
		d.run(t, strace, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, nth))
		var exit *exec.ExitError
		killed = errors.As(d.err, &exit) && !exit.Exited() // strace dies of what its child died of
		if d.err != nil && !killed {
			t.Errorf("%v\n%s", d.err, d.out)
		}
		d.check(t)
	})
	return killed
}

// Invariant: whatever a system call fails with, whichever it is, nothing incomplete becomes visible, what fails says why,
// and the store works on. What is only interrupted is done again.
func TestFailingCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED, needs strace:", err)
	}
	faults := map[string][]syscall.Errno{
		"openat":    {syscall.EMFILE, syscall.EINTR, syscall.EIO, syscall.ENFILE, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS},
		"mkdirat":   {syscall.ENOSPC, syscall.EINTR, syscall.EDQUOT, syscall.EIO, syscall.EROFS},
		"write":     {syscall.ENOSPC, syscall.EINTR, syscall.EDQUOT, syscall.EIO},
		"pwrite64":  {syscall.ENOSPC, syscall.EINTR, syscall.EDQUOT, syscall.EIO},
		"flock":     {syscall.ENOLCK, syscall.EINTR, syscall.EIO},
		"ioctl":     {syscall.ENOTTY, syscall.EINTR, syscall.EIO, syscall.ENOSPC, syscall.EDQUOT},
		"linkat":    {syscall.EDQUOT, syscall.EINTR, syscall.EMLINK, syscall.EPERM, syscall.ENOSPC, syscall.EIO},
		"symlinkat": {syscall.EDQUOT, syscall.EINTR, syscall.ENOSPC, syscall.EIO},
		"unlinkat":  {syscall.EIO, syscall.EINTR, syscall.EBUSY, syscall.EROFS},
		"renameat":  {syscall.EIO, syscall.EINTR, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT},
		"renameat2": {syscall.EIO, syscall.EINTR, syscall.EINVAL, syscall.ENOSYS, syscall.ENOSPC, syscall.EDQUOT},
		"fchmod":    {syscall.EIO, syscall.EINTR, syscall.EROFS},
		"fsync":     {syscall.EIO, syscall.EINTR, syscall.ENOSPC, syscall.EDQUOT},
		"syncfs":    {syscall.EIO, syscall.EINTR, syscall.ENOSPC, syscall.EDQUOT},
	}
	var calls []string
	for call := range faults {
		calls = append(calls, call)
	}
	counts := counted(t, strace, calls)
	for call, errnos := range faults {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			failed := 0
			for i, errno := range errnos {
				places := sample(counts[call], counts[call])
				if os.Getenv("OCIPKG_SOAK") == "" {
					// Which error it is makes a difference in the message alone, but for EINTR.
					places = sample(counts[call], []int{3, 2, 1}[min(i, 2)])
				}
				for _, nth := range places {
					if failsAt(t, strace, call, errno, nth) {
						failed++
					}
				}
			}
			t.Logf("failed %d times", failed)
		})
	}
}

// failsAt lets the nth system call of a kind fail, and reports whether that is an error of everything.
func failsAt(t *testing.T, strace, call string, errno syscall.Errno, nth int) (failed bool) {
	name := unix.ErrnoName(errno)
	t.Run(fmt.Sprint(name, " ", nth), func(t *testing.T) {
		d := newDisturbed(t, call)
		d.run(t, strace, "-e", "trace="+call, "-e", "inject="+call+":error="+name+":when="+strconv.Itoa(nth))
		failed = d.failed(t, errno)
	})
	return failed
}

// failed looks at what a run has said and left in which a call failed with errno, and reports whether it failed itself.
func (d *disturbed) failed(t *testing.T, errno syscall.Errno) bool {
	t.Helper()
	if !strings.Contains(d.trace, "(INJECTED)") {
		t.Errorf("nothing failed:\n%s", d.trace)
	}
	switch {
	case d.err == nil:
	case errno == syscall.EINTR:
		t.Errorf("it was not tried again: %v\n%s", d.err, d.out)
	case !strings.Contains(string(d.out), errno.Error()):
		t.Errorf("it does not say why it failed: %v\n%s", d.err, d.out)
	}
	for _, dst := range []string{d.near, d.far} {
		openFolders(t, dst)
		if err := called.check(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("left behind: %v\n%s", err, d.out)
		}
	}
	d.check(t)
	return d.err != nil
}

// The places at which TestFailingCalls found something, each by the file that the call is about.
func TestFailingCallsAtPlaces(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED, needs strace:", err)
	}
	counted(t, strace, []string{"openat", "unlinkat"})
	for what, c := range map[string]struct {
		call  string
		nth   string
		errno syscall.Errno
		file  func(d *disturbed) string
	}{
		// Its blob went, since nobody knew of the name.
		"a name cannot be read": {"openat", "1", syscall.EMFILE, func(d *disturbed) string { return d.store.namePath(seedRef(going)) }},
		// The view was called the crate's. The first look is without the lock and does not count.
		"a view's mark cannot be read": {"openat", "2", syscall.EIO, func(d *disturbed) string {
			return filepath.Join(d.store.root, filepath.FromSlash(otherView), viewMarker)
		}},
		// The folder that was made for it stayed.
		"the destination cannot be opened": {"openat", "1", syscall.EMFILE, func(d *disturbed) string { return d.near }},
		// The file was called another tree's.
		"what could not be cloned cannot be deleted": {"unlinkat", "1", syscall.EIO, func(d *disturbed) string { return filepath.Join(d.near, "bin") }},
	} {
		t.Run(what, func(t *testing.T) {
			d := newDisturbed(t, c.call)
			d.run(t, strace, "-P", c.file(d), "-e", "trace="+c.call, "-e", "inject="+c.call+":error="+unix.ErrnoName(c.errno)+":when="+c.nth)
			if !d.failed(t, c.errno) {
				t.Errorf("it did not fail:\n%s", d.trace)
			}
		})
	}
}
