package store

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

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

// Names returns the references that have a name in the store, sorted. Records that cannot be understood are left out.
func (s *Store) Names() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "names"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, readError("the names", err)
	}
	var refs []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(s.dir, "names", e.Name()))
		var rec nameRecord
		if err == nil && json.Unmarshal(data, &rec) == nil && filepath.Base(s.namePath(rec.Ref)) == e.Name() {
			refs = append(refs, rec.Ref)
		}
	}
	slices.Sort(refs)
	return refs, nil
}

// SetName lets ref point to d. A reader at the same time gets the old digest or the new one, and the last of several
// writers wins. That d is in the store is not asked: a name may outlive what it points to.
func (s *Store) SetName(ref string, d v1.Hash) error {
	if _, err := s.object("blobs", d); err != nil {
		return err
	}
	data, err := json.Marshal(nameRecord{Ref: ref, Digest: d})
	if err == nil {
		err = s.writeFile(s.namePath(ref), append(data, '\n'), 0o644)
	}
	return s.writeError("store name "+ref, err)
}

// namePath hashes ref, because references hold colons and slashes, differ by case alone, and may be longer than a
// file name.
func (s *Store) namePath(ref string) string {
	return filepath.Join(s.dir, "names", digestOf([]byte(ref)).Hex)
}
