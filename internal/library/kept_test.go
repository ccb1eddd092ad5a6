package library

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// What a hub reads is kept like a library: index, manifests and configs of all its platforms, and of those in folders the
// layers. From there it is made without a request, and so is each of its spokes once its layers are there.
func TestKeptBlobsOfHub(t *testing.T) {
	server := registrytest.New(t.TempDir())
	defer server.Close()
	pinned, layers := publishIndex(t, server, "acme/foo:1", platformsOf())
	single := packedAs(t, server, artifact.Claims{Name: "zlib"}, installed("z", "zlib.h"))
	for name, c := range map[string]struct {
		ref    registry.Reference
		spokes []Spoke
		rounds []int // how much is found to be lacking, one after the other
	}{
		"repositories": {pinned, elsewhere(t, riscGNU, intelGNU, armGNU, muslGNU), []int{1, 3, 3}},
		"folders":      {pinned, here(t, intelGNU, muslGNU), []int{1, 2, 2, len(union(layers[intelGNU], layers[muslGNU]))}},
		"no index":     {single, elsewhere(t, intelGNU, armGNU), []int{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			kept := filepath.Join(t.TempDir(), "kept")
			d := newDepot(t, t.TempDir())
			d.Kept = kept
			server.Clear()
			if err := d.PullHub(t.Context(), c.ref, c.spokes, nil); err != nil {
				t.Fatal(err)
			}
			asked := len(server.Requests("/(blobs|manifests)/"))

			other := newDepot(t, t.TempDir())
			other.Kept = filepath.Join(t.TempDir(), "other")
			if err := os.Mkdir(other.Kept, 0o755); err != nil {
				t.Fatal(err)
			}
			server.Clear()
			var rounds []int
			for {
				lacking, err := other.LackingHub(t.Context(), c.ref, c.spokes, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(lacking) == 0 {
					break
				}
				rounds = append(rounds, len(lacking))
				for _, h := range lacking {
					if err := os.Link(filepath.Join(kept, h.Hex), filepath.Join(other.Kept, h.Hex)); err != nil {
						t.Fatal(err)
					}
				}
			}
			total := 0
			for _, n := range rounds {
				total += n
			}
			if !slices.Equal(rounds, c.rounds) || total != asked {
				t.Errorf("rounds %v, want %v; %d requests", rounds, c.rounds, asked)
			}
			other.hub(t, c.ref, c.spokes)
			if n := len(server.Requests("")); n > 0 {
				t.Errorf("%d requests: %v", n, server.Requests(""))
			}
			all, err := other.KeptBlobs()
			if err != nil || len(all) != total {
				t.Errorf("kept %v (%v), and %d were lacking", all, err, total)
			}
		})
	}
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

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
	lacking, err := d.Lacking(t.Context(), curl, x86, decl)
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
		lacking, err := other.Lacking(t.Context(), curl, x86, decl)
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
