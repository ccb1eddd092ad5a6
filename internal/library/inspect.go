package library

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/modulefile"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
	"github.com/ocipkg/rules_ocipkg/internal/tree"
)

// Inspection is what an artifact is, as `ocipkg inspect --json` prints it. Its keys are stable: some may be added.
type Inspection struct {
	// Image is the pinned reference; absent for a layout that was packed without one.
	Image string `json:"image,omitempty"`
	// Layout is the archive or folder that was looked into; absent for an image.
	Layout string `json:"layout,omitempty"`
	// Digest and MediaType are those of what the image or layout names: an index or a manifest.
	Digest    v1.Hash `json:"digest"`
	MediaType string  `json:"mediaType"`
	// Target is the triple that was asked for: --target, or this machine's.
	Target string `json:"target"`
	// Manifest and Package are those of the platform that fits the target. Absent where none does.
	Manifest *artifact.Manifest `json:"manifest,omitempty"`
	Package  *artifact.Package  `json:"package,omitempty"`
	// Platforms holds one element a platform, in the order of the index; for a single manifest, one.
	Platforms []Platform `json:"platforms"`
	// Module is the line for MODULE.bazel; absent for a layout without a reference.
	Module string `json:"module,omitempty"`
}

// Platform is an artifact for one platform.
type Platform struct {
	// Target is the target triple; absent for headers alone, which fit every platform, and where it is not known.
	Target string `json:"target,omitempty"`
	// Platform is the OCI platform, such as linux/amd64; absent where neither index nor target says one.
	Platform string  `json:"platform,omitempty"`
	Digest   v1.Hash `json:"digest"` // of the manifest
	// Chosen is whether this is the one for the target that was asked for.
	Chosen bool `json:"chosen"`
	// Stored is whether all of it is in the store, so that fetching it costs no request.
	Stored bool `json:"stored"`
	// Compressed and Unpacked are the sums of the components, in bytes; Unpacked is 0 where a component's is.
	Compressed int64       `json:"compressed"`
	Unpacked   int64       `json:"unpacked,omitempty"`
	Components []Component `json:"components,omitempty"`
	// Manifest and Package are absent where Problem says why they could not be read.
	Manifest *artifact.Manifest `json:"manifest,omitempty"`
	Package  *artifact.Package  `json:"package,omitempty"`
	Problem  string             `json:"problem,omitempty"`
}

// Component is one layer.
type Component struct {
	Name       string  `json:"name"` // headers, static or shared; "layer N" in artifacts of other tools
	Digest     v1.Hash `json:"digest"`
	MediaType  string  `json:"mediaType"`
	Compressed int64   `json:"compressed"`         // bytes
	Unpacked   int64   `json:"unpacked,omitempty"` // bytes of the tar; absent where the config does not say
	Stored     bool    `json:"stored"`
}

// inspector reads documents from wherever an artifact is.
type inspector struct {
	document func(ctx context.Context, digest v1.Hash) ([]byte, error)
	config   func(ctx context.Context, desc artifact.Descriptor) ([]byte, error)
	// measure finds out what an artifact is that describes nothing, from its layers.
	measure func(ctx context.Context, manifest v1.Hash, m artifact.Manifest) (*artifact.Package, error)
	// stored reports whether a layer's tree is in the store.
	stored func(layer v1.Hash) bool
	// known, where not nil, restricts what is read of the platforms that were not asked for.
	known func(digest v1.Hash) bool
}

// Inspect tells what the image ref is, for the target want and for all other platforms that it has. An image that is
// pinned and in the store costs no request; then only that is told of the other platforms which the store knows, too.
// With must an image without a platform that fits is an error of kind Mismatch.
func (d *Depot) Inspect(ctx context.Context, ref registry.Reference, want artifact.Triple, must bool) (*Inspection, error) {
	x, err := d.inspect(ctx, ref, want, must, false)
	return x, diagnostic.Wrap(err, "inspect %s", ref)
}

