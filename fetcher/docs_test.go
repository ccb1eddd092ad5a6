package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// The documentation of the commands is made from the commands, here rather than with cobra's generator, whose package
// brings a man page renderer with it, which everybody who builds the command would compile.
//go:generate go test . -run ^(TestDocsAreCurrent|TestJSON)$ -count=1 -args -update

const docsDir = "../docs/cli"

// TestDocsAreCurrent: docs/cli holds a page for each command, with what its --help says, and none for any other.
func TestDocsAreCurrent(t *testing.T) {
	pages := map[string]string{"README.md": overview(newRoot())}
	for _, cmd := range documented(newRoot()) {
		pages[cmd.Name()+".md"] = page(cmd)
	}
	for name, text := range pages {
		golden(t, filepath.Join(docsDir, name), text)
	}
	files, err := filepath.Glob(filepath.Join(docsDir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := filepath.Base(file); pages[name] == "" && name != "json.md" {
			if *update {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
				continue
			}
			t.Errorf("%s is about no command", file)
		}
	}
}

// documented are the commands that have a page, in the order of their names.
func documented(root *cobra.Command) []*cobra.Command {
	var cmds []*cobra.Command
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "help" {
			cmds = append(cmds, cmd)
		}
	}
	return cmds
}

func overview(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# ocipkg\n\n<!-- Made from the command by `go generate ./fetcher`. -->\n\n")
	text(&b, root.Long)
	b.WriteString("| command | |\n|---|---|\n")
	for _, cmd := range documented(root) {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s |\n", cmd.Name(), cmd.Name(), cmd.Short)
	}
	b.WriteString("\n")
	flags(&b, root.PersistentFlags().FlagUsagesWrapped(100))
	b.WriteString("What `--json` prints is in [json.md](json.md), what errors mean in [../errors.md](../errors.md).\n")
	return b.String()
}

