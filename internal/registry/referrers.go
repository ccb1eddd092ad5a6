package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// What bounds a list of referrers that never ends: pages, and entries, each of which is one more request to whoever reads it.
// It is far more than whoever looks for one good signature has to try: a copy has to take all of them or fail (internal/library
// bounds what it takes), since one that is left out is missed only where it is needed.
const (
	maxReferrerPages = 100
	maxReferrers     = 10_000
)

// ReferrersTag is the tag under which a registry without the referrers API lists what refers to digest (distribution
// specification, "Referrers tag schema").
func ReferrersTag(digest v1.Hash) string { return digest.Algorithm + "-" + digest.Hex }

// Referrers lists the manifests of repo that say they are about digest: what the referrers API answers, and what the
// referrers tag lists. Both are asked, since a registry that has learnt the API may still keep what clients listed
// before. The list is the registry's claim: whoever relies on it reads each manifest's subject. Nothing is an empty list.
func (c *Client) Referrers(ctx context.Context, repo name.Repository, digest v1.Hash) ([]v1.Descriptor, error) {
	what := fmt.Sprintf("referrers of %s@%s", repositoryName(repo), digest)
	var found []v1.Descriptor
	seen := map[v1.Hash]bool{}
	add := func(more []v1.Descriptor) error {
		for _, d := range more {
			if seen[d.Digest] {
				continue
			}
			if len(found) == maxReferrers {
				return &diagnostic.Error{Kind: diagnostic.Refused, What: what, Why: fmt.Sprintf("there are more than %d", maxReferrers), Do: "delete in the registry what nobody needs of them, such as old signatures"}
			}
			seen[d.Digest] = true
			found = append(found, d)
		}
		return nil
	}
	next := "/referrers/" + digest.String()
	for page := 0; next != ""; page++ {
		if page == maxReferrerPages {
			return nil, &diagnostic.Error{Kind: diagnostic.Refused, What: what, Why: fmt.Sprintf("the list has more than %d pages", maxReferrerPages), Do: "delete in the registry what nobody needs of them, or tell its owner"}
		}
		var some []v1.Descriptor
		tries := attempts{policy: c.policy}
		for {
			list, following, err := c.referrersPage(ctx, repo, next)
			if err == nil {
				some, next = list, following
				break
			}
			if err := tries.again(ctx, err); err != nil {
				return nil, c.explain(what, repo, err)
			}
		}
		if err := add(some); err != nil {
			return nil, err
		}
	}
	doc, err := c.Document(ctx, Reference{Repository: repo, Tag: ReferrersTag(digest)})
	switch {
	case err != nil && diagnostic.KindOf(err) == diagnostic.NotFound:
	case err != nil:
		return nil, err
	case types.MediaType(doc.MediaType).IsIndex():
		var index v1.IndexManifest
		if err := json.Unmarshal(doc.Bytes, &index); err != nil {
			return nil, &diagnostic.Error{Kind: diagnostic.Unsupported, What: what, Why: "the list under the tag " + ReferrersTag(digest) + " is no index: " + err.Error(), Do: "delete that tag: whoever signs the image again makes it anew", Err: err}
		}
		if err := add(index.Manifests); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// referrersPage gets one page and the path of the next, "" where there is none. A registry that does not know the API
// answers an empty page.
func (c *Client) referrersPage(ctx context.Context, repo name.Repository, path string) (list []v1.Descriptor, next string, err error) {
	resp, err := c.get(ctx, repo, path, http.Header{"Accept": {string(types.OCIImageIndex)}, "Accept-Encoding": {"identity"}})
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		// To go on without would lose signatures, and nobody would notice.
		return nil, "", newStatusError(resp)
	case resp.StatusCode != http.StatusOK:
		return nil, "", nil
	}
	// The type, not the status, says that the API is there (distribution specification, "Listing Referrers").
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType != string(types.OCIImageIndex) {
		return nil, "", nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxDocument+1))
	if err != nil {
		return nil, "", &cutError{err}
	}
	if len(body) > MaxDocument {
		return nil, "", &diagnostic.Error{Kind: diagnostic.Refused, Why: fmt.Sprintf("a page of the list is larger than %d MiB", MaxDocument>>20), Do: "tell the registry's owner: no client has to read such a page"}
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(body, &index); err != nil {
		return nil, "", &diagnostic.Error{Kind: diagnostic.Unreachable, Why: "the list is not the JSON of an index: " + err.Error(), Do: "see who answers there, a proxy or the registry, and tell them", Err: err}
	}
	next, err = nextPage(resp.Header.Get("Link"), "/v2/"+repo.RepositoryStr())
	return index.Manifests, next, err
}

// nextPage reads a Link header (RFC 8288) as registries write it, <URL>; rel="next", and returns the URL's path and
// query behind base. The host is not the registry's to choose.
func nextPage(link, base string) (string, error) {
	target, parameters, ok := strings.Cut(link, ">")
	if !ok || !strings.HasPrefix(target, "<") || !strings.Contains(parameters, "next") {
		return "", nil
	}
	u, err := url.Parse(target[1:])
	path := ""
	if err == nil {
		path = strings.TrimPrefix(u.RequestURI(), base)
	}
	if err != nil || !strings.HasPrefix(path, "/referrers/") {
		return "", &diagnostic.Error{Kind: diagnostic.Unreachable, Why: fmt.Sprintf("the next page of the list is said to be at %q", shorten(target[1:])), Do: "tell the registry's owner: the Link header of its answer leads to another list"}
	}
	return path, nil
}

// PutManifest sends a manifest whose blobs are there, even if the registry has it, and has it listed among its
// subject's referrers. Push leaves alone a manifest that is there, also one that an interrupted Push did not come to
// list.
func (c *Client) PutManifest(ctx context.Context, ref Reference, doc Document) error {
	err := c.repeat(ctx, func() error {
		s, err := c.session(ctx, ref.Repository, transport.PushScope)
		if err != nil {
			return err
		}
		pusher, err := s.pusher()
		if err != nil {
			return err
		}
		return pusher.Put(ctx, targetOf(s.repo, ref, doc), rawManifest{doc})
	})
	if err != nil {
		return c.explain("push "+ref.String(), ref.Repository, err)
	}
	return nil
}

// targetOf is what a document is put under: the tag where there is one, else its digest.
func targetOf(repo name.Repository, ref Reference, doc Document) name.Reference {
	if ref.Tag != "" {
		return repo.Tag(ref.Tag)
	}
	return repo.Digest(doc.Digest.String())
}
