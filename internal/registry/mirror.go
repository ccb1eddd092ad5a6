package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Mirror is a second place for the repositories of a registry, or of a path in it. What has a digest is looked for there first,
// and verified like everything else. A tag is not, because nothing would tell that the mirror's is an old one, unless Tags says
// that the mirror decides what they mean.
type Mirror struct {
	of, to prefix
	Tags   bool
}

func (m Mirror) String() string {
	text := m.of.String() + "=" + m.to.String()
	if m.Tags {
		text += tagsSuffix
	}
	return text
}

const tagsSuffix = "+tags"

// ParseMirrors reads mirrors separated by commas or white space, in the order in which they are asked:
// REGISTRY[/PATH]=MIRROR[/PATH], with "+tags" at the end for one that decides what tags mean.
func ParseMirrors(s string) ([]Mirror, error) {
	var list []Mirror
	for _, text := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		bad := func(format string, args ...any) ([]Mirror, error) {
			return nil, &diagnostic.Error{
				Kind: diagnostic.Usage,
				What: fmt.Sprintf("mirror %q", text),
				Why:  fmt.Sprintf(format, args...),
				Do:   "write REGISTRY=MIRROR or REGISTRY/PATH=MIRROR/PATH, for example ghcr.io=mirror.example.com/ghcr",
			}
		}
		of, to, ok := strings.Cut(text, "=")
		if !ok {
			return bad("it has no =")
		}
		var m Mirror
		var err error
		to, m.Tags = strings.CutSuffix(to, tagsSuffix)
		if m.of, err = parsePrefix(of); err != nil {
			return bad("before the =, %v", err)
		}
		if m.to, err = parsePrefix(to); err != nil {
			return bad("after the =, %v", err)
		}
		list = append(list, m)
	}
	return list, nil
}

// covers reports whether a repository is one that the mirror stands for, and how it is called there.
func (m Mirror) covers(repo name.Repository) (name.Repository, bool) {
	if repo.RegistryStr() != m.of.host {
		return name.Repository{}, false
	}
	path := repo.RepositoryStr()
	if m.of.path != "" {
		rest, ok := strings.CutPrefix(path, m.of.path)
		if !ok || rest != "" && rest[0] != '/' {
			return name.Repository{}, false
		}
		path = strings.TrimPrefix(rest, "/")
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
