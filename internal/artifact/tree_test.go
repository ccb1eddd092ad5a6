package artifact

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// prefixOf makes a folder of files by path; a content of "-> x" makes a link to x, "*" in front of one a program.
func prefixOf(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		put(t, dir, name, files[name])
	}
	return dir
}

func put(t testing.TB, dir, name, content string) {
	t.Helper()
	p := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
		t.Fatal(err)
	}
	var err error
	if target, ok := strings.CutPrefix(content, "-> "); ok {
		err = os.Symlink(target, p)
	} else if program, ok := strings.CutPrefix(content, "*"); ok {
		err = os.WriteFile(p, []byte(program), 0o777)
	} else {
		err = os.WriteFile(p, []byte(content), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (t Tree) lines() []string {
	var lines []string
	for _, p := range t.paths() {
		switch e := t[p]; {
		case e.Link != "":
			lines = append(lines, p+" -> "+e.Link)
		case e.Source != p:
			lines = append(lines, p+" <- "+e.Source)
		default:
			lines = append(lines, p)
		}
	}
	return lines
}

func TestArrange(t *testing.T) {
	for _, c := range []struct {
		what    string
		files   map[string]string
		want    []string
		leftOut []string
	}{
		{"install prefix", map[string]string{"include/z/z.h": "", "lib/libz.a": "", "lib/libz.so": "-> libz.so.1", "lib/libz.so.1": "-> libz.so.1.3", "lib/libz.so.1.3": "", "lib/pkgconfig/z.pc": "", "share/licenses/z/LICENSE": "", "share/man/man3/z.3": "", "bin/z": ""},
			[]string{"include/z/z.h", "lib/libz.a", "lib/libz.so -> libz.so.1", "lib/libz.so.1 -> libz.so.1.3", "lib/libz.so.1.3", "lib/pkgconfig/z.pc", "share/licenses/z/LICENSE"},
			[]string{"bin/z", "share/man/man3/z.3"}},
		{"Windows", map[string]string{"include/z.h": "", "bin/z.dll": "", "bin/z.exe": "", "lib/z.lib": "", "lib/libz.dll.a": "", "lib/z.pdb": ""},
			[]string{"include/z.h", "lib/libz.dll.a", "lib/z.dll <- bin/z.dll", "lib/z.lib"}, []string{"bin/z.exe", "lib/z.pdb"}},
		{"macOS", map[string]string{"lib/libz.dylib": "-> libz.1.dylib", "lib/libz.1.dylib": "", "lib/libz.tbd": ""}, []string{"lib/libz.1.dylib", "lib/libz.dylib -> libz.1.dylib"}, []string{"lib/libz.tbd"}},
		{"multiarch", map[string]string{"include/z.h": "", "include/x86_64-linux-gnu/zconf.h": "", "lib/x86_64-linux-gnu/libz.a": "", "lib/x86_64-linux-gnu/libz.so": "-> libz.so.1", "lib/x86_64-linux-gnu/libz.so.1": "", "lib/x86_64-linux-gnu/pkgconfig/z.pc": "", "share/doc/zlib1g/copyright": ""},
			[]string{"include/z.h", "include/zconf.h <- include/x86_64-linux-gnu/zconf.h", "lib/libz.a <- lib/x86_64-linux-gnu/libz.a", "lib/libz.so -> libz.so.1", "lib/libz.so.1 <- lib/x86_64-linux-gnu/libz.so.1", "lib/pkgconfig/z.pc <- lib/x86_64-linux-gnu/pkgconfig/z.pc", "share/licenses/zlib1g/copyright <- share/doc/zlib1g/copyright"}, nil},
		{"one header in both, alike", map[string]string{"include/z.h": "x", "include/x86_64-linux-gnu/z.h": "x"}, []string{"include/z.h <- include/x86_64-linux-gnu/z.h"}, nil},
		{"lib64", map[string]string{"lib64/libz.a": "", "lib64/pkgconfig/z.pc": "", "lib64/cmake/z.cmake": ""}, []string{"lib/libz.a <- lib64/libz.a", "lib/pkgconfig/z.pc <- lib64/pkgconfig/z.pc"}, []string{"lib64/cmake/z.cmake"}},
		{"headers by a link to a folder", map[string]string{"include/png": "-> png16", "include/png16/png.h": "", "include/png16/sub/a.h": "", "include/png16/b.h": "-> png.h"},
			[]string{"include/png/b.h -> ../png16/b.h", "include/png/png.h -> ../png16/png.h", "include/png/sub/a.h -> ../../png16/sub/a.h", "include/png16/b.h -> png.h", "include/png16/png.h", "include/png16/sub/a.h"}, nil},
		{"lib64 by a link to a folder", map[string]string{"lib/libz.a": "", "lib64": "-> lib"}, []string{"lib/libz.a"}, []string{"lib64"}},
		{"link from one folder to the other", map[string]string{"lib/libz.so": "-> ../lib64/libz.so.1", "lib64/libz.so.1": ""}, []string{"lib/libz.so -> libz.so.1", "lib/libz.so.1 <- lib64/libz.so.1"}, nil},
		{"link to the file of its own place", map[string]string{"lib/libz.a": "-> ../lib64/libz.a", "lib64/libz.a": ""}, []string{"lib/libz.a <- lib64/libz.a"}, nil},
		{"link from the multiarch header", map[string]string{"include/x86_64-linux-gnu/z.h": "-> ../z.h", "include/z.h": ""}, []string{"include/z.h"}, nil},
		{"flat", map[string]string{"z.h": "", "z.hpp": "", "libz.a": "", "libz.so": "", "LICENSE.txt": "", "COPYING": "", "README": "", "main.c": ""},
			[]string{"include/z.h <- z.h", "include/z.hpp <- z.hpp", "lib/libz.a <- libz.a", "lib/libz.so <- libz.so", "share/licenses/COPYING <- COPYING", "share/licenses/LICENSE.txt <- LICENSE.txt"}, []string{"README", "main.c"}},
		{"flat, with a .pc file", map[string]string{"z.h": "", "z.pc": ""}, []string{"include/z.h <- z.h", "lib/pkgconfig/z.pc <- z.pc"}, nil},
		{"licences of other packagers", map[string]string{"z.h": "", "share/z/copyright": "", "share/z/usage": "", "licenses/z/LICENSE": "", "share/doc/y/LICENSE.md": "", "share/doc/y/README": ""},
			[]string{"include/z.h <- z.h", "share/licenses/y/LICENSE.md <- share/doc/y/LICENSE.md", "share/licenses/z/LICENSE <- licenses/z/LICENSE", "share/licenses/z/copyright <- share/z/copyright"}, []string{"share/doc/y/README", "share/z/usage"}},
		{"header without ending", map[string]string{"include/QtCore": "", "include/sub/link": "-> ../QtCore"}, []string{"include/QtCore", "include/sub/link -> ../QtCore"}, nil},
		{"a file called include", map[string]string{"include": "", "z.h": ""}, []string{"include/z.h <- z.h"}, []string{"include"}},
		{"dangling, but no part of it", map[string]string{"z.h": "", "share/man/z.3": "-> /nowhere"}, []string{"include/z.h <- z.h"}, []string{"share/man/z.3"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			tree, leftOut, err := Arrange(os.DirFS(prefixOf(t, c.files)))
			if err != nil {
				t.Fatal(err)
			}
			if got := tree.lines(); !slices.Equal(got, c.want) {
				t.Errorf("tree\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			if !slices.Equal(leftOut, c.leftOut) {
				t.Errorf("left out %q, want %q", leftOut, c.leftOut)
			}
		})
	}
}

func TestArrangeRefuses(t *testing.T) {
	for _, c := range []struct {
		what  string
		files map[string]string
		names string
		says  string
	}{
		{"absolute link", map[string]string{"lib/libz.so": "-> /usr/lib/libz.so.1"}, "lib/libz.so", "absolute"},
		{"link out", map[string]string{"lib/libz.so": "-> ../../usr/lib/libz.so.1"}, "lib/libz.so", "outside"},
		{"dangling link", map[string]string{"lib/libz.so": "-> libz.so.1"}, "lib/libz.so", "not there"},
		{"link to itself", map[string]string{"lib/libz.so": "-> libz.so"}, "lib/libz.so", "not there"},
		{"link to a folder above", map[string]string{"include/z": "-> ..", "include/z.h": ""}, "include/z", "folder that it lies in"},
		{"link to a folder with one in it", map[string]string{"include/z": "-> zlib", "include/zlib/y": "-> ../y", "include/y/y.h": ""}, "include/z/y", "another name by a link"},
		{"link to what is left out", map[string]string{"lib/libz.so": "-> ../opt/libz.so", "opt/libz.so": ""}, "lib/libz.so", "not part"},
		{"link by way of a link to a folder", map[string]string{"lib/libz.so": "-> ../lib64/libz.so.1", "lib64": "-> opt", "opt/libz.so.1": ""}, "lib/libz.so", "by way of"},
		{"link to its own place by way of a link to a folder", map[string]string{"lib/libz.a": "-> ../lib64/libz.a", "lib64": "-> opt", "opt/libz.a": ""}, "lib/libz.a", "by way of"},
		{"two files for one place", map[string]string{"lib/libz.a": "one", "lib64/libz.a": "two"}, "lib64/libz.a", "both become lib/libz.a"},
		{"two headers for one place", map[string]string{"include/z.h": "one", "include/x86_64-linux-gnu/z.h": "two"}, "include/z.h", "both become include/z.h"},
		{"case clash", map[string]string{"include/Z.h": "", "include/z.h": ""}, "include/z.h", "capital letters"},
		{"name that cannot be unpacked", map[string]string{"include/a:b.h": ""}, "include/a:b.h", "colon"},
		{"name in NFD", map[string]string{"include/e\u0301.h": ""}, "include/e\u0301.h", "NFC"},
		{"device of Windows", map[string]string{"include/aux.h": ""}, "include/aux.h", "Windows"},
	} {
		t.Run(c.what, func(t *testing.T) {
			tree, _, err := Arrange(os.DirFS(prefixOf(t, c.files)))
			if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), "pack "+c.names) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%q)", err, tree.lines())
			}
		})
	}
	t.Run("pipe", func(t *testing.T) {
		fsys := withPipe{os.DirFS(prefixOf(t, map[string]string{"include/z.h": ""}))}
		if _, _, err := Arrange(fsys); diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), "neither a file nor a link") {
			t.Errorf("got %v", err)
		}
	})
}

