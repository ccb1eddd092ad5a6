package ocipkg

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/rules_go/go/runfiles"

	"github.com/ocipkg/rules_ocipkg/internal/headerindex"
)

// library is a label that an index gives, with what a warning about it has to say.
type library struct {
	label   label.Label
	written string // as in the index: how Gazelle prints a label depends on its version
	file    *indexFile
	hidden  bool // its repository is not declared, so Bazel would not know the label
}

// indexFile is a header index that a directive names.
type indexFile struct {
	name string // slash-separated, relative to the repository root and cleaned; a label; or absolute, from a flag
	// content reads the file when it is first called, or waits for ahead. A file that cannot be used is reported then, once,
	// and is empty.
	content func() content
	// ahead begins to read what content will need, and says nothing of what it finds.
	ahead func()
}

// cited is how a message about the file begins: with the directive in a BUILD file that names it, or with the flag. The
// default ones are named by nobody.
func (file *indexFile) cited(buildFile string) string {
	switch {
	case file.name == defaultIndex && buildFile == "", file.name == moduleIndex:
		return file.name
	case buildFile == "":
		return fmt.Sprintf("-%s=%s", indexDirective, file.name)
	}
	return fmt.Sprintf("%s: # gazelle:%s %s", buildFile, indexDirective, file.name)
}

// content is what a file holds: claims in the order of their headers, those to one header in that of the file, and the
// libraries that they are about.
type content struct {
	claims    []headerindex.Claim
	libraries map[string]*library // by the label, as the index has it
}

// answer is what became of the claims to one header.
type answer struct {
	winner *library
	rival  *library // the next one with another label; nil where there is none
}

// claim takes the claim of a library for one that is made after those before.
func (a *answer) claim(lib *library) {
	switch {
	case lib.hidden:
	case a.winner == nil:
		a.winner = lib
	case a.rival == nil && a.winner.label != lib.label:
		a.rival = lib
	}
}

// indexList is the indexes in force in some directories, in the order in which they were named.
type indexList struct {
	files []*indexFile
	// settled gives for each key its library where there are many files. It reads them when it is first called.
	settled func() map[string]answer
	// owned are the labels among the answers: those that this language may have written.
	owned func() map[label.Label]bool
}

// few is how many files are searched one after the other. To make a map of all headers takes longer than to read them,
// and most runs ask for a few only.
const few = 4

// find gives who claims a header, or another key of an index, first. It reads the files when it is first called.
func (l *indexList) find(key string) (answer, bool) {
	if len(l.files) > few {
		a, ok := l.settled()[key]
		return a, ok
	}
	var a answer
	for _, file := range l.files {
		c := file.content()
		at, _ := slices.BinarySearchFunc(c.claims, key, func(claim headerindex.Claim, key string) int { return strings.Compare(claim.Header, key) })
		for ; at < len(c.claims) && c.claims[at].Header == key; at++ {
			a.claim(c.libraries[c.claims[at].Label])
		}
	}
	return a, a.winner != nil
}

// indexes holds each file and each list of files once, however many directories use it. Safe for concurrent use: which
// of Gazelle's phases run in parallel is a matter of its version.
type indexes struct {
	mu    sync.Mutex
	files map[string]*indexFile // by name
	lists map[string]*indexList // by the names, joined with newlines, which no name contains
	// module guards repos: the repositories of each workspace, by its folder. A MODULE.bazel is read once.
	module sync.Mutex
	repos  map[string]*repositories
}

// declared are the repositories that a label in the workspace at the root can name. There is one repository root in a run.
func (x *indexes) declared(repoRoot string) *repositories { return x.declaredIn(repoRoot, "") }

// declaredIn are those that a label in the workspace of a folder can name; see workspaceOf.
func (x *indexes) declaredIn(repoRoot, workspace string) *repositories {
	x.module.Lock()
	defer x.module.Unlock()
	if x.repos == nil {
		x.repos = map[string]*repositories{}
	}
	if x.repos[workspace] == nil {
		x.repos[workspace] = readRepositories(repoRoot, workspace)
	}
	return x.repos[workspace]
}

