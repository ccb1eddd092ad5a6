// Package store keeps verified artifacts on this machine for every project and process of one user.
//
// The invariant: whatever can be seen under a final name is whole and verified. A blob, a tree or a name comes into
// being by one rename(2) of something complete; until then it exists only below tmp/, where no reader looks. So a process
// may be killed at any instruction, and the store holds either the whole object or nothing of it. Blobs and trees never
// change once they are there; names change by being replaced.
//
// A machine that loses power may lose what was not on the disk yet, and nobody waits for that (boot.go). So nothing is handed
// out that might have lost something: blobs are hashed and names checked at each read, and trees are read through at their
// first use in another boot.
//
// This needs no locks. Two processes that make the same object make the same bytes, and the second rename loses
// harmlessly. Locks save work only: of many processes that want one object, one makes it and the others wait. Where a
// file system has no locks, work may be done twice and nothing else happens.
//
// The root is shared with the ocipkg crate, whose own image directories ({host}/{name}/__{tag}) lie directly in it.
// Everything of ours is below one directory that it never enters by name, but for the views that PutView makes for it:
//
//	.store/format                   the format's version; any other than ours is refused
//	.store/v1/blobs/sha256/<hex>    small documents (manifests, configs), 0444, their mtime when they were last put
//	.store/v1/trees/sha256/<hex>/   unpacked trees: files 0444 or 0555, directories 0755
//	.store/v1/records/sha256/<hex>  what is in the tree of that name: paths, sizes, sums (record.go)
//	.store/v1/names/<hex>           what a reference resolved to last; <hex> is the SHA-256 of the reference, its mtime
//	                                the time of last use, to the hour
//	.store/v1/locks/<hex>           locks: files of no content worth keeping, deleted when free
//	.store/v1/tmp/<id>-<n>          what is being made
//	.store/v1/tmp/<id>.lock         the lock that says its maker lives
//	.store/v1/tmp/<id>.trash        what is being deleted
//	.store/v1/corrupt/              what was not what it should be, kept for whoever wants to know why
//	.store/v1/swept                 its mtime: when tmp and locks were last swept
//	{host}[__{port}]/{name}/__{tag}/  a view of ours, if it holds .ocipkg-view.json; else the crate's, and left alone
//
// Readers ignore names they do not know, so that a directory can be added without a new format.
//
// Removing goes the same way backwards: rename to tmp/<id>.trash, sync the directory, then delete; so a reader sees a
// whole tree or none, and what is interrupted is swept. What remains is the reader between finding a tree and having
// linked the last file of it. He holds a lease, a shared lock on the tree's directory, and a Removal takes a tree only
// under the same lock for itself alone, by a try: it never waits for users, users wait for it no longer than a look at
// the names and a rename take, and there is no lock that all share. A tree is leased before it gets its name, so nobody
// can remove it from under its maker. Who finds, once he has the lock, another directory under the name, or none, was too
// late and looks again. Blobs are read whole through one handle, and need a lease for another reason: who has read a
// manifest is about to set a name for it. So manifest and config are held (Hold) until the name is set. A Removal that
// spares what names need reads the names when it has an object's lock: each is either there already, or its maker does
// not have the object yet, will not find it, and fetches it again. A name goes only while nobody holds the blob it
// points to, and only if nobody has used it since it was found to be due. Where there are no locks, only what has been
// there for a day is removed.
//
// What was hard-linked or copied out of a tree keeps its bytes in any case. LinkedOutside tells which trees an external
// repository is linked to.
//
// Every tree has a record, which is there before the tree has its name. Materialise compares the two at no cost but that of
// reading the record: names, sizes, and times and modes, by which it knows files that were written to. VerifyTree reads
// every byte. Neither repairs: SetAside makes what is damaged be as if it were not there.
//
// internal/artifact fills the trees, internal/registry brings the bytes, internal/library knows which names need what,
// and removes by that. The package itself knows no network, no Bazel and nothing of what is in a blob.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// format is the version of the layout in the package comment, and markerPrefix what stands before it in the marker.
const (
	format       = 1
	markerPrefix = "ocipkg store "
)

// A Store is one store. Its methods may be called from any number of goroutines and processes at once.
type Store struct {
	root string // absolute
	dir  string // root/.store/v1

	stagings stagings
	read     sync.Map // v1.Hash of trees that outlasted has read
	look     sync.Once
	remote   bool // after look: see elsewhere
}

