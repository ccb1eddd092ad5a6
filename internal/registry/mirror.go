package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Mirror is a second place for the repositories of a registry, or of a path in it. What has a digest is looked for there first,
// and verified like everything else. A tag is not, because nothing would tell that the mirror's is an old one, unless Tags says
// that the mirror decides what they mean.
type Mirror struct {
	of, to prefix
	layout string // the path of a layout, or of a folder of such, of this machine, in place of to
	Tags   bool
}

func (m Mirror) String() string {
	if m.layout != "" {
		return m.of.String() + "=" + fileScheme + filepath.ToSlash(m.layout)
	}
	text := m.of.String() + "=" + m.to.String()
	if m.Tags {
		text += tagsSuffix
	}
	return text
}

const tagsSuffix = "+tags"

// ParseMirrors reads mirrors separated by commas or white space, in the order in which they are asked:
// REGISTRY[/PATH]=MIRROR[/PATH], with "+tags" at the end for one that decides what tags mean, or REGISTRY[/PATH]=file:///PATH.
func ParseMirrors(s string) ([]Mirror, error) {
	var list []Mirror
	for _, text := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		of, to, ok := strings.Cut(text, "=")
		if !ok {
			return nil, badMirror(text, "it has no =")
		}
		m, err := parseMirror(of, to)
		if err != nil {
			return nil, badMirror(text, err.Error())
		}
		list = append(list, m)
	}
	return list, nil
}

func badMirror(text, why string) error {
	return &diagnostic.Error{
		Kind: diagnostic.Usage,
		What: fmt.Sprintf("mirror %q", text),
		Why:  why,
		Do:   "write REGISTRY=MIRROR or REGISTRY/PATH=MIRROR/PATH, for example ghcr.io=mirror.example.com/ghcr, or ghcr.io=file:///mnt/libraries",
	}
}

// MirrorsOf gives the mirrors at some places of the registry that ref is in: HOST[:PORT][/PATH], with "+tags" at the end for
// one that decides what tags mean, or file:///PATH.
func MirrorsOf(ref Reference, places []string) ([]Mirror, error) {
	var list []Mirror
	for _, at := range places {
		m, err := parseMirror(hostName(ref.Repository.Registry), at)
		if err != nil {
			return nil, badMirror(at, err.Error())
		}
		list = append(list, m)
	}
	return list, nil
}

// fileScheme begins the place of a mirror that is a layout, or a folder of layouts, of this machine.
const fileScheme = "file://"

func parseMirror(of, to string) (Mirror, error) {
	var m Mirror
	var err error
	if m.of, err = parsePrefix(of); err != nil {
		return m, fmt.Errorf("before the =, %w", err)
	}
	if at, ok := strings.CutPrefix(to, fileScheme); ok {
		if strings.HasSuffix(at, tagsSuffix) {
			return m, errors.New("files do not decide what tags mean")
		}
		m.layout, err = filePath(at)
		return m, err
	}
	to, m.Tags = strings.CutSuffix(to, tagsSuffix)
	if m.to, err = parsePrefix(to); err != nil {
		return m, fmt.Errorf("after the =, %w", err)
	}
	return m, nil
}

// filePath is the path of a file URL, in this system's spelling.
func filePath(at string) (string, error) {
	if drive := strings.TrimPrefix(at, "/"); filepath.IsAbs(drive) {
		at = drive // file:///C:/libraries
	}
	if at = filepath.FromSlash(at); !filepath.IsAbs(at) {
		return "", fmt.Errorf("the path in %s%s is not absolute", fileScheme, at)
	}
	return filepath.Clean(at), nil
}

// Layouts lists the layouts of this machine, and folders of such, that may have a repository's content. A Client does not look
// into them: their blobs have digests, like those of registries, but no protocol.
func (c *Client) Layouts(repo name.Repository) []string {
	var list []string
	for _, mirrors := range c.mirrors {
		for _, m := range mirrors {
			if _, ok := m.stands(repo); ok && m.layout != "" {
				list = append(list, m.layout)
			}
		}
	}
	return list
}

// stands reports whether a repository is one that the mirror stands for, and the rest of its path.
func (m Mirror) stands(repo name.Repository) (rest string, ok bool) {
	if repo.RegistryStr() != m.of.host {
		return "", false
	}
	path := repo.RepositoryStr()
	if m.of.path != "" {
		rest, ok := strings.CutPrefix(path, m.of.path)
		if !ok || rest != "" && rest[0] != '/' {
			return "", false
		}
		path = strings.TrimPrefix(rest, "/")
	}
	return path, true
}

// covers reports whether a repository is one that another registry has in the mirror's name, and how it is called there.
func (m Mirror) covers(repo name.Repository) (name.Repository, bool) {
	path, ok := m.stands(repo)
	if !ok || m.layout != "" {
		return name.Repository{}, false
	}
	path = strings.Trim(m.to.path+"/"+path, "/")
	if path == "" {
		return name.Repository{}, false // a whole repository mapped to a registry
	}
	there, err := name.NewRepository(m.to.host + "/" + path)
	return there, err == nil && there.Name() != repo.Name()
}

