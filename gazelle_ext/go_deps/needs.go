package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bazelbuild/buildtools/build"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// attributes are those of go_library that the extension writes or corrects.
var attributes = []string{"cdeps", "clinkopts", "copts", "cppopts", "cxxopts"}

// needs is what the extension makes other than Gazelle alone, in the rules of a module.
type needs struct {
	module   module
	rulesGo  string                           // what the workspace loads go_library from
	packages map[string]map[string]build.Expr // import path -> attribute -> value, in which labels are the workspace's
	clean    bool                             // the module has BUILD files of its own, by which go_deps would have Gazelle do nothing
}

// rules are the values of attributes that rules in BUILD files have.
type rules struct {
	loaded     string
	attributes map[string]map[string]build.Expr // import path -> attribute
	packages   map[string]string                // import path -> folder
}

// repository is where the repository of the module lies below what Bazel compiles in, as flags name it here. What it is
// called there is known when its BUILD files are loaded.
const repository = "external/OCIPKG_REPOSITORY"

func (t tools) needs(ws workspace, m module) (needs, error) {
	with, err := t.generate(ws, m, "# gazelle:ocipkg_cdeps auto")
	if err != nil {
		return needs{}, err
	}
	without, err := t.generate(ws, m, "# gazelle:ocipkg_cdeps off")
	if err != nil {
		return needs{}, err
	}
	n := needs{module: m, rulesGo: with.loaded, packages: map[string]map[string]build.Expr{}}
	for _, name := range []string{"BUILD", "BUILD.bazel"} {
		n.clean = n.clean || exists(filepath.Join(m.dir, name))
	}
	for importPath, values := range with.attributes {
		for _, attr := range attributes {
			value, plain := values[attr], without.attributes[importPath][attr]
			if text(value) == text(plain) {
				continue
			}
			if n.packages[importPath] == nil {
				n.packages[importPath] = map[string]build.Expr{}
			}
			if value == nil {
				value = &build.ListExpr{}
			}
			n.packages[importPath][attr] = qualified(value, with.packages[importPath], attr == "cdeps")
		}
	}
	return n, nil
}

func text(e build.Expr) string {
	if e == nil {
		return ""
	}
	return build.FormatString(e)
}

// generate has Gazelle write the BUILD files of a module as it does in the module's repository.
func (t tools) generate(ws workspace, m module, directive string) (rules, error) {
	parent, err := os.MkdirTemp("", "go_deps")
	if err != nil {
		return rules{}, err
	}
	defer os.RemoveAll(parent)
	// By the path of the repository Gazelle decides how flags name its folders.
	dir := filepath.Join(parent, filepath.FromSlash(repository))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return rules{}, err
	}
	if err := copyTree(m.dir, dir); err != nil {
		return rules{}, err
	}
	lines := append([]string{directive}, ws.directives...)
	if len(ws.tags) > 0 {
		lines = append(lines, "# gazelle:build_tags "+strings.Join(ws.tags, ","))
	}
	files := map[string][]byte{"BUILD.bazel": []byte(strings.Join(lines, "\n") + "\n")}
	maps.Copy(files, ws.modules)
	for name, data := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return rules{}, err
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return rules{}, err
		}
	}
	args := []string{
		"update", "-repo_root=" + dir, "-build_file_name=BUILD.bazel",
		"-go_prefix=" + m.path, "-go_repository_mode", "-go_repository_module_mode",
		"-external=static", // labels of Go packages do not matter, and nobody is asked for them
	}
	for _, index := range ws.indexes {
		args = append(args, "-ocipkg_index="+index)
	}
	_, logged, err := t.run(dir, "BUILD_WORKSPACE_DIRECTORY", t.gazelle, append(args, dir)...)
	if err != nil {
		return rules{}, err
	}
	for line := range strings.Lines(logged) {
		// What the language for Go says of this line, the extension makes good.
		if strings.Contains(line, "ocipkg") && !strings.Contains(line, "pkg-config not supported") {
			fmt.Fprint(t.log, strings.ReplaceAll(line, dir+string(filepath.Separator), ""))
		}
	}
	return readRules(dir)
}

func readRules(dir string) (rules, error) {
	found := rules{attributes: map[string]map[string]build.Expr{}, packages: map[string]string{}}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "BUILD.bazel" {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := build.ParseBuild(p, data)
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel(dir, filepath.Dir(p))
		if err != nil {
			return err
		}
		for _, stmt := range f.Stmt {
			if load, ok := stmt.(*build.LoadStmt); ok && slices.ContainsFunc(load.To, func(id *build.Ident) bool { return id.Name == "go_library" }) {
				found.loaded = load.Module.Value
			}
		}
		for _, r := range f.Rules("go_library") {
			values := map[string]build.Expr{}
			for _, attr := range attributes {
				if value := r.Attr(attr); value != nil {
					values[attr] = value
				}
			}
			found.attributes[r.AttrString("importpath")] = values
			found.packages[r.AttrString("importpath")] = strings.TrimPrefix(filepath.ToSlash(pkg), ".")
		}
		return nil
	})
	return found, err
}

