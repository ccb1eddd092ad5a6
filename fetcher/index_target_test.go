package main

import (
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/modulefile"
)

// TestTargetOf: where an image does not say whose its platforms are, the index is about one that the library is declared for.
func TestTargetOf(t *testing.T) {
	for attributes, want := range map[string]string{
		``:                                     artifact.HostTriple().String(),
		`target = "aarch64-unknown-linux-gnu"`: "aarch64-unknown-linux-gnu",
		`platforms = ["armv7-unknown-linux-gnueabihf", "x86_64-unknown-linux-gnu"]`: "armv7-unknown-linux-gnueabihf",
	} {
		f, err := modulefile.Parse("MODULE.bazel", []byte(`ocipkg_library = use_repo_rule("@rules_ocipkg//rules:defs.bzl", "ocipkg_library")
ocipkg_library(name = "z", image = "localhost/z:1", `+attributes+`)`))
		if err != nil || len(f.Libraries) != 1 {
			t.Fatal(f, err)
		}
		if got, err := targetOf(f.Libraries[0]); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v", attributes, got, err)
		}
	}
}
