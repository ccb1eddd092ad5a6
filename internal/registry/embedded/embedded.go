// Package embedded is the registry behind `ocipkg serve`: a folder, served.
//
// Invariants. What a client was told is stored survives a restart and a crash: every blob and manifest is written to a
// temporary file, synced and renamed before the answer goes out, so the folder holds whole objects or none. A blob is stored
// only under the digest of its bytes, and a manifest only when the blobs it names are there. Nothing a client sends becomes a
// path before it matches the distribution specification's grammar of names, tags and digests.
//
// Manifests and tags are files; what lists and HEAD tell of them is also in memory, read at start. Blobs, manifests and tags are
// the specification's, with sha256 and sha512. What a careful registry may refuse is refused: a manifest that names something
// that is not here, whose Content-Type contradicts it, or that is manifest and index at once.
//
// Blobs are shared by all repositories, so whoever may read one repository may read every blob, a mount costs nothing, and a
// blob deleted in one repository is deleted in all.
//
// One registry serves a folder at a time: each takes the kernel's lock on it, which ends with its process. There is no
// authentication: bind it to this machine, where web pages are kept out (hosts.go), or put a proxy before it.
//
//	blobs/<algorithm>/<hex>
//	manifests/<repository>/_digests/<hex>.json   {"mediaType", "manifest" (base64)}
//	manifests/<repository>/_tags/<tag>.json      {"tag", "digest"}
//	uploads/                                     unfinished ones; emptied at start
//	lock                                         locked while it is served; "PID ADDRESS" of who did last
package embedded

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/ocipkg/rules_ocipkg/internal/lazyregexp"
	"github.com/ocipkg/rules_ocipkg/internal/registry/loopback"
)

// Options are what a registry is told besides its folder. All may be left out.
type Options struct {
	// Logf gets one line a request and what could not be read at start.
	Logf func(format string, args ...any)
	// Address is where the registry will be served, host:port, which is told to whoever wants the folder too. If it is a loopback
	// address, requests are served only that name a loopback host or one of Hosts.
	Address string
	// Hosts are names by which the registry is reached besides; a port does not matter.
	Hosts []string
}

// Registry is an http.Handler that serves a folder.
type Registry struct {
	logf      func(format string, args ...any)
	blobs     string
	uploads   string
	manifests string
	lock      *os.File // nil where there are no locks

	private     bool            // for this machine alone
	hosts       map[string]bool // by lower-case name
	crossOrigin http.CrossOriginProtection

	writing sync.Mutex // makes a manifest's change in memory and on disk one step
	catalog catalog

	mu       sync.Mutex
	sessions map[string]*upload // by id
}

// New returns the registry in dir, which is created if it is missing. That another registry serves it is a diagnostic that names
// it. Close gives the folder back.
func New(dir string, o Options) (*Registry, error) {
	s := &Registry{
		logf:      o.Logf,
		blobs:     filepath.Join(dir, "blobs"),
		uploads:   filepath.Join(dir, "uploads"),
		manifests: filepath.Join(dir, "manifests"),
		private:   loopback.Host(hostname(o.Address)),
		hosts:     map[string]bool{},
		catalog:   catalog{repositories: map[string]*repository{}},
		sessions:  map[string]*upload{},
	}
	if s.logf == nil {
		s.logf = func(string, ...any) {}
	}
	for _, host := range o.Hosts {
		s.hosts[strings.ToLower(hostname(host))] = true
	}
	if err := makeDirs(dir); err != nil {
		return nil, err
	}
	lock, err := s.lockFolder(dir, o.Address)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if err := s.open(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// open makes the folder's parts and reads it. Before the lock is had, it is another's.
func (s *Registry) open() error {
	// What an earlier process left there belongs to sessions that nobody can continue.
	if err := os.RemoveAll(s.uploads); err != nil {
		return err
	}
	for _, d := range []string{s.blobs, s.uploads, s.manifests} {
		if err := makeDirs(d); err != nil {
			return err
		}
	}
	return s.load()
}

// Close gives the folder back. No request may be under way, or come later.
func (s *Registry) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

var (
	repositoryPattern = lazyregexp.New(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern        = lazyregexp.New(`^[a-zA-Z0-9_][a-zA-Z0-9._-]*$`)
	digestPattern     = lazyregexp.New(`^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
)

func validTag(tag string) bool { return len(tag) <= 128 && tagPattern().MatchString(tag) }

func (s *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := &statusWriter{ResponseWriter: w}
	if s.allows(answer, r) {
		s.route(answer, r)
	}
	s.logf("%s %s %d", r.Method, r.URL.EscapedPath(), answer.status)
}

// route sorts requests by their path from the end, because repository names have slashes.
func (s *Registry) route(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok && r.URL.Path != "/v2" {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "registries answer under /v2/")
		return
	}
	if repository, id, ok := cutLast(path, "/blobs/uploads"); ok && (id == "" || id[0] == '/') {
		if checkRepository(w, repository) {
			s.serveUpload(w, r, repository, strings.TrimPrefix(id, "/"))
		}
		return
	}
	if repository, digest, ok := cutLast(path, "/blobs/"); ok {
		if checkRepository(w, repository) && checkDigest(w, digest) {
			s.serveBlob(w, r, digest)
		}
		return
	}
	if repository, reference, ok := cutLast(path, "/manifests/"); ok {
		if checkRepository(w, repository) {
			s.serveManifest(w, r, repository, reference)
		}
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this is only read")
		return
	}
	if repository, digest, ok := cutLast(path, "/referrers/"); ok {
		if checkRepository(w, repository) && checkDigest(w, digest) {
			s.serveReferrers(w, r, repository, digest)
		}
		return
	}
	if repository, ok := strings.CutSuffix(path, "/tags/list"); ok {
		if checkRepository(w, repository) {
			s.serveTags(w, r, repository)
		}
		return
	}
	switch path {
	case "", "/v2":
		answer(w, "application/json", struct{}{})
	case "_catalog":
		s.serveCatalog(w, r)
	default:
		refuse(w, http.StatusNotFound, "UNSUPPORTED", "there is nothing at this path")
	}
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

func checkRepository(w http.ResponseWriter, repository string) bool {
	if len(repository) <= 255 && repositoryPattern().MatchString(repository) {
		return true
	}
	refuse(w, http.StatusBadRequest, "NAME_INVALID", "not a repository name")
	return false
}

func checkDigest(w http.ResponseWriter, digest string) bool {
	if digestPattern().MatchString(digest) {
		return true
	}
	refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "not a sha256 or sha512 digest")
	return false
}

// refuse answers with the specification's error body.
func refuse(w http.ResponseWriter, status int, code, message string) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, _ := json.Marshal(map[string][]entry{"errors": {{code, message}}}) // strings always marshal
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever hung up does not read it
}

// fail is for what is wrong on this side: the log gets the error, the client only that there was one.
func (s *Registry) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.logf("%s %s: %v", r.Method, r.URL.Path, err)
	refuse(w, http.StatusInternalServerError, "UNKNOWN", "the registry could not store or read it; its log says why")
}

// statusWriter remembers the status for the log.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom lets a blob go from the file to the socket without passing through this process.
func (w *statusWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return io.Copy(w.ResponseWriter, r)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// publish makes a synced, closed temporary file appear under its name, durably.
func publish(temporary, path string) error {
	if err := makeDirs(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// makeDirs is os.MkdirAll for directories that must survive a crash: each is an entry of its parent, which is synced.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// writeFile writes a small file so that after a crash it is there as a whole or not at all.
func (s *Registry) writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(s.uploads, "file-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return publish(f.Name(), path)
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there; NTFS journals renames
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
