package artifact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"unicode"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Schema is the version of Package that this code writes and the newest it reads.
const Schema = 1

// Config is the config blob. Layers is the ocipkg project's: for each layer, by digest, the paths of its files and
// links in the order of the layer. Package is ours; it is nil in artifacts that others wrote.
type Config struct {
	Layers  map[string][]string `json:"layers"`
	Package *Package            `json:"package,omitempty"`
}

// Package says what a library is. Paths are slash-separated and relative to the tree's root. All but name, version,
// license, defines and linkopts is measured from the bytes of the tree.
type Package struct {
	Schema  int    `json:"schema"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	License string `json:"license,omitempty"` // SPDX expression
	Target  string `json:"target,omitempty"`  // target triple; empty for headers alone, which fit every platform

	Components   []Component  `json:"components,omitempty"`
	Libraries    []Library    `json:"libraries,omitempty"`
	Dependencies []Dependency `json:"dependencies,omitempty"` // sorted by name
	texts        []string     // files that are called like libraries and hold text, for the author to see

	Includes        []string `json:"includes,omitempty"` // directories to search for headers; "." is the root
	Defines         []string `json:"defines,omitempty"`
	Linkopts        []string `json:"linkopts,omitempty"`
	SystemLibraries []string `json:"systemLibraries,omitempty"` // what every such platform brings, without "-l": "m", "pthread"
	PkgConfig       []string `json:"pkgConfig,omitempty"`
	Licenses        []string `json:"licenses,omitempty"`   // the licence texts
	Missing         []string `json:"missing,omitempty"`    // NEEDED names that neither the tree, nor a dependency, nor the platform has
	Frameworks      []string `json:"frameworks,omitempty"` // of macOS, which static linking takes after -framework
}

// The components, each a layer of its own, so that a consumer fetches only what it links.
const (
	ComponentHeaders = "headers"
	ComponentStatic  = "static"
	ComponentShared  = "shared"
)

// Component is one layer and what it is for.
type Component struct {
	Name     string `json:"name"`
	Layer    string `json:"layer"`    // digest
	Unpacked int64  `json:"unpacked"` // bytes of the uncompressed tar
}

// Dependency is another artifact that this one is linked with.
type Dependency struct {
	Name  string `json:"name"`  // of its package
	Image string `json:"image"` // pinned reference; of the index where it has several platforms
	// Needed are the file names under which those of its shared libraries are found at run time that ours NEED; empty
	// where only static libraries or headers of ours need it.
	Needed []string `json:"needed,omitempty"`
}

// Library is one library of the tree, static, shared or both.
type Library struct {
	Name     string         `json:"name"` // what follows -l
	Static   *StaticLibrary `json:"static,omitempty"`
	Shared   *SharedLibrary `json:"shared,omitempty"`
	Requires []string       `json:"requires,omitempty"` // names of libraries of this tree that it needs
}

// StaticLibrary is an archive and its facts.
type StaticLibrary struct {
	Path        string            `json:"path"`
	PIC         string            `json:"pic"`                   // pic, pie or none; see native.PIC
	Reason      string            `json:"reason,omitempty"`      // the relocation that keeps it from being pic
	AlwaysLink  bool              `json:"alwaysLink,omitempty"`  // whether all of it is linked, and not only what is asked for by name
	CXX         bool              `json:"cxx,omitempty"`         // needs a C++ run-time
	CXXFlavour  string            `json:"cxxFlavour,omitempty"`  // whose C++ standard library; see native.CXXFlavour
	Floors      map[string]string `json:"floors,omitempty"`      // macOS to 11.0
	DefaultLibs []string          `json:"defaultLibs,omitempty"` // what it tells Microsoft's linkers to add, without ".lib"
	Mismatch    map[string]string `json:"mismatch,omitempty"`    // what Microsoft's linkers want to be the same everywhere
}

// SharedLibrary is a shared library and its facts.
type SharedLibrary struct {
	Path        string            `json:"path"`                  // the file or link that is called as the SONAME is, where there is one
	Link        string            `json:"link,omitempty"`        // the file or link that -l finds: lib<name>.so
	Interface   string            `json:"interface,omitempty"`   // the import library of a DLL
	SONAME      string            `json:"soname,omitempty"`      // of ELF
	InstallName string            `json:"installName,omitempty"` // of Mach-O: @rpath/libz.1.dylib
	Needed      []string          `json:"needed,omitempty"`      // as the file spells them: SONAMEs, install names, DLLs
	Weak        []string          `json:"weak,omitempty"`        // without which it is loaded too
	Reexports   []string          `json:"reexports,omitempty"`   // of Needed, those whose symbols it offers as its own
	RunPath     []string          `json:"runPath,omitempty"`
	Floors      map[string]string `json:"floors,omitempty"`   // family of symbol versions to the highest needed: GLIBC to 2.34; macOS to 11.0
	Versions    []string          `json:"versions,omitempty"` // symbol versions that it defines
	BuildID     string            `json:"buildId,omitempty"`
	Exports     int               `json:"exports,omitempty"`     // how many names it offers
	ExportsHash string            `json:"exportsHash,omitempty"` // of these names; see native.Shared
	CXXFlavour  string            `json:"cxxFlavour,omitempty"`  // whose C++ standard library; see native.CXXFlavour
	CRT         string            `json:"crt,omitempty"`         // the C run-time DLL that a DLL imports from: ucrt, msvcrt
}

// Finds gives the one of these file names under which the run-time linker of an operating system (as in a Triple)
// looks for what a library NEEDs, "" where it is none of them. needed is as the library spells it.
func Finds(os, needed string, names []string) string {
	for _, name := range names {
		if runName(os, needed) == runName(os, name) {
			return name
		}
	}
	return ""
}

// RunName is the file name under which the run-time linker looks for the library.
func (s *SharedLibrary) RunName() string {
	switch {
	case s.SONAME != "":
		return s.SONAME
	case s.InstallName != "":
		return path.Base(s.InstallName)
	}
	return path.Base(s.Path)
}

// marshal renders v as compact JSON with the characters <, > and & as they are. The ocipkg project parses and writes
// anew what it copies; only bytes like its own keep their digest through that.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Marshal renders the config blob.
func (c Config) Marshal() ([]byte, error) { return marshal(c) }

// ParseConfig reads a config blob. Unknown keys are left alone; a Package of a newer schema is an error of kind
// Unsupported, one with control characters in it of kind Refused: its words end up in terminals and in BUILD files.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, &diagnostic.Error{Kind: diagnostic.Unsupported, What: "config", Why: "it is not the JSON of an ocipkg artifact: " + err.Error(), Do: "have its author pack it again with `ocipkg pack`", Err: err}
	}
	if c.Package != nil && !plainASCII(data) {
		// Every string of the document is looked at, and not only the fields of today.
		for d := json.NewDecoder(bytes.NewReader(data)); ; {
			token, err := d.Token()
			if err != nil {
				break
			}
			if s, ok := token.(string); ok && hasControl(s) {
				return Config{}, &diagnostic.Error{Kind: diagnostic.Refused, What: "config", Why: fmt.Sprintf("it holds a control character, in %q", shorten(s)), Do: "the artifact is damaged or made to do harm; tell its author"}
			}
		}
	}
	if c.Package != nil && c.Package.Schema > Schema {
		return Config{}, &diagnostic.Error{Kind: diagnostic.Unsupported, What: "config",
			Why: fmt.Sprintf("it is of schema %d and this program reads up to %d", c.Package.Schema, Schema), Do: "use a newer rules_ocipkg"}
	}
	return c, nil
}

// plainASCII reports whether no string of a valid JSON document can hold anything but printable ASCII: a control character
// would be escaped, or there would be bytes beyond. To find that out takes a hundredth of the time that tokens take.
func plainASCII(document []byte) bool {
	for _, b := range document {
		if b == '\\' || b >= 0x7f {
			return false
		}
	}
	return true
}

// hasControl finds what would end a line or steer a terminal.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' })
}

// RefuseContainer tells, from the config of a V0 artifact, a container image from a library, which an image is too in
// that format: a library has nothing to run. The error is of kind Unsupported.
func RefuseContainer(config []byte) error {
	var image struct {
		Config struct {
			Entrypoint, Cmd []string
		} `json:"config"`
	}
	unsupported := func(why string) error {
		return &diagnostic.Error{Kind: diagnostic.Unsupported, What: "config", Why: why,
			Do: "make artifacts with `ocipkg pack` and `ocipkg push`; a container image holds no library this tool can find"}
	}
	if err := json.Unmarshal(config, &image); err != nil {
		return unsupported("it is not the JSON of an image: " + err.Error())
	}
	if len(image.Config.Entrypoint) > 0 || len(image.Config.Cmd) > 0 {
		return unsupported(fmt.Sprintf("it is a container image, which runs %q", append(image.Config.Entrypoint, image.Config.Cmd...)))
	}
	return nil
}

// Manifest is an image manifest of an ocipkg artifact. Its fields are in the order of the specification
// (image-spec, manifest.md), which is the order in which the ocipkg project writes them.
type Manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	ArtifactType  string       `json:"artifactType,omitempty"`
	Config        Descriptor   `json:"config"`
	Layers        []Descriptor `json:"layers"`
}

// Descriptor names a blob (image-spec, descriptor.md).
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      v1.Hash           `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *v1.Platform      `json:"platform,omitempty"`
}

