package registry

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
)

// Reference is a parsed image reference: host[:port]/name[:tag][@sha256:hex].
type Reference struct {
	Repository name.Repository
	Tag        string  // "" when only a digest was given
	Digest     v1.Hash // zero (v1.Hash{}) when absent
}

const (
	hubAlias   = "docker.io" // how people write it
	hubHost    = name.DefaultRegistry
	hexLength  = 64  // of a sha256 digest
	maxNameLen = 255 // of a repository, distribution specification, "Pulling manifests"
	maxTagLen  = 128 // the same section
)

var (
	// The grammar of the distribution specification, "Pulling manifests".
	repositoryComponent = lazyregexp.New(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)
	tagPattern          = lazyregexp.New(`^[a-zA-Z0-9_][a-zA-Z0-9._-]*$`)
	hostLabel           = lazyregexp.New(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$`)
	lowerHex            = lazyregexp.New(`^[0-9a-f]*$`)
)

func validTag(tag string) bool { return len(tag) <= maxTagLen && tagPattern().MatchString(tag) }

// ParseReference parses what a person writes. Without tag and digest the tag is "latest"; without a host it is docker.io, as
// for every other tool. A tag beside a digest is kept, since it tells the reader which version the digest is. Upstream's
// spelling host/name:sha256:<hex> is accepted. Every error is a diagnostic of kind Usage that shows the right form.
func ParseReference(s string) (Reference, error) {
	rest, digestText, pinned := strings.Cut(s, "@")
	if pinned && strings.ContainsAny(digestText, "@/") {
		// Somebody wrote user:password@host/name: say so without repeating it.
		return Reference{}, &diagnostic.Error{
			Kind: diagnostic.Usage,
			What: "image reference",
			Why:  "it has a host after the @, where only a digest may stand",
			Do:   "leave user names and passwords out, `ocipkg login` keeps them; write host/name:tag@sha256:<64 hex digits>",
		}
	}
	bad := func(format string, args ...any) (Reference, error) {
		return Reference{}, &diagnostic.Error{
			Kind: diagnostic.Usage,
			What: fmt.Sprintf("image reference %q", s),
			Why:  fmt.Sprintf(format, args...),
			Do:   "write host/name:tag or host/name:tag@sha256:<64 hex digits>, for example ghcr.io/acme/zlib:1.3.1",
		}
	}
	if s == "" {
		return bad("it is empty")
	}
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		return bad("it begins with %s://, but a reference is not a URL", scheme)
	}
	if !pinned {
		if i := strings.LastIndex(s, ":sha256:"); i >= 0 {
			rest, digestText, pinned = s[:i], s[i+1:], true
		}
	}

	var ref Reference
	if pinned {
		digest, err := parseDigest(digestText)
		if err != nil {
			return bad("%v", err)
		}
		ref.Digest = digest
	}
	if i := strings.LastIndex(rest, ":"); i >= 0 && !strings.Contains(rest[i:], "/") {
		ref.Tag, rest = rest[i+1:], rest[:i]
		if ref.Tag == "" {
			return bad("there is no tag after the colon")
		}
		if !validTag(ref.Tag) {
			return bad("%q is no tag: a tag has letters, digits, '_', '.' and '-', begins with none of the last two, and is at most 128 characters long", ref.Tag)
		}
	} else if !pinned {
		ref.Tag = "latest"
	}

	host, path, ok := strings.Cut(rest, "/")
	lowerHost := strings.ToLower(host)
	switch {
	case isHost(lowerHost) && !ok:
		return bad("it names the registry %s but no repository in it", host)
	case isHost(lowerHost):
		if err := checkHost(lowerHost); err != nil {
			return bad("%v", err)
		}
		host = lowerHost
	default:
		host, path = hubAlias, rest
	}
	if host == hubAlias || host == hubHost {
		host = hubHost
		if !strings.Contains(path, "/") {
			path = "library/" + path // Docker's official images
		}
	}
	if err := checkRepositoryPath(path); err != nil {
		return bad("%v", err)
	}
	repository, err := name.NewRepository(host + "/" + path)
	if err != nil {
		return bad("%v", err)
	}
	ref.Repository = repository
	return ref, nil
}

// isHost tells a registry from the first part of a repository the way Docker does.
func isHost(component string) bool {
	return component == "localhost" || strings.ContainsAny(component, ".:[")
}

func checkHost(host string) error {
	hostname, port := host, ""
	if strings.HasPrefix(host, "[") {
		inside, after, ok := strings.Cut(host[1:], "]")
		address, err := netip.ParseAddr(inside)
		if !ok || err != nil || !address.Is6() || address.Zone() != "" || after != "" && after[0] != ':' {
			return fmt.Errorf("%q is no host: an IPv6 address is written [::1]:5000", host)
		}
		hostname, port = "", after
	} else if i := strings.IndexByte(host, ':'); i >= 0 {
		hostname, port = host[:i], host[i:]
		if hostname == "" {
			return fmt.Errorf("%q is no host", host)
		}
	}
	if port != "" {
		if n, err := strconv.ParseUint(port[1:], 10, 16); err != nil || n == 0 || port[1] == '0' {
			return fmt.Errorf("%q is no port", port[1:])
		}
	}
	if hostname != "" {
		for label := range strings.SplitSeq(hostname, ".") {
			if !hostLabel().MatchString(label) {
				return fmt.Errorf("%q is no host name", hostname)
			}
		}
	}
	return nil
}

func checkRepositoryPath(path string) error {
	if len(path) > maxNameLen {
		return fmt.Errorf("the repository name is longer than %d characters", maxNameLen)
	}
	if lower := strings.ToLower(path); lower != path {
		return fmt.Errorf("the repository %q has upper-case letters, which no registry accepts; did you mean %q", path, lower)
	}
	for component := range strings.SplitSeq(path, "/") {
		if component == "" {
			return fmt.Errorf("the repository %q has an empty part", path)
		}
		if !repositoryComponent().MatchString(component) {
			return fmt.Errorf("%q cannot be part of a repository's name: letters and digits, with '.', '_', '__' or '-' between them", component)
		}
	}
	return nil
}

func parseDigest(s string) (v1.Hash, error) {
	algorithm, digits, ok := strings.Cut(s, ":")
	switch {
	case !ok:
		return v1.Hash{}, fmt.Errorf("%q is no digest: a digest is sha256: and %d hex digits", s, hexLength)
	case algorithm != "sha256":
		return v1.Hash{}, fmt.Errorf("the digest algorithm %q is not supported, only sha256 is", algorithm)
	case lowerHex().MatchString(strings.ToLower(digits)) && !lowerHex().MatchString(digits):
		return v1.Hash{}, fmt.Errorf("the digest %q must be in lower case", s)
	case !lowerHex().MatchString(digits):
		return v1.Hash{}, fmt.Errorf("the digest %q has other characters than hex digits", s)
	case len(digits) != hexLength:
		return v1.Hash{}, fmt.Errorf("the digest has %d hex digits instead of %d", len(digits), hexLength)
	}
	return v1.Hash{Algorithm: algorithm, Hex: digits}, nil
}

// String returns host/name[:tag][@digest]; ParseReference of it gives the same reference. Docker Hub is written docker.io.
func (r Reference) String() string {
	var b strings.Builder
	b.WriteString(repositoryName(r.Repository))
	if r.Tag != "" {
		b.WriteString(":" + r.Tag)
	}
	if r.Pinned() {
		b.WriteString("@" + r.Digest.String())
	}
	return b.String()
}

// Pinned reports whether the reference has a digest, so that it can only ever mean one image.
func (r Reference) Pinned() bool { return r.Digest != v1.Hash{} }

// WithDigest returns the same reference pinned to digest.
func (r Reference) WithDigest(digest v1.Hash) Reference {
	r.Digest = digest
	return r
}

// identifier is what stands behind /manifests/: the digest if there is one, because a tag may have moved.
func (r Reference) identifier() string {
	if r.Pinned() {
		return r.Digest.String()
	}
	return r.Tag
}

func repositoryName(r name.Repository) string {
	return hostName(r.Registry) + "/" + r.RepositoryStr()
}

func hostName(r name.Registry) string {
	if r.RegistryStr() == hubHost {
		return hubAlias
	}
	return r.RegistryStr()
}
