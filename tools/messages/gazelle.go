package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// gazelle is the kind of what the Gazelle extension logs: it goes on, but for where it says that nothing was written.
const gazelle = "gazelle"

// gazelleLanguages are the packages that log.
var gazelleLanguages = []string{"gazelle_ext", "gazelle_ext/prebuilt"}

// where is what a message of these begins with: the file, the rule or the directive that it is about.
var where = regexp.MustCompile(`^((//)?…(:…)?( …){0,2}: |# gazelle:… …: |-…=…: )+`)

// inGazelle finds what the package in dir logs, and the errors that it makes to be logged. What it says comes first, and
// what to do about it behind the first full stop or semicolon; an error of its own is a message that ends there.
func inGazelle(dir string) ([]message, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var all []message
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			return nil, err
		}
		loggers := loggersIn(file)
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || err != nil {
				return true
			}
			at, ok := loggers[function(call)]
			if !ok || at >= len(call.Args) {
				return true
			}
			text := where.ReplaceAllString(verb.ReplaceAllString(teller{}.text(call.Args[at], nil), "…"), "")
			if strings.Trim(text, "… :,.()") == "" { // somebody else's words
				return true
			}
			end := strings.IndexAny(text, ".;")
			for end >= 0 && !strings.HasPrefix(text[end+1:], " ") {
				next := strings.IndexAny(text[end+1:], ".;")
				if next < 0 {
					end = -1
					break
				}
				end += 1 + next
			}
			if end < 0 {
				err = fmt.Errorf("%s: %q does not say what to do: say it behind a full stop or a semicolon", fset.Position(call.Pos()), text)
				return true
			}
			do := strings.TrimSuffix(text[end+2:], ".")
			all = append(all, message{gazelle, text[:end], strings.ToLower(do[:1]) + do[1:]})
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// function is how a call names what it calls, with the package.
func function(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if pkg, ok := f.X.(*ast.Ident); ok {
			return pkg.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// loggersIn are the functions whose words are logged, with the argument that has them: those of the standard library, and
// those within a file that log what is made of their parameter "format".
func loggersIn(file *ast.File) map[string]int {
	loggers := map[string]int{"errors.New": 0, "fmt.Errorf": 0}
	for _, name := range strings.Fields("Print Printf Println Fatal Fatalf Fatalln Panic Panicf Panicln") {
		loggers["log."+name] = 0
	}
	ast.Inspect(file, func(n ast.Node) bool {
		assign, ok := n.(*ast.AssignStmt)
		if !ok || len(assign.Lhs) != 1 || len(assign.Rhs) != 1 {
			return true
		}
		name, isName := assign.Lhs[0].(*ast.Ident)
		f, isFunc := assign.Rhs[0].(*ast.FuncLit)
		if !isName || !isFunc {
			return true
		}
		var params []string
		for _, field := range f.Type.Params.List {
			for _, p := range field.Names {
				params = append(params, p.Name)
			}
		}
		if i := slices.Index(params, "format"); i >= 0 {
			loggers[name.Name] = i
		}
		return true
	})
	return loggers
}