// place is where a repository's content can be had.
type place struct {
	repo   name.Repository
	mirror bool
}

// places lists where to ask for a repository's content: mirrors that have not been put aside in their order (the environment's, the
// caller's, the configuration file's; of each, those for the longest path), the registry itself last.
func (c *Client) places(repo name.Repository, byTag bool) []place {
	var list []place
	seen := map[string]bool{repo.Name(): true}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, mirrors := range c.mirrors {
		longest := -1
		for _, m := range mirrors {
			if _, ok := m.covers(repo); ok {
				longest = max(longest, len(m.of.path))
			}
		}
		for _, m := range mirrors {
			there, ok := m.covers(repo)
			if !ok || len(m.of.path) != longest || byTag && !m.Tags || seen[there.Name()] || c.aside[there.RegistryStr()] || c.aside[there.Name()] {
				continue
			}
			seen[there.Name()] = true
			list = append(list, place{repo: there, mirror: true})
		}
	}
	return append(list, place{repo: repo})
}

// putAside says why a mirror is not used, and keeps a client from asking again one that does not work. One that merely lacks
// something is asked for the next thing.
func (c *Client) putAside(there name.Repository, err error) {
	why := c.explain("", there, err)
	short := strings.TrimSpace(strings.SplitN(why.Error(), "\n", 2)[0])
	c.mu.Lock()
	subject := "mirror " + there.Name()
	switch diagnostic.KindOf(why) {
	case diagnostic.NotFound:
		subject += " lacks something"
	case diagnostic.Denied:
		c.aside[there.Name()] = true
	default:
		c.aside[there.RegistryStr()] = true
	}
	told := c.warned[subject]
	c.warned[subject] = true
	c.mu.Unlock()
	if message := fmt.Sprintf("the mirror %s is passed over: %s", repositoryName(there), short); told {
		c.trace(message)
	} else {
		c.warn(message)
	}
}

// ErrMirrorLied is in the chain of errors about a blob whose wrong bytes came from a mirror. The mirror has been put aside: whoever
// throws away what it has read and asks again gets the bytes from elsewhere.
var ErrMirrorLied = errors.New("a mirror sent wrong bytes")

// Blame finds out who is to blame for the content of a blob, a reader of Blob's, that was refused with err: bytes that were
// altered on the way seldom make an archive, and whether they were, only the last of them tells. It reads the rest, and
// returns what that ends with where the digest is wrong (kind Corrupt; with ErrMirrorLied where a mirror sent them), else err.
func (c *Client) Blame(blob io.Reader, err error) error {
	if err == nil || errors.Is(err, ErrMirrorLied) {
		return err
	}
	limit := int64(256 << 20) // what is larger than that goes unblamed rather than downloaded for nothing
	if b, ok := blob.(*blobReader); ok && len(b.mirrored) > 0 {
		limit = b.desc.Size + 1 // it is not for nothing: there may be another place that has it right
	} else if diagnostic.KindOf(err) != diagnostic.Refused {
		return err
	}
	_, readErr := io.CopyN(io.Discard, blob, limit)
	if diagnostic.KindOf(readErr) == diagnostic.Corrupt || errors.Is(readErr, ErrMirrorLied) {
		return readErr
	}
	return err
}

// mirrorPolicy is a mirror's share of patience: behind it is another place to ask.
func (p RetryPolicy) mirrorPolicy() RetryPolicy {
	p.Attempts = min(p.Attempts, 2)
	return p
}

// Document gets the manifest or index of ref, by digest if it has one, else by tag. It is an OCI image manifest or index or
// Docker's schema 2 equivalent, at most MaxDocument bytes, and never both a manifest and an index. Mirrors are asked first: with a
// digest all, without one those that decide what tags mean. Kinds of error: NotFound, Denied, Unreachable, Corrupt (wrong
// digest), Unsupported (another media type), Refused.
func (c *Client) Document(ctx context.Context, ref Reference) (Document, error) {
	for _, p := range c.places(ref.Repository, !ref.Pinned()) {
		tries := attempts{policy: c.policy}
		if p.mirror {
			tries.policy = c.policy.mirrorPolicy()
		}
		there := ref
		there.Repository = p.repo
		doc, err := c.documentAt(ctx, there, tries)
		switch {
		case err == nil:
			return doc, nil
		case !p.mirror || ctx.Err() != nil:
			return Document{}, c.explain("manifest "+ref.String(), ref.Repository, err)
		}
		c.putAside(p.repo, err)
	}
	panic("unreachable: the registry itself is the last place")
}

func (c *Client) documentAt(ctx context.Context, ref Reference, tries attempts) (Document, error) {
	for {
		doc, err := c.fetchDocument(ctx, ref)
		if err == nil {
			return doc, nil
		}
		if err := tries.again(ctx, err); err != nil {
			return Document{}, err
		}
	}
}