// inspect is Inspect; with all it asks the registry for the platforms that the store does not know.
func (d *Depot) inspect(ctx context.Context, ref registry.Reference, want artifact.Triple, must, all bool) (*Inspection, error) {
	if err := d.Policy.Admit(ref.Pinned()); err != nil {
		return nil, d.suggest(ctx, ref, err)
	}
	inStore := func(h v1.Hash) bool { _, err := d.Store.Blob(h); return err == nil }
	local := ref.Pinned() && inStore(ref.Digest) && !all
	hold := d.Store.Hold()
	defer hold.Release()
	data, mediaType, digest, err := d.document(ctx, hold, ref, nil)
	if err != nil {
		return nil, err
	}
	pinned := ref.WithDigest(digest)
	i := inspector{
		document: func(ctx context.Context, h v1.Hash) ([]byte, error) {
			data, _, _, err := d.document(ctx, hold, pinned.WithDigest(h), nil)
			return data, err
		},
		config: func(ctx context.Context, desc artifact.Descriptor) ([]byte, error) {
			return d.config(ctx, hold, &Library{Reference: pinned, Manifest: artifact.Manifest{Config: desc}}, nil)
		},
		measure: func(ctx context.Context, h v1.Hash, _ artifact.Manifest) (*artifact.Package, error) {
			l, err := d.pull(ctx, ref.WithDigest(h), want, nil)
			if err != nil {
				return nil, err
			}
			return l.Package, nil
		},
		stored: d.Store.Has,
	}
	if local {
		i.known = inStore
	}
	x := &Inspection{Image: pinned.String(), Digest: digest, MediaType: mediaType, Module: ModuleLine(pinned, "")}
	if err := i.fill(ctx, x, data, want, must); err != nil {
		return x, err
	}
	return x, hold.Settle()
}

// InspectLayout tells what the artifact in the archive or folder at path is. s may be nil where there is no store yet.
func InspectLayout(ctx context.Context, s *store.Store, path string, want artifact.Triple, must bool) (*Inspection, error) {
	x, err := inspectLayout(ctx, s, path, want, must)
	return x, diagnostic.Wrap(err, "inspect %s", path)
}

func inspectLayout(ctx context.Context, s *store.Store, path string, want artifact.Triple, must bool) (*Inspection, error) {
	layout, err := artifact.OpenLayout(path)
	if err != nil {
		return nil, err
	}
	defer layout.Close()
	desc, name, err := layout.Manifest()
	if err != nil {
		return nil, err
	}
	x := &Inspection{Layout: path, Digest: desc.Digest, MediaType: desc.MediaType}
	// Others put all kinds of text there; it is a name for people, and the digest is what counts.
	ref, err := registry.ParseReference(name)
	if named := name != "" && err == nil; named {
		pinned := ref.WithDigest(desc.Digest)
		x.Image, x.Module = pinned.String(), ModuleLine(pinned, "")
	}
	data, err := layout.ReadBlob(desc.Digest, manifestLimit)
	if err != nil {
		return nil, err
	}
	if err := desc.Check(data); err != nil {
		return nil, err
	}
	i := inspector{
		document: func(_ context.Context, h v1.Hash) ([]byte, error) { return layout.ReadBlob(h, manifestLimit) },
		config: func(_ context.Context, desc artifact.Descriptor) ([]byte, error) {
			return layout.Read(desc, manifestLimit)
		},
		measure: func(_ context.Context, _ v1.Hash, m artifact.Manifest) (*artifact.Package, error) {
			return measure(layout, m, ref)
		},
		stored: func(h v1.Hash) bool {
			if s == nil {
				return false
			}
			return s.Has(h)
		},
	}
	return x, i.fill(ctx, x, data, want, must)
}

