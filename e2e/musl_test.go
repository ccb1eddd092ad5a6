package e2e

import (
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMusl: of one image for glibc and for musl, whose libraries are told apart by their bytes alone, a hub links the one that
// the platform is for; what was linked so runs, in every form, with the C library of its own. With libraries for the other one a
// program is linked and does not start.
func TestMusl(t *testing.T) {
	s := theSuite
	s.crossEnv(t, "x86_64-linux-musl-gcc")
	native := filepath.Join(s.out, "native-musl")
	if err := os.RemoveAll(native); err != nil {
		t.Fatal(err)
	}
	if r := s.exec(t, s.repository, withCross, s.bazel, "--in-env", "e2e/testdata/native/build-libcs", native); r.code != 0 {
		t.Fatalf("build of the libraries: %s", r.stderr)
	}
	address := s.server(t, `on http://(\S+)`, s.ocipkg, "serve", "--address", "localhost:0", "--dir", filepath.Join(s.out, "registry", "musl")).Ready
	archives := []string{}
	for libc, target := range map[string]string{"glibc": host, "musl": musl} {
		archive := filepath.Join(native, libc+".tar")
		s.must(t, s.out, s.ocipkg, "pack", filepath.Join(native, libc), "--name", "outer", "--version", "1", "-o", archive)
		var described struct{ Package struct{ Target string } }
		if err := json.Unmarshal([]byte(s.must(t, s.out, s.ocipkg, "inspect", "--json", archive)), &described); err != nil || described.Package.Target != target {
			t.Errorf("what was compiled for %s is packed for %q (%v)", libc, described.Package.Target, err)
		}
		archives = append(archives, archive)
	}
	s.must(t, s.out, slices.Concat([]string{s.ocipkg, "push"}, archives, []string{address + "/outer:1"})...)
	w := s.workspace(t, "e2e/testdata/musl", address, withCross...)
	w.pin(t)

	for libc, c := range map[string]struct {
		flags         []string
		loader, needs string
	}{
		"glibc": {nil, "/lib64/ld-linux-x86-64.so.2", "libc.so.6"},
		"musl":  {[]string{"--platforms=//:linux_musl"}, "/lib/ld-musl-x86_64.so.1", "libc.so"},
	} {
		t.Run(libc, func(t *testing.T) {
			w.build(t, c.flags...)
			for program, shared := range map[string][]string{
				"static":  nil,
				"dynamic": {"libouter.so.1", "libinner.so.1"},
				"test":    {"libouter.so.1", "libinner.so.1"},
				"wrapper": {"libwrapped.so"},
			} {
				path := filepath.Join("bazel-bin", program)
				if loader := w.interpreter(t, path); loader != c.loader {
					t.Errorf("%s is started by %s, not by %s", program, loader, c.loader)
				}
				needed, _ := w.dynamic(t, path)
				for _, library := range append(shared, c.needs) {
					if !slices.Contains(needed, library) {
						t.Errorf("%s does not need %s but %v", program, library, needed)
					}
				}
				if n := slices.IndexFunc(needed, func(library string) bool { return strings.HasPrefix(library, "libouter") }); n >= 0 && shared == nil {
					t.Errorf("%s needs %v, and was to be linked with the static library", program, needed)
				}
				for _, place := range []string{path, filepath.Join(path+".runfiles", "_main", program)} {
					r := s.exec(t, w.dir, w.env, s.bazel, "--in-env", place)
					if want := "program " + libc + ", libraries " + libc + "\n"; r.code != 0 || r.stdout != want {
						t.Errorf("%s: exit status %d, %q, want %q\n%s", place, r.code, r.stdout, want, r.stderr)
					}
				}
			}
			w.test(t, c.flags...)
			// The control: those for glibc, given to either by hand. The linker has nothing against it.
			w.bazel(t, "build", append(c.flags, "//:by_hand")...)
			r := s.exec(t, w.dir, w.env, s.bazel, "--in-env", "bazel-bin/by_hand")
			if runs := libc == "glibc"; (r.code == 0) != runs || !runs && !strings.Contains(r.stderr, "gnu_get_libc_version: symbol not found") {
				t.Errorf("with the libraries for glibc: exit status %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
	}
	// Not by hand, it is refused before a compiler runs.
	r := w.exec(t, nil, "build", "--platforms=//:linux_musl", "@outer_for_glibc")
	if r.code == 0 || !strings.Contains(r.stderr, "is incompatible") || !strings.Contains(r.stderr, "libc:glibc") {
		t.Errorf("a library for glibc where musl is built for: exit status %d\n%s", r.code, r.stderr)
	}
}

// interpreter reads by which run-time linker a program is started.
func (w *workspace) interpreter(t *testing.T, program string) string {
	t.Helper()
	f, err := elf.Open(filepath.Join(w.dir, program))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	section := f.Section(".interp")
	if section == nil {
		return ""
	}
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(string(data), "\x00")
}
