// Package buildfile renders a plan as the text of a BUILD.bazel file.
//
// Invariant: the text is stable to the byte, formatted as buildifier would, lists files instead of globbing, and
// loads every symbol by a label that does not depend on whose repository mapping reads it.
//
// It takes a plan from internal/ccplan and does not know where that came from.
package buildfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/bazelbuild/buildtools/build"
	"github.com/bazelbuild/buildtools/tables"

	"github.com/ocipkg/rules_ocipkg/internal/ccplan"
)

// Repositories gives, by the name a plan or a load statement uses ("rules_cc", "platforms", "rules_ocipkg"), what to
// write before "//" in a label: "@rules_cc" or a canonical "@@rules_cc~". A name that is not in it is written as "@name".
type Repositories map[string]string

// attributes of kind label or list of labels; others hold text that is nobody's to change.
var labels = map[string]bool{
	"srcs": true, "hdrs": true, "deps": true, "static_library": true, "shared_library": true,
	"additional_linker_inputs": true, "target_compatible_with": true, "dep": true, "declared": true, "actual": true, "circle": true, "inspected": true,
}

// label writes a label of a plan, which is ":target", "@repository//package:target" or the path of a file. A path that
// begins like a label is marked as none.
func (r Repositories) label(l string) string {
	if !strings.HasPrefix(l, "@") {
		return l
	}
	repo, rest, ok := strings.Cut(strings.TrimPrefix(l, "@"), "//")
	if !ok {
		return ":" + l
	}
	if to := r[repo]; to != "" {
		return to + "//" + rest
	}
	return l
}

// loads says where each kind of target comes from; kinds that are not in it are Bazel's own.
var loads = map[ccplan.Kind]string{
	ccplan.Library:     "@rules_cc//cc:defs.bzl",
	ccplan.Import:      "@rules_cc//cc:defs.bzl",
	ccplan.Prebuilt:    "@rules_ocipkg//rules/private:prebuilt_library.bzl",
	ccplan.Unsupported: "@rules_ocipkg//rules/private:unsupported_platform.bzl",
	ccplan.Needed:      "@rules_ocipkg//rules/private:dependency.bzl",
}

// order is what of buildifier's rewriting has something to do here: the order of attributes, and that of lists of labels.
var order = build.Rewriter{
	RewriteSet:        []string{"callsort", "listsort"},
	IsLabelArg:        tables.IsLabelArg,
	LabelDenyList:     tables.LabelDenylist,
	IsSortableListArg: tables.IsSortableListArg,
	SortableDenylist:  tables.SortableDenylist,
	SortableAllowlist: tables.SortableAllowlist,
	NamePriority:      tables.NamePriority,
}

// Render writes the plan. header is put on top as a comment, one line of it a line.
func Render(plan ccplan.Plan, header string, repositories Repositories) []byte {
	f := &build.File{Path: "BUILD.bazel", Type: build.TypeBuild}
	symbols := map[string][]string{}
	for _, t := range plan.Targets {
		if from, ok := loads[t.Kind]; ok && !slices.Contains(symbols[from], string(t.Kind)) {
			symbols[from] = append(symbols[from], string(t.Kind))
		}
	}
	for _, from := range slices.Sorted(maps.Keys(symbols)) {
		load := &build.LoadStmt{Module: str(repositories.label(from)), ForceCompact: true}
		for _, s := range slices.Sorted(slices.Values(symbols[from])) {
			load.From = append(load.From, &build.Ident{Name: s})
			load.To = append(load.To, &build.Ident{Name: s})
		}
		f.Stmt = append(f.Stmt, load)
	}
	f.Stmt = append(f.Stmt, call("package", []ccplan.Attr{{Name: "default_visibility", Value: []string{"//visibility:public"}}}, nil, repositories))
	shared := sharedLists(plan)
	for i, l := range shared {
		f.Stmt = append(f.Stmt, &build.AssignExpr{LHS: &build.Ident{Name: l.Name}, Op: "=", RHS: continued(shared[:i], l.Values)})
	}
	for _, t := range plan.Targets {
		attrs := append([]ccplan.Attr{{Name: "name", Value: t.Name}}, t.Attrs...)
		rule := call(string(t.Kind), attrs, shared, repositories)
		comment([]build.Expr{rule}, t.Doc)
		f.Stmt = append(f.Stmt, rule)
	}
	if len(plan.Files) > 0 {
		// Bazel 10 no longer exports what nobody exports. These are names of targets, not labels.
		f.Stmt = append(f.Stmt, &build.CallExpr{X: &build.Ident{Name: "exports_files"}, List: []build.Expr{continued(shared, plan.Files)}})
	}
	comment(f.Stmt, header)
	return build.FormatWithRewriter(&order, f)
}

