package e2e

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMatrix links every shape of library in every way, and runs the result from bazel-bin, from its runfiles, and in
// the sandbox.
func TestMatrix(t *testing.T) {
	s := theSuite
	address := s.matrixPublished(t, "matrix")
	w := s.workspace(t, "e2e/testdata/matrix", address)
	w.pin(t)
	w.build(t)
	w.test(t)
	t.Run("run", func(t *testing.T) { w.checkBinaries(t, right) })
	t.Run("actions", func(t *testing.T) { w.checkActions(t) })

	t.Run("linkstatic chooses", func(t *testing.T) {
		for target, shared := range map[string]bool{
			"pair_static": false, "pair_dynamic": true, "pair_test": true, "pair_shared_library": false,
			"pair_forced_shared": true, "pair_forced_static": false, "pair_one": true,
			"apart_static": false, "apart_dynamic": true, "apart_test": true, "shared_apart_static": true, "static_apart_static": false,
			"pair_hub_static": false, "pair_hub_dynamic": true, "pair_hub_test": true,
			"archives_dynamic": false, "origin_static": true, "single_static": false, "single_dynamic": true,
			"pie_auto": false, "no_pic_auto": true, "no_pic_static": false,
		} {
			needed, _ := w.dynamic(t, filepath.Join("bazel-bin", target))
			if has := slices.Contains(needed, "libfoo.so.1"); has != shared {
				t.Errorf("%s: linked with libfoo.so.1 is %v, want %v (NEEDED %v)", target, has, shared, needed)
			}
		}
		// A library of the workspace takes in the static one, where there is a choice.
		f, err := elf.Open(filepath.Join(w.dir, "bazel-bin", "libpair_middle_shared.so"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		symbols, err := f.DynamicSymbols()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == "foo_value" && s.Section != elf.SHN_UNDEF }) {
			t.Error("libpair_middle_shared.so does not define foo_value")
		}
		// What is not needed at run time is not brought along.
		for program, shared := range map[string]bool{"pair_static": false, "pair_dynamic": true} {
			runfiles := files(t, filepath.Join(w.dir, "bazel-bin", program+".runfiles"))
			if has := slices.ContainsFunc(runfiles, func(p string) bool { return filepath.Base(p) == "libbar.so.1" }); has != shared {
				t.Errorf("%s has libbar.so.1 among its runfiles: %v, want %v (%q)", program, has, shared, runfiles)
			}
		}
	})

	// All libraries of a repository lie in one folder, so that a program looks in as many places for two as for one.
	t.Run("one place", func(t *testing.T) {
		places := func(program string) int {
			_, paths := w.dynamic(t, filepath.Join("bazel-bin", program))
			return len(paths)
		}
		one := places("single_dynamic")
		for program, want := range map[string]int{"pair_dynamic": one, "origin_dynamic": one, "apart_dynamic": 2 * one, "by_hand_deps": 2 * one} {
			if n := places(program); one == 0 || n != want {
				_, paths := w.dynamic(t, filepath.Join("bazel-bin", program))
				t.Errorf("%s looks in %d places, want %d: %q", program, n, want, paths)
			}
		}
	})

	// The flag takes the choice from linkstatic, and what it chooses runs in every form too.
	for _, linkage := range []string{"static", "shared"} {
		t.Run("linkage="+linkage, func(t *testing.T) {
			flag, programs := "--@rules_ocipkg//rules:linkage="+linkage, right
			flags := []string{flag}
			if linkage == "static" {
				programs += ` except attr(tags, "auto", //...)`
				flags = append(flags, "--build_tag_filters=-auto")
			}
			w.build(t, flags...)
			w.checkBinaries(t, programs, flag)
			for target, forced := range map[string]string{"pair_static": "", "pair_dynamic": "", "pair_one": "", "pair_hub_static": "", "pair_hub_dynamic": "", "pair_hub_go_/pair_hub_go": "", "pair_forced_shared": "shared", "pair_forced_static": "static", "pair_go_/pair_go": ""} {
				needed, _ := w.dynamic(t, filepath.Join("bazel-bin", target))
				if has, want := slices.Contains(needed, "libbar.so.1"), cmp.Or(forced, linkage) == "shared"; has != want {
					t.Errorf("%s: linked with libbar.so.1 is %v, want %v (NEEDED %v)", target, has, want, needed)
				}
			}
		})
	}

	// With this, Bazel does not ask linkstatic.
	t.Run("dynamic_mode=fully", func(t *testing.T) {
		for _, c := range []struct {
			flags []string
			want  map[string]bool
		}{
			{nil, map[string]bool{"pair_static": true, "pair_hub_static": true, "pair_forced_static": false, "archives_static": false}},
			{[]string{"--@rules_ocipkg//rules:linkage=static"}, map[string]bool{"pair_static": false, "pair_hub_static": false, "pair_forced_shared": true}},
		} {
			var labels []string
			for program := range c.want {
				labels = append(labels, "//:"+program)
			}
			flags := append(c.flags, "--dynamic_mode=fully")
			w.bazel(t, "build", append(flags, labels...)...)
			w.checkBinaries(t, strings.Join(labels, " + "), flags...)
			for program, want := range c.want {
				needed, _ := w.dynamic(t, filepath.Join("bazel-bin", program))
				if has := slices.Contains(needed, "libbar.so.1"); has != want {
					t.Errorf("with %q, %s: linked with libbar.so.1 is %v, want %v (NEEDED %v)", flags, program, has, want, needed)
				}
			}
		}
	})
	w.build(t)

	// Programs on a cc_shared_library without the option that they are to be given.
	bare := strings.Fields(w.bazel(t, "query", "--output=label", `filter("_wrapper_bare$", kind("cc_binary rule", //...))`))
	for i, label := range bare {
		bare[i] = strings.TrimPrefix(label, "//:")
	}
	if len(bare) == 0 {
		t.Error("there are none of them: this test tells nothing")
	}

	// The controls: what this matrix tests does go wrong where it is done wrong.
	t.Run("by hand", func(t *testing.T) {
		for _, program := range []string{"by_hand", "by_hand_version"} {
			r := s.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin", program))
			if r.code == 0 || !strings.Contains(r.stderr, "libfoo.so.1: cannot open shared object file") {
				t.Errorf("%s ran (exit status %d, %s); then this test tells nothing", program, r.code, r.stderr)
			}
		}
		for _, name := range append(bare, "by_hand_deps", "by_hand_origin") {
			if r := s.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin", name)); r.code != 0 {
				t.Errorf("%s: exit status %d, %s; it was to run here, not as needed", name, r.code, r.stderr)
			}
		}
		for target, says := range map[string]string{
			"by_hand_alone":               "undefined reference to `foo_value'",
			"by_hand_platform":            "undefined reference to `inet_net_pton'",
			"no_pic_static_pie":           "recompile with -fPIE",
			"pie_absorbed_shared_library": "recompile with -fPIC",
		} {
			if r := w.exec(t, nil, "build", "//:"+target); r.code == 0 || !strings.Contains(r.stderr, says) {
				t.Errorf("%s: exit status %d, and %q is not in:\n%s", target, r.code, says, r.stderr)
			}
		}
		// Not in the workspace, where every query would come across it.
		build, err := os.ReadFile(filepath.Join(w.dir, "BUILD.bazel"))
		if err != nil {
			t.Fatal(err)
		}
		w.append(t, "BUILD.bazel", `
[
    cc_shared_library(
        name = name + "_shared",
        deps = [":twice_apart_" + name],
    )
    for name in ["first", "second"]
]

cc_binary(
    name = "twice_always",
    srcs = ["twice.c"],
    dynamic_deps = ["first_shared", "second_shared"],
    deps = ["twice_apart_first", "twice_apart_second"],
)
`)
		if r := w.exec(t, nil, "build", "//:twice_always"); r.code == 0 || !strings.Contains(r.stderr, "link the same  library statically") {
			t.Errorf("two copies of what does its work by being there were linked (exit status %d):\n%s", r.code, r.stderr)
		}
		w.write(t, "BUILD.bazel", string(build))
		r := s.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin", "lazy"))
		if r.code != 1 || !strings.Contains(r.stdout, "registry_count() = 0") {
			t.Errorf("lazy: exit status %d, %s%s; then always linking tells nothing", r.code, r.stdout, r.stderr)
		}
	})

	t.Run("symbol versions", func(t *testing.T) {
		for program, want := range map[string][2]string{ // -> a symbol, and the version that the program asks for
			"versions_dynamic": {"greet_level", "GREET_2"},
			"two_sonames":      {"foo_value", "FOO_2"},
		} {
			w.asksFor(t, program, want[0], want[1])
		}
		if needed, _ := w.dynamic(t, "bazel-bin/two_sonames"); !slices.Contains(needed, "libfoo.so.2") || !slices.Contains(needed, "libbar.so.1") {
			t.Errorf("two_sonames needs %v", needed)
		}
	})

	t.Run("as needed", func(t *testing.T) {
		// Many toolchains leave out of a program what it does not use itself: then libfoo is libbar's affair alone.
		notNeeded := func(program string) {
			t.Helper()
			needed, paths := w.dynamic(t, program)
			if slices.Contains(needed, "libfoo.so.1") || !slices.Contains(needed, "libbar.so.1") {
				t.Errorf("%s needs %v: it is not linked as needed, so that this test tells nothing", program, needed)
			}
			if len(paths) == 0 {
				t.Errorf("%s has neither RPATH nor RUNPATH", program)
			}
		}
		// The Go programs that are linked so have run above, with all others.
		notNeeded("bazel-bin/origin_go_as_needed_/origin_go_as_needed")
		notNeeded("bazel-bin/flat_go_as_needed_/flat_go_as_needed")

		flags := []string{"--repo_env=BAZEL_LINKOPTS=-Wl,--as-needed", "--build_tag_filters=-go", "--test_tag_filters=-go"}
		w.build(t, flags...)
		w.test(t, flags...)
		notNeeded("bazel-bin/pair_dynamic")
		notNeeded("bazel-bin/apart_dynamic")
		notNeeded("bazel-bin/shared_apart_static")
		w.checkBinaries(t, right+` except attr(tags, "go", //...)`, flags[0])
		// A cc_shared_library keeps the linker option of a library that is shared alone to itself, and where the program is not
		// told it again (docs/linking.md), what that library needs is not found.
		for _, name := range bare {
			notNeeded(filepath.Join("bazel-bin", name))
			r := s.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin", name))
			if r.code == 0 || !strings.Contains(r.stderr, "libfoo.so.1: cannot open shared object file") {
				t.Errorf("%s ran (exit status %d, %s); then its option need not be written", name, r.code, r.stderr)
			}
		}
		// By hand, each library lies in a folder of its own, and RUNPATH is not for the libraries of a library.
		for _, program := range []string{"by_hand_deps", "by_hand_origin"} {
			r := s.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin", program))
			if r.code == 0 || !strings.Contains(r.stderr, "libfoo.so.1: cannot open shared object file") {
				t.Errorf("%s ran (exit status %d, %s); then this test tells nothing", program, r.code, r.stderr)
			}
		}
	})
	w.analyseNext(t)
}

