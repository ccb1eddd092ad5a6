package library

import (
	"maps"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestIndexOfPlatforms: an index holds what any platform has, is made without a layer, and is the one that the hub gets.
func TestIndexOfPlatforms(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	ref, _ := publishIndex(t, server, "foo", platformsOf())
	pushed := len(server.Requests("/blobs/"))
	d := newDepot(t, t.TempDir())
	got, err := d.Index(t.Context(), ref, artifact.HostTriple(), Declaration{Name: "things"})
	if err != nil {
		t.Fatal(err)
	}
	// On x86-64 foo is one library of two, elsewhere it is all there is.
	want := map[string]string{"foo.h": "things", "bar.h": "things", "-lfoo": "things", "-lbar": "bar"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := len(server.Requests("/blobs/")) - pushed; n != 3 {
		t.Errorf("it asked for %d blobs; there are three configs", n)
	}
	// What the declaration leaves out answers nothing.
	headers, err := d.Index(t.Context(), ref, artifact.HostTriple(), Declaration{Name: "things", Components: []string{artifact.ComponentHeaders}})
	if want := map[string]string{"foo.h": "things", "bar.h": "things"}; err != nil || !maps.Equal(headers, want) {
		t.Errorf("of the headers alone: %v, %v", headers, err)
	}
	// From the store: no request at all.
	server.Close()
	if again, err := d.Index(t.Context(), ref, artifact.HostTriple(), Declaration{Name: "things"}); err != nil || !maps.Equal(again, want) {
		t.Errorf("without the registry: %v, %v", again, err)
	}
}
