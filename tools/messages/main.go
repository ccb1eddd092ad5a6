// Command messages writes docs/messages.md: everything that goes wrong and that the command, the rules and the Gazelle extension
// can tell, with what to do about it, as the source has them. It is run by `make fix`; a test keeps the page current.
package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	page, err := render(".")
	if err == nil {
		err = os.WriteFile(filepath.Join("docs", "messages.md"), page, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "messages:", err)
		os.Exit(1)
	}
}

// message is one error as it stands in the source: what varies is "…".
type message struct{ kind, why, do string }

// kinds are the headings, in the order of the exit codes in docs/errors.md, with what to do where a message does not say.
var kinds = []struct{ name, title, do string }{
	{"Failure", "Failed (1)", "what the system says is behind the message, and is what has to be mended"},
	{"Usage", "Wrong usage (2)", "correct what was written; `--help` says how; nothing was changed"},
	{"NotFound", "Not found (3)", "check the name, the tag and the digest"},
	{"Denied", "Access denied (4)", "`ocipkg login REGISTRY`; `OCIPKG_DEBUG_AUTH=1` tells which credentials were used"},
	{"Unreachable", "Registry unreachable (5)", "check address, proxy and network; if those are right, tell the registry's owner"},
	{"Corrupt", "Corrupt bytes (6)", "try again; if it stays, tell the artifact's author or the registry's owner"},
	{"Unsupported", "Not an ocipkg artifact (7)", "name an artifact of `ocipkg pack`, or take a newer ocipkg"},
	{"Mismatch", "Wrong platform (8)", "ask its author for your platform"},
	{"Refused", "Refused (9)", "the artifact is damaged or made to do harm; tell its author, and pack with `ocipkg pack`"},
	{"Interrupted", "Interrupted (130)", "nothing half-done is left; run it again"},
}

// starlark is the kind of the errors of the rules, which end Bazel and have no exit code of ours.
const starlark = "rules"

func render(root string) ([]byte, error) {
	var all []message
	for _, dir := range []string{"rules", "gazelle_plugin"} {
		found, err := inStarlark(filepath.Join(root, dir))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	for _, dir := range []string{"internal", "fetcher", "gazelle_ext"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			found, err := inPackage(p)
			all = append(all, found...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for _, dir := range gazelleLanguages {
		found, err := inGazelle(filepath.Join(root, filepath.FromSlash(dir)))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.SortFunc(all, func(a, b message) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.why), strings.ToLower(b.why)), cmp.Compare(a.do, b.do))
	})
	all = slices.Compact(all)
	var b bytes.Buffer
	b.WriteString("# Messages\n\nEvery error of the command `ocipkg`, by the exit status that goes with it, of the rules, and of the Gazelle extension;\n`…` stands for what varies. " +
		"The words before a message (\"pull ghcr.io/acme/zlib:1.3.1: layer 2 of 3: …\") say what was\n" +
		"being done. What helps when nothing is said to be wrong is in [troubleshooting.md](troubleshooting.md).\n\n<!-- Generated from the source by `make fix`. -->\n")
	section := func(kind, title, intro string) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| message | what to do |\n|---|---|\n", title, intro)
		for _, m := range all {
			if m.kind == kind {
				fmt.Fprintf(&b, "| %s | %s |\n", cell(m.why), cmp.Or(cell(m.do), "—"))
			}
		}
	}
	for _, k := range kinds {
		if slices.ContainsFunc(all, func(m message) bool { return m.kind == k.name }) {
			section(k.name, k.title, "Where nothing else is said: "+k.do+".")
		}
	}
	section(starlark, "While Bazel loads and analyses", "Those of the rules, which Bazel prints behind `Error in fail:`. A repository rule also prints what the command said to it, which is above.")
	section(gazelle, "While Gazelle runs", "Those of the extension, which Gazelle prints behind `gazelle:`, most of them with the BUILD file, the rule or the\ndirective that they are about.")
	return b.Bytes(), nil
}

// cell writes text so that Markdown shows it as it is.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", `\<`, "*", `\*`, "_", `\_`, "\n", " ").Replace(s)
}

// teller is a function that makes errors of its arguments: refuse(why), for instance.
type teller struct {
	kind, why, do ast.Expr
	params        []string
}

