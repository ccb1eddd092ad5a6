// Package gazelletest runs the real Gazelle, with languages of one's choice, for tests.
//
// Gazelle 0.47 has no driver that can be imported: its command is a package main that lists its languages in a file of
// its own. Build compiles that package as it is, with another such file beside it. The result is what gazelle_binary
// makes, without Bazel.
package gazelletest

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Go is Gazelle's own language for Go, as an entry of Build's languages.
const Go = "github.com/bazelbuild/bazel-gazelle/language/go"

// module is what imports Gazelle's internal packages, which only a path below Gazelle's own may.
const module = "github.com/bazelbuild/bazel-gazelle/gazelletest"

// ErrNoGo is the error of Build where there is no go command to build with, as in Bazel's sandbox.
var ErrNoGo = errors.New("there is no go command with the modules of this repository")

// Build compiles Gazelle with the languages of these packages, in this order, into dir, and returns the command's path.
func Build(dir string, languages ...string) (string, error) {
	root, err := output("", "go", "env", "GOMOD")
	if err != nil || root == "" || root == os.DevNull {
		return "", errors.Join(ErrNoGo, err)
	}
	gazelle, err := output("", "go", "list", "-f", "{{.Dir}}", "github.com/bazelbuild/bazel-gazelle/cmd/gazelle")
	if err != nil {
		return "", err
	}
	source, err := os.ReadDir(gazelle)
	if err != nil {
		return "", err
	}
	for _, entry := range source {
		name := entry.Name()
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || name == "langs.go" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(gazelle, name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return "", err
		}
	}
	var langs bytes.Buffer
	fmt.Fprintf(&langs, "package main\n\nimport (\n\t\"github.com/bazelbuild/bazel-gazelle/language\"\n")
	for i, path := range languages {
		fmt.Fprintf(&langs, "\tlang%d %q\n", i, path)
	}
	fmt.Fprintf(&langs, ")\n\nvar languages = []language.Language{\n")
	for i := range languages {
		fmt.Fprintf(&langs, "\tlang%d.NewLanguage(),\n", i)
	}
	fmt.Fprintf(&langs, "}\n")
	formatted, err := format.Source(langs.Bytes())
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "langs.go"), formatted, 0o644); err != nil {
		return "", err
	}
	// The versions are those of this repository, which the module above it is replaced by.
	mod, err := os.ReadFile(root)
	if err != nil {
		return "", err
	}
	path, rest, _ := strings.Cut(strings.TrimPrefix(string(mod), "module "), "\n")
	rest, _, _ = strings.Cut(rest, "\ntool ")
	text := fmt.Sprintf("module %s\n%s\nrequire %s v0.0.0\n\nreplace %s => %s\n", module, rest, path, path, filepath.Dir(root))
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o644); err != nil {
		return "", err
	}
	sum, err := os.ReadFile(strings.TrimSuffix(root, ".mod") + ".sum")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o644); err != nil {
		return "", err
	}
	command := filepath.Join(dir, "gazelle.exe")
	if _, err := output(dir, "go", "build", "-mod=mod", "-o", command, "."); err != nil {
		return "", err
	}
	return command, nil
}

func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// Result is what a run of Gazelle left: Stderr with the workspace's path taken out, and the exit status.
type Result struct {
	Stdout, Stderr string
	ExitStatus     int
}

// Run runs a command that Build made in the workspace dir.
func Run(t testing.TB, command, dir string, args ...string) Result {
	t.Helper()
	cmd := exec.Command(command, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BUILD_WORKSPACE_DIRECTORY="+dir, "GIT_TERMINAL_PROMPT=0", "GOPROXY=off")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	clean := func(b bytes.Buffer) string {
		return strings.ReplaceAll(strings.ReplaceAll(b.String(), dir+string(filepath.Separator), ""), dir, ".")
	}
	return Result{Stdout: clean(stdout), Stderr: clean(stderr), ExitStatus: cmd.ProcessState.ExitCode()}
}
