package library

import (
	"debug/elf"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// A mirror's wrong bytes are read, decompressed and unpacked before the digest tells; the library comes from the registry then,
// whole, and nothing of the mirror's is left. Which byte is wrong decides who notices first: the decompressor or the digest.
func TestPullFromLyingMirror(t *testing.T) {
	for name, position := range map[string]int64{"in the compressor's header": 1, "in the first block": 20, "in a layer": 60, "further on": 100, "in the config": 5} {
		t.Run(name, func(t *testing.T) {
			origin, mirror := registrytest.New(t.TempDir()), registrytest.New(t.TempDir())
			defer origin.Close()
			defer mirror.Close()
			layouts := []*artifact.Layout{packedLayout(t, prefix(t, elf.EM_X86_64), zlib, artifact.Zstd, "")}
			var pushed *Pushed
			for _, s := range []*registrytest.Server{origin, mirror} {
				var err error
				if pushed, err = Push(t.Context(), client(), layouts, reference(t, s.Host+"/acme/zlib:1.3.1"), PushOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			ref := reference(t, origin.Host+"/acme/zlib:1.3.1").WithDigest(pushed.Reference.Digest)
			other := depot(t)
			l, _, err := other.describe(t.Context(), other.Store.Hold(), ref, triple(t, intel))
			if err != nil {
				t.Fatal(err)
			}
			blobs := "^/v2/acme/zlib/blobs/("
			for i, layer := range l.Manifest.Layers {
				if i > 0 {
					blobs += "|"
				}
				blobs += regexp.QuoteMeta(layer.Digest.String())
			}
			if name == "in the config" {
				blobs = "^/v2/acme/zlib/blobs/(" + regexp.QuoteMeta(l.Manifest.Config.Digest.String())
			}
			mirror.Inject(registrytest.Fault{Path: blobs + ")$", Act: registrytest.Flip(position)})

			list, err := registry.ParseMirrors(origin.Host + "=" + mirror.Host)
			if err != nil {
				t.Fatal(err)
			}
			warn, warned := collected()
			s, err := store.Open(filepath.Join(t.TempDir(), "store"))
			if err != nil {
				t.Fatal(err)
			}
			d := &Depot{Store: s, Registry: registry.NewClient(registry.Options{Keychain: anonymous{}, Mirrors: list, Warn: warn})}
			if l, err = d.Pull(t.Context(), ref, triple(t, intel)); err != nil {
				t.Fatal(err)
			}
			if l.Reference != ref || len(l.Trees) != 3 {
				t.Errorf("pulled %+v", l)
			}
			if warnings := warned(); len(warnings) != 1 || !strings.Contains(warnings[0], "the mirror "+mirror.Host+"/acme/zlib is passed over: "+mirror.Host+" sent other bytes") {
				t.Errorf("warnings %q", warnings)
			}
		})
	}
}
