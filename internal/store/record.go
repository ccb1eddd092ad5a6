package store

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/tree"
)

// A record says what a tree was when it was made, since the compressed layer that it was made from is not kept. It is
// there before the tree gets its name, so every tree has one, and one without has been through a power cut, or worse.
//
// The file has a line for each entry of the tree, in the order of a walk, between one that sums them up and one with
// the SHA-256 of all before it: records rot as everything does. The first line names the boot in which the tree was
// written, and no more once it is known to be on the disk.
//
//	ocipkg tree 1 <files> <bytes> <nanoseconds since 1970> [<boot>]
//	f 444 <size> <CRC-32C in hex> "lib/libz.a"
//	d "lib"
//	l "lib/libz.a" "libz.a"
//	end <sha256 in hex>
type record struct {
	sealed  time.Time // no file was written later
	boot    string    // in which the tree was written, if it may not be on the disk yet
	files   int
	bytes   int64
	entries []recorded
}

// recorded is one entry of a tree.
type recorded struct {
	path   string      // slash-separated, relative to the tree
	kind   fs.FileMode // 0, fs.ModeDir or fs.ModeSymlink
	mode   fs.FileMode // of a file, 0444 or 0555
	size   int64       // of a file, in bytes
	sum    uint32      // of a file, CRC-32C: against decay, not against people, who could write another record as well
	target string      // of a symbolic link
}

const recordMagic = "ocipkg tree 1"

// Damage is one way in which a tree is not what it was made as.
type Damage struct {
	Path string `json:"path"` // slash-separated, relative to the tree; "" for the tree as a whole
	What string `json:"what"` // a phrase: "it is missing"
}

// DamagedError says that something in the store is not what it was when it was verified. SetAside takes it out of the
// way, and the next fetch makes it anew.
type DamagedError struct {
	Digest v1.Hash
	Tree   bool // else a blob
	Damage []Damage
}

func (e *DamagedError) Error() string {
	what := "blob"
	if e.Tree {
		what = "tree"
	}
	if len(e.Damage) == 0 {
		return fmt.Sprintf("%s %s in the store is damaged", what, e.Digest)
	}
	more := ""
	if len(e.Damage) > 1 {
		more = fmt.Sprintf(" (and %d more)", len(e.Damage)-1)
	}
	first := e.Damage[0]
	return fmt.Sprintf("%s %s in the store is damaged: %s", what, e.Digest, strings.TrimPrefix(first.Path+": "+first.What, ": ")) + more
}

func (e *DamagedError) diagnostic() error {
	return &diagnostic.Error{Kind: diagnostic.Corrupt, Why: e.Error(), Err: e, Do: "run `ocipkg store verify`, which fetches it again"}
}

// castagnoli is the polynomial for which processors have an instruction: SHA-256 of the same bytes takes more than ten times as long.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hashFile hashes a file that should have size bytes, through buf; a difference is an error.
func hashFile(name string, size int64, buf []byte) (sum uint32, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h := crc32.New(castagnoli)
	n, err := io.CopyBuffer(h, struct{ io.Reader }{f}, buf)
	if err == nil && n != size {
		err = fmt.Errorf("%s: %d bytes of %d: %w", name, n, size, io.ErrUnexpectedEOF)
	}
	return h.Sum32(), err
}

func (r *record) marshal() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, strings.TrimSpace(fmt.Sprintf("%s %d %d %d %s", recordMagic, r.files, r.bytes, r.sealed.UnixNano(), r.boot)))
	for _, e := range r.entries {
		switch e.kind {
		case fs.ModeDir:
			fmt.Fprintf(&b, "d %q\n", e.path)
		case fs.ModeSymlink:
			fmt.Fprintf(&b, "l %q %q\n", e.path, e.target)
		default:
			fmt.Fprintf(&b, "f %o %d %08x %q\n", e.mode, e.size, e.sum, e.path)
		}
	}
	fmt.Fprintf(&b, "end %x\n", sha256.Sum256(b.Bytes()))
	return b.Bytes()
}

var errBadRecord = errors.New("the record of the tree is illegible")

