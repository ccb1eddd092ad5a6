package ocipkg

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/bazel-gazelle/rule"

	"github.com/ocipkg/rules_ocipkg/gazelle_ext/cgo"
)

// The directives; docs/gazelle.md has a section on each.
const (
	// indexDirective names header indexes, separated by white space: files relative to the repository root, or labels of
	// files that the gazelle target has in its data. They add to those of the directories above; an empty value forgets
	// them all. Of two that have the same header, the one named first wins.
	indexDirective = "ocipkg_index"
	// cdepsDirective is auto, off, or the labels that every cgo rule gets.
	cdepsDirective = "ocipkg_cdeps"
	// unresolvedDirective is ignore, warn or error: what to do about a name for pkg-config or a -l that nobody answers.
	unresolvedDirective = "ocipkg_unresolved"
	// tagsDirective is of Gazelle's language for Go, and its tags decide here as well as there.
	tagsDirective = "build_tags"
)

// defaultIndex is read where no directive and no flag names another. `ocipkg index` writes it.
const defaultIndex = "ocipkg_index.json"

func (*ocipkgLang) KnownDirectives() []string {
	return []string{indexDirective, cdepsDirective, unresolvedDirective}
}

// settings are what is in force in a directory. They are not changed once they are in c.Exts.
type settings struct {
	indexes    *indexList // nil where there are none
	off        bool       // cgo rules are left as they are
	labels     []label.Label
	unresolved string
	tags       cgo.Tags
	vendored   *vendoredIndex // libraries of the workspace; nil until all folders have been walked
}

const (
	ignore = "ignore"
	warn   = "warn"
	fail   = "error"
)

// settingsOf returns what is in force in a directory, nil where nothing was ever said.
func settingsOf(c *config.Config) *settings {
	s, _ := c.Exts[languageName].(*settings)
	return s
}

// indexesOf returns the indexes that are in force in a directory, nil where there are none.
func indexesOf(c *config.Config) *indexList {
	if s := settingsOf(c); s != nil {
		return s.indexes
	}
	return nil
}

// indexFlag collects the values of -ocipkg_index.
type indexFlag struct{ names *[]string }

func (indexFlag) String() string { return "" }

func (f indexFlag) Set(value string) error {
	*f.names = append(*f.names, strings.Fields(value)...)
	return nil
}

// tagsFlag hears the build tags that another language's flag is set to. Gazelle has no other way of asking for them.
type tagsFlag struct {
	flag.Value
	tags *[]string
}

func (f tagsFlag) Set(value string) error {
	*f.tags = append(*f.tags, strings.Split(value, ",")...)
	return f.Value.Set(value)
}

func (l *ocipkgLang) RegisterFlags(fs *flag.FlagSet, cmd string, _ *config.Config) {
	if cmd != "update" && cmd != "fix" {
		return
	}
	fs.Var(indexFlag{&l.flagIndexes}, indexDirective, "header index of libraries from OCI registries, as $(rlocationpath) names it or absolute; may be repeated")
	l.registered = true
	l.repositoryMode = fs.Lookup("go_repository_mode")
	if f := fs.Lookup(tagsDirective); f != nil { // the language for Go is listed before this one
		f.Value = tagsFlag{f.Value, &l.flagTags}
	}
}