// Open opens the store at root and makes what is missing of it. A store that cannot be written opens as well: what is
// in it can be used, and writing fails with a diagnostic. A store of another format version is refused.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, &diagnostic.Error{Kind: diagnostic.Failure, What: fmt.Sprintf("open the store %s", root), Err: err}
	}
	s := &Store{root: root, dir: filepath.Join(root, ".store", "v"+strconv.Itoa(format))}

	// The marker is read before anything is made, so that a store of a newer format stays as it is.
	marked, err := s.checkFormat()
	if err != nil {
		return nil, err
	}
	err = s.create(marked)
	if err != nil && !readOnly(err) {
		return nil, s.writeError("open the store", err)
	}
	if err != nil {
		// Only a directory that is there can be worth reading.
		if fi, statErr := os.Stat(root); statErr != nil || !fi.IsDir() {
			return nil, s.writeError("open the store", err)
		}
		return s, nil
	}
	s.sweepSometimes()
	return s, nil
}

// Root returns the absolute path of the directory that was opened.
func (s *Store) Root() string { return s.root }

// checkFormat reports whether the store has a marker, and fails if it is not of this format. The marker lies outside
// the version's own directory: otherwise a program would look into its own v1, find it well, and never learn that
// the store has moved on.
func (s *Store) checkFormat() (marked bool, err error) {
	path := s.markerPath()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	what := fmt.Sprintf("open the store %s", s.root)
	if err != nil {
		return false, &diagnostic.Error{Kind: diagnostic.Failure, What: what, Err: err,
			Do: "make it readable, or set OCIPKG_STORE to another directory"}
	}
	line := strings.TrimSuffix(string(data), "\n")
	version, ok := strings.CutPrefix(line, markerPrefix)
	n, convErr := strconv.Atoi(version)
	switch {
	case !ok || convErr != nil || n < 1:
		return false, &diagnostic.Error{Kind: diagnostic.Unsupported, What: what,
			Why: fmt.Sprintf("%s does not say which format the store has", path),
			Do:  "set OCIPKG_STORE to another directory"}
	case n != format:
		return false, &diagnostic.Error{Kind: diagnostic.Unsupported, What: what,
			Why: fmt.Sprintf("it has format %d, and this ocipkg knows format %d only", n, format),
			Do:  "use the newer ocipkg that wrote it, or set OCIPKG_STORE to another directory"}
	}
	return true, nil
}

// create makes the directories that are missing, then the marker. Several processes may do it at once: each step is
// idempotent, and the marker appears whole. Directories get their mode through the umask, which is how a user who
// wants a private store has one; below them modes are fixed.
func (s *Store) create(marked bool) error {
	for _, dir := range []string{"tmp", "locks", "names", "blobs/sha256", "trees/sha256", "records/sha256"} {
		if err := os.MkdirAll(filepath.Join(s.dir, filepath.FromSlash(dir)), 0o755); err != nil {
			return err
		}
	}
	if marked {
		return nil
	}
	return s.writeFile(s.markerPath(), []byte(markerPrefix+strconv.Itoa(format)+"\n"), 0o644, true)
}

func (s *Store) markerPath() string { return filepath.Join(filepath.Dir(s.dir), "format") }

// object returns the final path of the blob or tree d; kind is "blobs" or "trees". A hash can be built by hand, and
// its text becomes a file name here: anything but a SHA-256 in lower-case hex is refused.
func (s *Store) object(kind string, d v1.Hash) (string, error) {
	valid := d.Algorithm == "sha256" && len(d.Hex) == 64 && strings.Trim(d.Hex, "0123456789abcdef") == ""
	if !valid {
		return "", &diagnostic.Error{Kind: diagnostic.Unsupported, What: fmt.Sprintf("look up %q in the store", d.String()),
			Why: "it is not a SHA-256 digest", Do: "have its author pack it again with `ocipkg pack`"}
	}
	return filepath.Join(s.dir, kind, d.Algorithm, d.Hex), nil
}

// absent is what every lookup says of a thing that is not there.
func absent(what string) error { return fmt.Errorf("%s is not in the store: %w", what, fs.ErrNotExist) }