func parseRecord(data []byte) (*record, error) {
	text := string(data)
	i := strings.LastIndex(text, "end ")
	if i < 0 || text[i:] != fmt.Sprintf("end %x\n", sha256.Sum256(data[:i])) {
		return nil, errBadRecord
	}
	head, body, _ := strings.Cut(text[:i], "\n")
	r, err := parseRecordHead(head)
	if err != nil {
		return nil, err
	}
	r.entries = make([]recorded, 0, strings.Count(body, "\n"))
	for line := range strings.SplitSeq(strings.TrimSuffix(body, "\n"), "\n") {
		if line == "" {
			continue
		}
		e, ok := parseRecorded(line)
		if !ok {
			return nil, errBadRecord
		}
		r.entries = append(r.entries, e)
	}
	return r, nil
}

func parseRecordHead(line string) (*record, error) {
	rest, ok := strings.CutPrefix(line, recordMagic+" ")
	f := strings.Fields(rest)
	boot := ""
	if len(f) == 4 {
		boot = f[3]
		f = f[:3]
	}
	if !ok || len(f) != 3 {
		return nil, errBadRecord
	}
	files, err1 := strconv.Atoi(f[0])
	size, err2 := strconv.ParseInt(f[1], 10, 64)
	at, err3 := strconv.ParseInt(f[2], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return nil, errBadRecord
	}
	return &record{files: files, bytes: size, sealed: time.Unix(0, at), boot: boot}, nil
}

func parseRecorded(line string) (e recorded, ok bool) {
	kind, rest, _ := strings.Cut(line, " ")
	var err error
	switch kind {
	case "d":
		e.kind = fs.ModeDir
	case "l":
		e.kind = fs.ModeSymlink
		name, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return e, false
		}
		if e.target, err = strconv.Unquote(strings.TrimPrefix(rest[len(name):], " ")); err != nil {
			return e, false
		}
		rest = name
	case "f":
		f := strings.SplitN(rest, " ", 4)
		if len(f) != 4 || len(f[2]) != 8 {
			return e, false
		}
		mode, err1 := strconv.ParseUint(f[0], 8, 9)
		size, err2 := strconv.ParseInt(f[1], 10, 64)
		sum, err3 := strconv.ParseUint(f[2], 16, 32)
		if err1 != nil || err2 != nil || err3 != nil {
			return e, false
		}
		e.mode, e.size, e.sum, rest = fs.FileMode(mode), size, uint32(sum), f[3]
	default:
		return e, false
	}
	e.path, err = strconv.Unquote(rest)
	return e, err == nil && filepath.IsLocal(filepath.FromSlash(e.path))
}

func (s *Store) recordPath(d v1.Hash) string {
	return filepath.Join(s.dir, "records", d.Algorithm, d.Hex)
}

// record reads the record of the tree d. Any error means that there is none to rely upon.
func (s *Store) record(d v1.Hash) (*record, error) {
	data, err := os.ReadFile(s.recordPath(d))
	if err != nil {
		return nil, err
	}
	return parseRecord(data)
}

// writeRecord writes the record of the tree d. One that takes another's place is on the disk on return: the tree that
// comes next may not be met with a record that calls it safe.
func (s *Store) writeRecord(d v1.Hash, r *record) error {
	final := s.recordPath(d)
	// Who has deleted it has deleted the records as well.
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	_, err := os.Lstat(final)
	return s.writeFile(final, r.marshal(), 0o444, r.boot == "" || !errors.Is(err, fs.ErrNotExist))
}

// TreeSize returns how many bytes the files of the tree d hold.
func (s *Store) TreeSize(d v1.Hash) (int64, error) {
	dir, err := s.object("trees", d)
	if err != nil {
		return 0, err
	}
	if f, err := os.Open(s.recordPath(d)); err == nil {
		defer f.Close()
		if line, err := bufio.NewReader(f).ReadString('\n'); err == nil {
			if r, err := parseRecordHead(strings.TrimSuffix(line, "\n")); err == nil {
				return r.bytes, nil
			}
		}
	}
	return DirectorySize(dir)
}

// DirectorySize sums the sizes in bytes of the files below dir.
func DirectorySize(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		fi, err := e.Info()
		if err == nil {
			sum += fi.Size()
		}
		return err
	})
	return sum, err
}