// qualified makes of labels what they mean in a file of the workspace: a string would be understood in the repository of the
// module, which knows neither the workspace's libraries nor rules_go by that name. In other strings, the path of the
// repository becomes the variable root. pkg is the folder in which a relative label stands; labels says whether the strings of
// lists are labels, as the keys of select() always are.
func qualified(e build.Expr, pkg string, labels bool) build.Expr {
	label := func(e build.Expr) build.Expr {
		s, ok := e.(*build.StringExpr)
		if !ok || s.Value == "//conditions:default" {
			return e
		}
		value := s.Value
		if strings.HasPrefix(value, ":") {
			value = "//" + pkg + value
		}
		return &build.CallExpr{X: &build.Ident{Name: "Label"}, List: []build.Expr{&build.StringExpr{Value: value}}}
	}
	switch e := e.(type) {
	case *build.StringExpr:
		var sum build.Expr
		for i, part := range strings.Split(e.Value, repository) {
			if i > 0 {
				sum = plus(sum, &build.Ident{Name: "root"})
			}
			if part != "" {
				sum = plus(sum, &build.StringExpr{Value: part})
			}
		}
		if sum == nil {
			return e // it is empty
		}
		return sum
	case *build.ListExpr:
		list := &build.ListExpr{ForceMultiLine: e.ForceMultiLine}
		for _, value := range e.List {
			if labels {
				value = label(value)
			} else {
				value = qualified(value, pkg, labels)
			}
			list.List = append(list.List, value)
		}
		return list
	case *build.BinaryExpr:
		return &build.BinaryExpr{X: qualified(e.X, pkg, labels), Op: e.Op, Y: qualified(e.Y, pkg, labels)}
	case *build.CallExpr:
		call := &build.CallExpr{X: e.X}
		for _, arg := range e.List {
			call.List = append(call.List, qualified(arg, pkg, labels))
		}
		return call
	case *build.DictExpr:
		dict := &build.DictExpr{ForceMultiLine: true}
		for _, kv := range e.List {
			dict.List = append(dict.List, &build.KeyValueExpr{Key: label(kv.Key), Value: qualified(kv.Value, pkg, labels)})
		}
		return dict
	}
	return e
}

func plus(x, y build.Expr) build.Expr {
	if x == nil {
		return y
	}
	return &build.BinaryExpr{X: x, Op: "+", Y: y}
}

// ruleName is what the file calls its go_library.
const ruleName = "ocipkg_go_library"

// render writes the file: the same needs give the same bytes. flags are those of the command that writes it.
func render(all []needs, flags []string) (string, error) {
	var b strings.Builder
	names := slices.Clone(flags)
	packages := map[string]map[string]build.Expr{}
	rulesGo := ""
	for _, n := range all {
		names = append(names, n.module.asked) // without go.mod's version, which changes more often than what is needed
		maps.Copy(packages, n.packages)
		rulesGo = n.rulesGo
	}
	var table strings.Builder
	for _, importPath := range slices.Sorted(maps.Keys(packages)) {
		fmt.Fprintf(&table, "%q: {\n", importPath)
		for _, attr := range attributes {
			if value := packages[importPath][attr]; value != nil {
				fmt.Fprintf(&table, "%q: %s,\n", attr, build.FormatString(value))
			}
		}
		table.WriteString("},\n")
	}
	definition, use := "# By import path.\n_ATTRIBUTES = {\n"+table.String()+"}\n", "_ATTRIBUTES"
	if usesRoot(packages) {
		definition = "def _attributes(root):\n    # By import path; root is where the module lies when it is compiled.\n    return {\n" + table.String() + "}\n"
		use = `_attributes("external/" + native.repo_name())`
	}
	fmt.Fprintf(&b, `"""What the cgo packages of Go modules need of C libraries, for modules that come through go_deps.

Written, and not to be edited, by:

    bazel run @rules_ocipkg_gazelle_plugin//go_deps -- %s
"""

load(%q, "go_library")

%s
def %s(name, **kwargs):
    """A go_library with what its package needs.

    Args:
      name: name of the target.
      **kwargs: attributes of go_library.
    """
    kwargs.update(%s.get(kwargs.get("importpath"), {}))
    go_library(name = name, **kwargs)
`, strings.Join(names, " "), rulesGo, definition, ruleName, use)
	f, err := build.ParseBzl("ocipkg_go_deps.bzl", []byte(b.String()))
	if err != nil {
		return "", &diagnostic.Error{Kind: diagnostic.Failure, What: "write what the modules need", Do: "report it, with the command: this is a mistake of ocipkg's", Err: err}
	}
	return string(build.Format(f)), nil
}

// usesRoot reports whether a value depends on where the module lies.
func usesRoot(packages map[string]map[string]build.Expr) bool {
	used := false
	for _, values := range packages {
		for _, value := range values {
			build.Walk(value, func(e build.Expr, _ []build.Expr) {
				id, ok := e.(*build.Ident)
				used = used || ok && id.Name == "root"
			})
		}
	}
	return used
}

// override is what MODULE.bazel has to say of the module, for Gazelle to use the rule in the file with the label at.
func (n needs) override(at string, tags []string) string {
	var b strings.Builder
	b.WriteString("go_deps.gazelle_override(\n")
	if n.clean {
		b.WriteString("    build_file_generation = \"clean\",\n")
	}
	b.WriteString("    directives = [\n")
	if len(tags) > 0 {
		fmt.Fprintf(&b, "        %q,\n", "gazelle:build_tags "+strings.Join(tags, ","))
	}
	fmt.Fprintf(&b, "        %q,\n    ],\n    path = %q,\n)\n", "gazelle:map_kind go_library "+ruleName+" "+at, n.module.path)
	return b.String()
}
