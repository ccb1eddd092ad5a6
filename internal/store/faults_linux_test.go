package store

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// elsewhere runs the test that calls it once more, in a process with other rights, and reports whether this is that
// process. The test does its work only there.
func elsewhere(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	const inside = "OCIPKG_STORE_TEST_INSIDE"
	if os.Getenv(inside) == t.Name() {
		return true
	}
	// Through /proc, because another user may not be able to pass through the directories above the test's binary.
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.Dir = "/"
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.ENOSPC) ||
		errors.Is(err, syscall.EINVAL) {
		t.Skip("SKIPPED, this machine does not let the test have the process it needs:", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("skipped inside:\n%s", out)
	}
	return false
}

// ownMounts gives a process user and mount namespaces of its own, in which it may mount.
func ownMounts() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

func mount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skip("SKIPPED, cannot mount:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// Invariant: a full disk says so, leaves nothing visible and nothing half-done, and the store works on when there is
// space again.
func TestFullDisk(t *testing.T) {
	if !elsewhere(t, ownMounts()) {
		return
	}
	for name, options := range map[string]string{"no blocks": "size=1m", "no inodes": "size=64m,nr_inodes=40"} {
		root := t.TempDir()
		mount(t, root, 0, options)
		s := open(t, root)
		full := func(err error) {
			t.Helper()
			mustContain(t, err, "no space left", root, "free space or set OCIPKG_STORE")
			if !errors.Is(err, syscall.ENOSPC) || diagnostic.KindOf(err) != diagnostic.Failure {
				t.Errorf("%s: %v", name, err)
			}
		}
		big := files{}
		for i := range 60 {
			big["lib/"+strings.Repeat("x", i+1)] = file{data: strings.Repeat("0123456789abcdef", 2048)}
		}
		_, err := s.AddTree(t.Context(), seedDigest(1), nil, big.fill)
		full(err)
		if _, err := s.Tree(t.Context(), seedDigest(1)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: visible: %v", name, err)
		}
		idle(t, s, 0)

		// With the disk filled from elsewhere, nothing at all can be written, and what is there can be read.
		d, err := s.PutBlob([]byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetName("n", d); err != nil {
			t.Fatal(err)
		}
		ballast := filepath.Join(root, "ballast")
		if err := os.Mkdir(ballast, 0o755); err != nil {
			t.Fatal(err)
		}
		var fullErr error
		for i := 0; fullErr == nil; i++ {
			fullErr = os.WriteFile(filepath.Join(ballast, strings.Repeat("x", i+1)), make([]byte, 100<<10), 0o644)
		}
		_, err = s.PutBlob(make([]byte, 200<<10))
		full(err)
		_, err = s.AddTree(t.Context(), seedDigest(1), nil, big.fill)
		full(err)
		if data, err := s.Blob(d); err != nil || string(data) != "{}" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
		if got, err := open(t, root).Name("n"); err != nil || got != d {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		idle(t, s, 0)

		if err := os.RemoveAll(ballast); err != nil {
			t.Fatal(err)
		}
		small := files{"lib/a": {data: "a"}}
		tree, err := s.AddTree(t.Context(), seedDigest(1), nil, small.fill)
		if err == nil {
			err = small.check(tree.Path())
		}
		if err != nil {
			t.Errorf("%s: with space again: %v", name, err)
		}
		idle(t, s, 1)

		// The same for where trees are put.
		tmpfs := t.TempDir()
		mount(t, tmpfs, 0, options)
		dst := filepath.Join(tmpfs, "repo")
		_, err = Materialise(dst, false, addFiles(t, newStore(t), "big", big))
		mustContain(t, err, "no space left", dst)
		if _, err := os.Lstat(dst); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left behind: %v", name, err)
		}
	}
}

// readOnlyStore checks that a store that cannot be written serves what it has and says of the rest that it cannot.
func readOnlyStore(t *testing.T, root string, blob []byte, says string) {
	t.Helper()
	s := open(t, root)
	if data, err := s.Blob(digestOf(blob)); err != nil || string(data) != string(blob) {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := s.Name("n"); err != nil {
		t.Error(err)
	}
	unlock, err := s.Lock(t.Context(), "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	tree, err := s.AddTree(t.Context(), seedDigest(1), nil, func(writer) error { t.Error("filled"); return nil })
	if err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(t.TempDir(), "repo")
	if _, err := Materialise(dst, false, tree); err != nil {
		t.Error(err)
	}
	if err := whole(dst, 1); err != nil {
		t.Error(err)
	}
	if d, err := s.PutBlob(blob); err != nil || d != digestOf(blob) {
		t.Errorf("putting what is there: %v, %v", d, err)
	}
	if _, err := s.Tree(t.Context(), seedDigest(2)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}

	_, putErr := s.PutBlob([]byte("new"))
	_, addErr := s.AddTree(t.Context(), seedDigest(2), nil, func(writer) error { t.Error("filled"); return nil })
	if err := s.SetName("n", digestOf(blob)); err != nil {
		t.Errorf("a name that says so already: %v", err)
	}
	for _, err := range []error{putErr, addErr, s.SetName("n", digestOf([]byte("new")))} {
		mustContain(t, err, root, says, "set OCIPKG_STORE")
		if diagnostic.KindOf(err) != diagnostic.Failure {
			t.Errorf("kind %d: %v", diagnostic.KindOf(err), err)
		}
	}
}

func fillReadOnlyStore(t *testing.T, root string) (blob []byte) {
	t.Helper()
	s := open(t, root)
	blob = []byte("{}")
	d, err := s.PutBlob(blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetName("n", d); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddTree(t.Context(), seedDigest(1), nil, fillSeed(1)); err != nil {
		t.Fatal(err)
	}
	sweepNow(t, s) // and let the next Open want to write
	if err := os.Remove(filepath.Join(s.dir, "swept")); err != nil {
		t.Fatal(err)
	}
	return blob
}

// Invariant: a store on a read-only file system can be used.
func TestReadOnlyFileSystem(t *testing.T) {
	if !elsewhere(t, ownMounts()) {
		return
	}
	root := t.TempDir()
	mount(t, root, 0, "size=16m")
	blob := fillReadOnlyStore(t, root)
	boot(t, "one")
	before := open(t, root)
	tree := addFiles(t, before, "of another boot", static)
	view, err := before.PutView(t.Context(), newView, digestOf(blob), false, tree)
	if err != nil {
		t.Fatal(err)
	}
	tree.Release()
	if err := os.Chtimes(filepath.Join(before.dir, "swept"), time.Unix(0, 0), time.Unix(0, 0)); err != nil { // the next Open wants to write
		t.Fatal(err)
	}
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skip("SKIPPED, cannot remount:", err)
	}
	readOnlyStore(t, root, blob, "read-only file system")
	boot(t, "two")
	s := open(t, root)
	if tree, err = s.Tree(t.Context(), tree.Digest()); err != nil {
		t.Fatal("after another boot:", err)
	}
	if again, err := s.PutView(t.Context(), newView, digestOf(blob), false, tree); err != nil || again != view {
		t.Errorf("after another boot the view is %s: %v", again, err)
	}
	if err := s.KeepViews(); err != nil {
		t.Error(err)
	}

	// One without anything in it opens, too; one that cannot even be made does not.
	empty := t.TempDir()
	mount(t, empty, syscall.MS_RDONLY, "size=1m")
	s = open(t, empty)
	if _, err := s.Blob(digestOf(blob)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	_, err = s.PutBlob(blob)
	mustContain(t, err, empty, "set OCIPKG_STORE")
	_, err = Open(filepath.Join(empty, "missing"))
	mustContain(t, err, "missing", "set OCIPKG_STORE")
}

// Invariant: so can one that belongs to somebody else.
func TestForeignStore(t *testing.T) {
	const rootVar = "OCIPKG_STORE_TEST_FOREIGN"
	blob := []byte("{}")
	if os.Getenv(rootVar) == "" {
		root := filepath.Join(t.TempDir(), "store")
		blob = fillReadOnlyStore(t, root)
		t.Setenv(rootVar, root)
		if os.Geteuid() != 0 {
			// One's own modes are as good as another's ownership.
			err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					t.Cleanup(func() { _ = os.Chmod(p, 0o755) })
					err = os.Chmod(p, 0o555)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			readOnlyStore(t, root, blob, "cannot be written")
			return
		}
		scratch := t.TempDir()
		if err := os.Chmod(scratch, 0o777); err != nil {
			t.Fatal(err)
		}
		for _, below := range []string{root, scratch} {
			for dir := filepath.Dir(below); dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		for dir := filepath.Clean(os.TempDir()); dir != "/"; dir = filepath.Dir(dir) {
			if fi, err := os.Stat(dir); err != nil || fi.Mode()&0o001 == 0 {
				t.Skipf("SKIPPED, another user cannot pass through %s (%v)", dir, err)
			}
		}
		t.Setenv("TMPDIR", scratch)
		elsewhere(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
		return
	}
	readOnlyStore(t, os.Getenv(rootVar), blob, "cannot be written")
	t.Run("read-only files", TestMaterialisedFilesAreReadOnly)
	t.Run("modes", TestSeal)
	t.Run("fill fails", TestFillFails)
	t.Run("sweep", TestSweep)
	t.Run("remove", TestRemoveFromReadOnlyStore)
}

// syncCalls adds a tree in a boot, in a process of its own, and returns its system calls that matter for a power cut.
func syncCalls(t *testing.T, s *Store, boot string) string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED, needs strace:", err)
	}
	log := filepath.Join(t.TempDir(), "strace")
	cmd := child(t, "fill", s.root, filepath.Join(t.TempDir(), "fills"), "7")
	cmd.Env = append(cmd.Env, bootVar+"="+boot)
	// Under this umask modes have to be set right, too.
	cmd.Args = append([]string{"sh", "-c", `umask 077; exec "$@"`, "sh", strace, "-f", "-y", "-o", log, "-e", "trace=syncfs,fsync,rename,renameat,renameat2,write,fchmod,fchmodat,?fchmodat2", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, strace does not work here: %v\n%s", err, out)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Invariant: where boots cannot be told apart, every byte of a tree is on the disk before its final name is, and the name
// before AddTree returns; the same for files.
func TestSyncOrder(t *testing.T) {
	calls := syncCalls(t, newStore(t), "")
	last := func(pattern string) int {
		t.Helper()
		all := regexp.MustCompile(`(?m)^.*`+pattern).FindAllStringIndex(calls, -1)
		if all == nil {
			t.Fatalf("no %s in\n%s", pattern, calls)
		}
		return all[len(all)-1][0]
	}
	write, sync := last(`write\(\d+<[^>]*/tmp/.*file\d+>`), last(`syncfs\(`)
	chmod := max(last(`fchmod\(\d+<[^>]*/tmp/.*file\d+>`), last(`(fchmodat2?|syscall_0x1c4)\(`)) // the number of fchmodat2, for which an older strace has no name
	rename, parent := last(`rename.*/tmp/.*trees/sha256/`), last(`fsync\(\d+<[^>]*/trees/sha256>`)
	record, recorded := last(`rename.*/tmp/.*records/sha256/`), last(`fsync\(\d+<[^>]*/records/sha256>`)
	if record > recorded || recorded > rename {
		t.Errorf("the record is renamed at %d and synced at %d, the tree is there at %d in\n%s", record, recorded, rename, calls)
	}
	if write > sync || chmod > sync || sync > rename || rename > parent {
		t.Errorf("write %d, chmod %d, sync %d, rename %d, sync of the parent %d in\n%s", write, chmod, sync, rename, parent, calls)
	}
}

// Invariant: elsewhere nothing waits for the disk; but a record that takes another's place is there before its tree is.
func TestNothingIsSynced(t *testing.T) {
	s := newStore(t)
	calls := syncCalls(t, s, "one")
	if !regexp.MustCompile(`rename.*/tmp/.*trees/sha256/`).MatchString(calls) || strings.Contains(calls, "sync") {
		t.Errorf("a tree is made and something synced in\n%s", calls)
	}
	path, err := s.object("trees", seedDigest(7))
	if err == nil {
		err = os.RemoveAll(path) // as a process does that is killed before it comes to the record
	}
	if err != nil {
		t.Fatal(err)
	}
	calls = syncCalls(t, s, "one")
	if !regexp.MustCompile(`(?s)fsync\(\d+<[^>]*/tmp/[^>]*>.*rename[^\n]*/tmp/[^\n]*records/sha256/.*fsync\(\d+<[^>]*/records/sha256>.*rename[^\n]*/tmp/[^\n]*trees/sha256/`).MatchString(calls) {
		t.Errorf("the record and its name are not on the disk before the tree has its own in\n%s", calls)
	}
}
