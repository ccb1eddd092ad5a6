// Command go_deps finds what cgo packages of Go modules need of the libraries in MODULE.bazel, for modules that come
// through Gazelle's extension go_deps: it writes their BUILD files with a binary of its own, in which no other extension is.
//
//	bazel run @rules_ocipkg_gazelle_plugin//go_deps -- github.com/mattn/go-sqlite3
//
// It has the real Gazelle write the BUILD files of each module twice, with the extension ocipkg and without. What makes the
// difference goes into a Starlark file of the workspace, by import path, with a rule go_library that adds it; and
// # gazelle:map_kind, in a go_deps.gazelle_override, has Gazelle use that rule in the module's repository. The BUILD files stay
// Gazelle's, so that another version of the module, or of Gazelle, is no reason to write anything anew; another C library is.
//
// Invariant: it writes the one file, whole or not at all, and nothing else in the workspace.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bazelbuild/rules_go/go/runfiles"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// What $(rlocationpath) makes of a Gazelle with the extension, and of the go command of the SDK that the workspace has.
// Bazel's linker sets them.
var gazellePath, goPath string

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(int(diagnostic.Usage))
	default:
		fmt.Fprintf(os.Stderr, "go_deps: %s\n", err)
		os.Exit(int(diagnostic.KindOf(err)))
	}
}

const usage = `usage: bazel run @rules_ocipkg_gazelle_plugin//go_deps -- [FLAG...] MODULE[@VERSION]...

Write what the cgo packages of Go modules that come through go_deps need of the libraries in
MODULE.bazel, and print what MODULE.bazel has to say for it. Name all such modules in one call: the
file is about these alone. A module without a version has the one of go.mod.

`

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("go_deps", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	output := flags.String("output", "ocipkg_go_deps.bzl", "the file to write, in a package of the workspace")
	tags := flags.String("build_tags", "", "build tags, separated by commas, besides those of # gazelle:build_tags in the BUILD file at the root")
	check := flags.Bool("check", false, "write nothing, and exit with 1 where the file is not what would be written")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return &diagnostic.Error{Kind: diagnostic.Usage, What: "read the command line", Do: "see --help", Err: err}
	}
	root := os.Getenv("BUILD_WORKSPACE_DIRECTORY")
	if root == "" || gazellePath == "" {
		return &diagnostic.Error{Kind: diagnostic.Usage, What: "go_deps", Why: "it was not started by Bazel", Do: "use `bazel run @rules_ocipkg_gazelle_plugin//go_deps -- MODULE`"}
	}
	if flags.NArg() == 0 {
		return &diagnostic.Error{Kind: diagnostic.Usage, What: "go_deps", Why: "no module is named", Do: "name those that need C libraries, such as github.com/mattn/go-sqlite3"}
	}
	at, err := outputLabel(root, *output)
	if err != nil {
		return err
	}
	ws, err := readWorkspace(root)
	if err != nil {
		return err
	}
	for _, tag := range strings.Split(*tags, ",") {
		if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(ws.tags, tag) {
			ws.tags = append(ws.tags, tag)
		}
	}
	found, err := locate()
	if err != nil {
		return err
	}
	found.log = stderr
	var all []needs
	for _, arg := range flags.Args() {
		m, err := found.module(root, arg)
		if err != nil {
			return err
		}
		n, err := found.needs(ws, m)
		if err != nil {
			return diagnostic.Wrap(err, "%s", m)
		}
		if len(n.packages) == 0 {
			return &diagnostic.Error{Kind: diagnostic.NotFound, What: m.String(), Why: "none of its packages needs a library that MODULE.bazel declares", Do: "leave it out; or declare the library; or give the build tags by which it is used, with -build_tags"}
		}
		all = append(all, n)
	}
	var set []string
	flags.Visit(func(f *flag.Flag) {
		if f.Name != "check" {
			set = append(set, "-"+f.Name+"="+f.Value.String())
		}
	})
	text, err := render(all, set)
	if err != nil {
		return err
	}
	file := filepath.Join(root, filepath.FromSlash(*output))
	was, err := os.ReadFile(file)
	switch {
	case err == nil && string(was) == text:
		fmt.Fprintf(stderr, "%s: as it should be\n", *output)
	case *check:
		return &diagnostic.Error{Kind: diagnostic.Failure, What: "check " + *output, Why: "it is not what these modules need", Do: "run this without -check, and commit the result"}
	default:
		if err := replace(file, text); err != nil {
			return &diagnostic.Error{Kind: diagnostic.Failure, What: "write " + *output, Do: "make its folder writable", Err: err}
		}
		fmt.Fprintf(stderr, "%s: written. MODULE.bazel has to have:\n", *output)
	}
	if *check {
		return nil
	}
	for _, n := range all {
		if _, err := io.WriteString(stdout, n.override(at, ws.tags)); err != nil {
			return &diagnostic.Error{Kind: diagnostic.Failure, What: "print the result", Err: err}
		}
	}
	return nil
}

// outputLabel is the label by which the repository of a Go module loads the file.
func outputLabel(root, output string) (string, error) {
	output = filepath.ToSlash(filepath.Clean(filepath.FromSlash(output)))
	pkg, name := path.Split(output)
	pkg = strings.TrimSuffix(pkg, "/")
	wrong := &diagnostic.Error{Kind: diagnostic.Usage, What: "-output " + output, Do: "name a .bzl file beside a BUILD file, relative to the root of the repository"}
	if !filepath.IsLocal(filepath.FromSlash(output)) || path.Ext(name) != ".bzl" {
		wrong.Why = "it is not a Starlark file of the repository"
		return "", wrong
	}
	for _, build := range []string{"BUILD.bazel", "BUILD"} {
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(pkg), build)); err == nil {
			return "@@//" + pkg + ":" + name, nil
		}
	}
	wrong.Why = "there is no BUILD file in its folder"
	return "", wrong
}

// locate finds the programs among the runfiles.
func locate() (tools, error) {
	r, err := runfiles.New()
	if err != nil {
		return tools{}, err
	}
	gazelle, err := r.Rlocation(gazellePath)
	if err != nil {
		return tools{}, err
	}
	goCommand, err := r.Rlocation(goPath)
	if err != nil {
		return tools{}, err
	}
	return tools{gazelle: gazelle, goCommand: goCommand, env: append(os.Environ(), r.Env()...)}, nil
}

// replace gives a file its content at one instant.
func replace(name, text string) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone when all went well
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