// matrixPublished publishes the libraries of the matrix in a registry of the test's, and returns its address.
func (s *suite) matrixPublished(t *testing.T, test string) string {
	t.Helper()
	native := filepath.Join(s.out, "native-"+test)
	s.matrixLibraries(t, native)
	address := s.server(t, `on http://(\S+)`, s.ocipkg, "serve", "--address", "localhost:0", "--dir", filepath.Join(s.out, "registry", test)).Ready
	for name, flags := range map[string][]string{
		"single": nil, "pair": nil, "origin": nil, "archives": nil, "mixed": nil, "versions": nil, "older": nil, "newer": nil, "header": nil,
		"counted": nil, "pie": nil, "no_pic": nil,
		"plugin": {"--always-link", "plugin"}, "plugin_lazy": nil,
		"platform": {"--system-library", "m", "--system-library", "pthread", "--system-library", "dl", "--system-library", "resolv"},
	} {
		prefix := filepath.Join(native, strings.TrimSuffix(name, "_lazy"))
		s.must(t, s.out, append([]string{s.ocipkg, "pack", prefix, "--name", name, "--version", "1", "-o", filepath.Join(native, name+".tar")}, flags...)...)
		s.must(t, s.out, s.ocipkg, "push", filepath.Join(native, name+".tar"), address+"/"+name+":1")
	}
	single := strings.TrimSpace(s.must(t, s.out, s.ocipkg, "inspect", "--json", address+"/single:1"))
	single = regexp.MustCompile(`"image": "(.*)"`).FindStringSubmatch(single)[1]
	for _, name := range []string{"apart", "shared_apart", "static_apart"} {
		s.must(t, s.out, s.ocipkg, "pack", filepath.Join(native, name), "--name", name, "--version", "1", "--dependency", "single="+single, "-o", filepath.Join(native, name+".tar"))
		s.must(t, s.out, s.ocipkg, "push", filepath.Join(native, name+".tar"), address+"/"+name+":1")
	}
	pushFlat(t, address, filepath.Join(native, "flat"))
	return address
}

