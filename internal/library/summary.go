package library

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// Open reads what the artifact in a layout is, without its layers. Its Reference is the one it was packed under, if any.
func Open(path string) (*Library, error) {
	layout, err := artifact.OpenLayout(path)
	if err != nil {
		return nil, err
	}
	defer layout.Close()
	l, err := open(layout)
	return l, diagnostic.Wrap(err, "inspect %s", path)
}

func open(layout *artifact.Layout) (*Library, error) {
	desc, name, err := layout.Manifest()
	if err != nil {
		return nil, err
	}
	l := &Library{Digest: desc.Digest}
	// Others put all kinds of text there; it is a name for people, and the digest is what counts.
	if ref, err := registry.ParseReference(name); name != "" && err == nil {
		l.Reference = ref
	}
	data, err := layout.ReadBlob(desc.Digest, manifestLimit)
	if err != nil {
		return nil, err
	}
	if l.Manifest, err = artifact.ParseManifest(data); err != nil {
		return nil, err
	}
	if data, err = layout.ReadBlob(l.Manifest.Config.Digest, manifestLimit); err != nil {
		return nil, err
	}
	if l.Manifest.V1() {
		config, err := artifact.ParseConfig(data)
		if err != nil {
			return nil, err
		}
		l.Package = config.Package
	} else if err := artifact.RefuseContainer(data); err != nil {
		return nil, err
	}
	if l.Package == nil {
		l.foreign = true
		if l.Package, err = measure(layout, l); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// measure unpacks an artifact that describes nothing, to read from its files what it is.
func measure(layout *artifact.Layout, l *Library) (*artifact.Package, error) {
	dir, err := os.MkdirTemp("", "ocipkg-inspect-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var trees []string
	for i, layer := range l.Manifest.Layers {
		tree := filepath.Join(dir, strconv.Itoa(i))
		if err := unpackBlob(layout, layer, tree); err != nil {
			return nil, diagnostic.Wrap(err, "layer %d of %d", i+1, len(l.Manifest.Layers))
		}
		trees = append(trees, tree)
	}
	claims := artifact.Claims{Version: l.Reference.Tag}
	if l.Reference.Tag != "" {
		claims.Name = path.Base(l.Reference.Repository.RepositoryStr())
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
	blob, err := layout.OpenBlob(layer.Digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	return artifact.Unpack(blob, layer.MediaType, root, true, artifact.Limits{})
}

// Summary tells people what the library is, in lines.
func (l *Library) Summary() string {
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", key, fmt.Sprintf(format, args...))
	}
	p := l.Package
	if p != nil {
		line("library", "%s", strings.TrimSpace(p.Name+" "+p.Version))
		target := p.Target
		if target == "" {
			target = "any (headers alone)"
		}
		line("platform", "%s", target)
		if p.License != "" {
			line("licence", "%s", p.License)
		}
	}
	line("digest", "%s", l.Digest)
	for i, layer := range l.Manifest.Layers {
		name := fmt.Sprintf("layer %d", i+1)
		if p != nil {
			for _, c := range p.Components {
				if c.Layer == layer.Digest.String() {
					name = c.Name
				}
			}
		}
		_, compression, _ := strings.Cut(layer.MediaType, "+")
		line(name, "%s %s", Size(layer.Size), compression)
	}
	if p == nil {
		return b.String()
	}
	for _, lib := range p.Libraries {
		if s := lib.Static; s != nil {
			facts := []string{s.PIC}
			if s.CXXFlavour != "" {
				facts = append(facts, "C++ of "+s.CXXFlavour)
			}
			line("static", "%s (%s)", s.Path, strings.Join(facts, ", "))
		}
		if s := lib.Shared; s != nil {
			var facts []string
			if s.SONAME != "" {
				facts = append(facts, "SONAME "+s.SONAME)
			}
			if s.InstallName != "" {
				facts = append(facts, "install name "+s.InstallName)
			}
			if s.Interface != "" {
				facts = append(facts, "by way of "+s.Interface)
			}
			if s.CXXFlavour != "" {
				facts = append(facts, "C++ of "+s.CXXFlavour)
			}
			for _, family := range slices.Sorted(maps.Keys(s.Floors)) {
				facts = append(facts, fmt.Sprintf("%s %s or later", family, s.Floors[family]))
			}
			line("shared", "%s (%s)", s.Path, strings.Join(facts, ", "))
			if len(s.Needed) > 0 {
				line("", "needs %s", strings.Join(s.Needed, ", "))
			}
		}
	}
	for _, soname := range p.Missing {
		line("missing", "%s: the consumer has to bring it", soname)
	}
	return b.String()
}

// Size writes a number of bytes for people.
func Size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
