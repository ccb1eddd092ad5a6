package e2e

import (
	"debug/pe"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWindows: programs for Windows are linked by MinGW with DLLs that it made and with Debian's zlib, by import libraries
// of either name; each names the DLLs that it was given, and these lie beside it, where Windows looks for them. Where
// there is a wine they are run.
func TestWindows(t *testing.T) {
	s := theSuite
	s.crossEnv(t, "x86_64-w64-mingw32-gcc")
	native := filepath.Join(s.out, "native-windows")
	if err := os.RemoveAll(native); err != nil {
		t.Fatal(err)
	}
	if r := s.exec(t, s.repository, withCross, s.bazel, "--in-env", "e2e/testdata/native/build-dlls", native); r.code != 0 {
		t.Fatalf("build of the libraries: %s", r.stderr)
	}
	zlib := filepath.Join(s.repository, ".out", "prefixes", "zlib-mingw")
	if _, err := os.Stat(zlib); err != nil {
		s.must(t, s.repository, "tools/debian-prefix", zlib, "libz-mingw-w64-dev")
	}
	address := s.server(t, `on http://(\S+)`, s.ocipkg, "serve", "--address", "localhost:0", "--dir", filepath.Join(s.out, "registry", "windows")).Ready
	for name, prefix := range map[string]string{
		"dlla": filepath.Join(native, "dlla"),
		"lib":  filepath.Join(native, "lib"),
		"zlib": filepath.Join(zlib, "x86_64-w64-mingw32"),
	} {
		s.must(t, s.out, s.ocipkg, "pack", prefix, "--name", name, "--version", "1", "--target", "x86_64-pc-windows-gnu", "-o", filepath.Join(native, name+".tar"))
		s.must(t, s.out, s.ocipkg, "push", filepath.Join(native, name+".tar"), address+"/"+name+":1")
	}
	w := s.workspace(t, "e2e/testdata/windows", address, withCross...)
	w.pin(t)
	w.bazel(t, "build", "--platforms=//:windows_x86_64", "//...")

	for program, dlls := range map[string][]string{ // -> the DLLs that have to be beside it
		"dlla/dynamic": {"bar.dll", "foo.dll"},
		"lib/dynamic":  {"bar.dll", "foo.dll"},
		"zlib/dynamic": {"zlib1.dll"},
		"zlib/static":  nil,
	} {
		path := filepath.Join(w.dir, "bazel-bin", program+".exe")
		imported := imports(t, path)
		if len(dlls) > 0 && !slices.Contains(imported, dlls[0]) {
			t.Errorf("%s does not import from %s, but from %v", program, dlls[0], imported)
		}
		if len(dlls) == 0 && slices.ContainsFunc(imported, func(dll string) bool { return strings.HasPrefix(dll, "zlib") }) {
			t.Errorf("%s imports from %v, and was to be linked with libz.a", program, imported)
		}
		for _, dll := range dlls {
			imports(t, filepath.Join(filepath.Dir(path), dll))
		}
	}

	if r := s.exec(t, w.dir, withCross, s.bazel, "--in-env", "sh", "-c", "command -v wine64"); r.code != 0 {
		t.Log("NOT RUN: there is no wine64, so the programs were linked and looked at, and not started")
		return
	}
	// What wine takes for Windows is made anew, which takes a while: the programs run one after the other in one. Debian's
	// wine fails where the user has no folder for what is running.
	const run = `mkdir -p -m 700 /run/user/$(id -u)
for program; do echo "$program"; wine64 "$program" || echo "exit status $?"; done`
	command := []string{s.bazel, "--in-env", "env", "WINEDEBUG=-all", "WINEPREFIX=" + t.TempDir(), "sh", "-c", run, "sh"}
	for _, program := range []string{"dlla/dynamic", "lib/dynamic", "zlib/dynamic", "zlib/static"} {
		command = append(command, filepath.Join(w.dir, "bazel-bin", program+".exe"))
	}
	r := s.exec(t, w.dir, withCross, command...)
	if strings.Count(r.stdout, "bar_value() = 42") != 2 || strings.Count(r.stdout, "zlib 1.") != 2 || strings.Contains(r.stdout, "exit status") {
		t.Errorf("the programs do not do what they do on Linux:\n%s%s", r.stdout, r.stderr)
	}
}

// imports reads which DLLs a program or DLL for Windows is loaded with.
func imports(t *testing.T, path string) []string {
	t.Helper()
	f, err := pe.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.ImportedSymbols() // ImportedLibraries is not written yet, says its documentation
	if err != nil {
		t.Fatal(err)
	}
	var dlls []string
	for _, symbol := range symbols {
		if _, dll, _ := strings.Cut(symbol, ":"); !slices.Contains(dlls, strings.ToLower(dll)) {
			dlls = append(dlls, strings.ToLower(dll))
		}
	}
	return dlls
}
