package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk is a file system of its own, in a file that holds at any time what a power cut would leave of it.
type disk struct{ image, dir string }

func newDisk(t *testing.T) disk {
	t.Helper()
	d := disk{image: filepath.Join(t.TempDir(), "image"), dir: t.TempDir()}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 64<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", d.image).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, mkfs.ext4: %v\n%s", err, out)
	}
	d.mount(t)
	return d
}

func (d disk) mount(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, mount -o loop: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = syscall.Unmount(d.dir, syscall.MNT_DETACH) })
}

// cut returns the disk as it is when the power fails now and comes again.
func (d disk) cut(t *testing.T) disk {
	t.Helper()
	after := disk{image: filepath.Join(t.TempDir(), "image"), dir: t.TempDir()}
	from, err := os.Open(d.image)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(after.image)
	if err == nil {
		_, err = io.Copy(to, from)
		err = errors.Join(err, to.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	after.mount(t)
	return after
}

// commit writes the journal to the disk, and what files hold not: a rename outlasts a power cut and the content does not.
func (d disk) commit(t *testing.T) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.dir, "other"))
	if err == nil {
		_, err = f.WriteString("other")
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Invariant: after a power cut nobody gets what is not what was written, whatever of it was on the disk; and what is lost
// is made again. Where boots cannot be told apart, nothing is lost that a call has returned.
func TestPowerCut(t *testing.T) {
	// Loop devices are root's. Its mounts go with the process.
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, needs root, to mount")
	}
	if !elsewhere(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}) {
		return
	}
	const seeds = 5
	for name, c := range map[string]struct {
		boots [2]string
		then  func(t *testing.T, d disk)
		whole bool // all of it has to be there
		torn  bool // a tree has to be there and not whole, or the test shows nothing
	}{
		"nothing on the disk": {boots: [2]string{"one", "two"}, then: func(*testing.T, disk) {}},
		"names on the disk":   {boots: [2]string{"one", "two"}, then: func(t *testing.T, d disk) { d.commit(t) }, torn: true},
		"all on the disk": {boots: [2]string{"one", "two"}, whole: true, then: func(t *testing.T, d disk) {
			f, err := os.Open(d.dir)
			if err == nil {
				err = errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		// As by a container that shares this system's memory, and has another boot.
		"read in another boot before": {boots: [2]string{"one", "three"}, whole: true, then: func(t *testing.T, d disk) {
			boot(t, "two")
			s := open(t, filepath.Join(d.dir, "store"))
			for seed := range seeds {
				tree, err := s.Tree(t.Context(), seedDigest(seed))
				if err != nil {
					t.Fatal(err)
				}
				tree.Release()
			}
		}},
		"boots are not told apart": {whole: true, then: func(*testing.T, disk) {}},
	} {
		t.Run(name, func(t *testing.T) {
			before := newDisk(t)
			boot(t, c.boots[0])
			s := open(t, filepath.Join(before.dir, "store"))
			var view string
			for seed := range seeds {
				tree, err := s.AddTree(t.Context(), seedDigest(seed), nil, fillSeed(seed))
				if err != nil {
					t.Fatal(err)
				}
				d, err := s.PutBlob(seedBlob(seed))
				if err == nil {
					err = s.SetName(seedRef(seed), d)
				}
				if err == nil && seed == 0 {
					view, err = s.PutView(t.Context(), newView, d, false, tree)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			c.then(t, before)
			after := before.cut(t)
			boot(t, c.boots[1])
			s = open(t, filepath.Join(after.dir, "store"))
			torn, lost := 0, 0
			for seed := range seeds {
				tree, err := s.Tree(t.Context(), seedDigest(seed))
				if damaged, ok := errors.AsType[*DamagedError](err); ok {
					torn++
					err = s.SetAside(damaged)
					if err == nil {
						err = fs.ErrNotExist
					}
				}
				if errors.Is(err, fs.ErrNotExist) {
					lost++
					tree, err = s.AddTree(t.Context(), seedDigest(seed), nil, fillSeed(seed))
				}
				if err == nil {
					err = whole(tree.Path(), seed)
				}
				if err != nil {
					t.Errorf("tree %d: %v", seed, err)
				}
				d := digestOf(seedBlob(seed))
				if _, err := s.Blob(d); errors.Is(err, fs.ErrNotExist) {
					lost++
				} else if err != nil {
					t.Errorf("blob %d: %v", seed, err)
				}
				named, err := s.Name(seedRef(seed))
				if errors.Is(err, fs.ErrNotExist) {
					lost++
				} else if err != nil || named != d {
					t.Errorf("name %d: %s, %v", seed, named, err)
				}
				if again, err := s.PutBlob(seedBlob(seed)); err != nil || again != d {
					t.Errorf("blob %d again: %s, %v", seed, again, err)
				}
				if _, err := s.Blob(d); err != nil {
					t.Errorf("blob %d again: %v", seed, err)
				}
				if err := s.SetName(seedRef(seed), d); err != nil {
					t.Errorf("name %d again: %v", seed, err)
				}
				if seed == 0 {
					_, err := s.PutView(t.Context(), newView, d, false, tree)
					dir := filepath.Join(after.dir, view[len(before.dir):])
					if err == nil {
						err = os.Remove(filepath.Join(dir, viewMarker))
					}
					if err == nil {
						err = whole(dir, seed)
					}
					if err != nil {
						t.Errorf("view: %v", err)
					}
				}
			}
			if c.whole && lost > 0 {
				t.Errorf("%d are lost", lost)
			}
			if c.torn && torn == 0 {
				t.Skip("SKIPPED, the system was faster: everything was on the disk")
			}
			t.Logf("%d lost, %d of them torn trees", lost, torn)
		})
	}
}
