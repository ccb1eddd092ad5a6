package artifact

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

func TestSelection(t *testing.T) {
	for _, c := range []struct {
		what      string
		files     map[string]string
		selection Selection
		want      []string
		leftOut   []string
	}{
		{"headers beside sources", map[string]string{"src/api/z.h": "", "src/api/deep/y.hpp": "", "src/api/z.c": "", "src/api/Makefile": "", "src/private.h": "", "lib/libz.a": ""}, Selection{Headers: []string{"src/api"}},
			[]string{"include/deep/y.hpp <- src/api/deep/y.hpp", "include/z.h <- src/api/z.h", "lib/libz.a"}, []string{"src/api/Makefile", "src/api/z.c", "src/private.h"}},
		{"headers without an ending", map[string]string{"sdk/include/QtCore": "", "sdk/include/a/b": ""}, Selection{Headers: []string{"sdk/include/"}},
			[]string{"include/QtCore <- sdk/include/QtCore", "include/a/b <- sdk/include/a/b"}, nil},
		{"headers in place of the guess", map[string]string{"include/internal.h": "", "include/public/z.h": ""}, Selection{Headers: []string{"include/public"}},
			[]string{"include/z.h <- include/public/z.h"}, []string{"include/internal.h"}},
		{"headers of several folders", map[string]string{"src/z.h": "", "build/config.h": "", "build/x.in": ""}, Selection{Headers: []string{"src/z.h", "build/*.h"}},
			[]string{"include/config.h <- build/config.h", "include/z.h <- src/z.h"}, []string{"build/x.in"}},
		{"headers of the folder itself", map[string]string{"z.h": "", "z.c": "", "a/b.h": ""}, Selection{Headers: []string{"."}},
			[]string{"include/a/b.h <- a/b.h", "include/z.h <- z.h"}, []string{"z.c"}},
		{"libraries of a build tree", map[string]string{"build/Release/libz.a": "", "build/Release/libz.so": "-> libz.so.1", "build/Release/libz.so.1": "", "build/test/libmock.a": "", "include/z.h": ""}, Selection{Libraries: []string{"build/Release/libz.*"}},
			[]string{"include/z.h", "lib/libz.a <- build/Release/libz.a", "lib/libz.so -> libz.so.1", "lib/libz.so.1 <- build/Release/libz.so.1"}, []string{"build/test/libmock.a"}},
		{"one library of several", map[string]string{"lib/libz.a": "", "lib/libz-test.a": "", "lib/pkgconfig/z.pc": ""}, Selection{Libraries: []string{"lib/libz.a"}},
			[]string{"lib/libz.a", "lib/pkgconfig/z.pc"}, []string{"lib/libz-test.a"}},
		{"licences and .pc files", map[string]string{"doc/legal/EULA.txt": "", "build/z.pc": "", "z.h": "", "LICENSE": ""}, Selection{Licenses: []string{"doc/legal/*"}, PkgConfig: []string{"build/z.pc"}},
			[]string{"include/z.h <- z.h", "lib/pkgconfig/z.pc <- build/z.pc", "share/licenses/EULA.txt <- doc/legal/EULA.txt"}, []string{"LICENSE"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			tree, leftOut, err := c.selection.arrange(os.DirFS(prefixOf(t, c.files)))
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

func TestSelectionRefuses(t *testing.T) {
	files := map[string]string{"include/z.h": "", "lib/libz.a": "", "a/x.h": "1", "b/x.h": "2"}
	for _, c := range []struct {
		what      string
		selection Selection
		kind      diagnostic.Kind
		says      string
	}{
		{"nothing found", Selection{Headers: []string{"inc"}}, diagnostic.Usage, `headers "inc"`},
		{"nothing found by one of two", Selection{Libraries: []string{"lib/*.a", "lib/*.so"}}, diagnostic.Usage, `libraries "lib/*.so"`},
		{"out of the folder", Selection{Headers: []string{"../other"}}, diagnostic.Usage, "inside the folder"},
		{"absolute", Selection{Libraries: []string{"/usr/lib/libz.a"}}, diagnostic.Usage, "inside the folder"},
		{"empty", Selection{Licenses: []string{""}}, diagnostic.Usage, "inside the folder"},
		{"bad pattern", Selection{PkgConfig: []string{"[a"}}, diagnostic.Usage, "inside the folder"},
		{"two files for one place", Selection{Headers: []string{"a", "b"}}, diagnostic.Refused, "both become include/x.h"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, _, err := c.selection.arrange(os.DirFS(prefixOf(t, files)))
			if diagnostic.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	dir := prefixOf(t, map[string]string{
		"src/zlib.h": "", "src/zconf.h": "", "src/z.c": "", "COPYING": "", "build/libz.a": static("deflate"), "build/zlib.pc": zlibPrefix()["lib/pkgconfig/zlib.pc"],
		"build/libz.so": "-> libz.so.1", "build/libz.so.1": "-> libz.so.1.3.1", "build/libz.so.1.3.1": shared("libz.so.1"), "other/zlib.h": "",
	})
	for _, c := range []struct {
		what  string
		names string
		want  string // files and links of the artifact
	}{
		{"static", "build/libz.a src/zlib.h COPYING", "include/zlib.h lib/libz.a libz.a share/licenses/COPYING"},
		{"shared with its links", "src/zlib.h build/libz.so build/libz.so.1 build/libz.so.1.3.1", "include/zlib.h lib/libz.so->libz.so.1.3.1 lib/libz.so.1->libz.so.1.3.1 lib/libz.so.1.3.1"},
		{"link without its file", "src/zlib.h build/libz.so", "include/zlib.h lib/libz.so lib/libz.so.1->libz.so"},
		{"with a .pc file", "src/zlib.h build/libz.a build/zlib.pc", "include/zlib.h lib/libz.a lib/pkgconfig/zlib.pc libz.a"},
	} {
		t.Run(c.what, func(t *testing.T) {
			var names []string
			for _, n := range strings.Fields(c.names) {
				names = append(names, filepath.Join(dir, n))
			}
			files, err := Files(names)
			if err != nil {
				t.Fatal(err)
			}
			dest := filepath.Join(t.TempDir(), "z.tar")
			w, err := CreateLayout(dest)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			p, err := Pack(files, Claims{Name: "zlib", Version: "1.3.1"}, Zstd, w)
			if err != nil {
				t.Fatal(err)
			}
			w.Add(p.Manifest, "")
			if err := w.Commit(); err != nil {
				t.Fatal(err)
			}
			l, m, _ := opened(t, dest)
			var got []string
			for _, line := range listing(t, unpackedFrom(t, l, m, false)) {
				name, rest, _ := strings.Cut(line, " ")
				if to, ok := strings.CutPrefix(rest, "-> "); ok && name != "libz.a" {
					name += "->" + to
				}
				got = append(got, name)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("holds\n%s\nwant\n%s", s, c.want)
			}
		})
	}

	for _, c := range []struct {
		what, names string
		kind        diagnostic.Kind
		says        string
	}{
		{"missing", "src/none.h", diagnostic.NotFound, "none.h"},
		{"folder among files", "build/libz.a src", diagnostic.Usage, "it is no file"},
		{"two of one name", "src/zlib.h other/zlib.h", diagnostic.Usage, "called the same"},
		{"neither header nor library", "src/zlib.h src/z.c", diagnostic.Usage, "pack z.c"},
	} {
		t.Run(c.what, func(t *testing.T) {
			var names []string
			for _, n := range strings.Fields(c.names) {
				names = append(names, filepath.Join(dir, n))
			}
			files, err := Files(names)
			if err == nil {
				_, err = Pack(files, Claims{Name: "z"}, Zstd, memory{})
			}
			if diagnostic.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}