// matrixLibraries compiles the libraries of the matrix, each an install prefix below dir, which is made anew.
func (s *suite) matrixLibraries(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if r := s.inEnv(t, s.repository, "e2e/testdata/native/build", dir); r.code != 0 {
		t.Fatalf("build of the libraries: %s", r.stderr)
	}
}

// right are the programs that have to run, among those of the matrix.
const right = `kind("(cc|go)_(binary|test) rule", //...) except attr(tags, "wrong", //...)`

// build builds the workspace, so that all of it lies in bazel-bin: of what is tested and comes from a cache, nothing does.
func (w *workspace) build(t *testing.T, flags ...string) {
	t.Helper()
	w.bazel(t, "build", append(flags, "--spawn_strategy=sandboxed", "//...")...)
}

// test has every test of the workspace run, now and in the sandbox.
func (w *workspace) test(t *testing.T, flags ...string) {
	t.Helper()
	output := w.bazel(t, "test", append(flags, "--spawn_strategy=sandboxed", "--nocache_test_results", "//...")...)
	m := regexp.MustCompile(`Executed (\d+) out of (\d+) tests?: `).FindStringSubmatch(output)
	if m == nil || m[1] != m[2] || m[1] == "0" {
		t.Errorf("not every test was run:\n%s", output)
	}
}

