// Package faults_test keeps docs/faults.md true, in which every fault has the test that makes it.
package faults_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// letters are the parts of the list with the number of their items; 0 is one that is not numbered.
var letters = map[string]int{"A": 14, "B": 9, "C": 13, "D": 0, "E": 15, "G": 0}

func TestEveryFaultIsTried(t *testing.T) {
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Skip("SKIPPED: Bazel shows a test its own package alone; go test runs this one")
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "faults.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := testsBelow(root, "internal", "fetcher")
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range wrong(string(page), tests) {
		t.Error(what)
	}
}

// What the list may not be. A list that is as it should be comes first.
func TestWrongLists(t *testing.T) {
	tests := map[string][]string{"store.TestA": {"B cut at 1", "C"}}
	var whole strings.Builder
	for letter, n := range letters {
		for i := range max(n, 1) {
			item := letter
			if n > 0 {
				item += strconv.Itoa(i + 1)
			}
			fmt.Fprintf(&whole, "| %s | it breaks | `store.TestA` |\n", item)
		}
	}
	if found := wrong(whole.String(), tests); len(found) > 0 {
		t.Errorf("%q", found)
	}
	for from, to := range map[string]string{
		"| A3 | it breaks | `store.TestA` |\n": "",
		"| A4 | it breaks | `store.TestA` |":   "| A4 | it breaks | `store.TestB` |",
		"| A5 | it breaks | `store.TestA` |":   "| A5 | it breaks | `store.TestA/cut` |",
		"| A6 | it breaks | `store.TestA` |":   "| A6 | it breaks | |",
		"| A7 | it breaks | `store.TestA` |":   "| A77 | it breaks | `store.TestA` |",
		"| D | it breaks | `store.TestA` |":    "| D | it breaks |",
	} {
		if found := wrong(strings.Replace(whole.String(), from, to, 1), tests); len(found) == 0 {
			t.Errorf("%q may stand for %q", to, from)
		}
	}
	for _, may := range []string{"| A4 | it breaks | `store.TestA/B cut` |", "| A4 | it breaks | nobody can do it |"} {
		if found := wrong(strings.Replace(whole.String(), "| A4 | it breaks | `store.TestA` |", may, 1), tests); len(found) > 0 {
			t.Errorf("%s: %q", may, found)
		}
	}
}

var (
	row  = regexp.MustCompile(`(?m)^\| ([A-Z]\d*) \|(.*)$`)
	name = regexp.MustCompile("`([^`]*)`")
)

// wrong says what is wrong with a list, given the text in each test.
func wrong(page string, tests map[string][]string) (found []string) {
	rows := map[string]int{}
	for _, m := range row.FindAllStringSubmatch(page, -1) {
		item, cells := m[1], strings.Split(m[2], "|")
		rows[item]++
		if len(cells) != 3 || strings.TrimSpace(cells[1]) == "" {
			found = append(found, item+": neither a test nor a reason")
			continue
		}
		for _, m := range name.FindAllStringSubmatch(cells[1], -1) {
			if strings.HasPrefix(m[1], "make ") || strings.HasPrefix(m[1], "tools/") {
				continue
			}
			test, begin, _ := strings.Cut(m[1], "/")
			texts, ok := tests[test]
			for _, text := range texts {
				if strings.HasPrefix(text, begin) {
					begin = ""
				}
			}
			if !ok || begin != "" {
				found = append(found, fmt.Sprintf("%s: there is no test %s", item, m[1]))
			}
		}
	}
	for letter, n := range letters {
		for i := range max(n, 1) {
			item := letter
			if n > 0 {
				item += strconv.Itoa(i + 1)
			}
			if rows[item] == 0 {
				found = append(found, item+" is missing")
			}
			delete(rows, item)
		}
	}
	for item := range rows {
		found = append(found, item+" is no item")
	}
	return found
}

// testsBelow returns the strings in each test of the packages below dirs, by the package's folder and the test's name: cases
// have their names there.
func testsBelow(root string, dirs ...string) (map[string][]string, error) {
	tests := map[string][]string{}
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(p, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok || !strings.HasPrefix(f.Name.Name, "Test") && !strings.HasPrefix(f.Name.Name, "Fuzz") {
					continue
				}
				test := filepath.Base(filepath.Dir(p)) + "." + f.Name.Name
				tests[test] = append(tests[test], "")
				ast.Inspect(f, func(n ast.Node) bool {
					if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						if text, err := strconv.Unquote(lit.Value); err == nil {
							tests[test] = append(tests[test], text)
						}
					}
					return true
				})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return tests, nil
}
