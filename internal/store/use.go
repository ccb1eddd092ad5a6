package store

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// touchEvery is how exact times of last use are. An image that many builds use is not worth a write for each.
const touchEvery = time.Hour

// touch lets the file at path say that it was used just now. It is best effort: a store that cannot be written is
// still used, and nobody can take anything out of it either.
func touch(path string, fi fs.FileInfo) {
	now := time.Now()
	// A time in the future comes from a clock that was wrong. Left alone it would keep the thing for ever.
	if age := now.Sub(fi.ModTime()); age <= -touchEvery || age >= touchEvery {
		_ = os.Chtimes(path, now, now)
	}
}

// Named is a name of the store: what a reference resolved to last.
type Named struct {
	Ref    string
	Digest v1.Hash
	Used   time.Time // last use, to the hour

	written time.Time // as its file says, by which Removal.Name knows it again
}

// Names returns all names, in the order of their references. Illegible ones are left out, those that cannot be read are an
// error: a Removal asks them what is still needed.
func (s *Store) Names() ([]Named, error) {
	dir := filepath.Join(s.dir, "names")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, readError("its names", err)
	}
	var all []Named
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue // not ours
		}
		fi, err := e.Info()
		var data []byte
		if err == nil {
			data, err = os.ReadFile(filepath.Join(dir, e.Name()))
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since
		}
		if err != nil {
			return nil, readError("its names", err)
		}
		var rec nameRecord
		if json.Unmarshal(data, &rec) != nil || digestOf([]byte(rec.Ref)).Hex != e.Name() {
			continue
		}
		if _, err := s.object("blobs", rec.Digest); err != nil {
			continue
		}
		all = append(all, Named{Ref: rec.Ref, Digest: rec.Digest, Used: used(fi), written: fi.ModTime()})
	}
	slices.SortFunc(all, func(a, b Named) int { return strings.Compare(a.Ref, b.Ref) })
	return all, nil
}

// used is the time of last use that a file tells; one from the future counts as now.
func used(fi fs.FileInfo) time.Time {
	if now := time.Now(); fi.ModTime().After(now) {
		return now
	}
	return fi.ModTime()
}

// Object is a blob or a tree that is in the store.
type Object struct {
	Digest v1.Hash
	Made   time.Time // when it came into the store
	Size   int64     // of a blob, in bytes; of a tree see TreeSize
}

// Blobs returns the blobs that are there, in the order of their digests.
func (s *Store) Blobs() ([]Object, error) { return s.objects("blobs") }

// Trees returns the trees that are there, in the order of their digests.
func (s *Store) Trees() ([]Object, error) { return s.objects("trees") }

func (s *Store) objects(kind string) ([]Object, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, kind, "sha256"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, readError("its "+kind, err)
	}
	var all []Object
	for _, e := range entries {
		d := v1.Hash{Algorithm: "sha256", Hex: e.Name()}
		if _, err := s.object(kind, d); err != nil || e.IsDir() != (kind == "trees") {
			continue // not ours
		}
		if fi, err := e.Info(); err == nil {
			all = append(all, Object{Digest: d, Made: used(fi), Size: fi.Size()})
		}
	}
	return all, nil
}
