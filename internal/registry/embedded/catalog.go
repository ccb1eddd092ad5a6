package embedded

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// catalog knows which manifests and tags there are, so that lists cost no reading of files. It follows the folder: whoever
// changes it has changed the folder before, and holds Registry.writing.
type catalog struct {
	mu           sync.RWMutex
	repositories map[string]*repository // by name
}

type repository struct {
	manifests map[string]known  // by digest
	tags      map[string]string // tag to digest
}

// known is what lists and HEAD tell of a manifest.
type known struct {
	mediaType    string
	size         int
	artifactType string
	annotations  map[string]string
	subject      string // digest, or ""
}

// find looks a tag or a digest up.
func (c *catalog) find(name, reference string) (digest string, k known, found bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r := c.repositories[name]
	if r == nil {
		return "", known{}, false
	}
	digest = reference
	if tagged, ok := r.tags[reference]; ok {
		digest = tagged
	}
	k, found = r.manifests[digest]
	return digest, k, found
}

func (c *catalog) put(name, digest, mediaType string, size int, o outline) {
	k := known{mediaType: mediaType, size: size, artifactType: o.ArtifactType, annotations: o.Annotations}
	if k.artifactType == "" && o.Config != nil {
		k.artifactType = o.Config.MediaType // distribution specification, "Listing Referrers"
	}
	if o.Subject != nil {
		k.subject = o.Subject.Digest
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.repositories[name]
	if r == nil {
		r = &repository{manifests: map[string]known{}, tags: map[string]string{}}
		c.repositories[name] = r
	}
	r.manifests[digest] = k
}

// tag, untag and remove are for repositories that find has found something in.
func (c *catalog) tag(name, tag, digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.repositories[name].tags[tag] = digest
}

func (c *catalog) untag(name, tag string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.repositories[name].tags, tag)
}

func (c *catalog) remove(name, digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.repositories[name].manifests, digest)
}

func (c *catalog) tagsOf(name, digest string) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var tags []string
	for tag, d := range c.repositories[name].tags {
		if d == digest {
			tags = append(tags, tag)
		}
	}
	return tags
}

func (s *Registry) serveTags(w http.ResponseWriter, r *http.Request, name string) {
	s.catalog.mu.RLock()
	var tags []string
	repo := s.catalog.repositories[name]
	if repo != nil {
		tags = slices.Collect(maps.Keys(repo.tags))
	}
	s.catalog.mu.RUnlock()
	if repo == nil {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "no such repository")
		return
	}
	if tags, ok := page(w, r, tags); ok {
		answer(w, "application/json", struct {
			Name string   `json:"name"`
			Tags []string `json:"tags"`
		}{name, tags})
	}
}

func (s *Registry) serveCatalog(w http.ResponseWriter, r *http.Request) {
	s.catalog.mu.RLock()
	names := slices.Collect(maps.Keys(s.catalog.repositories))
	s.catalog.mu.RUnlock()
	if names, ok := page(w, r, names); ok {
		answer(w, "application/json", struct {
			Repositories []string `json:"repositories"`
		}{names})
	}
}

// compareNames is the specification's "case-insensitive alphanumeric order", made total.
func compareNames(a, b string) int {
	if c := strings.Compare(strings.ToLower(a), strings.ToLower(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// page sorts a list and cuts the part from it that the parameters n and last ask for; a Link leads to the next part.
func page(w http.ResponseWriter, r *http.Request, list []string) ([]string, bool) {
	limit, ok := limitOf(w, r)
	if !ok {
		return nil, false
	}
	slices.SortFunc(list, compareNames)
	if last := r.URL.Query().Get("last"); last != "" {
		at, found := slices.BinarySearchFunc(list, last, compareNames)
		if found {
			at++
		}
		list = list[at:]
	}
	if limit >= 0 && limit < len(list) {
		list = list[:limit]
		if limit > 0 {
			linkNext(w, r, list[limit-1])
		}
	}
	return append([]string{}, list...), true // [] rather than null
}

// limitOf reads the parameter n; -1 is none.
func limitOf(w http.ResponseWriter, r *http.Request) (int, bool) {
	text := r.URL.Query().Get("n")
	if text == "" {
		return -1, true
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		refuse(w, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n is not a number of entries")
		return 0, false
	}
	return int(n), true
}

func linkNext(w http.ResponseWriter, r *http.Request, last string) {
	query := r.URL.Query()
	query.Set("last", last)
	next := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
	w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", next.String()))
}

// referrer is a descriptor in a list of referrers.
type referrer struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int               `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// serveReferrers lists the manifests whose subject has a digest. What nobody refers to has an empty list, known or not. A list
// is an index and so has the size of one at most; longer ones come in pages.
func (s *Registry) serveReferrers(w http.ResponseWriter, r *http.Request, name, digest string) {
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	artifactType := r.URL.Query().Get("artifactType")
	last := r.URL.Query().Get("last")
	var all []referrer
	s.catalog.mu.RLock()
	if repo := s.catalog.repositories[name]; repo != nil {
		for digestOfReferrer, k := range repo.manifests {
			if k.subject == digest && (artifactType == "" || k.artifactType == artifactType) && digestOfReferrer > last {
				all = append(all, referrer{k.mediaType, digestOfReferrer, k.size, k.artifactType, k.annotations})
			}
		}
	}
	s.catalog.mu.RUnlock()
	slices.SortFunc(all, func(a, b referrer) int { return strings.Compare(a.Digest, b.Digest) })

	index := struct {
		SchemaVersion int        `json:"schemaVersion"`
		MediaType     string     `json:"mediaType"`
		Manifests     []referrer `json:"manifests"`
	}{2, typeIndex, []referrer{}}
	size := 200 // the index around the list
	for _, one := range all {
		text, _ := json.Marshal(one) // strings and numbers always marshal
		size += len(text) + 1
		if full := size > maxManifest && len(index.Manifests) > 0; full || limit >= 0 && len(index.Manifests) >= limit {
			if n := len(index.Manifests); n > 0 {
				linkNext(w, r, index.Manifests[n-1].Digest)
			}
			break
		}
		index.Manifests = append(index.Manifests, one)
	}
	if artifactType != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	answer(w, typeIndex, index)
}

func answer(w http.ResponseWriter, mediaType string, v any) {
	body, _ := json.Marshal(v) // of strings and numbers alone
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // whoever hung up does not read it
}
