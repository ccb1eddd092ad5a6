package artifact

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Whatever the bytes are: no panic, nothing outside, nothing but what the profile allows inside, and no more than the
// limits allow.
func FuzzUnpack(f *testing.F) {
	types := []string{TypeLayerGzip, TypeLayerZstd, TypeV0Layer}
	for _, entries := range [][]tar.Header{
		{dir("d"), file("d/f"), link("l", "d/f")},
		{file("../evil")},
		{link("l", ".."), file("l/evil")},
		{file("a/f"), file("a/g"), link("b", "a")},
	} {
		plain := tarOf(f, entries...)
		f.Add(plain, uint8(2), true)
		f.Add(plain, uint8(2), false)
		f.Add(gzipped(f, plain), uint8(0), false)
		f.Add(zstandard(f, plain), uint8(1), false)
	}
	f.Add(sparse(f, "f", 1<<30), uint8(2), true)
	f.Fuzz(func(t *testing.T, data []byte, mediaType uint8, foreign bool) {
		const floor = 1 << 20
		parent := t.TempDir()
		dst := filepath.Join(parent, "dst")
		if err := os.Mkdir(dst, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dst)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		err = unpackBelow(root, bytes.NewReader(data), types[int(mediaType)%len(types)], foreign, Limits{Entries: 1000, Floor: floor})
		if err != nil && diagnostic.KindOf(err) != diagnostic.Refused {
			t.Errorf("kind %d: %v", diagnostic.KindOf(err), err)
		}
		if entries, _ := os.ReadDir(parent); len(entries) != 1 {
			t.Fatalf("outside: %v", entries)
		}
		var total int64
		walkErr := filepath.WalkDir(dst, func(p string, d os.DirEntry, err error) error {
			if err != nil || p == dst {
				return err
			}
			rel, _ := filepath.Rel(dst, p)
			if why := badName(filepath.ToSlash(rel)); why != "" {
				t.Errorf("%q: %s", rel, why)
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			switch info.Mode().Type() {
			case 0:
				total += info.Size()
				if info.Mode().Perm()&0o222 != 0 {
					t.Errorf("%q has the mode %v", rel, info.Mode())
				}
			case os.ModeDir:
			case os.ModeSymlink:
				// A link is made only once it has been judged, so this holds for what a refused archive left, too.
				if to, err := os.Readlink(p); err != nil || filepath.IsAbs(to) {
					t.Errorf("%q leads to %q, %v", rel, to, err)
				}
				if real, err := filepath.EvalSymlinks(p); err == nil && real != dst && !strings.HasPrefix(real, dst+string(filepath.Separator)) {
					t.Errorf("%q leads to %s", rel, real)
				}
			default:
				t.Errorf("%q is %v", rel, info.Mode())
			}
			return nil
		})
		if walkErr != nil {
			t.Fatal(walkErr)
		}
		if limit := max(int64(floor), maxRatio*int64(len(data))) + 1<<16; total > limit {
			t.Errorf("%d bytes became %d", len(data), total)
		}
	})
}
