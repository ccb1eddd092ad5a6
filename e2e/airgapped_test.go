package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestAirGapped: a library is built where its registry answers nobody, out of each of the places that docs/air-gapped.md
// names, and so is the index that Gazelle has; and is not where none of them has it.
func TestAirGapped(t *testing.T) {
	s := theSuite
	server := registrytest.New(t.TempDir())
	defer server.Close()
	image := s.published(t, filepath.Join(s.natives(t), "single"), "single", "airgapped", server.Host)
	dir := t.TempDir()
	archives, layout, hubLayout := filepath.Join(dir, "archives"), filepath.Join(dir, "layout"), filepath.Join(dir, "hub-layout")
	if err := os.Mkdir(archives, 0o755); err != nil {
		t.Fatal(err)
	}
	s.must(t, dir, s.ocipkg, "copy", image, filepath.Join(archives, "single.tar"))
	s.must(t, dir, s.ocipkg, "copy", image, layout)
	// The same for several platforms, which a hub has to read the descriptions of before anything is chosen.
	several := s.several(t, server.Host+"/several:1", "airgapped", "aarch64-unknown-linux-gnu", musl)
	s.must(t, dir, s.ocipkg, "copy", several, hubLayout)

	// build builds the library as Bazel does that has never fetched it, with a store of its own. All images are pinned, so that
	// the one setting is as good as the other; and where it is another than before, Bazel fetches anew.
	stores, builds := 0, map[*workspace]int{}
	build := func(t *testing.T, w *workspace, store string, env []string, flags ...string) result {
		t.Helper()
		builds[w]++
		anew := fmt.Sprintf("OCIPKG_REQUIRE_DIGEST=%d", builds[w]%2)
		if store == "" {
			stores++
			store = filepath.Join(dir, fmt.Sprintf("store%d", stores))
		}
		targets := append(flags, "@single//:files", "@single")
		if strings.HasSuffix(w.dir, "airgapped_hub") {
			targets = append(targets, "@rules_ocipkg_header_index//:header_index.json")
		}
		return w.exec(t, append([]string{anew, "OCIPKG_TOOL=" + s.ocipkg, "OCIPKG_STORE=" + store}, env...), "build", targets...)
	}
	w := s.declare(t, "airgapped", map[string]string{"single": image})
	cache := "--repository_cache=" + filepath.Join(dir, "cache")
	bazelCache := []string{"OCIPKG_BAZEL_CACHE=1"}
	store := filepath.Join(dir, "warm")
	hub := s.declare(t, "airgapped_hub", nil, depends, extension+fmt.Sprintf("ocipkg.library(name = \"single\", image = %q)\nuse_repo(ocipkg, \"rules_ocipkg_header_index\", \"single\")", several))
	hub.write(t, "BUILD.bazel", platforms)
	folders := s.declare(t, "airgapped_folders", nil, fmt.Sprintf("ocipkg_library(name = \"single\", image = %q, platforms = [%q, %q])", several, host, musl))
	hubCache, foldersCache := "--repository_cache="+filepath.Join(dir, "hub-cache"), "--repository_cache="+filepath.Join(dir, "folders-cache")
	for _, filled := range []struct {
		w     *workspace
		store string
		cache string
	}{{w, store, cache}, {hub, "", hubCache}, {folders, "", foldersCache}} {
		if r := build(t, filled.w, filled.store, bazelCache, filled.cache); r.code != 0 || strings.Contains(r.stderr, "WARNING: Download") {
			t.Fatalf("with the registry: exit status %d\n%s", r.code, r.stderr)
		}
	}
	server.Close()

	succeeds := func(t *testing.T, r result) {
		t.Helper()
		if r.code != 0 || strings.Contains(r.stderr, "WARNING: Download") || strings.Contains(r.stderr, "passed over") {
			t.Errorf("exit status %d\n%s", r.code, r.stderr)
		}
	}
	none := "--repository_cache=" + filepath.Join(dir, "none")
	t.Run("nothing", func(t *testing.T) {
		if r := build(t, w, "", bazelCache, none); r.code == 0 || !strings.Contains(r.stderr, server.Host) {
			t.Errorf("exit status %d: then this test tells nothing\n%s", r.code, r.stderr)
		}
	})
	t.Run("store", func(t *testing.T) { succeeds(t, build(t, w, store, nil, none)) })
	t.Run("archives", func(t *testing.T) {
		succeeds(t, build(t, w, "", []string{"OCIPKG_MIRRORS=" + server.Host + "=file://" + archives}, none))
	})
	t.Run("repository cache", func(t *testing.T) {
		succeeds(t, build(t, w, "", bazelCache, cache, "--repository_disable_download"))
		if r := build(t, w, "", nil, cache); r.code == 0 {
			t.Errorf("it is used though nobody asked for it:\n%s", r.stderr)
		}
	})
	t.Run("distdir", func(t *testing.T) {
		succeeds(t, build(t, w, "", []string{"OCIPKG_BAZEL_CACHE=distdir"}, none+"2", "--distdir="+filepath.Join(layout, "blobs", "sha256")))
	})
	for name, c := range map[string]struct {
		w     *workspace
		cache string
	}{"hub": {hub, hubCache}, "folders": {folders, foldersCache}} {
		t.Run(name, func(t *testing.T) {
			succeeds(t, build(t, c.w, "", bazelCache, c.cache, "--repository_disable_download"))
			succeeds(t, build(t, c.w, "", []string{"OCIPKG_BAZEL_CACHE=distdir"}, none+"-"+name, "--distdir="+filepath.Join(hubLayout, "blobs", "sha256")))
			if r := build(t, c.w, "", nil, c.cache); r.code == 0 {
				t.Errorf("it is used though nobody asked for it:\n%s", r.stderr)
			}
		})
	}
	t.Run("hub for another platform", func(t *testing.T) {
		// It was built for this machine alone: what describes the others is in the cache, and their layers are not.
		r := build(t, hub, "", bazelCache, hubCache, "--repository_disable_download", "--platforms=//:"+musl)
		if r.code == 0 || !strings.Contains(r.stderr, server.Host) {
			t.Errorf("exit status %d\n%s", r.code, r.stderr)
		}
	})
	t.Run("archives beside the sources", func(t *testing.T) {
		w := s.declare(t, "airgapped_sources", nil, fmt.Sprintf("ocipkg_library(name = \"single\", image = %q, mirrors = [\"file://%%workspace%%/libraries\"])", image))
		s.must(t, w.dir, "cp", "-r", archives, "libraries")
		succeeds(t, build(t, w, "", nil, none))
	})
}
