package store

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// withFault runs the test that calls it once more, in a process some of whose system calls fail, and reports whether
// this is that process. inject is what strace wants after -e inject=.
func withFault(t *testing.T, inject string) bool {
	t.Helper()
	const inside = "OCIPKG_STORE_TEST_FAULT"
	if os.Getenv(inside) == inject {
		return true
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIPPED, needs strace:", err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	call, _, _ := strings.Cut(inject, ":")
	cmd := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+call, "-e", "inject="+inject,
		exe, "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+inject)
	out, err := cmd.CombinedOutput()
	if !strings.Contains(string(out), "=== RUN") {
		t.Skipf("SKIPPED, strace does not work here: %v\n%s", err, out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// Invariant: on a file system without locks everything works, and a removal takes only what has been there for a day:
// nobody can tell who uses what is newer.
func TestWithoutLocks(t *testing.T) {
	if !withFault(t, "flock:error=ENOLCK") {
		return
	}
	s := newStore(t)
	tree := addFiles(t, s, "x", headers)
	unlock, err := s.Lock(t.Context(), "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := s.PutBlob([]byte("{}")); err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(t.TempDir(), "repo")
	if _, err := Materialise(dst, false, tree); err != nil {
		t.Fatal(err)
	}
	if err := headers.check(dst); err != nil {
		t.Error(err)
	}
	if err := remove(t, s, tree.Digest()); !errors.Is(err, ErrInUse) {
		t.Errorf("a new one: %v", err)
	}
	old := time.Now().Add(-unlockedAge - time.Hour)
	if err := os.Chtimes(tree.Path(), old, old); err != nil {
		t.Fatal(err)
	}
	if err := remove(t, s, tree.Digest()); err != nil {
		t.Errorf("an old one: %v", err)
	}
	if _, err := s.Tree(t.Context(), tree.Digest()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Invariant: whatever keeps a file from being linked, it arrives, to the byte and read-only.
func TestLinksThatFail(t *testing.T) {
	for name, fault := range map[string]string{
		"no hard links": "linkat:error=EPERM",
		"another disk":  "linkat:error=EXDEV",
		"too many":      "linkat:error=EMLINK:when=2+2",
		"unsupported":   "linkat:error=EOPNOTSUPP",
	} {
		t.Run(name, func(t *testing.T) {
			if !withFault(t, fault) {
				return
			}
			s := newStore(t)
			tree := addFiles(t, s, "all", merge(headers, static))
			dst := filepath.Join(t.TempDir(), "repo")
			stats, err := Materialise(dst, false, tree)
			if err != nil {
				t.Fatal(err)
			}
			if stats.Files != 5 || stats.Reflinked == 0 && stats.Copied == 0 {
				t.Errorf("%+v", stats)
			}
			if err := merge(headers, static).check(dst); err != nil {
				t.Error(err)
			}
			dir, err := s.PutView(t.Context(), "example.com/a/__1", seedDigest(1), false, tree)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, viewMarker)); err != nil {
				t.Fatal(err)
			}
			if err := merge(headers, static).check(dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// Invariant: a quota that is used up is told as a full disk is, with what to do.
func TestQuota(t *testing.T) {
	err := newStore(t).writeError("store tree", &fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT})
	mustContain(t, err, "no space left", "free space or set OCIPKG_STORE")
	if diagnostic.KindOf(err) != diagnostic.Failure {
		t.Errorf("kind %d", diagnostic.KindOf(err))
	}
}

// Invariant: the umask decides who may enter the store, and nothing else: the modes of what is in it are the same.
func TestUmask(t *testing.T) {
	const maskVar = "OCIPKG_STORE_TEST_UMASK"
	for name, mask := range map[string]int{"private": 0o077, "open": 0, "group": 0o027} {
		t.Run(name, func(t *testing.T) {
			if os.Getenv(maskVar) != name {
				exe, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				// A process of its own, since the umask is the whole process's.
				cmd := exec.Command(exe, "-test.run=^TestUmask$/^"+name+"$", "-test.v")
				cmd.Env = append(os.Environ(), maskVar+"="+name)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				return
			}
			dir := t.TempDir()
			old := syscall.Umask(mask)
			defer syscall.Umask(old)
			s := open(t, filepath.Join(dir, "store"))
			tree := addFiles(t, s, "all", merge(headers, static))
			if err := merge(headers, static).check(tree.Path()); err != nil {
				t.Error(err)
			}
			d, err := s.PutBlob([]byte("{}"))
			if err != nil {
				t.Fatal(err)
			}
			path, _ := s.object("blobs", d)
			if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o444 {
				t.Errorf("%v, %v", fi.Mode(), err)
			}
			fi, err := os.Stat(s.dir)
			if err != nil || fi.Mode().Perm() != 0o755&^fs.FileMode(mask) {
				t.Errorf("%v, %v", fi.Mode(), err)
			}
			dst := filepath.Join(dir, "repo")
			if _, err := Materialise(dst, false, tree); err != nil {
				t.Fatal(err)
			}
			if fi, err := os.Stat(filepath.Join(dst, "include", "z.h")); err != nil || fi.Mode() != 0o444 {
				t.Errorf("%v, %v", fi.Mode(), err)
			}
		})
	}
}
