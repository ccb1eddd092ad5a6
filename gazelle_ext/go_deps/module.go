package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/modulefile"
)

// tools are the programs that do the work, with the environment to run them in.
type tools struct {
	gazelle, goCommand string
	env                []string
	log                io.Writer
}

// module is a Go module whose files lie in dir, which is not to be written into.
type module struct {
	path, version, dir string
	asked              string // the argument that names it
}

func (m module) String() string {
	if m.version == "" {
		return m.path
	}
	return m.path + "@" + m.version
}

// run runs a program in a folder, which the setting of the environment called where tells it, and returns what it prints. Its
// complaints are the error's.
func (t tools) run(dir, where, program string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(t.env), where+"="+dir, "GOWORK=off")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return out.String(), "", &diagnostic.Error{Kind: diagnostic.Failure, What: "run " + filepath.Base(program) + " " + args[0], Why: strings.TrimSpace(complaints.String()), Do: "correct what it says", Err: err}
	}
	return out.String(), complaints.String(), nil
}

// runGo runs the go command of rules_go, which goes to where it is told that the user stands. It would answer a change of
// the workspace's go.mod with a run of Bazel, and is left to see that file.
func (t tools) runGo(dir string, args ...string) (stdout string, err error) {
	stdout, _, err = t.run(dir, "BUILD_WORKING_DIRECTORY", t.goCommand, args...)
	return stdout, err
}

// listed is what `go list -m -json` and `go mod download -json` print of a module.
type listed struct {
	Path, Version, Dir, Error string
	Replace                   *struct{ Path, Version, Dir string }
}

// module finds a module by MODULE@VERSION, or by MODULE alone in the go.mod of the workspace, and downloads it.
func (t tools) module(root, name string) (module, error) {
	what := "find " + name
	m, version, _ := strings.Cut(name, "@")
	fetch := name
	if version == "" {
		out, err := t.runGo(root, "list", "-m", "-mod=readonly", "-json", m)
		if err != nil {
			e := diagnostic.Wrap(err, "%s", what).(*diagnostic.Error)
			e.Do = "name a version: " + m + "@v1.2.3"
			return module{}, e
		}
		var l listed
		if err := json.Unmarshal([]byte(out), &l); err != nil {
			return module{}, diagnostic.Wrap(err, "%s", what)
		}
		version = l.Version
		fetch = m + "@" + version
		if l.Replace != nil {
			if l.Replace.Version == "" {
				return module{path: m, version: version, dir: l.Replace.Dir, asked: name}, nil
			}
			fetch = l.Replace.Path + "@" + l.Replace.Version
		}
	}
	// In a module of its own: that of the workspace is not to be changed.
	scratch, err := os.MkdirTemp("", "go_deps")
	if err != nil {
		return module{}, err
	}
	defer os.RemoveAll(scratch)
	if err := os.WriteFile(filepath.Join(scratch, "go.mod"), []byte("module scratch\n"), 0o644); err != nil {
		return module{}, err
	}
	out, err := t.runGo(scratch, "mod", "download", "-json", fetch)
	var l listed
	if json.Unmarshal([]byte(out), &l) == nil && l.Error != "" {
		return module{}, &diagnostic.Error{Kind: diagnostic.NotFound, What: what, Why: l.Error, Do: "check the name and the version, and GOPROXY where the network is another one"}
	}
	if err == nil && l.Dir == "" {
		err = fmt.Errorf("the go command does not say where it is: %s", out)
	}
	if err != nil {
		return module{}, diagnostic.Wrap(err, "%s", what)
	}
	return module{path: m, version: version, dir: l.Dir, asked: name}, nil
}

// workspace is what decides in the user's workspace on labels.
type workspace struct {
	modules    map[string][]byte // MODULE.bazel and what it includes, by path
	directives []string          // lines of the BUILD file at the root
	tags       []string
	indexes    []string // what is known of libraries, for -ocipkg_index; none: what the extension finds by itself
}

// carried are the directives at the root that hold for modules of go_deps too.
var carried = []string{"ocipkg_unresolved", "resolve", "resolve_regexp"}

func readWorkspace(root string) (workspace, error) {
	ws := workspace{modules: map[string][]byte{}}
	files, err := modulefile.Read(filepath.Join(root, "MODULE.bazel"), "run it in a workspace that has a MODULE.bazel")
	if err != nil {
		return ws, err
	}
	for _, f := range files {
		rel, err := filepath.Rel(root, f.Path())
		if err != nil {
			return ws, err
		}
		if ws.modules[rel], err = os.ReadFile(f.Path()); err != nil {
			return ws, err
		}
	}
	if index := filepath.Join(root, "ocipkg_index.json"); exists(index) {
		ws.indexes = []string{index}
	}
	for _, name := range []string{"BUILD.bazel", "BUILD"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue
		}
		named := false
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			directive, ok := strings.CutPrefix(line, "# gazelle:")
			if !ok {
				continue
			}
			key, value, _ := strings.Cut(directive, " ")
			switch {
			case slices.Contains(carried, key):
				ws.directives = append(ws.directives, line)
			case key == "build_tags":
				for tag := range strings.SplitSeq(value, ",") {
					if tag = strings.TrimSpace(tag); tag != "" {
						ws.tags = append(ws.tags, tag)
					}
				}
			case key == "ocipkg_index":
				// As the extension reads it: at the root it takes the place of the file that is looked for.
				if !named || strings.TrimSpace(value) == "" {
					ws.indexes = nil
				}
				named = true
				for _, index := range strings.Fields(value) {
					if !strings.HasPrefix(index, "@") {
						index = filepath.Join(root, filepath.FromSlash(index))
					}
					ws.indexes = append(ws.indexes, index)
				}
			}
		}
		break
	}
	return ws, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// markers are files that mean something to Bazel. Those of a module are not Gazelle's.
var markers = []string{"BUILD", "BUILD.bazel", "MODULE.bazel", "REPO.bazel", "WORKSPACE", "WORKSPACE.bazel", "WORKSPACE.bzlmod"}

// copyTree copies the files of a module, which may not be written into, to a folder.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case !d.Type().IsRegular() || slices.Contains(markers, d.Name()):
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o644)
	})
}