// dynamic reads NEEDED, and RPATH or RUNPATH, of a program.
func (w *workspace) dynamic(t *testing.T, program string) (needed, paths []string) {
	t.Helper()
	f, err := elf.Open(filepath.Join(w.dir, program))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, tag := range []elf.DynTag{elf.DT_NEEDED, elf.DT_RPATH, elf.DT_RUNPATH} {
		values, err := f.DynString(tag)
		if err != nil {
			t.Fatalf("%s: %v", program, err)
		}
		for _, value := range values {
			if tag == elf.DT_NEEDED {
				needed = append(needed, value)
			} else {
				paths = append(paths, strings.Split(value, ":")...)
			}
		}
	}
	return needed, paths
}

// asksFor checks that a program asks for a symbol in one version.
func (w *workspace) asksFor(t *testing.T, program, symbol, version string) {
	t.Helper()
	f, err := elf.Open(filepath.Join(w.dir, "bazel-bin", program))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.ImportedSymbols()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(symbols, func(s elf.ImportedSymbol) bool { return s.Name == symbol && s.Version == version }) {
		t.Errorf("%s does not ask for %s@%s: %v", program, symbol, version, symbols)
	}
}

// runAll runs programs, given as a folder to be in and a path from there each, and writes for the n-th of them n.ldd,
// n.out and n.status. All in one, because to enter the environment takes longer than most programs.
const runAll = `n=0
while [ $# -gt 0 ]; do
    cd "$1" && ldd "$2" >"$OUT/$n.ldd" 2>&1
    "$2" >"$OUT/$n.out" 2>&1; echo $? >"$OUT/$n.status"
    n=$((n + 1)); shift 2
done`

