package library

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	bazel "github.com/bazelbuild/buildtools/labels"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/modulefile"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// Pinned checks the dependencies that an author declares, by name, and gives their references one spelling. One without
// a digest is an error of kind Usage that says what its tag stands for now: an artifact means the same for ever.
func (d *Depot) Pinned(ctx context.Context, dependencies map[string]string) (map[string]string, error) {
	pinned := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(dependencies)) {
		ref, err := registry.ParseReference(dependencies[name])
		if err != nil {
			return nil, diagnostic.Wrap(err, "dependency %s", name)
		}
		if !ref.Pinned() {
			do := "add its digest"
			if found, err := d.Registry.Resolve(ctx, ref); err == nil {
				do = fmt.Sprintf("write %s=%s", name, ref.WithDigest(found.Digest))
			}
			return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "dependency " + name, Why: fmt.Sprintf("%s has no digest, and its tag may point elsewhere tomorrow", ref), Do: do}
		}
		pinned[name] = ref.String()
	}
	return pinned, nil
}

// Describe tells what the image is for a platform. None for that platform is an error of kind Mismatch.
func (d *Depot) Describe(ctx context.Context, image string, want artifact.Triple) (*artifact.Package, error) {
	ref, err := registry.ParseReference(image)
	if err != nil {
		return nil, err
	}
	x, err := d.Inspect(ctx, ref, want, true)
	if err != nil {
		return nil, err
	}
	return x.Package, nil
}

// dependencies gives each of the package's dependencies the label that stands for it in deps, which is the one whose
// target is called as the dependency; other labels are linked as well. A dependency without a label is an error of kind
// NotFound that says what to write. image is the package's own.
func dependencies(p *artifact.Package, decl Declaration, image registry.Reference) ([]ccplan.Dependency, error) {
	var found []ccplan.Dependency
	byTarget := map[string]string{}
	var order []string
	for _, dep := range decl.Deps {
		dep, target, err := fullLabel(dep)
		if err != nil {
			return nil, err
		}
		if other := byTarget[target]; other != "" {
			return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("deps %q", dep), Why: fmt.Sprintf("%q is there too, and both stand for %s", other, target), Do: "keep one of them"}
		}
		byTarget[target] = dep
		order = append(order, target)
	}
	var missing []artifact.Dependency
	declared := map[string]bool{}
	for _, d := range p.Dependencies {
		declared[d.Name] = true
		if byTarget[d.Name] == "" {
			missing = append(missing, d)
			continue
		}
		found = append(found, ccplan.Dependency{Name: d.Name, Label: byTarget[d.Name], Image: d.Image, Needed: d.Needed})
	}
	if len(missing) > 0 {
		return nil, missingDependencies(missing, decl, image)
	}
	for _, target := range order {
		if !declared[target] {
			found = append(found, ccplan.Dependency{Label: byTarget[target]})
		}
	}
	return found, nil
}

func missingDependencies(missing []artifact.Dependency, decl Declaration, image registry.Reference) error {
	deps := slices.Clone(decl.Deps)
	var what []string
	var lines strings.Builder
	for _, d := range missing {
		text := d.Name
		if len(d.Needed) > 0 {
			text += " (" + strings.Join(d.Needed, ", ") + ")"
		}
		what = append(what, text)
		deps = append(deps, dependencyLabel(d.Name))
		fmt.Fprintf(&lines, "      ocipkg_library(name = %q, image = %q)\n", modulefile.RepositoryName(d.Name), d.Image)
	}
	slices.Sort(deps)
	return &diagnostic.Error{Kind: diagnostic.NotFound, What: "dependencies of " + decl.Name,
		Why: fmt.Sprintf("it needs %s, of which its deps say nothing", strings.Join(what, ", ")),
		Do: fmt.Sprintf("run `ocipkg add %s`, or write in MODULE.bazel what is not there already, by ocipkg.library and use_repo where it has the extension,\n%s    and in the declaration of %s\n      deps = %s",
			image, lines.String(), decl.Name, starlarkList(deps))}
}

// starlarkList writes a list of strings as Starlark has it.
func starlarkList(values []string) string {
	var quoted []string
	for _, v := range values {
		quoted = append(quoted, fmt.Sprintf("%q", v))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// fullLabel writes a label of deps out, as @zlib//:zlib for @zlib, and gives the name of its target.
func fullLabel(label string) (full, target string, err error) {
	l := bazel.Parse(label)
	if !strings.HasPrefix(label, "@") || l.Repository == "" && !strings.HasPrefix(label, "@//") || l.Target == "" || l.Target == "." {
		return "", "", &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("deps %q", label), Why: "it is no label of another repository", Do: "write @NAME, where NAME is that of another library in MODULE.bazel"}
	}
	at := label[:len(label)-len(strings.TrimLeft(label, "@"))] // one of an apparent name, two of a canonical one
	return at + l.Repository + "//" + l.Package + ":" + l.Target, l.Target, nil
}

// dependencyLabel is the label for deps of a dependency whose repository is called as it is, as far as one can be.
func dependencyLabel(name string) string {
	return bazel.Label{Repository: modulefile.RepositoryName(name), Target: name}.Format()
}

// Needs tells what the pinned image's package is called and which others it needs, on any of its platforms. Platforms
// that need one by the same name from different images are an error of kind Unsupported.
func (d *Depot) Needs(ctx context.Context, ref registry.Reference) (name string, needs []artifact.Dependency, err error) {
	x, err := d.inspect(ctx, ref, artifact.HostTriple(), false, true)
	if err != nil {
		return "", nil, diagnostic.Wrap(err, "inspect %s", ref)
	}
	images := map[string]string{}
	for _, p := range x.Platforms {
		if p.Package == nil {
			continue
		}
		name = p.Package.Name
		for _, dep := range p.Package.Dependencies {
			switch images[dep.Name] {
			case "":
				images[dep.Name] = dep.Image
				needs = append(needs, dep)
			case dep.Image:
			default:
				return "", nil, &diagnostic.Error{Kind: diagnostic.Unsupported, What: "inspect " + ref.String(), Why: fmt.Sprintf("one platform needs %s from %s and another from %s", dep.Name, images[dep.Name], dep.Image), Do: "have its author make all of them for one image, which may be an index"}
			}
		}
	}
	if name == "" {
		return "", nil, &diagnostic.Error{Kind: diagnostic.Unsupported, What: "inspect " + ref.String(), Why: "none of its platforms can be read", Do: "see with `ocipkg inspect IMAGE` what it holds; a library is packed with `ocipkg pack`"}
	}
	return name, needs, nil
}
