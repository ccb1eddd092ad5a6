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
	w := s.workspace(t, "e2e/testdata/rust", s.matrixPublished(t, "rust"), withCross...)
	w.pin(t)
	w.build(t)
	w.test(t)
	w.checkBinaries(t, `kind("rust_(binary|test) rule", //...)`)
	needs := func(program string, libraries ...string) {
		t.Helper()
		needed, _ := w.dynamic(t, filepath.Join("bazel-bin", program))
		for _, library := range []string{"libbar.so.1", "libfoo.so.1", "libfoo.so.2", "libgreet.so.1"} {
			if has, want := slices.Contains(needed, library), slices.Contains(libraries, library); has != want {
				t.Errorf("%s: linked with %s is %v, want %v (NEEDED %v)", program, library, has, want, needed)
			}
		}
	}
	for _, program := range []string{"pair", "pair_hub", "archives", "apart"} {
		needs(program)
	}
	// rustc has the linker leave out what the program does not use itself: libfoo is libbar's affair alone.
	for _, program := range []string{"pair_shared", "pair_hub_shared", "origin", "flat", "shared_apart", "apart_shared", "older"} {
		needs(program, "libbar.so.1")
	}
	needs("mixed", "libfoo.so.1")
	needs("versions_shared", "libgreet.so.1")
	w.asksFor(t, "versions_shared", "greet_level", "GREET_2")

	flag := "--@rules_ocipkg//rules:linkage=shared"
	w.bazel(t, "build", flag, "//:pair", "//:pair_hub")
	needs("pair", "libbar.so.1")
	needs("pair_hub", "libbar.so.1")
	w.checkBinaries(t, "set(//:pair //:pair_hub)", flag)
	t.Run("actions", func(t *testing.T) { w.checkActions(t) })
}
