package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestIndex: the index of a MODULE.bazel comes from what the images say of themselves, and from nothing of their layers.
func TestIndex(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	pinned := u.publish(t, server.Host+"/acme/ssl:3.0", "3.0", 1000)
	u.write(t, "fresh/MODULE.bazel", []byte(moduleHead+"ocipkg_library(\n    name = \"ssl\",\n    image = \""+pinned+"\",\n)\nocipkg_library(name = \"tls\", image = \""+pinned+"\")\n"))
	t.Chdir(filepath.Join(u.dir, "fresh"))

	if o := u.run(t, "index", "--check"); o.code != 1 || !strings.Contains(o.stderr, "run `ocipkg index`") {
		t.Errorf("before it was written: %+v", o)
	}
	before := len(server.Requests("/blobs/"))
	if o := u.run(t, "index"); o.code != 0 || o.stdout != "" || !strings.Contains(o.stderr, "ocipkg_index.json: written, for 2 libraries") {
		t.Fatalf("%+v", o)
	}
	if n := len(server.Requests("/blobs/")) - before; n > 1 {
		t.Errorf("it asked for %d blobs; the config is one", n)
	}
	data, err := os.ReadFile("ocipkg_index.json")
	if err != nil {
		t.Fatal(err)
	}
	var index map[string][]string
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][]string{
		"-lssl":    {"@ssl//:ssl", "@tls//:ssl"},
		"-lcrypto": {"@ssl//:crypto", "@tls//:crypto"},
	} {
		if !slices.Equal(index[key], want) {
			t.Errorf("%s: %v, want %v", key, index[key], want)
		}
	}
	if o := u.run(t, "index"); o.code != 0 || !strings.Contains(o.stderr, "as it should be") {
		t.Errorf("again: %+v", o)
	}
	if o := u.run(t, "index", "--check"); o.code != 0 {
		t.Errorf("when it is written: %+v", o)
	}
	if o := u.run(t, "index", "-o", "-"); o.code != 0 || o.stdout != string(data) {
		t.Errorf("to standard output: %+v", o)
	}
	// Libraries in files that MODULE.bazel includes, one of them from a mirror: its registry is nowhere.
	_, digest, _ := strings.Cut(pinned, "@")
	u.write(t, "fresh/deps/ssl.MODULE.bazel", []byte(moduleHead+"ocipkg_library(name = \"tls\", image = \"registry.invalid/acme/ssl:3.0@"+digest+"\", mirrors = [\""+server.Host+"\"])\n"))
	u.write(t, "fresh/MODULE.bazel", []byte("include(\"//deps:ssl.MODULE.bazel\")\n"+moduleHead+"ocipkg_library(name = \"ssl\", image = \""+pinned+"\")\n"))
	t.Setenv("OCIPKG_STORE", t.TempDir())
	o := u.run(t, "index", "--json")
	var done indexed
	if err := json.Unmarshal([]byte(o.stdout), &done); err != nil || o.code != 0 || done.Libraries != 2 || !slices.Equal(done.Files, []string{"MODULE.bazel", filepath.Join("deps", "ssl.MODULE.bazel")}) || !strings.Contains(o.stderr, "as it should be") {
		t.Errorf("with an include: %+v, %v", o, err)
	}
	if o := u.run(t, "index", "--json", "-o", "-"); o.code != 2 {
		t.Errorf("two results for standard output: %+v", o)
	}
	// What is there and cannot be renewed stays.
	u.write(t, "fresh/MODULE.bazel", []byte(moduleHead+"ocipkg_library(name = \"ssl\", image = \""+server.Host+"/acme/none:1\")\n"))
	if o := u.run(t, "index"); o.code != 3 || !strings.Contains(o.stderr, "index MODULE.bazel:2") {
		t.Errorf("an image that is not there: %+v", o)
	}
	if now, err := os.ReadFile("ocipkg_index.json"); err != nil || string(now) != string(data) {
		t.Errorf("after a failure: %v", err)
	}
	u.write(t, "fresh/MODULE.bazel", []byte(moduleHead+"ocipkg_library(name = NAME, image = \""+pinned+"\")\n"))
	if o := u.run(t, "index"); o.code != 2 || !strings.Contains(o.stderr, "no name that can be read") {
		t.Errorf("a name that is none: %+v", o)
	}
}

// TestIndexByBlobs: what describes pinned libraries goes into a folder, and an index is made out of that where nobody
// answers; mirrors are those of the declarations and those that are given by the digest.
func TestIndexByBlobs(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	u := newUser(t)
	pinned := u.publish(t, server.Host+"/acme/ssl:3.0", "3.0", 1000)
	_, digest, _ := strings.Cut(pinned, "@")
	t.Chdir(u.dir)
	u.write(t, "MODULE.bazel", []byte(moduleHead+"ocipkg_library(name = \"ssl\", image = \"registry.invalid/acme/ssl@"+digest+"\")\n"))
	blobs := filepath.Join(t.TempDir(), "blobs")
	run := func(args ...string) []string {
		t.Helper()
		t.Setenv("OCIPKG_STORE", t.TempDir())
		o := u.run(t, append([]string{"index", "--blobs", blobs}, args...)...)
		var found fetchedBlobs
		if err := json.Unmarshal([]byte(o.stdout), &found); err != nil || o.code != 0 {
			t.Fatalf("%v: %+v", args, o)
		}
		return found.Blobs
	}
	if got := run("--lacking"); !slices.Equal(got, []string{strings.TrimPrefix(digest, "sha256:")}) {
		t.Errorf("lacking at first: %v", got)
	}
	kept := run("--mirror", digest+"="+server.Host)
	entries, err := os.ReadDir(blobs)
	if err != nil || len(kept) != 2 || len(entries) != len(kept) {
		t.Errorf("kept %v, and there are %d: %v; the manifest and the config are two", kept, len(entries), err)
	}
	if err := os.Remove(filepath.Join(blobs, kept[1])); err != nil {
		t.Fatal(err)
	}
	if got := run("--lacking"); !slices.Contains(kept, got[0]) || len(got) != 1 {
		t.Errorf("lacking of %v: %v", kept, got)
	}
	run("--mirror", digest+"="+server.Host)
	server.Close()
	if got := run("--lacking"); len(got) != 0 {
		t.Errorf("lacking in the end: %v", got)
	}
	if got := run(); !slices.Equal(got, kept) {
		t.Errorf("with nobody to ask: %v, want %v", got, kept)
	}
	if _, err := os.Stat("ocipkg_index.json"); err == nil {
		t.Error("an index was written")
	}
	if o := u.run(t, "index"); o.code != 0 { // out of the store that the last run filled
		t.Errorf("%+v", o)
	}
	if o := u.run(t, "index", "--mirror", server.Host); o.code != 2 || !strings.Contains(o.stderr, "DIGEST=PLACE") {
		t.Errorf("a mirror of nothing: %+v", o)
	}
}