// checkBinaries runs the programs of the workspace that a query names, from bazel-bin and from their runfiles, and checks
// that each finds its libraries, where it has to: what the workspace or a library of it has a file for must come from
// there, and by a path relative to the program, though the system may have a library of the same name. It returns what
// each program printed, by its path below bazel-bin.
func (w *workspace) checkBinaries(t *testing.T, query string, flags ...string) map[string]string {
	t.Helper()
	// As what they are asked for: what an action runs is built for the machine that runs it, and need not be in bazel-bin.
	programs := strings.Fields(w.bazel(t, "cquery", append(flags, "--output=files", "config("+query+", target)")...))
	if len(programs) == 0 {
		t.Fatal("the workspace has no programs")
	}
	ours := w.sharedLibraries(t, flags...)
	places := []string{w.dir, strings.TrimSpace(w.bazel(t, "info", "output_base"))}
	var runs, names []string
	for _, program := range programs {
		_, paths := w.dynamic(t, program)
		for _, p := range paths {
			if !strings.HasPrefix(p, "$ORIGIN") {
				t.Errorf("%s looks for libraries in %q, a place of this machine", program, p)
			}
		}
		runfiles := filepath.Join(w.dir, program+".runfiles", "_main")
		inside := strings.TrimPrefix(program, strings.Join(strings.SplitAfterN(program, "/", 4)[:3], ""))
		runs = append(runs, w.dir, filepath.Join(w.dir, program), runfiles, filepath.Join(runfiles, inside))
		names = append(names, inside)
	}
	out := t.TempDir()
	if r := w.inEnv(t, w.dir, append([]string{"env", "OUT=" + out, "sh", "-c", runAll, "sh"}, runs...)...); r.code != 0 {
		t.Fatalf("exit status %d: %s", r.code, r.stderr)
	}
	read := func(n int, what string) string {
		data, err := os.ReadFile(filepath.Join(out, fmt.Sprintf("%d.%s", n, what)))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	printed := map[string]string{}
	for n := range len(runs) / 2 {
		program := runs[2*n+1]
		printed[names[n/2]] += read(n, "out")
		if status := strings.TrimSpace(read(n, "status")); status != "0" {
			t.Errorf("%s: exit status %s\n%s", program, status, read(n, "out"))
		}
		ldd := read(n, "ldd")
		for _, m := range regexp.MustCompile(`(?m)^\s+(\S+) => (.*?)(?: \(0x[0-9a-f]+\))?$`).FindAllStringSubmatch(ldd, -1) {
			library, at := m[1], m[2]
			if at == "not found" {
				t.Errorf("%s does not find %s:\n%s", program, library, ldd)
			} else if ours[library] && !slices.ContainsFunc(places, func(place string) bool { return strings.HasPrefix(at, place+"/") }) {
				t.Errorf("%s takes %s from %s, not from the library it was given", program, library, at)
			}
		}
		needed, _ := w.dynamic(t, programs[n/2])
		for _, library := range needed {
			if !strings.Contains(ldd, library) {
				t.Errorf("%s needs %s, of which ldd says nothing:\n%s", program, library, ldd)
			}
		}
	}
	return printed
}

// sharedLibraries returns the names that the run-time linker can know the workspace's own and prebuilt libraries by.
func (w *workspace) sharedLibraries(t *testing.T, flags ...string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	isShared := regexp.MustCompile(`\.so(\.|$)`)
	add := func(path string) {
		if name := filepath.Base(path); isShared.MatchString(name) {
			names[name] = true
		}
	}
	for _, path := range strings.Fields(w.bazel(t, "cquery", append(flags, "--output=files", `kind("source file", deps(//...))`)...)) {
		add(path)
	}
	// What a library is linked by may be called otherwise than its file.
	bin, err := filepath.EvalSymlinks(filepath.Join(w.dir, "bazel-bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files(t, bin) {
		add(path)
	}
	return names
}

// pushFlat publishes a folder the way the ocipkg project's `compose` and `push` do: one gzip layer, everything at the
// root, nothing said of what it is.
func pushFlat(t *testing.T, address, dir string) {
	t.Helper()
	var layer bytes.Buffer
	z := gzip.NewWriter(&layer)
	archive := tar.NewWriter(z)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := archive.WriteHeader(&tar.Header{Name: e.Name(), Mode: 0o644, Size: int64(len(data)), Format: tar.FormatGNU}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	layerDigest := upload(t, address, "flat", layer.Bytes())
	config := []byte(`{"layers":{"` + layerDigest + `":[]}}`)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"artifactType":"application/vnd.ocipkg.v1.artifact",`+
		`"config":{"mediaType":"application/vnd.ocipkg.v1.config+json","digest":"%s","size":%d,"annotations":{}},`+
		`"layers":[{"mediaType":"application/vnd.ocipkg.v1.layer.tar+gzip","digest":"%s","size":%d,"annotations":{}}]}`,
		upload(t, address, "flat", config), len(config), layerDigest, layer.Len())
	put(t, "http://"+address+"/v2/flat/manifests/1", "application/vnd.oci.image.manifest.v1+json", []byte(manifest))
}

// upload sends a blob to a registry and returns its digest.
func upload(t *testing.T, address, repository string, data []byte) string {
	t.Helper()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	answer, err := http.Post("http://"+address+"/v2/"+repository+"/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	location, err := answer.Location()
	if err != nil {
		t.Fatal(err)
	}
	put(t, "http://"+address+location.Path+"?digest="+digest, "application/octet-stream", data)
	return digest
}

func put(t *testing.T, url, mediaType string, data []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", mediaType)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		t.Fatalf("PUT %s: %s", url, answer.Status)
	}
}