// sharedLists are the lists of the plan that are worth a name, in the order in which they come. A file that has to be marked
// as none of another repository has two names, one as a label and one to be exported: such a list is written where it stands.
func sharedLists(plan ccplan.Plan) []ccplan.List {
	var shared []ccplan.List
	for _, t := range plan.Targets {
		for _, a := range t.Attrs {
			l, ok := a.Value.(ccplan.List)
			if ok && len(l.Values) > 1 && !named(shared, l) && !slices.ContainsFunc(l.Values, func(f string) bool { return strings.HasPrefix(f, "@") }) {
				shared = append(shared, l)
			}
		}
	}
	return shared
}

// continued writes a list as the longest of those that have a name with which it begins, and what follows: Bazel reads the file
// anew for each build that finds no server, and most files of many a library are its headers.
func continued(shared []ccplan.List, values []string) build.Expr {
	var begin ccplan.List
	for _, l := range shared {
		if n := len(l.Values); n > len(begin.Values) && n <= len(values) && slices.Equal(l.Values, values[:n]) {
			begin = l
		}
	}
	rest := values[len(begin.Values):]
	switch {
	case begin.Name == "":
		return list(values)
	case len(rest) == 0:
		return &build.Ident{Name: begin.Name}
	}
	return &build.BinaryExpr{X: &build.Ident{Name: begin.Name}, Op: "+", Y: list(rest)}
}

func named(shared []ccplan.List, l ccplan.List) bool {
	return slices.ContainsFunc(shared, func(s ccplan.List) bool { return s.Name == l.Name })
}

func comment(stmts []build.Expr, text string) {
	if text == "" || len(stmts) == 0 {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return '?' // what ends a line for one reader ends the comment
			}
			return r
		}, line)
		stmts[0].Comment().Before = append(stmts[0].Comment().Before, build.Comment{Token: strings.TrimRight("# "+line, " ")})
	}
}

func call(name string, attrs []ccplan.Attr, shared []ccplan.List, repositories Repositories) *build.CallExpr {
	c := &build.CallExpr{X: &build.Ident{Name: name}}
	for _, a := range attrs {
		as := func(s string) string { return s }
		if labels[a.Name] {
			as = repositories.label
		}
		value := a.Value
		if l, ok := value.(ccplan.List); ok && !named(shared, l) {
			value = l.Values
		}
		c.List = append(c.List, &build.AssignExpr{LHS: &build.Ident{Name: a.Name}, Op: "=", RHS: expression(value, as, repositories)})
	}
	c.ForceMultiLine = len(c.List) > 1
	return c
}

// expression writes an attribute's value, each string in it by as.
func expression(value any, as func(string) string, repositories Repositories) build.Expr {
	switch v := value.(type) {
	case string:
		return str(as(v))
	case bool:
		return &build.Ident{Name: map[bool]string{true: "True", false: "False"}[v]}
	case []string:
		written := make([]string, len(v))
		for i := range v {
			written[i] = as(v[i])
		}
		return list(written)
	case ccplan.List:
		return &build.Ident{Name: v.Name}
	case ccplan.Select:
		cases := &build.DictExpr{ForceMultiLine: true}
		for _, c := range v {
			condition := "//conditions:default"
			if c.Condition != "" {
				condition = repositories.label(c.Condition)
			}
			cases.List = append(cases.List, &build.KeyValueExpr{Key: str(condition), Value: str(as(c.Label))})
		}
		return &build.CallExpr{X: &build.Ident{Name: "select"}, List: []build.Expr{cases}}
	}
	panic(fmt.Sprintf("an attribute that is a %T", value))
}

func str(s string) *build.StringExpr { return &build.StringExpr{Value: s} }

func list(values []string) *build.ListExpr {
	l := &build.ListExpr{ForceMultiLine: len(values) > 1}
	for _, v := range values {
		l.List = append(l.List, str(v))
	}
	return l
}

// HeaderIndex renders which label answers each #include, each name for pkg-config and each -l, as one JSON object from
// key (internal/headerindex) to a list of labels: the form in which gazelle_cc reads an index, so that it serves
// there too. repository is the apparent name.
func HeaderIndex(plan ccplan.Plan, repository string) ([]byte, error) {
	return JoinIndexes([]Index{{Repository: repository, Targets: plan.Index}})
}

// Index is the index of one library: Targets is ccplan.Plan.Index of the repository with this apparent name.
type Index struct {
	Repository string
	Targets    map[string]string
}

// JoinIndexes renders the indexes of several libraries as one, in the form of HeaderIndex. The labels for a key that
// several libraries have are in the order of indexes.
func JoinIndexes(indexes []Index) ([]byte, error) {
	joined := map[string][]string{}
	for _, index := range indexes {
		for key, target := range index.Targets {
			joined[key] = append(joined[key], "@"+index.Repository+"//:"+target)
		}
	}
	// A line a key: half the size of what MarshalIndent makes, and a difference is one line.
	var b bytes.Buffer
	b.WriteByte('{')
	for i, key := range slices.Sorted(maps.Keys(joined)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n  ")
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		labels, err := json.Marshal(joined[key])
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteString(": ")
		b.Write(labels)
	}
	if len(joined) > 0 {
		b.WriteByte('\n')
	}
	b.WriteString("}\n")
	return b.Bytes(), nil
}
