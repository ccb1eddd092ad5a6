package artifact

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// What Place shows is packed like the prefix that it stands for, though its files are reached by links, are called
// otherwise where they lie, and may all be executed, as in a build system's sandbox.
func TestPlacedFilesPackLikeAPrefix(t *testing.T) {
	files := zlibPrefix()
	delete(files, "lib/libz.so")
	delete(files, "lib/libz.so.1")
	files["include/sub/deeper/more.h"] = "#pragma once\n"
	want := artifactsOf(t, files, Claims{License: "Zlib"}, Zstd)[0]

	store, sandbox := t.TempDir(), t.TempDir()
	places := map[string]string{"include": filepath.Join(sandbox, "headers")}
	n := 0
	for place, content := range files {
		n++
		file := filepath.Join(store, strings.Repeat("x", n))
		if err := os.WriteFile(file, []byte(strings.TrimPrefix(content, "*")), 0o555); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(sandbox, strings.Repeat("y", n))
		if rest, header := strings.CutPrefix(place, "include/"); header {
			link = filepath.Join(places["include"], filepath.FromSlash(rest))
		} else {
			places[place] = link
		}
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(file, link); err != nil {
			t.Fatal(err)
		}
	}
	fsys, err := Place(places)
	if err != nil {
		t.Fatal(err)
	}
	dest := filepath.Join(t.TempDir(), "z.tar")
	w, err := CreateLayout(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	got, err := Pack(fsys, Claims{License: "Zlib"}, Zstd, w)
	if err != nil {
		t.Fatal(err)
	}
	if got.Manifest.Digest != want.Descriptor.Digest {
		t.Errorf("packed %+v, want %+v", got.Package, want.Config.Package)
	}
}

func TestPlaceRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	put(t, dir, "z.h", "")
	put(t, dir, "folder/z.h", "")
	put(t, dir, "linked/inner", "-> ../folder")
	for _, c := range []struct {
		what   string
		places map[string]string
		kind   diagnostic.Kind
		says   string
	}{
		{"a missing file", map[string]string{"include/z.h": "none.h"}, diagnostic.NotFound, "none.h"},
		{"a place outside", map[string]string{"../z.h": "z.h"}, diagnostic.Usage, "no path inside"},
		{"an absolute place", map[string]string{"/z.h": "z.h"}, diagnostic.Usage, "no path inside"},
		{"two files for one place", map[string]string{"include": "folder", "include/z.h": "z.h"}, diagnostic.Usage, "there already"},
		{"a file and a folder", map[string]string{"include/a": "z.h", "include/a/b": "z.h"}, diagnostic.Usage, "is a file already"},
		{"a folder and a file", map[string]string{"include/a": "folder", "include": "z.h"}, diagnostic.Usage, "include"},
		{"a link to a folder", map[string]string{"include": "linked"}, diagnostic.Usage, "link to a folder"},
	} {
		if _, err := Place(c.places); diagnostic.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
	}

	// Each file was named by somebody: none is left out.
	fsys, err := Place(map[string]string{"include/z.h": "z.h", "somewhere/z.c": "z.h"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Pack(fsys, Claims{Name: "z"}, Zstd, memory{}); diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), "somewhere/z.c") {
		t.Errorf("a file that is no part of a library: %v", err)
	}
	var walked []string
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			walked = append(walked, p)
		}
		return err
	})
	if err != nil || !slices.Equal(walked, []string{"include/z.h", "somewhere/z.c"}) {
		t.Errorf("%v, %v", walked, err)
	}
}

func TestParsePlaces(t *testing.T) {
	got, err := ParsePlaces([]byte(`{"include/z.h": "a.h", "lib/libz.a": "b"}`))
	if err != nil || len(got) != 2 || got["include/z.h"] != "a.h" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{``, `[]`, `{"a": 1}`, `{"a": "b"`, `{"a": "b", "a": "c"}`, `{} {}`} {
		if got, err := ParsePlaces([]byte(bad)); diagnostic.KindOf(err) != diagnostic.Usage {
			t.Errorf("%s: %v, %v", bad, got, err)
		}
	}
}