func page(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Made from the command by `go generate ./fetcher`. -->\n\n%s.\n\n", cmd.CommandPath(), cmd.Short)
	body(&b, cmd)
	for _, sub := range documented(cmd) {
		fmt.Fprintf(&b, "## %s\n\n%s.\n\n", sub.CommandPath(), strings.TrimSuffix(sub.Short, "."))
		body(&b, sub)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func body(b *strings.Builder, cmd *cobra.Command) {
	if cmd.Runnable() {
		fmt.Fprintf(b, "    %s\n\n", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
	}
	text(b, cmd.Long)
	if cmd.Example != "" {
		fmt.Fprintf(b, "Examples:\n\n```console\n%s\n```\n\n", regexp.MustCompile(`(?m)^ +`).ReplaceAllString(cmd.Example, "$ "))
	}
	flags(b, cmd.LocalNonPersistentFlags().FlagUsagesWrapped(100))
}

// text writes help as Markdown: the words are the same, a block of the terminal stays one, and what Markdown would take
// for a tag or an emphasis is kept from it.
func text(b *strings.Builder, help string) {
	if help == "" {
		return
	}
	code := false
	for line := range strings.SplitSeq(help, "\n") {
		indented := strings.HasPrefix(line, "  ")
		switch {
		case indented && !code:
			b.WriteString("```console\n")
			code = true
		case code && !indented:
			b.WriteString("```\n")
			code = false
		}
		if code {
			b.WriteString(line[2:] + "\n")
		} else {
			b.WriteString(strings.NewReplacer("<", "\\<", "*", "\\*").Replace(line) + "\n")
		}
	}
	if code {
		b.WriteString("```\n")
	}
	b.WriteString("\n")
}

func flags(b *strings.Builder, usages string) {
	usages = regexp.MustCompile(`(?m)^ +(-h, --help|-v, --version) .*\n`).ReplaceAllString(usages, "")
	if usages != "" {
		b.WriteString("Flags:\n\n```\n" + usages + "```\n\n")
	}
}

// TestExitCodesAreDocumented: `ocipkg --help`, docs/errors.md and internal/diagnostic list the same exit codes under the
// same names.
func TestExitCodesAreDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"0 done"}
	for _, k := range diagnostic.Kinds() {
		want = append(want, fmt.Sprintf("%d %s", int(k), k))
	}
	var rows []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]+) \|`).FindAllStringSubmatch(string(data), -1) {
		rows = append(rows, row[1]+" "+row[2])
	}
	if !slices.Equal(rows, want) {
		t.Errorf("docs/errors.md lists %q, want %q", rows, want)
	}
	help := strings.Join(strings.Fields(newRoot().Long), " ")
	_, listed, _ := strings.Cut(help, "Exit status: ")
	if got := strings.Split(strings.TrimSuffix(listed, "."), ", "); !slices.Equal(got, want) {
		t.Errorf("--help lists %q, want %q", got, want)
	}
}

// TestGrammar: what is called the same takes the same, everywhere.
func TestGrammar(t *testing.T) {
	type shape struct{ shorthand, kind string }
	known := map[string]shape{"output": {"o", "string"}, "quiet": {"q", ""}, "json": {"", ""}, "target": {"", "string"}}
	flagLine := regexp.MustCompile(`(?m)^ +(?:-(\w), )?--([\w-]+)(?: (\S+))?`)
	names := map[string]string{} // by short form
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		if len(cmd.Short) > 90 || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: its short description is %q", cmd.CommandPath(), cmd.Short)
		}
		for line := range strings.SplitSeq(cmd.Long, "\n") {
			if n := len([]rune(line)); n > 100 {
				t.Errorf("%s --help: a line of %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
		for _, f := range flagLine.FindAllStringSubmatch(cmd.LocalNonPersistentFlags().FlagUsages(), -1) {
			short, name, kind := f[1], f[2], f[3]
			if name == "help" {
				continue
			}
			has := shape{short, kind}
			if want, ok := known[name]; !ok {
				known[name] = has
			} else if has != want {
				t.Errorf("%s --%s is %v, and elsewhere %v", cmd.CommandPath(), name, has, want)
			}
			if short != "" {
				if other, ok := names[short]; ok && other != name {
					t.Errorf("%s -%s is --%s, and elsewhere --%s", cmd.CommandPath(), short, name, other)
				}
				names[short] = name
			}
		}
		for _, sub := range documented(cmd) {
			check(sub)
		}
	}
	for _, cmd := range documented(newRoot()) {
		check(cmd)
	}
}

// TestJSONKeysAreDocumented: docs/cli/json.md explains every key that the golden files have, and every command with --json has
// such a file.
func TestJSONKeysAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docsDir, "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/json/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	// A section may refer to others.
	elsewhere := regexp.MustCompile("(?:keys of|as in) `([a-z ]+)`")
	var sectionOn func(command string) (string, bool)
	sectionOn = func(command string) (string, bool) {
		_, section, ok := strings.Cut(string(text), "\n## ocipkg "+command+"\n")
		section, _, _ = strings.Cut(section, "\n## ocipkg ")
		for _, other := range elsewhere.FindAllStringSubmatch(section, -1) {
			more, there := sectionOn(other[1])
			section, ok = section+more, ok && there
		}
		return section, ok
	}
	written := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// A file is called as its command is, and may have a word more.
		command := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".json"), "-", " ")
		section, ok := sectionOn(command)
		if words := strings.Fields(command); !ok && len(words) > 1 {
			command = strings.Join(words[:len(words)-1], " ")
			section, ok = sectionOn(command)
		}
		if !ok {
			t.Errorf("json.md has no section on %s", command)
		}
		written["ocipkg "+command] = true
		for _, key := range keys(t, data) {
			if !strings.Contains(section, "`"+key+"`") {
				t.Errorf("json.md does not explain %s of %s", key, command)
			}
		}
	}
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		if cmd.Flags().Lookup("json") != nil && !written[cmd.CommandPath()] {
			t.Errorf("%s --json has no golden file", cmd.CommandPath())
		}
		for _, sub := range documented(cmd) {
			check(sub)
		}
	}
	for _, cmd := range documented(newRoot()) {
		check(cmd)
	}
}

// keys are all keys of a JSON document but those below floors and annotations, which are data.
func keys(t *testing.T, data []byte) []string {
	t.Helper()
	var found []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for key, e := range v {
				if !slices.Contains(found, key) {
					found = append(found, key)
				}
				if key != "floors" && key != "annotations" {
					walk(e)
				}
			}
		}
	}
	var v any
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&v); err != nil {
		t.Fatal(err)
	}
	walk(v)
	return found
}
