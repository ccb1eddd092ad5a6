package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMatrix links every shape of library in every way, and runs the result from bazel-bin, from its runfiles, and in
// the sandbox.
func TestMatrix(t *testing.T) {
	s := theSuite
	native := filepath.Join(s.out, "native")
	if r := s.inEnv(t, s.repository, "e2e/testdata/native/build", native); r.code != 0 {
		t.Fatalf("build of the libraries: %s", r.stderr)
	}
	address, _ := s.process(t, `on http://(\S+)`, s.ocipkg, "serve", "--address", "localhost:0", "--dir", filepath.Join(s.out, "registry", "matrix"))
	for _, name := range []string{"single", "pair", "origin", "archives", "mixed"} {
		s.must(t, s.out, s.ocipkg, "pack", filepath.Join(native, name), "--name", name, "--version", "1", "-o", filepath.Join(native, name+".tar"))
		s.must(t, s.out, s.ocipkg, "push", filepath.Join(native, name+".tar"), address+"/"+name+":1")
	}
	pushFlat(t, address, filepath.Join(native, "flat"))

	w := s.workspace(t, "e2e/testdata/matrix", "matrix", address)
	w.pin(t)
	// A test whose result a disk cache has is not even linked; here the programs are looked at.
	const all = "--remote_download_outputs=all"
	w.bazel(t, "test", "--spawn_strategy=sandboxed", all, "//...")
	t.Run("run", func(t *testing.T) { w.checkBinaries(t) })

	t.Run("linkstatic chooses", func(t *testing.T) {
		for target, shared := range map[string]bool{
			"pair_static": false, "pair_dynamic": true, "pair_test": true, "pair_shared_library": false,
			"pair_forced_shared": true, "pair_forced_static": false, "pair_one": true,
			"archives_dynamic": false, "origin_static": true, "single_static": false, "single_dynamic": true,
		} {
			needed, _ := w.dynamic(t, filepath.Join("bazel-bin", target))
			if has := strings.Contains(strings.Join(needed, " "), "libfoo.so.1"); has != shared {
				t.Errorf("%s: linked with libfoo.so.1 is %v, want %v (NEEDED %v)", target, has, shared, needed)
			}
		}
	})

	t.Run("by hand", func(t *testing.T) {
		// The control: what this matrix tests does go wrong where it is done wrong.
		r := s.inEnv(t, w.dir, filepath.Join(w.dir, "bazel-bin", "by_hand"))
		if r.code == 0 || !strings.Contains(r.stderr, "libfoo.so.1: cannot open shared object file") {
			t.Errorf("a cc_import of lib/libfoo.so ran (exit status %d, %s); then this test tells nothing", r.code, r.stderr)
		}
	})

	t.Run("as needed", func(t *testing.T) {
		// Many toolchains leave out of a program what it does not use itself: then libfoo is libbar's affair alone.
		w.bazel(t, "test", "--spawn_strategy=sandboxed", all, "--repo_env=BAZEL_LINKOPTS=-Wl,--as-needed", "--build_tag_filters=-go", "--test_tag_filters=-go", "//...")
		needed, paths := w.dynamic(t, "bazel-bin/pair_dynamic")
		if got := strings.Join(needed, " "); strings.Contains(got, "libfoo") || !strings.Contains(got, "libbar.so.1") {
			t.Errorf("pair_dynamic needs %s: it is not linked as needed, so that this test tells nothing", got)
		}
		if len(paths) == 0 {
			t.Error("pair_dynamic has neither RPATH nor RUNPATH")
		}
		w.checkBinaries(t, "--repo_env=BAZEL_LINKOPTS=-Wl,--as-needed")
	})
}

// dynamic reads NEEDED, and RPATH or RUNPATH, of a program.
func (w *workspace) dynamic(t *testing.T, program string) (needed, paths []string) {
	t.Helper()
	r := w.inEnv(t, w.dir, "readelf", "-d", "-W", program)
	if r.code != 0 {
		t.Fatalf("readelf %s: %s", program, r.stderr)
	}
	for _, m := range regexp.MustCompile(`\((NEEDED|RPATH|RUNPATH)\).*\[(.*)\]`).FindAllStringSubmatch(r.stdout, -1) {
		if m[1] == "NEEDED" {
			needed = append(needed, m[2])
		} else {
			paths = append(paths, strings.Split(m[2], ":")...)
		}
	}
	return needed, paths
}

// checkBinaries runs every program of the workspace from bazel-bin and from its runfiles, and checks that it finds all
// its libraries, and finds them relative to itself.
func (w *workspace) checkBinaries(t *testing.T, flags ...string) {
	t.Helper()
	built := w.bazel(t, "cquery", append(flags, "--output=files", `kind("(cc|go)_(binary|test) rule", //...) except attr(name, "by_hand", //...)`)...)
	programs := strings.Fields(built)
	if len(programs) == 0 {
		t.Fatal("the workspace has no programs")
	}
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(w.dir, program)); err != nil {
			continue // of a rule that was left out of the build
		}
		_, paths := w.dynamic(t, program)
		for _, p := range paths {
			if !strings.HasPrefix(p, "$ORIGIN") {
				t.Errorf("%s looks for libraries in %q, a place of this machine", program, p)
			}
		}
		if r := w.inEnv(t, w.dir, "ldd", program); strings.Contains(r.stdout+r.stderr, "not found") {
			t.Errorf("%s does not find all its libraries:\n%s", program, r.stdout)
		}
		if r := w.inEnv(t, w.dir, filepath.Join(w.dir, program)); r.code != 0 {
			t.Errorf("%s: exit status %d\n%s%s", program, r.code, r.stdout, r.stderr)
		}
		runfiles := filepath.Join(w.dir, program+".runfiles", "_main")
		inside := strings.TrimPrefix(program, strings.Join(strings.SplitAfterN(program, "/", 4)[:3], ""))
		if r := w.inEnv(t, runfiles, filepath.Join(runfiles, inside)); r.code != 0 {
			t.Errorf("%s from its runfiles: exit status %d\n%s%s", program, r.code, r.stdout, r.stderr)
		}
	}
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