// Check is an error where a descriptor says something wrong about the document that has its digest: of kind Corrupt where
// that is the size, of kind Refused where it is the media type, since two readers of one name must not take one document for
// two things. A document need not name its own type, as those of the ocipkg project do not.
func (d Descriptor) Check(document []byte) error {
	what := fmt.Sprintf("manifest %s", d.Digest)
	if int64(len(document)) != d.Size {
		return &diagnostic.Error{Kind: diagnostic.Corrupt, What: what, Why: fmt.Sprintf("it has %d bytes, and the index says %d", len(document), d.Size), Do: "have its author push the index again"}
	}
	var own struct {
		MediaType string          `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
	}
	// What is no JSON is refused by who reads it.
	if err := json.Unmarshal(document, &own); err != nil || d.MediaType == "" {
		return nil
	}
	is := cmp.Or(own.MediaType, "a manifest")
	wrong := own.MediaType != d.MediaType
	if own.MediaType == "" {
		index := own.Manifests != nil
		if index {
			is = "an index"
		}
		wrong = index != IsIndex(d.MediaType) || !index && d.MediaType != TypeManifest && d.MediaType != typeDockerManifest
	}
	if wrong {
		return &diagnostic.Error{Kind: diagnostic.Refused, What: what, Why: fmt.Sprintf("it is %s, and the index calls it %s", shorten(is), shorten(d.MediaType)), Do: "have its author push the index again"}
	}
	return nil
}

// Index is an image index (image-spec, image-index.md).
type Index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	ArtifactType  string       `json:"artifactType,omitempty"`
	Manifests     []Descriptor `json:"manifests"`
}

// Limits that bound what a registry can make this program hold.
const (
	maxLayers    = 256
	maxManifests = 1024
)

// IsIndex reports whether a document of this media type is an index.
func IsIndex(mediaType string) bool {
	return mediaType == TypeIndex || mediaType == typeDockerIndex
}

// ParseManifest reads a manifest and refuses, with kind Unsupported and naming what it is instead, whatever is not an
// ocipkg artifact: V1 by its artifactType, V0 by its image config and tar layers.
func ParseManifest(data []byte) (Manifest, error) {
	unsupported := func(why string) (Manifest, error) {
		return Manifest{}, &diagnostic.Error{Kind: diagnostic.Unsupported, What: "manifest", Why: "not an ocipkg artifact: " + why,
			Do: "make artifacts with `ocipkg pack` and `ocipkg push`; a container image holds no library this tool can find"}
	}
	var both struct {
		Manifest
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(data, &both); err != nil {
		return unsupported("it is not a manifest: " + err.Error())
	}
	m := both.Manifest
	if both.Manifests != nil && m.Layers == nil {
		return unsupported("it is an index of several platforms, where the manifest of one was expected")
	}
	if both.Manifests != nil {
		// A document that is both lets two readers of one digest see two things (CVE-2021-41190).
		return unsupported("it has both layers and manifests")
	}
	if m.SchemaVersion != 2 {
		return unsupported(fmt.Sprintf("its schemaVersion is %d, not 2", m.SchemaVersion))
	}
	if m.MediaType != "" && m.MediaType != TypeManifest && m.MediaType != typeDockerManifest {
		// Nobody is to read one digest as a manifest here and as something else there (image-spec, manifest.md).
		return unsupported("it calls itself " + m.MediaType)
	}
	if len(m.Layers) == 0 || len(m.Layers) > maxLayers {
		return unsupported(fmt.Sprintf("it has %d layers; 1 to %d are possible", len(m.Layers), maxLayers))
	}
	allowed := map[string]bool{TypeV0Layer: true, TypeV0Gzip: true, TypeDockerGzip: true}
	wantConfig := TypeV0Config
	if m.ArtifactType == TypeArtifact {
		allowed = map[string]bool{TypeLayerZstd: true, TypeLayerGzip: true}
		wantConfig = TypeConfig
	} else if m.ArtifactType != "" {
		return unsupported("it is an artifact of type " + m.ArtifactType + ", not " + TypeArtifact)
	}
	if m.Config.MediaType != wantConfig {
		return unsupported(fmt.Sprintf("its config is of type %s, not %s", m.Config.MediaType, wantConfig))
	}
	for i, d := range append([]Descriptor{m.Config}, m.Layers...) {
		if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 || d.Size < 0 {
			return unsupported(fmt.Sprintf("descriptor %d has digest %q and size %d", i, d.Digest, d.Size))
		}
		if i > 0 && !allowed[d.MediaType] {
			return unsupported(fmt.Sprintf("layer %d is of type %s", i, d.MediaType))
		}
	}
	return m, nil
}

// V1 reports whether the manifest is in the present format, which has a Config of ours or the ocipkg project's.
func (m Manifest) V1() bool { return m.ArtifactType == TypeArtifact }

// ParseIndex reads an image index.
func ParseIndex(data []byte) (Index, error) {
	var both struct {
		Index
		Layers json.RawMessage `json:"layers"`
	}
	unsupported := func(why string) (Index, error) {
		return Index{}, &diagnostic.Error{Kind: diagnostic.Unsupported, What: "index", Why: why, Do: "have its author make it again, with `ocipkg push` or `ocipkg join`"}
	}
	if err := json.Unmarshal(data, &both); err != nil {
		return unsupported("it is not an index: " + err.Error())
	}
	if both.Layers != nil {
		return unsupported("it has both layers and manifests")
	}
	if both.SchemaVersion != 2 {
		return unsupported(fmt.Sprintf("its schemaVersion is %d, not 2", both.SchemaVersion))
	}
	if both.MediaType != "" && !IsIndex(both.MediaType) {
		return unsupported("it calls itself " + both.MediaType)
	}
	if n := len(both.Manifests); n == 0 || n > maxManifests {
		return unsupported(fmt.Sprintf("it has %d manifests; 1 to %d are possible", n, maxManifests))
	}
	for i, d := range both.Manifests {
		if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 || d.Size < 0 {
			return unsupported(fmt.Sprintf("descriptor %d has digest %q and size %d", i, d.Digest, d.Size))
		}
	}
	return both.Index, nil
}

// Select finds the manifest for a target: by AnnotationTarget, else by OCI platform where the descriptor has one. Of
// several that fit, one that says exactly what is wanted goes before one that leaves something open. No match is an
// error of kind Mismatch that lists what there is.
func (x Index) Select(want Triple) (Descriptor, error) {
	var have []string
	var open []Descriptor // those that fit without saying everything
	for _, d := range x.Manifests {
		if s := d.Annotations[AnnotationTarget]; s != "" {
			have = append(have, s)
			switch t, err := ParseTriple(s); {
			case err != nil || !t.Fits(want):
			case t.Env == want.Env:
				return d, nil
			default:
				open = append(open, d)
			}
		}
	}
	byTarget := len(open) > 0
	for _, d := range x.Manifests {
		if d.Annotations[AnnotationTarget] != "" || d.Platform == nil {
			continue
		}
		have = append(have, d.Platform.String())
		p := want.Platform()
		switch {
		case d.Platform.OS != p.OS || d.Platform.Architecture != p.Architecture:
		case d.Platform.Variant == p.Variant && !byTarget:
			return d, nil
		case d.Platform.Variant == "" || p.Variant == "":
			open = append(open, d)
		}
	}
	if len(open) > 0 {
		return open[0], nil
	}
	return Descriptor{}, &diagnostic.Error{Kind: diagnostic.Mismatch, What: "platform " + want.String(),
		Why: fmt.Sprintf("the index has no manifest for it; it has %q", have), Do: "ask its author for this platform, or choose among these with target or platforms"}
}