// fill reads the platforms behind the document data.
func (i inspector) fill(ctx context.Context, x *Inspection, data []byte, want artifact.Triple, must bool) error {
	x.Target = want.String()
	defer func() {
		if ref, err := registry.ParseReference(x.Image); err == nil && x.Module != "" {
			called, needs := "", []artifact.Dependency(nil)
			for _, p := range x.Platforms { // all of them are of one library, where they are of any
				if p.Package != nil {
					called = cmp.Or(called, p.Package.Name)
				}
			}
			if x.Package != nil {
				called, needs = x.Package.Name, x.Package.Dependencies
			}
			x.Module = ModuleLine(ref, called, needs...)
		}
	}()
	if !artifact.IsIndex(mediaTypeOf(data)) {
		if x.MediaType == "" {
			x.MediaType = artifact.TypeManifest
		}
		p, err := i.platform(ctx, x.Digest, data, true)
		if err != nil {
			return err
		}
		err = fits(p.Package, want)
		if err != nil && must {
			return err
		}
		p.Chosen = err == nil
		// A single manifest is what there is, whatever platform it is for.
		x.Platforms, x.Manifest, x.Package = []Platform{*p}, p.Manifest, p.Package
		return nil
	}
	x.MediaType = artifact.TypeIndex
	index, err := artifact.ParseIndex(data)
	if err != nil {
		return err
	}
	chosen, err := index.Select(want)
	if err != nil && must {
		return err
	}
	x.Platforms = make([]Platform, len(index.Manifests))
	// The one that was asked for comes first: where it fails the others do not matter.
	order := make([]int, len(index.Manifests))
	for n, desc := range index.Manifests {
		order[n] = n
		x.Platforms[n] = Platform{Target: desc.Annotations[artifact.AnnotationTarget], Digest: desc.Digest}
		if desc.Platform != nil {
			x.Platforms[n].Platform = desc.Platform.String()
		}
	}
	if at := slices.IndexFunc(index.Manifests, func(d artifact.Descriptor) bool { return err == nil && d.Digest == chosen.Digest }); at >= 0 {
		if i.known != nil && !i.known(chosen.Digest) {
			i.known = nil // the index alone is in the store: the network is needed anyhow
		}
		p, err := i.child(ctx, chosen, true)
		if err != nil {
			return err
		}
		p.Chosen = true
		x.Platforms[at].take(p)
		x.Manifest, x.Package = p.Manifest, p.Package
		order = slices.Delete(order, at, at+1)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLayers)
	for _, n := range order {
		group.Go(func() error {
			desc := index.Manifests[n]
			if i.known != nil && !i.known(desc.Digest) {
				x.Platforms[n].Problem = "not in the store"
				return nil
			}
			p, err := i.child(ctx, desc, false)
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				// An index may list what is no library, such as a statement of how it was built.
				x.Platforms[n].Problem, _, _ = strings.Cut(err.Error(), "\n")
				return nil
			}
			x.Platforms[n].take(p)
			return nil
		})
	}
	return group.Wait()
}

// take fills in what was read, and keeps what the index said where that is more.
func (p *Platform) take(read *Platform) {
	if read.Target == "" {
		read.Target = p.Target
	}
	if p.Platform != "" {
		read.Platform = p.Platform
	}
	*p = *read
}

