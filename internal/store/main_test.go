package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/tree"
)

// Several tests need other processes: this binary, started again with a role in its environment.
const roleVar = "OCIPKG_STORE_TEST_ROLE"

var roles = map[string]func(args []string) error{
	"fill":  roleFill,
	"write": roleWrite,
	"hold":  roleHold,
	"use":   roleUse,
}

// bootVar says in which boot a test's other processes think they are.
const bootVar = "OCIPKG_STORE_TEST_BOOT"

func TestMain(m *testing.M) {
	if boot, ok := os.LookupEnv(bootVar); ok {
		thisBoot = func() string { return boot }
	}
	if role := os.Getenv(roleVar); role != "" {
		if err := roles[role](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t testing.TB, role string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role,
		"GORACE=atexit_sleep_ms=0") // a second at each exit otherwise
	return cmd
}

// roleFill adds the trees of some seeds to a store, and appends a line to a log for each fill that runs.
func roleFill(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	for _, arg := range args[2:] {
		seed, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		t, err := s.AddTree(context.Background(), seedDigest(seed), nil, func(w writer) error {
			log, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
			if err != nil {
				return err
			}
			defer log.Close()
			if _, err := fmt.Fprintln(log, seed); err != nil {
				return err
			}
			return fillSeed(seed)(w)
		})
		if err != nil {
			return err
		}
		if err := whole(t.Path(), seed); err != nil {
			return err
		}
	}
	return nil
}

// roleWrite writes trees, blobs and names from a seed upwards, until it is killed.
func roleWrite(args []string) error {
	seed, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	fmt.Println("writing")
	for ; ; seed++ {
		if _, err := s.AddTree(context.Background(), seedDigest(seed), nil, fillSeed(seed)); err != nil {
			return err
		}
		d, err := s.PutBlob(seedBlob(seed))
		if err != nil {
			return err
		}
		if err := s.SetName("example.com/lib:latest", d); err != nil {
			return err
		}
	}
}

// roleHold holds a lock until it is killed.
func roleHold(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	if _, err := s.Lock(context.Background(), args[1], nil); err != nil {
		return err
	}
	fmt.Println("held")
	time.Sleep(time.Minute)
	return nil
}

func open(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newStore(t testing.TB) *Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "store"))
}

// writer has a name that no variable hides.
type writer = tree.Writer

// A file of a tree; a symbolic link if target is set.
type file struct {
	data   string
	exec   bool
	target string
}

type files map[string]file

// fill returns what AddTree wants for these files.
func (f files) fill(w writer) error {
	made := map[string]bool{".": true}
	var folder func(name string) error
	folder = func(name string) error {
		if made[name] {
			return nil
		}
		made[name] = true
		return errors.Join(folder(path.Dir(name)), w.Mkdir(name))
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if err := folder(path.Dir(name)); err != nil {
			return err
		}
		e := f[name]
		if e.target != "" {
			if err := w.Symlink(e.target, name); err != nil {
				return err
			}
			continue
		}
		out, err := w.Create(name, e.exec)
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, e.data)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	return nil
}

// check compares the directory at path, to the byte and the mode, with what a materialised or stored tree of f is.
func (f files) check(path string) error {
	seen := 0
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			if runtime.GOOS != "windows" && fi.Mode().Perm() != 0o755 {
				return fmt.Errorf("%s: mode %v", p, fi.Mode())
			}
			return nil
		}
		want, ok := f[filepath.ToSlash(rel)]
		if !ok {
			return fmt.Errorf("%s: nobody put that there", p)
		}
		seen++
		if d.Type() == fs.ModeSymlink {
			target, err := os.Readlink(p)
			if err != nil || target != want.target {
				return fmt.Errorf("%s: links to %q, want %q (%v)", p, target, want.target, err)
			}
			return nil
		}
		mode := fs.FileMode(0o444)
		if want.exec {
			mode = 0o555
		}
		if runtime.GOOS != "windows" && fi.Mode() != mode {
			return fmt.Errorf("%s: mode %v, want %v", p, fi.Mode(), mode)
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if string(data) != want.data {
			return fmt.Errorf("%s: holds %d bytes that are not what was written", p, len(data))
		}
		return nil
	})
	if err == nil && seen != len(f) {
		err = fmt.Errorf("%s: %d of %d files", path, seen, len(f))
	}
	return err
}

// A seed stands for a tree and a blob, the same ones in every process.
func seedDigest(seed int) v1.Hash { return digestOf(fmt.Appendf(nil, "tree %d", seed)) }

func seedFiles(seed int) files {
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	f := files{"liba.a": {target: "lib/0/file0"}}
	for i := range 5 + r.IntN(30) {
		f[fmt.Sprintf("lib/%d/file%d", i%4, i)] = file{data: randomText(r, r.IntN(20000)), exec: i%3 == 0}
	}
	return f
}

func seedBlob(seed int) []byte {
	return []byte(randomText(rand.New(rand.NewPCG(uint64(seed), 2)), 3000))
}

func randomText(r *rand.Rand, n int) string {
	return string(bytes.Repeat(fmt.Appendf(nil, "%x ", r.Uint64()), n/8+1))
}

func fillSeed(seed int) func(writer) error { return seedFiles(seed).fill }

// whole reports whether the tree at path is that of seed.
func whole(path string, seed int) error { return seedFiles(seed).check(path) }

// addFiles stores a tree under a digest made from its name.
func addFiles(t testing.TB, s *Store, name string, f files) Tree {
	t.Helper()
	tree, err := s.AddTree(t.Context(), digestOf([]byte(name)), nil, f.fill)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// below returns the names in a directory of the store, none if there is no such directory.
func below(t testing.TB, s *Store, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, filepath.FromSlash(dir)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// idle fails if anything is being made or locked, or visible beyond what the test wants to see.
func idle(t testing.TB, s *Store, trees int) {
	t.Helper()
	if left := below(t, s, "tmp"); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
	if left := below(t, s, "locks"); len(left) > 0 {
		t.Errorf("left in locks: %v", left)
	}
	if there := below(t, s, "trees/sha256"); len(there) != trees {
		t.Errorf("%d trees, want %d", len(there), trees)
	}
}

// sweepNow lets the next Open sweep.
func sweepNow(t testing.TB, s *Store) {
	t.Helper()
	old := time.Now().Add(-2 * sweepEvery)
	if err := os.Chtimes(filepath.Join(s.dir, "swept"), old, old); err != nil {
		t.Fatal(err)
	}
	open(t, s.root)
}

func mustContain(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%v", part, err)
		}
	}
}