func TestLibraryNames(t *testing.T) {
	for file, want := range map[string]string{
		"libz.a": "static z", "libz.dll.a": "static z", "z.lib": "static z", "libpng16.lib": "static libpng16", "z.dll.lib": "static z", "lib.a": "",
		"libz.so": "shared z", "libz.so.1.3": "shared z", "libz.dylib": "shared z", "libz.1.dylib": "shared z", "libz.1.2.13.dylib": "shared z",
		"libfoo-2.0.dylib": "shared foo-2", "z.dylib": "", "zlib1.dll": "shared zlib1", "libz-1.dll": "shared libz-1", "libz.so_": "", "z.exe": "",
	} {
		got := ""
		if name := libraryOf(staticName(), file); name != "" {
			got = "static " + name
		}
		if name := libraryOf(sharedName(), file); name != "" {
			got += "shared " + name
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}

// withPipe shows every file as a named pipe, which not every system can make.
type withPipe struct{ fs.FS }

func (w withPipe) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.FS, name)
	for i, e := range entries {
		if !e.IsDir() {
			entries[i] = pipeEntry{e}
		}
	}
	return entries, err
}

type pipeEntry struct{ fs.DirEntry }

func (pipeEntry) Type() fs.FileMode { return fs.ModeNamedPipe }