// checking compares what is met in a tree with its record. Its zero value, for a tree without one, finds nothing.
type checking struct {
	dir      string // the tree
	thorough bool   // hash every file; else only what does not look untouched
	readOnly bool   // change neither modes nor the record
	sealed   time.Time
	left     map[string]*recorded // not met yet; nil where there is no record
	damage   []Damage
	hashed   int       // files that were hashed and are right
	latest   time.Time // when the last of those was written
	buf      []byte    // for reading
}

func newChecking(dir string, r *record, thorough bool) *checking {
	c := &checking{dir: dir, thorough: thorough}
	if r == nil {
		return c
	}
	c.sealed, c.latest = r.sealed, r.sealed
	c.left = make(map[string]*recorded, len(r.entries))
	for i := range r.entries {
		c.left[r.entries[i].path] = &r.entries[i]
	}
	return c
}

func (c *checking) note(at, what string, args ...any) {
	c.damage = append(c.damage, Damage{Path: at, What: fmt.Sprintf(what, args...)})
}

// A look is what a file's inode tells.
type look struct {
	mode    fs.FileMode // kind and permissions
	size    int64
	written time.Time
}

func lookOf(fi fs.FileInfo) look { return look{fi.Mode(), fi.Size(), fi.ModTime()} }

// treeMode returns the mode that the file has in a tree.
func (l look) treeMode() fs.FileMode { return tree.Mode(l.mode&0o111 != 0) }

// met is told of each entry of the tree once. target is wanted of symbolic links.
func (c *checking) met(at string, l look, target string) {
	if c.left == nil {
		return
	}
	want, ok := c.left[at]
	if !ok {
		c.note(at, "nobody put it there")
		return
	}
	delete(c.left, at)
	switch kind := l.mode.Type(); {
	case kind != want.kind:
		c.note(at, "it is of another kind")
	case kind == fs.ModeSymlink && target != want.target:
		c.note(at, "it links to %q, not to %q", target, want.target)
	case kind == 0:
		c.file(at, want, l)
	}
}

func (c *checking) file(at string, want *recorded, l look) {
	if l.size != want.size {
		c.note(at, "it has %d bytes, not %d", l.size, want.size)
		return
	}
	// To write a file changes its time, also through a hard link to it, and nobody can write it without changing its
	// mode before, except for root. Bits that flip by themselves change neither; those are for Verify to find.
	untouched := !l.written.After(c.sealed) && l.treeMode() == want.mode && l.mode.Perm()&0o222 == 0
	if untouched && !c.thorough {
		return
	}
	name := filepath.Join(c.dir, filepath.FromSlash(at))
	if c.buf == nil {
		c.buf = make([]byte, 256<<10)
	}
	sum, err := hashFile(name, want.size, c.buf)
	switch {
	case err != nil:
		c.note(at, "it cannot be read: %v", err)
	case sum != want.sum:
		c.note(at, "its bytes are not what they were")
	default:
		c.hashed++
		if l.written.After(c.latest) {
			c.latest = l.written
		}
		if l.mode.Perm() != want.mode && !c.readOnly {
			_ = os.Chmod(name, want.mode) // best effort: what counts is right
		}
	}
}

// finish notes what was not met, and gives all damage in the order of the paths.
func (c *checking) finish() []Damage {
	for at := range c.left {
		// A missing directory is enough to say of what was in it.
		if _, too := c.left[path.Dir(at)]; !too {
			c.note(at, "it is missing")
		}
	}
	slices.SortStableFunc(c.damage, func(a, b Damage) int { return cmp.Compare(a.Path, b.Path) })
	return c.damage
}

// freshen spares the next one the hashing of files that only look younger than their record, as after a restore from a
// backup that keeps no times; and of all of them, if the tree is known to be on the disk.
func (c *checking) freshen(s *Store, d v1.Hash, onDisk bool) {
	if s == nil || c.readOnly || len(c.damage) > 0 || !c.latest.After(c.sealed) && !onDisk {
		return
	}
	if r, err := s.record(d); err == nil {
		r.sealed = c.latest
		if onDisk {
			r.boot = ""
		}
		_ = s.writeRecord(d, r) // best effort
	}
}
