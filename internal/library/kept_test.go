package library

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// A folder of blobs tells round by round what it lacks, is filled by a fetch, and then stands for the registry; what is
// damaged in it is fetched again.
func TestKeptBlobs(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	curl, _, _ := curlOnZlib(t, server)
	decl := &Declaration{Name: "curl", Deps: []string{"@zlib"}, Components: []string{"headers", "static"}}
	kept := filepath.Join(t.TempDir(), "blobs")
	d := newDepot(t, t.TempDir())
	d.Kept = kept
	server.Clear()
	lacking, err := d.Lacking(curl, x86, decl)
	if err != nil || len(lacking) != 1 || lacking[0] != curl.Digest {
		t.Fatalf("of an empty folder %v is lacking (%v)", lacking, err)
	}
	if n := len(server.Requests("")); n > 0 {
		t.Errorf("%d requests", n)
	}
	l, err := d.PullDeclared(t.Context(), curl, x86, decl)
	if err != nil {
		t.Fatal(err)
	}
	layers := l.Manifest.Layers
	l.release()
	all, err := d.KeptBlobs()
	if err != nil || len(all) != 2+len(layers) || len(layers) != 2 {
		t.Fatalf("kept %v (%v), of %d layers", all, err, len(layers))
	}

	// Put into another folder one by one, as they are found to be lacking.
	other := newDepot(t, t.TempDir())
	other.Kept = filepath.Join(t.TempDir(), "other")
	if err := os.Mkdir(other.Kept, 0o755); err != nil {
		t.Fatal(err)
	}
	var rounds []int
	for {
		lacking, err := other.Lacking(curl, x86, decl)
		if err != nil {
			t.Fatal(err)
		}
		if len(lacking) == 0 {
			break
		}
		rounds = append(rounds, len(lacking))
		for _, h := range lacking {
			data, err := os.ReadFile(filepath.Join(kept, h.Hex))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(other.Kept, h.Hex), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(rounds) != 3 || rounds[2] != 2 {
		t.Errorf("rounds %v", rounds)
	}
	damaged := filepath.Join(other.Kept, layers[0].Digest.Hex)
	data, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	data[0]++
	if err := os.WriteFile(damaged, data, 0o644); err != nil {
		t.Fatal(err)
	}
	server.Clear()
	l, err = other.PullDeclared(t.Context(), curl, x86, decl)
	if err != nil {
		t.Fatal(err)
	}
	l.release()
	if asked := server.Requests("/(blobs|manifests)/"); len(asked) != 1 {
		t.Errorf("requests: %v", asked)
	}
	// What was damaged has been mended.
	server.Close()
	third := newDepot(t, t.TempDir())
	third.Registry = registry.NewClient(registry.Options{Keychain: anonymous{}, Retry: &registry.RetryPolicy{Attempts: 1}})
	third.Kept = other.Kept
	l, err = third.PullDeclared(t.Context(), curl, x86, decl)
	if err != nil {
		t.Fatal(err)
	}
	l.release()
}
