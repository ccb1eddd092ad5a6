package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bazelbuild/buildtools/build"
)

// shape is the file with the functions that errors of the rules are made and told by.
const shape = "diagnostic.bzl"

// inStarlark finds the errors of the rules below dir, but for its tests: calls of diagnostic(message, do). An error of its
// own is what cannot be told from the source, and a fail() that goes by something else.
func inStarlark(dir string) ([]message, error) {
	var all []message
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "tests":
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(p) != ".bzl" || d.Name() == shape:
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := build.ParseBzl(p, data)
		if err != nil {
			return err
		}
		constants := map[string]build.Expr{} // of the file
		for _, stmt := range file.Stmt {
			if a, ok := stmt.(*build.AssignExpr); ok {
				if name, ok := a.LHS.(*build.Ident); ok {
					constants[name.Name] = a.RHS
				}
			}
		}
		build.Walk(file, func(x build.Expr, _ []build.Expr) {
			call, ok := x.(*build.CallExpr)
			if !ok || err != nil {
				return
			}
			f, ok := call.X.(*build.Ident)
			if !ok {
				return
			}
			start, _ := call.Span()
			fail := func(why string) { err = fmt.Errorf("%s:%d: %s", p, start.Line, why) }
			switch {
			case f.Name == "fail":
				fail("fail() is called in " + shape + " alone: call fail_with(diagnostic(message, do))")
			case f.Name == "diagnostic" && len(call.List) != 2:
				fail("diagnostic takes a message and what to do, by position")
			case f.Name == "diagnostic":
				why, do := words(call.List[0], constants), words(call.List[1], constants)
				wordless := strings.Trim(why, "… :,.()") == ""
				switch {
				case do == "…":
					// Of another error, with words put before it.
					if of, ok := call.List[1].(*build.DotExpr); !ok || of.Name != "do" {
						fail("what to do cannot be told from the source")
					}
				case do == "" && wordless: // the command's own, which has them
				case wordless:
					fail("what it says cannot be told from the source")
				case do == "":
					fail("it does not say what to do")
				default:
					all = append(all, message{starlark, strings.TrimPrefix(why, "…: "), do})
				}
			}
		})
		return err
	})
	return all, err
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// words gives the text of an expression in one line, where "…" stands for what cannot be told from it.
func words(e build.Expr, constants map[string]build.Expr) string {
	text := strings.Join(strings.Fields(starlarkText(e, constants)), " ")
	for strings.Contains(text, "……") {
		text = strings.ReplaceAll(text, "……", "…")
	}
	return text
}

// starlarkText knows strings, .format() of one, sums, and constants of the file.
func starlarkText(e build.Expr, constants map[string]build.Expr) string {
	switch e := e.(type) {
	case *build.StringExpr:
		return e.Value
	case *build.ParenExpr:
		return starlarkText(e.X, constants)
	case *build.BinaryExpr:
		if e.Op == "+" {
			return starlarkText(e.X, constants) + starlarkText(e.Y, constants)
		}
	case *build.Ident:
		if value, ok := constants[e.Name]; ok {
			return starlarkText(value, nil)
		}
	case *build.CallExpr:
		if method, ok := e.X.(*build.DotExpr); ok && method.Name == "format" {
			return placeholder.ReplaceAllString(starlarkText(method.X, constants), "…")
		}
	}
	return "…"
}
