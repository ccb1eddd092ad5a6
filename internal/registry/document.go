package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Document is a manifest or an index: its exact bytes, which hash to Digest.
type Document struct {
	MediaType string
	Digest    v1.Hash
	Bytes     []byte
}

// MaxDocument is the largest manifest or index that is read, in bytes (distribution specification, "Pushing Manifests").
const MaxDocument = 4 << 20

var documentTypes = []string{
	string(types.OCIManifestSchema1),
	string(types.OCIImageIndex),
	string(types.DockerManifestSchema2),
	string(types.DockerManifestList),
}

func isDocumentType(mediaType string) bool {
	for _, t := range documentTypes {
		if t == mediaType {
			return true
		}
	}
	return false
}

// Resolve asks which digest ref stands for now. It gets the document and hashes it, because a HEAD request's digest is only a claim.
func (c *Client) Resolve(ctx context.Context, ref Reference) (v1.Descriptor, error) {
	doc, err := c.Document(ctx, ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: types.MediaType(doc.MediaType), Digest: doc.Digest, Size: int64(len(doc.Bytes))}, nil
}

// taggedTimeout is how long a push waits to hear what its tag stood for.
const taggedTimeout = 5 * time.Second

// Tagged tells which digest the registry says that the tag of ref stands for now, which is a claim. It is for one who is about
// to set the tag, and asks as that one: no mirror, once, and with the credentials for a push. Where the registry does not answer
// within some seconds of the login, which has its own limits, it is an error.
func (c *Client) Tagged(ctx context.Context, ref Reference) (v1.Hash, error) {
	s, err := c.session(ctx, ref.Repository, transport.PushScope)
	if err != nil {
		return v1.Hash{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, taggedTimeout)
	defer cancel()
	url := "https://" + ref.Repository.RegistryStr() + "/v2/" + ref.Repository.RepositoryStr() + "/manifests/" + ref.Tag // as in get
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return v1.Hash{}, err
	}
	req.Header.Set("Accept", strings.Join(documentTypes, ", "))
	resp, err := s.http.Do(req)
	if err != nil {
		return v1.Hash{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return v1.Hash{}, newStatusError(resp)
	}
	return v1.NewHash(resp.Header.Get("Docker-Content-Digest"))
}

func (c *Client) fetchDocument(ctx context.Context, ref Reference) (Document, error) {
	resp, err := c.get(ctx, ref.Repository, "/manifests/"+ref.identifier(), http.Header{
		"Accept":          {strings.Join(documentTypes, ", ")},
		"Accept-Encoding": {"identity"},
	})
	if err != nil {
		return Document{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Document{}, newStatusError(resp)
	}
	host := hostName(ref.Repository.Registry)
	tooLarge := &diagnostic.Error{
		Kind: diagnostic.Refused,
		Why:  fmt.Sprintf("it is larger than %d MiB", MaxDocument>>20),
		Do:   "no registry has to accept such a manifest; check that the reference is what you mean",
	}
	if resp.ContentLength > MaxDocument {
		return Document{}, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxDocument+1))
	if err != nil {
		return Document{}, &cutError{err}
	}
	if len(body) > MaxDocument {
		return Document{}, tooLarge
	}
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return Document{}, &diagnostic.Error{
			Kind: diagnostic.Unreachable,
			Why:  fmt.Sprintf("%s sends it encoded as %q, although only the plain bytes were asked for", host, shorten(encoding)),
			Do:   "a proxy between may be compressing what it must not touch",
		}
	}
	mediaType, err := documentType(host, resp.Header.Get("Content-Type"), body)
	if err != nil {
		return Document{}, err
	}
	sum := sha256.Sum256(body)
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	if ref.Pinned() && digest != ref.Digest {
		return Document{}, &diagnostic.Error{
			Kind: diagnostic.Corrupt,
			Why:  fmt.Sprintf("%s answered with other content, whose digest is %s", host, digest),
			Do:   "do not use it: the registry or a proxy between alters what it hands out",
		}
	}
	// sha512 and the like say nothing about our digest; a sha256 there must be it.
	claim := resp.Header.Get("Docker-Content-Digest")
	if strings.HasPrefix(claim, "sha256:") && claim != digest.String() {
		return Document{}, &diagnostic.Error{
			Kind: diagnostic.Corrupt,
			Why:  fmt.Sprintf("%s says its digest is %s, but the bytes it sends have %s", host, shorten(claim), digest),
			Do:   "do not use it: the registry or a proxy between alters what it hands out",
		}
	}
	return Document{MediaType: mediaType, Digest: digest, Bytes: body}, nil
}

// documentType decides what a document is from the header and the document's own words, which must not contradict each
// other: an attacker who can make one client read a manifest and another an index of the same digest can show them
// different content (CVE-2021-41190).
func documentType(host, contentType string, body []byte) (string, error) {
	var outline struct {
		MediaType string          `json:"mediaType"`
		Config    json.RawMessage `json:"config"`
		Layers    json.RawMessage `json:"layers"`
		Manifests json.RawMessage `json:"manifests"`
		Errors    json.RawMessage `json:"errors"`
	}
	header, _, _ := mime.ParseMediaType(contentType)
	switch {
	case len(body) == 0:
		return "", &diagnostic.Error{
			Kind: diagnostic.Unreachable,
			Why:  fmt.Sprintf("%s answered with nothing instead of a manifest", host),
			Do:   "run it again; check HTTPS_PROXY and NO_PROXY",
		}
	case header == "text/html" || !json.Valid(body):
		return "", notThis(host, contentType, "manifest")
	case json.Unmarshal(body, &outline) != nil:
		return "", &diagnostic.Error{
			Kind: diagnostic.Unsupported,
			Why:  fmt.Sprintf("what %s answered is JSON but no manifest", host),
			Do:   "check the reference; see who answers at https://" + host + "/v2/",
		}
	case outline.Errors != nil && outline.Layers == nil && outline.Manifests == nil:
		return "", &diagnostic.Error{
			Kind: diagnostic.Unreachable,
			Why:  strings.TrimSuffix(fmt.Sprintf("%s answered with an error instead of a manifest: %s", host, errorMessage(body)), ": "),
			Do:   "run it again later",
		}
	}
	mediaType := header
	switch {
	case isDocumentType(header) && outline.MediaType != "" && outline.MediaType != header:
		return "", &diagnostic.Error{
			Kind: diagnostic.Refused,
			Why:  fmt.Sprintf("%s calls it %s, but it calls itself %s", host, header, shorten(outline.MediaType)),
			Do:   "push it again with a tool that keeps media types",
		}
	case isDocumentType(header):
	case header == "", header == "application/json", header == "text/plain", header == "application/octet-stream":
		// Mirrors made of plain files cannot know the type; the document does.
		mediaType = outline.MediaType
	}
	if !isDocumentType(mediaType) {
		return "", &diagnostic.Error{
			Kind: diagnostic.Unsupported,
			Why:  fmt.Sprintf("its media type is %q, which is neither an OCI image manifest or index nor Docker's", shorten(mediaType)),
			Do:   "push it again with a current tool",
		}
	}
	index := types.MediaType(mediaType).IsIndex()
	if index && (outline.Layers != nil || outline.Config != nil) || !index && outline.Manifests != nil {
		return "", &diagnostic.Error{
			Kind: diagnostic.Refused,
			Why:  "it is a manifest and an index at once, so that two readers may see two contents",
			Do:   "do not use it",
		}
	}
	return mediaType, nil
}
