package store

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// nameRecord is the content of a name's file. The reference is in it because the file's own name cannot be read back.
type nameRecord struct {
	Ref    string  `json:"ref"`
	Digest v1.Hash `json:"digest"`
}

// Name returns the digest that ref was set to last, or an fs.ErrNotExist. A record that cannot be understood counts
// as absent: names are memory, not truth, and the next SetName replaces it.
func (s *Store) Name(ref string) (v1.Hash, error) {
	data, err := os.ReadFile(s.namePath(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return v1.Hash{}, absent("name " + ref)
	}
	if err != nil {
		return v1.Hash{}, readError("name "+ref, err)
	}
	var rec nameRecord
	if json.Unmarshal(data, &rec) != nil || rec.Ref != ref || rec.Digest == (v1.Hash{}) {
		return v1.Hash{}, absent("a legible name " + ref)
	}
	return rec.Digest, nil
}

// SetName lets ref point to d, and notes that it was used now. A reader at the same time gets the old digest or the new
// one, and the last of several writers wins. That d is in the store is not asked: a name may outlive what it points to.
// Where it says so already, nothing is written but a time, once an hour; so a store that cannot be written is no error.
// Who wants the name and what it points to to outlive a Removal that is under way holds d (see Hold) meanwhile.
func (s *Store) SetName(ref string, d v1.Hash) error {
	if _, err := s.object("blobs", d); err != nil {
		return err
	}
	path := s.namePath(ref)
	// While the old one is leased, a Removal has either taken it or will find that it has changed.
	if l, err := lend(path); err == nil {
		defer l.release()
	}
	if fi, err := os.Lstat(path); err == nil {
		if was, err := s.Name(ref); err == nil && was == d {
			touch(path, fi)
			return nil
		}
	}
	data, err := json.Marshal(nameRecord{Ref: ref, Digest: d})
	if err == nil {
		err = s.writeFile(path, append(data, '\n'), 0o644, false)
	}
	return s.writeError("store name "+ref, err)
}

// namePath hashes ref, because references hold colons and slashes, differ by case alone, and may be longer than a
// file name.
func (s *Store) namePath(ref string) string {
	return filepath.Join(s.dir, "names", digestOf([]byte(ref)).Hex)
}