// A random tree of links, seen from the system and from what was arranged: both must mean the same files.
func TestArrangedLinksMeanTheSameFiles(t *testing.T) {
	files := map[string]string{}
	dirs := []string{"include", "include/a", "include/a/b", "include/c"}
	for i, d := range dirs {
		files[fmt.Sprintf("%s/f%d.h", d, i)] = fmt.Sprintf("file %d", i)
	}
	for i, from := range dirs {
		for k, to := range dirs {
			up := strings.Repeat("../", strings.Count(from, "/")+1)
			files[fmt.Sprintf("%s/l%d%d.h", from, i, k)] = fmt.Sprintf("-> %s%s/./f%d.h", up, to, k)
		}
	}
	prefix := prefixOf(t, files)
	tree, _, err := Arrange(os.DirFS(prefix))
	if err != nil {
		t.Fatal(err)
	}
	for p := range files {
		want, err := os.ReadFile(filepath.Join(prefix, p))
		if err != nil {
			t.Fatal(err)
		}
		real, ok := tree.resolve(p)
		if !ok {
			t.Errorf("%s -> %s leads nowhere", p, tree[p].Link)
			continue
		}
		got, err := os.ReadFile(filepath.Join(prefix, tree[real].Source))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s -> %s is %q, want %q", p, tree[p].Link, got, want)
		}
	}
}