// CheckFlags makes the settings of the root out of the flags. By now all languages have registered theirs, so that a flag
// of Go's which was not there before shows that Go's language comes behind this one. That is an error: this one would
// see none of its rules, and do nothing.
func (l *ocipkgLang) CheckFlags(fs *flag.FlagSet, c *config.Config) error {
	if f := fs.Lookup(tagsDirective); l.registered && f != nil {
		if _, heard := f.Value.(tagsFlag); !heard {
			return errors.New("in languages of gazelle_binary @rules_ocipkg_gazelle_plugin//ocipkg stands before the language for Go, whose rules it completes; list it behind")
		}
	}
	var names []string
	for _, name := range l.flagIndexes {
		file, err := locate(name)
		if err != nil {
			return fmt.Errorf("-%s=%s: %w", indexDirective, name, err)
		}
		names = append(names, file)
	}
	if len(names) == 0 {
		// The one file that is looked for without being named: so that there is nothing to configure.
		if _, err := os.Stat(filepath.Join(c.RepoRoot, defaultIndex)); err == nil {
			names = []string{defaultIndex}
		}
	}
	if len(names) == 0 && declares() {
		names = []string{moduleIndex}
	}
	if len(names) == 0 && len(l.flagTags) == 0 {
		return nil
	}
	s := &settings{indexes: l.indexes.list(names, c.RepoRoot, "")}
	if s.indexes != nil {
		for _, file := range s.indexes.files {
			file.ahead() // while Gazelle looks around: it takes milliseconds, and most runs meet a package that needs it
		}
	}
	s.setTags(l.flagTags)
	c.Exts[languageName] = s
	return nil
}

func (s *settings) setTags(tags []string) {
	all := cgo.Tags{}
	for tag := range s.tags {
		all[tag] = true
	}
	for _, tag := range tags {
		if tag = strings.TrimSpace(tag); tag != "" {
			all[tag] = true
		}
	}
	s.tags = all
}

// Configure keeps in c.Exts the *settings in force. Directories without a directive share those of their parent, which
// Gazelle has put there by copying the parent's configuration.
func (l *ocipkgLang) Configure(c *config.Config, rel string, f *rule.File) {
	if f == nil || !slices.ContainsFunc(f.Directives, func(d rule.Directive) bool {
		return slices.Contains([]string{indexDirective, cdepsDirective, unresolvedDirective, tagsDirective}, d.Key)
	}) {
		return
	}
	buildFile := path.Join(rel, filepath.Base(f.Path))
	complain := func(d rule.Directive, format string, args ...any) {
		log.Printf("%s: # gazelle:%s %s: %s", buildFile, d.Key, d.Value, fmt.Sprintf(format, args...))
	}
	var s settings
	if above := settingsOf(c); above != nil {
		s = *above
	}
	var names []string
	if s.indexes != nil {
		for _, file := range s.indexes.files {
			names = append(names, file.name)
		}
	}
	if rel == "" && len(l.flagIndexes) == 0 && slices.ContainsFunc(f.Directives, func(d rule.Directive) bool { return d.Key == indexDirective }) {
		names = nil // who names one at the root does not want the one that is looked for
	}
	for _, d := range f.Directives {
		switch words := strings.Fields(d.Value); d.Key {
		case indexDirective:
			if len(words) == 0 {
				names = nil
			}
			for _, name := range words {
				switch {
				case strings.HasPrefix(name, "@"):
				case !filepath.IsLocal(filepath.FromSlash(name)):
					// A file outside would make the BUILD files depend on the machine.
					complain(rule.Directive{Key: d.Key, Value: name}, "the file is not in the repository. The path is relative to the repository root, and must not leave it.")
					continue
				default:
					name = path.Clean(name)
				}
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		case cdepsDirective:
			off, labels := false, []label.Label(nil)
			switch strings.Join(words, " ") {
			case "auto":
			case "off":
				off = true
			default:
				for _, word := range words {
					at, err := label.Parse(word)
					if err != nil {
						complain(d, "this is no label (%v). The value is auto, off, or labels.", err)
						continue
					}
					labels = append(labels, at.Abs("", rel))
				}
				if len(labels) == 0 {
					if len(words) == 0 {
						complain(d, "it has no value. The value is auto, off, or labels.")
					}
					continue
				}
			}
			s.off, s.labels = off, labels
		case unresolvedDirective:
			value := strings.Join(words, " ")
			if !slices.Contains([]string{ignore, warn, fail}, value) {
				complain(d, "there is no such value. It is ignore, warn or error.")
				continue
			}
			s.unresolved = value
		case tagsDirective:
			s.setTags(strings.Split(d.Value, ","))
		}
	}
	s.indexes = l.indexes.list(names, c.RepoRoot, buildFile)
	s.unresolved = cmp.Or(s.unresolved, warn)
	c.Exts[languageName] = &s
}
