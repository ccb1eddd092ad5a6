package library

import (
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// What a description may say of libraries for macOS and Windows, where whoever wrote it may have written anything.
func TestConsistentOfSystems(t *testing.T) {
	files := []string{"include/z.h", "lib/libz.1.dylib", "lib/libz.dll.a", "lib/z.dll", "lib/z.lib"}
	slices.Sort(files)
	dll := func(change func(*artifact.SharedLibrary)) *artifact.Package {
		s := &artifact.SharedLibrary{Path: "lib/z.dll", Interface: "lib/z.lib"}
		change(s)
		return &artifact.Package{Schema: 1, Name: "z", Target: "x86_64-pc-windows-msvc", Libraries: []artifact.Library{{Name: "z", Shared: s}}}
	}
	dylib := func(installName string, frameworks ...string) *artifact.Package {
		return &artifact.Package{Schema: 1, Name: "z", Target: "aarch64-apple-darwin", Frameworks: frameworks,
			Libraries: []artifact.Library{{Name: "z", Shared: &artifact.SharedLibrary{Path: "lib/libz.1.dylib", InstallName: installName}}}}
	}
	for _, c := range []struct {
		what string
		p    *artifact.Package
		says string // "" where it is fine
	}{
		{"DLL", dll(func(*artifact.SharedLibrary) {}), ""},
		{"DLL of MinGW", dll(func(s *artifact.SharedLibrary) { s.Interface = "lib/libz.dll.a" }), ""},
		{"static library with import library's ending", &artifact.Package{Schema: 1, Target: "x86_64-pc-windows-msvc", Libraries: []artifact.Library{{Name: "z", Static: &artifact.StaticLibrary{Path: "lib/z.lib"}}}}, ""},
		{"import library that is not there", dll(func(s *artifact.SharedLibrary) { s.Interface = "lib/y.lib" }), "as an import library"},
		{"import library that is a header", dll(func(s *artifact.SharedLibrary) { s.Interface = "include/z.h" }), "as an import library"},
		{"DLL that nothing leads to", dll(func(s *artifact.SharedLibrary) { s.Interface = "" }), "without an import library"},
		{"dylib", dylib("@rpath/libz.1.dylib", "CoreFoundation"), ""},
		{"install name that is no name", dylib("@rpath/lib z$(x).dylib"), "install name"},
		{"framework that is no name", dylib("@rpath/libz.1.dylib", "a,-o,/etc/passwd"), "system library"},
	} {
		err := consistent(c.p, "repository", files)
		if c.says == "" && err != nil || c.says != "" && (diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v, want %q", c.what, err, c.says)
		}
	}
}