// list returns the list of these files, nil for none. buildFile is where the directive stands that brought the last of
// them, for errors; "" where none did.
func (x *indexes) list(names []string, repoRoot, buildFile string) *indexList {
	if len(names) == 0 {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	key := strings.Join(names, "\n")
	if list := x.lists[key]; list != nil {
		return list
	}
	if x.files == nil {
		x.files, x.lists = map[string]*indexFile{}, map[string]*indexList{}
	}
	list := &indexList{}
	for _, name := range names {
		file := x.files[name]
		if file == nil {
			file = x.newIndexFile(name, repoRoot, buildFile)
			x.files[name] = file
		}
		list.files = append(list.files, file)
	}
	list.settled = sync.OnceValue(func() map[string]answer { return settle(list.files) })
	list.owned = sync.OnceValue(func() map[label.Label]bool {
		owned := map[label.Label]bool{}
		for _, file := range list.files {
			for _, lib := range file.content().libraries {
				if !lib.hidden {
					owned[lib.label] = true
				}
			}
		}
		return owned
	})
	x.lists[key] = list
	return list
}

func (x *indexes) newIndexFile(name, repoRoot, buildFile string) *indexFile {
	file := &indexFile{name: name}
	linked := headerIndexPath // read here: what reads ahead is another goroutine
	read := sync.OnceValues(func() (content, error) {
		at, err := filepath.Join(repoRoot, filepath.FromSlash(name)), error(nil)
		switch {
		case name == moduleIndex:
			at, err = locate(linked)
		case strings.HasPrefix(name, "@"):
			at, err = locate(name)
		case filepath.IsAbs(name):
			at = name
		}
		if err != nil {
			return content{}, err
		}
		return file.read(at)
	})
	file.ahead = func() {
		go x.declared(repoRoot) // which takes as long, and is asked for by content
		go read()
	}
	file.content = sync.OnceValue(func() content {
		file.ahead()
		c, err := read()
		if err != nil {
			log.Printf("%s: the index cannot be used: %v. No header is looked up in it until that is mended; `ocipkg index` writes one anew.", file.cited(buildFile), err)
			return content{}
		}
		adopt(c.libraries, name, x.declared(repoRoot))
		return c
	})
	return file
}

// locate finds a file that the gazelle target has in its data: by a label, which the main repository would understand,
// or by what $(rlocationpath) makes of one. What is absolute is where it is.
func locate(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	r, err := runfiles.New(runfiles.SourceRepo(""))
	if err != nil {
		return "", fmt.Errorf("gazelle was not started by Bazel, so it has no data (%w); write the path of a file in the repository", err)
	}
	where := name
	if strings.HasPrefix(name, "@") {
		l, err := label.Parse(name)
		if err != nil {
			return "", err
		}
		where = path.Join(l.Repo, l.Pkg, l.Name)
	}
	at, err := r.Rlocation(where)
	if err == nil {
		_, err = os.Stat(at)
	}
	if err != nil {
		return "", fmt.Errorf("it is not in the data of the gazelle target (%w); add it there", err)
	}
	return at, nil
}

func (file *indexFile) read(path string) (content, error) {
	text, err := readText(path)
	if errors.Is(err, fs.ErrNotExist) {
		return content{}, errors.New("there is no such file; the path is relative to the repository root")
	} else if err != nil {
		return content{}, err
	}
	parsed, err := headerindex.Parse(text)
	if err != nil {
		return content{}, err
	}
	// There are few labels and many headers, and reading a label takes longer than all the rest.
	inOrder := func(a, b headerindex.Claim) int { return strings.Compare(a.Header, b.Header) }
	if !slices.IsSortedFunc(parsed, inOrder) { // as those are not that people write
		slices.SortStableFunc(parsed, inOrder)
	}
	c := content{claims: parsed, libraries: map[string]*library{}}
	last := ""
	for _, p := range parsed {
		if p.Label == last || c.libraries[p.Label] != nil {
			last = p.Label
			continue
		}
		l, err := label.Parse(p.Label)
		if err != nil {
			return content{}, fmt.Errorf("header %s: %w; write @repository//package:name", p.Header, err)
		}
		if l.Relative {
			return content{}, fmt.Errorf("header %s: label %s is relative, and an index is in no package; write @repository//package:name", p.Header, p.Label)
		}
		c.libraries[p.Label] = &library{label: l, written: p.Label, file: file}
		last = p.Label
	}
	return c, nil
}

// readText reads a file, whose bytes os.ReadFile would leave to be copied once more.
func readText(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b strings.Builder
	if info, err := f.Stat(); err == nil {
		b.Grow(int(info.Size()))
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := f.Read(buffer)
		b.Write(buffer[:n])
		if err == io.EOF {
			return b.String(), nil
		} else if err != nil {
			return "", err
		}
	}
}

// adopt gives libraries the labels by which MODULE.bazel knows them, hides those of repositories that it does not
// declare, and says so of each repository.
func adopt(libraries map[string]*library, file string, declared *repositories) {
	told := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(libraries)) {
		lib := libraries[key]
		if at := declared.apparent(lib.label); at != lib.label {
			lib.label, lib.written = at, written(at, "")
		}
		repo := lib.label.Repo
		if lib.hidden = !declared.visible(lib.label); lib.hidden && !told[repo] {
			told[repo] = true
			log.Printf("%s: MODULE.bazel declares no repository %s, and what is said of it is not used. If the library is gone, run `gazelle fix`, and `ocipkg index` where ocipkg_index.json is checked in; if it is new, add it to use_repo.", file, repo)
		}
	}
}

// settle gives each header to who claims it first.
func settle(files []*indexFile) map[string]answer {
	n := 0
	for _, file := range files {
		n += len(file.content().claims)
	}
	answers := make(map[string]answer, n)
	for _, file := range files {
		c := file.content()
		for _, claim := range c.claims {
			a := answers[claim.Header]
			if a.claim(c.libraries[claim.Label]); a.winner != nil {
				answers[claim.Header] = a
			}
		}
	}
	return answers
}
