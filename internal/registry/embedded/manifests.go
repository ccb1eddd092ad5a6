package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	maxManifest = 4 << 20

	typeManifest       = "application/vnd.oci.image.manifest.v1+json"
	typeIndex          = "application/vnd.oci.image.index.v1+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// storedManifest is a file of _digests. The bytes are kept apart from their media type because the type is the request's, and
// an OCI manifest need not repeat it.
type storedManifest struct {
	MediaType string `json:"mediaType"`
	Manifest  []byte `json:"manifest"`
}

// storedTag is a file of _tags.
type storedTag struct {
	Tag    string `json:"tag"`
	Digest string `json:"digest"`
}

// outline is what the registry reads of a manifest or an index.
type outline struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *outlineLink      `json:"config"`
	Layers        []outlineLink     `json:"layers"`
	Manifests     []outlineLink     `json:"manifests"`
	Subject       *outlineLink      `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

type outlineLink struct {
	MediaType string   `json:"mediaType"`
	Digest    string   `json:"digest"`
	URLs      []string `json:"urls"`
}

// elsewhere reports whether the registry need not have what a layer's descriptor names.
func (l outlineLink) elsewhere() bool {
	return len(l.URLs) > 0 || strings.Contains(l.MediaType, ".nondistributable.") || strings.Contains(l.MediaType, ".rootfs.foreign.")
}

// digestFile tells the two algorithms apart by the length of the name.
func (s *Registry) digestFile(repository, digest string) string {
	// Repository components cannot begin with '_', so these never meet a repository called a/_digests.
	return filepath.Join(s.manifests, filepath.FromSlash(repository), "_digests", hexOf(digest)+".json")
}

// tagFile writes upper-case letters as '!' and the lower-case one, as Go's module cache does, because V1 and v1 are two tags
// and one file on macOS and Windows.
func (s *Registry) tagFile(repository, tag string) string {
	var b strings.Builder
	for _, r := range tag {
		if 'A' <= r && r <= 'Z' {
			b.WriteByte('!')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return filepath.Join(s.manifests, filepath.FromSlash(repository), "_tags", b.String()+".json")
}

func (s *Registry) serveManifest(w http.ResponseWriter, r *http.Request, repository, reference string) {
	isDigest := digestPattern().MatchString(reference)
	if !isDigest && !validTag(reference) {
		checkDigest(w, reference)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.getManifest(w, r, repository, reference)
	case http.MethodPut:
		s.putManifest(w, r, repository, reference, isDigest)
	case http.MethodDelete:
		s.deleteManifest(w, r, repository, reference, isDigest)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "manifests are read, put and deleted")
	}
}

func (s *Registry) getManifest(w http.ResponseWriter, r *http.Request, repository, reference string) {
	digest, known, found := s.catalog.find(repository, reference)
	if !found {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest")
		return
	}
	var content []byte
	if r.Method == http.MethodGet {
		stored, err := readManifest(s.digestFile(repository, digest))
		if errors.Is(err, fs.ErrNotExist) { // deleted since
			refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest")
			return
		} else if err != nil {
			s.fail(w, r, err)
			return
		}
		content = stored.Manifest
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Type", known.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(known.size))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(content) // whoever hung up does not read it
}

// checkManifest reads a manifest and judges it by itself. A problem is the code and the message of a refusal.
func checkManifest(contentType string, body []byte) (o outline, mediaType, code, message string) {
	if err := json.Unmarshal(body, &o); err != nil {
		return o, "", "MANIFEST_INVALID", "the manifest is not JSON of the right shape"
	}
	mediaType = o.MediaType
	if contentType != "" {
		parsed, _, err := mime.ParseMediaType(contentType)
		if err != nil {
			return o, "", "MANIFEST_INVALID", "the Content-Type cannot be read"
		}
		mediaType = parsed
	}
	isIndex := mediaType == typeIndex || mediaType == typeDockerList
	switch {
	case !isIndex && mediaType != typeManifest && mediaType != typeDockerManifest:
		return o, "", "MANIFEST_INVALID", fmt.Sprintf("%q is not the media type of an image manifest or index", mediaType)
	case o.MediaType != "" && o.MediaType != mediaType:
		return o, "", "MANIFEST_INVALID", fmt.Sprintf("the Content-Type is %s and the manifest's mediaType %s", mediaType, o.MediaType)
	case o.SchemaVersion != 2:
		return o, "", "MANIFEST_INVALID", "the schemaVersion is not 2"
	case isIndex && (o.Config != nil || o.Layers != nil) || !isIndex && o.Manifests != nil:
		// Two readers would see two contents (CVE-2021-41190).
		return o, "", "MANIFEST_INVALID", "it is a manifest and an index at once"
	case !isIndex && o.Config == nil:
		return o, "", "MANIFEST_INVALID", "the manifest has no config"
	case o.Subject != nil && !digestPattern().MatchString(o.Subject.Digest):
		return o, "", "MANIFEST_INVALID", "the subject has no digest"
	}
	return o, mediaType, "", ""
}

// missing finds something that a manifest needs and the registry does not have. A subject may be missing.
func (s *Registry) missing(repository string, o outline) (digest string, found bool) {
	blobs := o.Layers
	if o.Config != nil {
		blobs = append(blobs, *o.Config)
	}
	for _, blob := range blobs {
		if !blob.elsewhere() && (!digestPattern().MatchString(blob.Digest) || !s.blobExists(blob.Digest)) {
			return blob.Digest, true
		}
	}
	for _, manifest := range o.Manifests {
		if !digestPattern().MatchString(manifest.Digest) {
			return manifest.Digest, true
		}
		if _, _, known := s.catalog.find(repository, manifest.Digest); !known && !s.blobExists(manifest.Digest) {
			return manifest.Digest, true
		}
	}
	return "", false
}

func (s *Registry) putManifest(w http.ResponseWriter, r *http.Request, repository, reference string, isDigest bool) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "the manifest did not arrive whole")
		return
	}
	if len(body) > maxManifest {
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", "a manifest has at most 4 MiB")
		return
	}
	algorithm := "sha256"
	tags := r.URL.Query()["tag"]
	if isDigest {
		algorithm, _, _ = strings.Cut(reference, ":")
	} else if len(tags) > 0 {
		refuse(w, http.StatusBadRequest, "TAG_INVALID", "tags as parameters go with a manifest put by digest")
		return
	} else {
		tags = []string{reference}
	}
	digest := digestOf(algorithm, body)
	if isDigest && reference != digest {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "the manifest has the digest "+digest)
		return
	}
	for _, tag := range tags {
		if !validTag(tag) {
			refuse(w, http.StatusBadRequest, "TAG_INVALID", fmt.Sprintf("%.140q is not a tag", tag))
			return
		}
	}
	o, mediaType, code, message := checkManifest(r.Header.Get("Content-Type"), body)
	if code != "" {
		refuse(w, http.StatusBadRequest, code, message)
		return
	}

	s.writing.Lock()
	defer s.writing.Unlock()
	if absent, found := s.missing(repository, o); found {
		refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("%.200q, which it names, is not here", absent))
		return
	}
	// Tags come second: a crash between the two leaves a manifest without a tag, never a tag without its manifest.
	if err := s.writeJSON(s.digestFile(repository, digest), storedManifest{mediaType, body}); err != nil {
		s.fail(w, r, err)
		return
	}
	s.catalog.put(repository, digest, mediaType, len(body), o)
	for _, tag := range tags {
		if err := s.writeJSON(s.tagFile(repository, tag), storedTag{tag, digest}); err != nil {
			s.fail(w, r, err)
			return
		}
		s.catalog.tag(repository, tag, digest)
		if isDigest {
			w.Header().Add("OCI-Tag", tag)
		}
	}
	if o.Subject != nil {
		w.Header().Set("OCI-Subject", o.Subject.Digest)
	}
	w.Header().Set("Location", "/v2/"+repository+"/manifests/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

// deleteManifest deletes a tag, or a manifest and the tags that name it.
func (s *Registry) deleteManifest(w http.ResponseWriter, r *http.Request, repository, reference string, isDigest bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, _, found := s.catalog.find(repository, reference); !found {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest")
		return
	}
	tags := []string{reference}
	if isDigest {
		tags = s.catalog.tagsOf(repository, reference)
	}
	for _, tag := range tags {
		if err := removeFile(s.tagFile(repository, tag)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.fail(w, r, err)
			return
		}
		s.catalog.untag(repository, tag)
	}
	if isDigest {
		if err := removeFile(s.digestFile(repository, reference)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.fail(w, r, err)
			return
		}
		s.catalog.remove(repository, reference)
	}
	w.WriteHeader(http.StatusAccepted)
}

func (s *Registry) writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.writeFile(path, data)
}

// load reads what the folder holds into the catalog. What cannot be read is told and left out.
func (s *Registry) load() error {
	type tagged struct{ repository, file string }
	var tags []tagged
	err := filepath.WalkDir(s.manifests, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			s.logf("skipped %s: %v", path, err)
			return nil
		}
		relative, err := filepath.Rel(s.manifests, path)
		if err != nil || entry.IsDir() {
			return err
		}
		dir, file := filepath.Split(filepath.ToSlash(relative))
		repository, kind, _ := cutLast(strings.TrimSuffix(dir, "/"), "/")
		switch {
		case !repositoryPattern().MatchString(repository):
			s.logf("skipped %s: it does not belong to a repository", path)
		case kind == "_tags":
			tags = append(tags, tagged{repository, path})
		case kind == "_digests":
			if err := s.loadManifest(repository, path, strings.TrimSuffix(file, ".json")); err != nil {
				s.logf("skipped %s: %v", path, err)
			}
		default:
			s.logf("skipped %s: it is no manifest", path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range tags {
		tag, err := readTag(t.file)
		if err != nil {
			s.logf("skipped %s: %v", t.file, err)
		} else if _, _, found := s.catalog.find(t.repository, tag.Digest); !found {
			s.logf("skipped %s:%s: its manifest %s is missing", t.repository, tag.Tag, tag.Digest)
		} else {
			s.catalog.tag(t.repository, tag.Tag, tag.Digest)
		}
	}
	return nil
}

func (s *Registry) loadManifest(repository, path, hex string) error {
	stored, err := readManifest(path)
	if err != nil {
		return err
	}
	digest := "sha256:" + hex
	if !digestPattern().MatchString(digest) {
		digest = "sha512:" + hex
	}
	algorithm, _, _ := strings.Cut(digest, ":")
	if digestOf(algorithm, stored.Manifest) != digest {
		return errors.New("its content has another digest than its name")
	}
	var o outline
	if err := json.Unmarshal(stored.Manifest, &o); err != nil {
		return err
	}
	s.catalog.put(repository, digest, stored.MediaType, len(stored.Manifest), o)
	return nil
}

func readManifest(path string) (storedManifest, error) {
	var m storedManifest
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	return m, err
}

func readTag(path string) (storedTag, error) {
	var t storedTag
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &t)
	}
	if err == nil && (!validTag(t.Tag) || !digestPattern().MatchString(t.Digest)) {
		err = errors.New("it names no tag and digest")
	}
	return t, err
}
