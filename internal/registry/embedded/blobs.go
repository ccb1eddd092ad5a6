package embedded

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// upload is one upload session. Its file grows with each request; the digest is taken once, when it is committed.
type upload struct {
	path       string
	repository string // it is nobody's else

	mu   sync.Mutex // one request at a time appends
	size int64
	done bool
}

func (s *Registry) blobPath(digest string) string {
	algorithm, hex, _ := strings.Cut(digest, ":")
	return filepath.Join(s.blobs, algorithm, hex)
}

func hexOf(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex
}

func newHash(algorithm string) hash.Hash {
	if algorithm == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

func digestOf(algorithm string, b []byte) string {
	h := newHash(algorithm)
	h.Write(b)
	return algorithm + ":" + hex.EncodeToString(h.Sum(nil))
}

func (s *Registry) blobExists(digest string) bool {
	_, err := os.Stat(s.blobPath(digest))
	return err == nil
}

func (s *Registry) serveBlob(w http.ResponseWriter, r *http.Request, digest string) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		f, err := os.Open(s.blobPath(digest))
		if errors.Is(err, fs.ErrNotExist) {
			refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no such blob")
			return
		} else if err != nil {
			s.fail(w, r, err)
			return
		}
		defer f.Close()
		w.Header().Set("Docker-Content-Digest", digest)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("ETag", `"`+digest+`"`)
		http.ServeContent(w, r, "", time.Time{}, f) // ranges, HEAD, If-Range
	case http.MethodDelete:
		err := removeFile(s.blobPath(digest))
		if errors.Is(err, fs.ErrNotExist) {
			refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "no such blob")
		} else if err != nil {
			s.fail(w, r, err)
		} else {
			w.WriteHeader(http.StatusAccepted)
		}
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "blobs are read, uploaded and deleted")
	}
}

func (s *Registry) serveUpload(w http.ResponseWriter, r *http.Request, repository, id string) {
	query := r.URL.Query()
	digest := query.Get("digest")
	if digest != "" && !checkDigest(w, digest) {
		return
	}
	if id == "" {
		if r.Method != http.MethodPost {
			refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "an upload begins with POST")
			return
		}
		// Blobs are shared by all repositories, so a mount is only a question.
		if mount := query.Get("mount"); digestPattern().MatchString(mount) && s.blobExists(mount) {
			s.created(w, repository, mount)
			return
		}
		u, id, err := s.newUpload(repository)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if digest != "" {
			s.append(w, r, repository, id, u, digest)
			return
		}
		s.accepted(w, repository, id, u)
		return
	}
	s.mu.Lock()
	u := s.sessions[id]
	s.mu.Unlock()
	if u == nil || u.repository != repository {
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload; a restart forgets them")
		return
	}
	switch r.Method {
	case http.MethodGet:
		u.mu.Lock()
		defer u.mu.Unlock()
		w.Header().Set("Location", uploadLocation(repository, id))
		w.Header().Set("Range", uploadRange(u.size))
		w.WriteHeader(http.StatusNoContent)
	case http.MethodDelete:
		u.mu.Lock()
		defer u.mu.Unlock()
		s.forget(id, u)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPatch:
		s.append(w, r, repository, id, u, "")
	case http.MethodPut:
		if digest == "" {
			refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "a commit names the digest")
			return
		}
		s.append(w, r, repository, id, u, digest)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "an upload is continued with PATCH and ended with PUT")
	}
}

func (s *Registry) newUpload(repository string) (*upload, string, error) {
	id := rand.Text()
	u := &upload{path: filepath.Join(s.uploads, id), repository: repository}
	f, err := os.OpenFile(u.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, "", err
	}
	if err := f.Close(); err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	s.sessions[id] = u
	s.mu.Unlock()
	return u, id, nil
}

// forget ends a session; the caller holds u.mu.
func (s *Registry) forget(id string, u *upload) {
	u.done = true
	s.mu.Lock()
	delete(s.sessions, id)
	s.mu.Unlock()
	if err := os.Remove(u.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.logf("upload %s: %v", id, err)
	}
}

// append adds a request's body to an upload and, when digest is given, commits it.
func (s *Registry) append(w http.ResponseWriter, r *http.Request, repository, id string, u *upload, digest string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done {
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "the upload has ended")
		return
	}
	if contentType := r.Header.Get("Content-Type"); contentType != "" && contentType != "application/octet-stream" && r.ContentLength != 0 {
		refuse(w, http.StatusUnsupportedMediaType, "BLOB_UPLOAD_INVALID", "a blob's content is application/octet-stream")
		return
	}
	length := r.ContentLength // -1 when the request does not say
	if span := r.Header.Get("Content-Range"); span != "" {
		first, last, ok := parseSpan(span)
		if !ok || length >= 0 && last-first+1 != length {
			refuse(w, http.StatusBadRequest, "SIZE_INVALID", "the Content-Range is not <first>-<last> of the content")
			return
		}
		if first != u.size {
			w.Header().Set("Location", uploadLocation(repository, id))
			w.Header().Set("Range", uploadRange(u.size))
			refuse(w, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "the chunk does not follow the one before it")
			return
		}
		length = last - first + 1
	}
	f, err := os.OpenFile(u.path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer f.Close()
	before := u.size
	n, err := io.Copy(f, r.Body)
	u.size += n
	if err != nil { // a client that went away, or a full disk; what came is kept, and a client that asks continues after it
		s.fail(w, r, err)
		return
	}
	if length >= 0 && n != length {
		if err := f.Truncate(before); err != nil {
			s.fail(w, r, err)
			return
		}
		u.size = before
		refuse(w, http.StatusBadRequest, "SIZE_INVALID", "the content is not as long as its Content-Range")
		return
	}
	if digest == "" {
		s.accepted(w, repository, id, u)
		return
	}
	defer s.forget(id, u)
	algorithm, _, _ := strings.Cut(digest, ":")
	hash := newHash(algorithm)
	_, err = f.Seek(0, io.SeekStart)
	if err == nil {
		_, err = io.Copy(hash, f)
	}
	if err == nil {
		if hex.EncodeToString(hash.Sum(nil)) != hexOf(digest) {
			refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "the content has another digest")
			return
		}
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = publish(u.path, s.blobPath(digest))
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.created(w, repository, digest)
}

func (s *Registry) accepted(w http.ResponseWriter, repository, id string, u *upload) {
	w.Header().Set("Location", uploadLocation(repository, id))
	w.Header().Set("Docker-Upload-UUID", id)
	w.Header().Set("Range", uploadRange(u.size))
	w.WriteHeader(http.StatusAccepted)
}

func (s *Registry) created(w http.ResponseWriter, repository, digest string) {
	w.Header().Set("Location", "/v2/"+repository+"/blobs/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

func uploadLocation(repository, id string) string {
	return "/v2/" + repository + "/blobs/uploads/" + id
}

// uploadRange is "0-<last byte>"; for an empty upload the specification's own example is 0-0.
func uploadRange(size int64) string { return fmt.Sprintf("0-%d", max(size-1, 0)) }

// parseSpan reads the Content-Range of a chunk, which has neither a unit nor a total ("Pushing a blob in chunks").
func parseSpan(s string) (first, last int64, ok bool) {
	firstText, lastText, found := strings.Cut(s, "-")
	f, err1 := strconv.ParseUint(firstText, 10, 62)
	l, err2 := strconv.ParseUint(lastText, 10, 62)
	return int64(f), int64(l), found && err1 == nil && err2 == nil && f <= l
}