// inPackage finds the errors of the package in dir: literals of diagnostic.Error, and calls of functions that make one of
// their arguments.
func inPackage(dir string) ([]message, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var parsed []*ast.File
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, file)
	}
	var all []message
	global := map[string][]teller{}
	for _, file := range parsed {
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
				collect(f.Name.Name, f.Type, f.Body, global)
			}
		}
	}
	for _, file := range parsed {
		for _, decl := range file.Decls {
			// A function within another is called from there alone, and its name means something else elsewhere. So does a
			// variable, which may have several values.
			local := map[string][]teller{}
			variables := map[string][]ast.Expr{}
			ast.Inspect(decl, func(n ast.Node) bool {
				if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == 1 && len(a.Rhs) == 1 {
					name, isName := a.Lhs[0].(*ast.Ident)
					if f, isFunc := a.Rhs[0].(*ast.FuncLit); isName && isFunc {
						collect(name.Name, f.Type, f.Body, local)
					} else if isName {
						variables[name.Name] = append(variables[name.Name], a.Rhs[0])
					}
				}
				return true
			})
			ast.Inspect(decl, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CompositeLit:
					if t, ok := literal(n); ok {
						all = append(all, t.message(nil, variables)...)
					}
				case *ast.CallExpr:
					name := ""
					switch f := n.Fun.(type) {
					case *ast.Ident:
						name = f.Name
					case *ast.SelectorExpr:
						name = f.Sel.Name
					}
					tellers := local[name]
					if tellers == nil {
						tellers = global[name]
					}
					for _, t := range tellers {
						all = append(all, t.message(n.Args, variables)...)
					}
				}
				return true
			})
		}
	}
	return all, nil
}

// collect takes the function for a teller if an error in it has its words from the function's parameters.
func collect(name string, signature *ast.FuncType, body *ast.BlockStmt, into map[string][]teller) {
	var params []string
	for _, field := range signature.Params.List {
		for _, p := range field.Names {
			params = append(params, p.Name)
		}
	}
	ast.Inspect(body, func(n ast.Node) bool {
		if lit, ok := n.(*ast.CompositeLit); ok {
			if t, ok := literal(lit); ok && uses(t.why, params) {
				t.params = params
				into[name] = append(into[name], t)
			}
		}
		return true
	})
}

// literal recognises diagnostic.Error{…}.
func literal(lit *ast.CompositeLit) (teller, bool) {
	sel, ok := lit.Type.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Error" {
		return teller{}, false
	}
	if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "diagnostic" {
		return teller{}, false
	}
	var t teller
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch kv.Key.(*ast.Ident).Name {
		case "Kind":
			t.kind = kv.Value
		case "Why":
			t.why = kv.Value
		case "Do":
			t.do = kv.Value
		}
	}
	return t, true
}

// uses reports whether the expression is one of the parameters, or made of one as a format.
func uses(e ast.Expr, params []string) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return slices.Contains(params, e.Name)
	case *ast.CallExpr:
		return isSprintf(e) && uses(e.Args[0], params)
	}
	return false
}

func isSprintf(c *ast.CallExpr) bool {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Sprintf" && len(c.Args) > 0
}

// message gives what a call with these arguments says; nothing, where that cannot be told from the source. What to do may
// be in a variable of the function around it.
func (t teller) message(args []ast.Expr, variables map[string][]ast.Expr) []message {
	kind := "Failure"
	switch k := t.kind.(type) {
	case *ast.SelectorExpr:
		kind = k.Sel.Name
	case *ast.Ident:
		if i := slices.Index(t.params, k.Name); i >= 0 && i < len(args) {
			if sel, ok := args[i].(*ast.SelectorExpr); ok {
				kind = sel.Sel.Name
			}
		}
	}
	why := t.text(t.why, args)
	if strings.Trim(why, "… :,.()") == "" {
		return nil
	}
	cure := t.do
	if name, ok := cure.(*ast.Ident); ok && slices.Contains(t.params, name.Name) {
		if i := slices.Index(t.params, name.Name); i < len(args) {
			cure = args[i]
		}
	}
	values := []ast.Expr{cure}
	if name, ok := cure.(*ast.Ident); ok {
		values = variables[name.Name]
	}
	var cures []string
	for _, value := range values {
		// What varies altogether is nothing that could be said here.
		if do := t.text(value, args); do != "" && do != "…" {
			cures = append(cures, do)
		}
	}
	return []message{{kind, why, strings.Join(cures, "; or ")}}
}

var verb = regexp.MustCompile(`%%|%[-+#0]*[0-9]*(\.[0-9]+)?[a-zA-Z]`)

// text gives an expression's words.
func (t teller) text(e ast.Expr, args []ast.Expr) string {
	switch e := e.(type) {
	case nil:
		return ""
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		if err != nil {
			return "…"
		}
		return s
	case *ast.BinaryExpr:
		return t.text(e.X, args) + t.text(e.Y, args)
	case *ast.ParenExpr:
		return t.text(e.X, args)
	case *ast.CallExpr:
		if isSprintf(e) {
			return verb.ReplaceAllStringFunc(t.text(e.Args[0], args), func(v string) string {
				if v == "%%" {
					return "%"
				}
				return "…"
			})
		}
	case *ast.Ident:
		if i := slices.Index(t.params, e.Name); i >= 0 && i < len(args) {
			return teller{}.text(args[i], nil)
		}
	}
	return "…"
}