func (i inspector) child(ctx context.Context, desc artifact.Descriptor, measured bool) (*Platform, error) {
	data, err := i.document(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	if err := desc.Check(data); err != nil {
		return nil, err
	}
	return i.platform(ctx, desc.Digest, data, measured)
}

// platform reads a manifest and its config. An artifact that describes nothing is measured where it is worth fetching.
func (i inspector) platform(ctx context.Context, digest v1.Hash, data []byte, measured bool) (*Platform, error) {
	m, err := artifact.ParseManifest(data)
	if err != nil {
		return nil, err
	}
	if data, err = i.config(ctx, m.Config); err != nil {
		return nil, diagnostic.Wrap(err, "config %s", m.Config.Digest)
	}
	var config artifact.Config
	if m.V1() {
		config, err = artifact.ParseConfig(data)
	} else {
		err = artifact.RefuseContainer(data)
	}
	if err != nil {
		return nil, err
	}
	p := &Platform{Digest: digest, Manifest: &m, Package: config.Package, Stored: true}
	if p.Package == nil && measured {
		if p.Package, err = i.measure(ctx, digest, m); err != nil {
			return nil, err
		}
	}
	if p.Package != nil {
		p.Target = p.Package.Target
		if t, err := artifact.ParseTriple(p.Target); err == nil {
			p.Platform = t.Platform().String()
		}
	}
	whole := true
	for n, layer := range m.Layers {
		c := Component{Name: fmt.Sprintf("layer %d", n+1), Digest: layer.Digest, MediaType: layer.MediaType, Compressed: layer.Size, Stored: i.stored(layer.Digest)}
		if config.Package != nil {
			for _, known := range config.Package.Components {
				if known.Layer == layer.Digest.String() {
					c.Name, c.Unpacked = known.Name, known.Unpacked
				}
			}
		}
		p.Stored = p.Stored && c.Stored
		p.Compressed += c.Compressed
		p.Unpacked += c.Unpacked
		whole = whole && c.Unpacked > 0
		p.Components = append(p.Components, c)
	}
	if !whole {
		p.Unpacked = 0
	}
	return p, nil
}

// measure unpacks an artifact that describes nothing, to read from its files what it is.
func measure(layout *artifact.Layout, m artifact.Manifest, ref registry.Reference) (*artifact.Package, error) {
	dir, err := os.MkdirTemp("", "ocipkg-inspect-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var trees []string
	for i, layer := range m.Layers {
		tree := filepath.Join(dir, strconv.Itoa(i))
		if err := unpackBlob(layout, layer, tree); err != nil {
			return nil, diagnostic.Wrap(err, "layer %d of %d", i+1, len(m.Layers))
		}
		trees = append(trees, tree)
	}
	claims := artifact.Claims{Version: ref.Tag}
	if ref.Tag != "" {
		claims.Name = path.Base(ref.Repository.RepositoryStr())
	}
	return overlay(trees).describe(claims)
}

func unpackBlob(layout *artifact.Layout, layer artifact.Descriptor, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	blob, err := layout.Open(layer)
	if err != nil {
		return err
	}
	defer blob.Close()
	w := tree.In(root)
	defer w.Close()
	return artifact.Unpack(blob, layer, w, true, artifact.Limits{})
}

// Name is what a library's repository is called where nobody says otherwise, as `ocipkg add` calls it: as the package, or
// as the image where what the package is called is not known ("").
func Name(ref registry.Reference, called string) string {
	return modulefile.RepositoryName(cmp.Or(called, path.Base(ref.Repository.RepositoryStr())))
}

// ModuleLine is what to write in MODULE.bazel for a pinned image, whose package is called so ("": not known), and which needs
// others, which are declared by themselves.
func ModuleLine(pinned registry.Reference, called string, needs ...artifact.Dependency) string {
	deps := ""
	if len(needs) > 0 {
		var all []string
		for _, d := range needs {
			all = append(all, dependencyLabel(d.Name))
		}
		deps = ", deps = " + starlarkList(all)
	}
	return fmt.Sprintf("ocipkg_library(name = %q, image = %q%s)", Name(pinned, called), pinned, deps)
}

// IsLayout tells, of what a person writes where an image or a layout may stand, the layout: whatever is there, and what
// by its spelling is meant to be: it ends in .tar or in a slash, or begins with a dot or a slash. An image spelled so
// would be none.
func IsLayout(arg string) (bool, error) {
	_, err := os.Stat(arg)
	if err == nil {
		return true, nil
	}
	if strings.HasSuffix(arg, ".tar") || strings.HasSuffix(arg, "/") || strings.HasPrefix(arg, ".") || filepath.IsAbs(arg) {
		return true, nil
	}
	if errors.Is(err, fs.ErrNotExist) || strings.Contains(arg, ":") { // Windows finds a colon in a name an error
		return false, nil
	}
	return false, err
}
