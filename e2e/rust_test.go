package e2e

import (
	"path/filepath"
	"slices"
	"testing"
)

// TestRust links libraries of every shape into programs of rules_rust, and runs these from bazel-bin, from their runfiles,
// in the sandbox and in an action.
func TestRust(t *testing.T) {
	s := theSuite
	s.crossEnv(t, "rustc")
	native := filepath.Join(s.out, "native-rust")
	s.matrixLibraries(t, native)
	address := s.server(t, `on http://(\S+)`, s.ocipkg, "serve", "--address", "localhost:0", "--dir", filepath.Join(s.out, "registry", "rust")).Ready
	for _, name := range []string{"pair", "origin", "archives", "mixed"} {
		s.must(t, s.out, s.ocipkg, "pack", filepath.Join(native, name), "--name", name, "--version", "1", "-o", filepath.Join(native, name+".tar"))
		s.must(t, s.out, s.ocipkg, "push", filepath.Join(native, name+".tar"), address+"/"+name+":1")
	}
	pushFlat(t, address, filepath.Join(native, "flat"))

	w := s.workspace(t, "e2e/testdata/rust", address, withCross...)
	w.pin(t)
	w.build(t)
	w.test(t)
	w.checkBinaries(t, `kind("rust_(binary|test) rule", //...)`)
	for program, shared := range map[string]bool{"pair": false, "pair_shared": true, "origin": true, "archives": false} {
		needed, _ := w.dynamic(t, filepath.Join("bazel-bin", program))
		if has := slices.Contains(needed, "libbar.so.1"); has != shared {
			t.Errorf("%s: linked with libbar.so.1 is %v, want %v (NEEDED %v)", program, has, shared, needed)
		}
	}
}
