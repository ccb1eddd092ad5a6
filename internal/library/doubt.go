package library

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

// Doubt tells what speaks for a digest being another library's or another version's than the reference says, and what to do;
// "" where nothing does. The digest alone decides what is fetched, and lines are copied. name is what the library is declared as,
// "" where it is not.
//
// It is a guess, and says nothing rather than something wrong: authors call images otherwise than packages, and mirrors rename them.
// What a tag without a digest stands for is its registry's word, and not doubted.
func Doubt(ref registry.Reference, name string, p *artifact.Package) string {
	if !ref.Pinned() || p.Name == "" {
		return ""
	}
	image := ref.WithDigest(v1.Hash{})
	text := fmt.Sprintf("the digest is of %s, and the ", strings.TrimSpace(p.Name+" "+p.Version))
	switch {
	case !calledLike(ref, name, p) && numbered(ref.Tag) && !agrees(ref.Tag, p.Version):
		text += fmt.Sprintf("image is called %s", image)
	case otherVersion(ref.Tag, p.Version):
		text += fmt.Sprintf("tag says %s: %s", ref.Tag, image)
	default:
		return ""
	}
	text += ". Where it was copied from another line, "
	if name == "" {
		return text + "leave it out, and the tag decides"
	}
	return fmt.Sprintf("%s: %s`ocipkg pin --update %s` writes the one of the tag", name, text, name)
}

// doubt warns of what Doubt tells, where that is wanted. It comes before whatever may fail because of it: a platform, a
// component or a dependency that the right library would have had.
func (d *Depot) doubt(asked registry.Reference, decl *Declaration, p *artifact.Package) {
	if !d.Doubt || p == nil {
		return
	}
	name := ""
	if decl != nil {
		name = decl.Name
	}
	if text := Doubt(asked, name, p); text != "" {
		d.warn("%s", text)
	}
}

// DoubtStored is Doubt as far as the store knows what the digest is of: no registry is asked.
func DoubtStored(s *store.Store, ref registry.Reference, name string) string {
	data, err := s.PeekBlob(ref.Digest)
	if err != nil {
		return ""
	}
	manifests := []v1.Hash{ref.Digest}
	if artifact.IsIndex(mediaTypeOf(data)) {
		index, err := artifact.ParseIndex(data)
		if err != nil {
			return ""
		}
		manifests = nil
		for _, m := range index.Manifests {
			manifests = append(manifests, m.Digest)
		}
	}
	for _, digest := range manifests { // those of platforms that nobody has built for are not there
		data, err := s.PeekBlob(digest)
		if err != nil {
			continue
		}
		m, err := artifact.ParseManifest(data)
		if err != nil || !m.V1() {
			continue
		}
		if data, err = s.PeekBlob(m.Config.Digest); err != nil {
			continue
		}
		if config, err := artifact.ParseConfig(data); err == nil && config.Package != nil {
			return Doubt(ref, name, config.Package)
		}
	}
	return ""
}

// calledLike reports whether something in the reference, or the name that the user has chosen, may mean the package, or the image
// or the user names one of its libraries.
func calledLike(ref registry.Reference, name string, p *artifact.Package) bool {
	repository := ref.Repository.RepositoryStr()
	for _, called := range append(strings.Split(repository, "/"), ref.Tag, name) {
		if alike(called, p.Name) {
			return true
		}
	}
	return slices.ContainsFunc(p.Libraries, func(l artifact.Library) bool {
		return stem(l.Name) == stem(path.Base(repository)) || stem(l.Name) == stem(name)
	})
}

// alike reports whether two names may mean one library: libz and zlib, ssl and openssl-3, xz and xz-utils.
func alike(a, b string) bool {
	if len(stem(a)) > len(stem(b)) {
		a, b = b, a
	}
	short := stem(a)
	return short == stem(b) || slices.Contains(words(b), plain(a)) || len(short) >= 3 && strings.Contains(stem(b), short)
}

func words(name string) []string {
	return strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// plain is a name without what people spell differently.
func plain(name string) string { return strings.Join(words(name), "") }

// stem is a plain name without the "lib" that stands before some and behind others.
func stem(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(plain(name), "lib"), "lib")
}

// numbers are the versions, or parts of one, that there are in a text: a tag may hold those of other things, too.
var numbers = lazyregexp.New(`[0-9]+(?:\.[0-9]+)*`)

func numbered(tag string) bool { return numbers().MatchString(tag) }

// agrees reports whether a tag says this version or a part of it. A library goes by names that nobody can guess (xz, and
// liblzma), but then by one version.
func agrees(tag, version string) bool {
	is := numbers().FindString(version)
	return is != "" && slices.ContainsFunc(numbers().FindAllString(tag, -1), func(said string) bool { return sameStart(said, is) })
}

func sameStart(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		if strings.TrimLeft(x[i], "0") != strings.TrimLeft(y[i], "0") {
			return false
		}
	}
	return true
}

// dotted is what a version begins with, and a tag that is one.
var dotted = lazyregexp.New(`^[vV]?([0-9]+)(?:\.[0-9]+)+`)

// otherVersion reports whether a tag is another version than this one, of the same row of versions: what a .pc file says may
// be libtool's, as FreeType's does, and then it begins with another number. What a tag counts that is a single number, or
// begins with a year, nobody knows.
func otherVersion(tag, version string) bool {
	t, v := dotted().FindStringSubmatch(tag), dotted().FindStringSubmatch(version)
	if t == nil || v == nil || agrees(tag, version) {
		return false
	}
	return t[1] == v[1] || len(t[1]) >= 4 && len(v[1]) >= 4
}
