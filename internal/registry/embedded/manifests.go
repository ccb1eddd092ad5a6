package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const maxManifest = 4 << 20

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

// Repository components cannot begin with '_', so these never meet a repository called a/_tags.
func (s *server) digestFile(repository, digest string) string {
	return filepath.Join(s.manifests, filepath.FromSlash(repository), "_digests", strings.TrimPrefix(digest, "sha256:")+".json")
}

// tagFile writes upper-case letters as '!' and the lower-case one, as Go's module cache does, because V1 and v1 are two tags
// and one file on macOS and Windows.
func (s *server) tagFile(repository, tag string) string {
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

func (s *server) putManifest(w http.ResponseWriter, r *http.Request, repository, reference string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "the manifest did not arrive whole")
		return
	}
	if len(body) > maxManifest {
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", "a manifest has at most 4 MiB")
		return
	}
	digest := digestOf(body)
	if strings.HasPrefix(reference, "sha256:") && reference != digest {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "the manifest has the digest "+digest)
		return
	}
	type descriptor struct {
		Digest string   `json:"digest"`
		URLs   []string `json:"urls"`
	}
	var outline struct {
		MediaType string       `json:"mediaType"`
		Config    *descriptor  `json:"config"`
		Layers    []descriptor `json:"layers"`
		Subject   *descriptor  `json:"subject"`
	}
	if err := json.Unmarshal(body, &outline); err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "the manifest is not JSON of the right shape")
		return
	}
	mediaType := r.Header.Get("Content-Type")
	if mediaType == "" {
		mediaType = outline.MediaType
	}
	blobs := outline.Layers
	if outline.Config != nil {
		blobs = append(blobs, *outline.Config)
	}
	for _, blob := range blobs {
		// A layer with URLs may live elsewhere.
		if len(blob.URLs) == 0 && (!digestPattern.MatchString(blob.Digest) || !s.blobExists(blob.Digest)) {
			refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("the blob %q is not here", blob.Digest))
			return
		}
	}

	s.writing.Lock()
	defer s.writing.Unlock()
	if status, answer := s.tell(r.Context(), http.MethodPut, repository, reference, mediaType, body); status != http.StatusCreated {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(answer)
		return
	}
	// The tag comes second: a crash between the two leaves a manifest without a tag, never a tag without its manifest.
	stored, err := json.Marshal(storedManifest{mediaType, body})
	if err == nil {
		err = s.writeFile(s.digestFile(repository, digest), stored)
	}
	if err == nil && reference != digest {
		if stored, err = json.Marshal(storedTag{reference, digest}); err == nil {
			err = s.writeFile(s.tagFile(repository, reference), stored)
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if outline.Subject != nil {
		w.Header().Set("OCI-Subject", outline.Subject.Digest)
	}
	w.Header().Set("Location", "/v2/"+repository+"/manifests/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

// deleteManifest deletes a tag, or a manifest and the tags that name it.
func (s *server) deleteManifest(w http.ResponseWriter, r *http.Request, repository, reference string) {
	s.writing.Lock()
	defer s.writing.Unlock()
	references := []string{reference}
	file := s.tagFile(repository, reference)
	if strings.HasPrefix(reference, "sha256:") {
		file = s.digestFile(repository, reference)
		for _, tag := range s.tagsOf(repository, reference) {
			if err := removeFile(s.tagFile(repository, tag)); err != nil {
				s.fail(w, r, err)
				return
			}
			references = append(references, tag)
		}
	}
	if err := removeFile(file); errors.Is(err, fs.ErrNotExist) {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest")
		return
	} else if err != nil {
		s.fail(w, r, err)
		return
	}
	for _, reference := range references {
		s.tell(r.Context(), http.MethodDelete, repository, reference, "", nil)
	}
	w.WriteHeader(http.StatusAccepted)
}

func (s *server) tagsOf(repository, digest string) []string {
	var tags []string
	files, _ := filepath.Glob(filepath.Join(s.manifests, filepath.FromSlash(repository), "_tags", "*.json")) // no bad pattern
	for _, file := range files {
		if tag, err := readTag(file); err == nil && tag.Digest == digest {
			tags = append(tags, tag.Tag)
		}
	}
	return tags
}

// tell makes a request to the registry in memory.
func (s *server) tell(ctx context.Context, method, repository, reference, mediaType string, body []byte) (status int, answer []byte) {
	req, err := http.NewRequestWithContext(ctx, method, "/v2/"+repository+"/manifests/"+reference, bytes.NewReader(body))
	if err != nil {
		return http.StatusBadRequest, nil
	}
	req.Header.Set("Content-Type", mediaType)
	recorder := &recorder{header: http.Header{}, status: http.StatusOK}
	s.inner.ServeHTTP(recorder, req)
	return recorder.status, recorder.body.Bytes()
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// replay gives the registry in memory everything the folder holds. It takes an index only after the manifests it lists, so
// whatever is refused waits for another round, until a round brings nothing new.
func (s *server) replay() error {
	type object struct{ repository, digest string }
	pending := map[object]storedManifest{}
	known := map[object]storedManifest{}
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
		case !repositoryPattern.MatchString(repository):
			s.logf("skipped %s: it does not belong to a repository", path)
		case kind == "_tags":
			tags = append(tags, tagged{repository, path})
		case kind == "_digests":
			manifest, err := readManifest(path)
			if err == nil && digestOf(manifest.Manifest) != "sha256:"+strings.TrimSuffix(file, ".json") {
				err = errors.New("its content has another digest than its name")
			}
			if err != nil {
				s.logf("skipped %s: %v", path, err)
				return nil
			}
			pending[object{repository, digestOf(manifest.Manifest)}] = manifest
		default:
			s.logf("skipped %s: it is no manifest", path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for progress := true; progress; {
		progress = false
		for key, manifest := range pending {
			if status, _ := s.tell(context.Background(), http.MethodPut, key.repository, key.digest, manifest.MediaType, manifest.Manifest); status == http.StatusCreated {
				known[key] = manifest
				delete(pending, key)
				progress = true
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(pending), func(a, b object) int {
		return strings.Compare(a.repository+a.digest, b.repository+b.digest)
	}) {
		s.logf("skipped %s@%s: manifests it lists are missing", key.repository, key.digest)
	}
	for _, t := range tags {
		tag, err := readTag(t.file)
		if err != nil {
			s.logf("skipped %s: %v", t.file, err)
			continue
		}
		manifest, ok := known[object{t.repository, tag.Digest}]
		if !ok {
			s.logf("skipped %s:%s: its manifest %s is missing", t.repository, tag.Tag, tag.Digest)
			continue
		}
		s.tell(context.Background(), http.MethodPut, t.repository, tag.Tag, manifest.MediaType, manifest.Manifest)
	}
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
	if err == nil && (!tagPattern.MatchString(t.Tag) || !digestPattern.MatchString(t.Digest)) {
		err = errors.New("it names no tag and digest")
	}
	return t, err
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
