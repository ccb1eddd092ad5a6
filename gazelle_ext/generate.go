package ocipkg

import (
	"context"
	"log"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/bazel-gazelle/language"
	"github.com/bazelbuild/bazel-gazelle/merger"
	"github.com/bazelbuild/bazel-gazelle/resolve"
	"github.com/bazelbuild/bazel-gazelle/rule"
	"github.com/bazelbuild/buildtools/build"

	"github.com/ocipkg/rules_ocipkg/gazelle_ext/cgo"
	"github.com/ocipkg/rules_ocipkg/gazelle_ext/system"
	"github.com/ocipkg/rules_ocipkg/gazelle_ext/vendored"
	"github.com/ocipkg/rules_ocipkg/internal/headerindex"
)

// goKinds are the kinds of rules that can have cgo, with how the language for Go recognises a rule that is there
// already. It is said again here because that language's own tables change with every release.
var goKinds = map[string]rule.KindInfo{
	"go_library": {MatchAttrs: []string{"importpath"}},
	"go_binary":  {MatchAny: true},
	"go_test":    {},
}

// GenerateRules generates none. It completes those that the language for Go has just generated: a rule that is new gets
// cdeps as an attribute; of one that is there already the file is edited, because Gazelle merges no attribute that the
// rule's own language does not declare as mergeable.
//
// Where libraries may lie in the workspace it waits with that until all folders have been walked.
func (l *ocipkgLang) GenerateRules(args language.GenerateArgs) (result language.GenerateResult) {
	s, libraries := settingsOf(args.Config), vendored.Of(args.Config)
	if s == nil && libraries != nil {
		s = &settings{}
	}
	switch {
	case s != nil && s.off:
		return result
	case s == nil || s.indexes == nil && s.labels == nil && libraries == nil:
		l.withoutLibraries(args)
		return result
	}
	for _, r := range args.OtherGen {
		if _, ok := goKinds[r.Kind()]; !ok {
			continue
		}
		var there *rule.Rule
		if isTrue(r.Attr("cgo")) || mayLink(args.File) {
			there = existing(args, r)
		}
		var do func(*settings)
		switch {
		case usesCgo(r, there):
			do = func(s *settings) { l.cgoRule(args, s, r, there) }
		case there != nil && there.Attr("cdeps") != nil:
			do = func(s *settings) { l.withoutCgo(args, s, there) }
		default:
			continue
		}
		if libraries == nil {
			do(s)
			continue
		}
		l.whenWalked(libraries, s, r, there, do)
		result.RelsToIndex = libraries.ToIndex(args.Config)
	}
	return result
}

// withoutLibraries tells what is left of the last library, in a workspace that has none. Nothing is changed: whose the cdeps
// of a rule are cannot be told there.
func (l *ocipkgLang) withoutLibraries(args language.GenerateArgs) {
	if args.File == nil || !slices.ContainsFunc(args.File.Rules, func(r *rule.Rule) bool { return r.Attr("cdeps") != nil }) {
		return
	}
	for _, r := range args.OtherGen {
		if _, ok := goKinds[r.Kind()]; !ok {
			continue
		}
		there := existing(args, r)
		switch {
		case there == nil || there.Attr("cdeps") == nil || kept(there, "cdeps"):
		case usesCgo(r, there):
			l.edit(args, &settings{}, there, cdeps{pkg: args.Rel})
		default:
			l.withoutCgo(args, &settings{}, there)
		}
	}
}

// usesCgo reports whether a rule is going to have cgo = True: as the language for Go generated it, or because what is there
// is to be kept.
func usesCgo(r, there *rule.Rule) bool {
	return isTrue(r.Attr("cgo")) || there != nil && isTrue(there.Attr("cgo")) && kept(there, "cgo")
}

// mayLink reports whether any rule of a file has cdeps or cgo. Most rules have no cgo and never had, and finding out which
// rule of a file one becomes takes a while.
func mayLink(f *rule.File) bool {
	return f != nil && slices.ContainsFunc(f.Rules, func(r *rule.Rule) bool { return r.Attr("cdeps") != nil || r.Attr("cgo") != nil })
}

// existing finds the rule of the file that Gazelle will merge r into, nil where there is none.
func existing(args language.GenerateArgs, r *rule.Rule) *rule.Rule {
	if args.File == nil {
		return nil
	}
	kind, seen := r.Kind(), map[string]bool{}
	for !seen[kind] {
		seen[kind] = true
		probe := rule.NewRule(kind, r.Name())
		if importPath := r.AttrString("importpath"); importPath != "" {
			probe.SetAttr("importpath", importPath)
		}
		if there, err := merger.Match(args.File.Rules, probe, goKinds[r.Kind()], args.Config.AliasMap); err == nil && there != nil {
			return there
		}
		if mapped, ok := args.Config.KindMap[kind]; ok {
			kind = mapped.KindName
		}
	}
	return nil
}

// isTrue reads True as a file has it, and as a language sets it.
func isTrue(e build.Expr) bool {
	switch e := e.(type) {
	case *build.Ident:
		return e.Name == "True"
	case *build.LiteralExpr:
		return e.Token == "True"
	}
	return false
}

// withoutCgo takes what is ours from a rule that has no cgo any more: rules_go refuses cdeps without it.
func (l *ocipkgLang) withoutCgo(args language.GenerateArgs, s *settings, there *rule.Rule) {
	if kept(there, "cdeps") {
		return
	}
	l.edit(args, s, there, cdeps{owned: s.owned(), pkg: args.Rel})
	if there.Attr("cdeps") != nil {
		log.Printf("%s: %s %s imports \"C\" no more, and rules_go refuses the cdeps that are left, which are not known to be the work of this extension. Remove them; or, if a source that Gazelle does not see imports \"C\", mark cgo = True with # keep.",
			path.Join(args.Rel, filepath.Base(args.File.Path)), there.Kind(), there.Name())
	}
}

// kept reports whether a rule or an attribute of it is marked with # keep.
func kept(r *rule.Rule, attr string) bool {
	if r.ShouldKeep() {
		return true
	}
	value := r.Attr(attr)
	if value == nil {
		return false
	}
	if rule.ShouldKeep(value) {
		return true
	}
	return rule.ShouldKeep(&build.AssignExpr{Comments: *r.AttrComments(attr)})
}

// owned are the labels that this language may have written. The map is not the caller's to change.
func (s *settings) owned() map[label.Label]bool {
	var owned map[label.Label]bool
	if s.indexes != nil {
		owned = s.indexes.owned()
	}
	if s.labels == nil && s.vendored == nil {
		return owned
	}
	all := map[label.Label]bool{}
	maps.Copy(all, owned)
	if s.vendored != nil {
		maps.Copy(all, s.vendored.owned)
	}
	for _, at := range s.labels {
		all[at] = true
	}
	return all
}

// edit changes the cdeps of a rule in a file. Labels that have left the index or a library of the workspace, and those of repositories that MODULE.bazel
// does not declare, go with "gazelle fix" alone, for somebody may have written them; of both there is a message.
func (l *ocipkgLang) edit(args language.GenerateArgs, s *settings, r *rule.Rule, d cdeps) {
	var left map[label.Label]string
	if s.labels == nil {
		left = l.left(args.Config, s.vendored, r.Attr("cdeps"), d)
	}
	if args.Config.ShouldFix && len(left) > 0 {
		d.owned = maps.Clone(d.owned)
		for at := range left {
			d.owned[at] = true
		}
	}
	edit(r, d)
	where := path.Join(args.Rel, filepath.Base(args.File.Path))
	for _, at := range slices.SortedFunc(maps.Keys(left), func(a, b label.Label) int { return strings.Compare(left[a], left[b]) }) {
		none, gone := "a target of @"+at.Repo+" that no index gives", "the index has no such target of @"+at.Repo+" any more"
		if at.Repo == "" {
			none, gone = "which the library in //"+at.Pkg+" does not have", "the library in //"+at.Pkg+" does not have it any more"
		}
		if !args.Config.ShouldFix {
			log.Printf("%s: %s %s: cdeps has %s, %s, and is left as somebody wrote it: nothing of that library is added. If it is gone, run `gazelle fix`; if it is right, mark it # keep.", where, r.Kind(), r.Name(), left[at], none)
		} else if !d.some(r.Attr("cdeps"), func(l label.Label) bool { return l == at }) {
			log.Printf("%s: %s %s: took %s out of cdeps: %s. If you want it all the same, mark it # keep.", where, r.Kind(), r.Name(), left[at], gone)
		}
	}
	var workspace string
	var declared *repositories
	eachString(r.Attr("cdeps"), func(text *build.StringExpr) {
		if rule.ShouldKeep(text) {
			return
		}
		at, err := parseLabel(text.Value)
		if err != nil || at.Repo == "" || d.owned[at] {
			return
		}
		if declared == nil {
			workspace = workspaceOf(args.Config.RepoRoot, args.Rel)
			declared = l.indexes.declaredIn(args.Config.RepoRoot, workspace)
		}
		if !declared.visible(at) {
			log.Printf("%s: %s %s: cdeps has %s, and %s declares no repository %s. Declare it, or run `gazelle fix`, which takes the label out.", where, r.Kind(), r.Name(), text.Value, path.Join(workspace, "MODULE.bazel"), at.Repo)
		}
	})
}

// cgoRule completes a rule with cgo = True. Where that is there because of a # keep alone, the source that imports "C" is
// out of sight, and what it needs with it: nothing is taken away.
func (l *ocipkgLang) cgoRule(args language.GenerateArgs, s *settings, r, there *rule.Rule) {
	q := query{l: l, s: s, args: args, r: r, answers: map[cgo.Need]label.Label{}, local: make(map[string]bool, len(args.RegularFiles)), there: map[string]bool{}}
	for _, name := range args.RegularFiles {
		q.local[name] = true
	}
	for _, name := range r.AttrStrings("srcs") {
		if path.Ext(name) != ".go" || !q.local[name] {
			continue
		}
		source, err := os.ReadFile(filepath.Join(args.Dir, filepath.FromSlash(name)))
		if err != nil {
			log.Print(err)
			continue
		}
		f, err := cgo.Parse(name, source)
		if err != nil || f == nil {
			continue // the language for Go has said what is wrong with it
		}
		q.pkg = append(q.pkg, f)
	}
	q.readC(there)
	q.conditional = q.pkg.Conditional()

	wanted := cdeps{owned: s.owned(), pkg: args.Rel}
	if s.labels == nil && !isTrue(r.Attr("cgo")) {
		wanted.owned = nil
	}
	if s.labels != nil {
		for _, at := range s.labels {
			wanted.add(at, nil)
		}
	} else {
		var byHand map[string]bool
		if there != nil {
			byHand = l.placesByHand(args.Config, s.vendored, there.Attr("cdeps"), wanted)
		}
		q.cdeps(&wanted, byHand)
		wanted.owned = q.withoutUncertain(wanted)
	}
	wanted.platforms = platformPrefix(args.Config)
	if there == nil {
		if value := wanted.merge(nil); value != nil {
			r.SetAttr("cdeps", value)
		}
		q.cdepsNow = r.Attr("cdeps")
	} else {
		if !kept(there, "cdeps") {
			l.edit(args, s, there, wanted)
		}
		q.cdepsNow = there.Attr("cdeps")
	}
	q.flags()
	l.report(&q)
}

// sourcesOfC are the extensions of what the C preprocessor reads in a cgo package.
var sourcesOfC = []string{".c", ".cc", ".cpp", ".cxx", ".m", ".mm", ".h", ".hh", ".hpp", ".hxx", ".S", ".sx", ".inc"}

// readC adds the sources and headers of C and C++ that the rule is going to have, those in there among them, and the
// files of the folder that they include in quotes.
func (q *query) readC(there *rule.Rule) {
	names := q.r.AttrStrings("srcs")
	if there != nil {
		names = append(slices.Clone(names), there.AttrStrings("srcs")...)
	}
	for _, f := range q.pkg {
		names = append(names, q.beside(f)...)
	}
	seen := map[string]bool{}
	for len(names) > 0 {
		name := path.Clean(names[0])
		names = names[1:]
		if seen[name] || !filepath.IsLocal(filepath.FromSlash(name)) || !slices.Contains(sourcesOfC, path.Ext(name)) {
			continue
		}
		seen[name] = true
		source, err := os.ReadFile(filepath.Join(q.args.Dir, filepath.FromSlash(name)))
		if err != nil {
			continue // a label of another package, or a file that is yet to be generated
		}
		f := cgo.ParseC(name, source)
		q.pkg, q.c = append(q.pkg, f), append(q.c, f)
		names = append(names, q.beside(f)...)
	}
}

// beside are the files that a file includes in quotes, and that are there. They are looked up in no index.
func (q *query) beside(f *cgo.File) []string {
	var found []string
	for _, need := range f.Includes() {
		if need.Kind != cgo.Quoted {
			continue
		}
		for _, name := range []string{path.Join(path.Dir(f.Name), need.Name), path.Clean(need.Name)} {
			if q.isLocal(name) {
				q.local[need.Name] = true
				found = append(found, name)
				break
			}
		}
	}
	return found
}

// withoutUncertain is what is owned without the labels of libraries of which a C file includes a header on some condition
// that does not seem to hold. Macros of C come from more places than are read here, so that such a label, if it is there,
// stays; none is added for it.
func (q *query) withoutUncertain(d cdeps) map[label.Label]bool {
	place := q.s.vendored.place
	wanted := map[label.Label]bool{}
	places := map[string]bool{}
	for _, at := range d.labels {
		wanted[at], places[place(at)] = true, true
	}
	uncertain := map[label.Label]bool{}
	uncertainPlaces := map[string]bool{}
	folders := q.folders(q.pkg.AllLines())
	for _, f := range q.c {
		for _, need := range f.Includes() {
			switch at := q.answer(need); {
			case at == label.NoLabel || q.inFolders(need, folders):
			case place(at) == "" && !wanted[at]:
				uncertain[at] = true
			case place(at) != "" && !places[place(at)]:
				uncertainPlaces[place(at)] = true
			}
		}
	}
	if len(uncertain)+len(uncertainPlaces) == 0 {
		return d.owned
	}
	owned := maps.Clone(d.owned)
	maps.DeleteFunc(owned, func(at label.Label, _ bool) bool { return uncertain[at] || uncertainPlaces[place(at)] })
	return owned
}

// platformPrefix is what labels of Go's platforms begin with.
func platformPrefix(c *config.Config) string {
	name := ""
	if c.ModuleToApparentName != nil {
		name = c.ModuleToApparentName("rules_go")
	}
	if name == "" {
		name = "io_bazel_rules_go" // as in a WORKSPACE
	}
	return "@" + name + "//go/platform:"
}

// query is what is asked and answered of one rule.
type query struct {
	l           *ocipkgLang
	s           *settings
	args        language.GenerateArgs
	r           *rule.Rule
	pkg         cgo.Package
	c           []*cgo.File // those of pkg that are not Go
	conditional bool
	local       map[string]bool // headers, as they are included, that are files of the package
	answers     map[cgo.Need]label.Label
	there       map[string]bool // headers in folders that -I names, by path: whether there are such files
	unanswered  []cgo.Need
	cdepsNow    build.Expr // what the rule has in the end
}

// everywhere stands for every platform where nothing of a package is conditional.
var everywhere = []rule.Platform{{OS: "linux", Arch: "amd64"}}

func (q *query) platforms() []rule.Platform {
	if q.conditional {
		return rule.KnownPlatforms
	}
	return everywhere
}

// cdeps adds what the package needs on each platform. A repository of which a label was written by hand is left to
// whoever wrote it.
func (q *query) cdeps(wanted *cdeps, byHand map[string]bool) {
	for _, platform := range q.platforms() {
		on := cgo.Platform(platform)
		labels := map[label.Label]bool{}
		named := map[string]bool{} // places of libraries of which a name or a -l asks for a target
		needs := q.pkg.Needs(on, q.s.tags)
		folders := q.folders(q.pkg.Lines(on, q.s.tags))
		for _, need := range needs {
			at := q.answer(need)
			if at == label.NoLabel || byHand[q.s.vendored.place(at)] {
				continue
			}
			switch need.Kind {
			case cgo.Pkg, cgo.Library:
				named[q.s.vendored.place(at)] = true
				labels[at] = true
			}
		}
		for _, need := range needs {
			// Every target of a repository brings all its headers: the index names the main one, and where the package
			// says itself which libraries it links, it gets no more than those.
			if need.Kind != cgo.Header && need.Kind != cgo.Quoted {
				continue
			}
			at := q.answer(need)
			place := q.s.vendored.place(at)
			if at == label.NoLabel || place != "" && (named[place] || byHand[place]) || q.inFolders(need, folders) {
				continue
			}
			labels[at] = true
		}
		for at := range labels {
			// The main target is all of its library.
			if main := q.main(at); q.s.vendored.place(at) != "" && at != main && labels[main] {
				continue
			}
			if q.conditional {
				wanted.add(at, &platform)
			} else {
				wanted.add(at, nil)
			}
		}
	}
}

// answer finds the label for a need: by # gazelle:resolve, then among the libraries of the workspace, then in the indexes.
func (q *query) answer(need cgo.Need) label.Label {
	if at, asked := q.answers[need]; asked {
		return at
	}
	at := q.find(need)
	q.answers[need] = at
	if at == label.NoLabel && (need.Kind == cgo.Pkg || need.Kind == cgo.Library && !system.Library(need.Name)) {
		q.unanswered = append(q.unanswered, need)
	}
	return at
}

func (q *query) find(need cgo.Need) label.Label {
	key := keyOf(need)
	lang := languageName
	if need.Kind == cgo.Header || need.Kind == cgo.Quoted {
		lang = "cc"
		if need.Kind == cgo.Quoted && q.isLocal(need.Name) {
			return label.NoLabel
		}
	}
	if at, ok := resolve.FindRuleWithOverride(q.args.Config, resolve.ImportSpec{Lang: lang, Imp: key}, lang); ok {
		return at
	}
	if need.Kind == cgo.Library && system.Library(need.Name) {
		return label.NoLabel
	}
	if at, ok := q.l.lookUpVendored(q.s.vendored, key); ok || q.s.indexes == nil {
		return at
	}
	at, _ := q.l.lookUp(q.s.indexes, key)
	return at
}

// isLocal reports whether a header in quotes is a file of the repository.
func (q *query) isLocal(header string) bool {
	if q.local[header] {
		return true
	}
	_, err := os.Stat(filepath.Join(q.args.Dir, filepath.FromSlash(header)))
	return err == nil
}

// folders are those of the repository in which lines of a package have headers searched for: absolute, and whether that
// is for includes in quotes alone.
func (q *query) folders(lines []cgo.Line) map[string]bool {
	var found map[string]bool
	for _, l := range lines {
		for _, dir := range l.Folders() {
			at := filepath.Join(q.args.Dir, filepath.FromSlash(dir.Path))
			if strings.HasPrefix(dir.Path, "${SRCDIR}") {
				at = filepath.Join(q.args.Dir, filepath.FromSlash(strings.TrimPrefix(dir.Path, "${SRCDIR}")))
			} else if filepath.IsAbs(filepath.FromSlash(dir.Path)) {
				continue
			}
			if rel, err := filepath.Rel(q.args.Config.RepoRoot, at); err != nil || !filepath.IsLocal(rel) {
				continue
			}
			if found == nil {
				found = map[string]bool{}
			}
			quoted, there := found[at]
			found[at] = dir.Quoted && (quoted || !there)
		}
	}
	return found
}

// inFolders reports whether a header is found in one of the folders: that is the one that the compiler takes. Only a
// # gazelle:resolve goes before it. A folder of the library that answers is that library.
func (q *query) inFolders(need cgo.Need, folders map[string]bool) bool {
	library := q.folder(q.answer(need))
	for dir, quoted := range folders {
		if quoted && need.Kind != cgo.Quoted {
			continue
		}
		if rel, err := filepath.Rel(library, dir); library != "" && err == nil && filepath.IsLocal(rel) {
			continue
		}
		name := filepath.Join(dir, filepath.FromSlash(need.Name))
		there, asked := q.there[name]
		if !asked {
			info, err := os.Stat(name)
			there = err == nil && info.Mode().IsRegular()
			q.there[name] = there
		}
		if there {
			_, overridden := resolve.FindRuleWithOverride(q.args.Config, resolve.ImportSpec{Lang: "cc", Imp: need.Name}, "cc")
			return !overridden
		}
	}
	return false
}

// keyOf is what a need is called in an index, and in # gazelle:resolve.
func keyOf(need cgo.Need) string {
	switch need.Kind {
	case cgo.Pkg:
		return headerindex.PkgConfig(need.Name)
	case cgo.Library:
		return headerindex.Library(need.Name)
	}
	return need.Name
}

// report says what nobody answers.
func (l *ocipkgLang) report(q *query) {
	if q.s.unresolved == ignore || q.s.labels != nil || q.s.indexes == nil {
		return
	}
	for _, need := range q.unanswered {
		key, line := keyOf(need), "pkg-config: "+need.Name
		if need.Kind == cgo.Library {
			line = "LDFLAGS: -l" + need.Name
		}
		log.Printf("//%s:%s: #cgo %s: no library that MODULE.bazel declares answers to it. Declare one, and run `ocipkg index` where ocipkg_index.json is checked in; or write # gazelle:resolve %s %s LABEL, or # gazelle:%s ignore.",
			q.args.Rel, q.r.Name(), line, languageName, key, unresolvedDirective)
		if q.s.unresolved == fail {
			l.failed.Store(true)
		}
	}
}

func (*ocipkgLang) Before(context.Context) {}

// DoneGeneratingRules completes rules that had to wait for it.
func (l *ocipkgLang) DoneGeneratingRules() {
	for _, do := range l.later {
		do()
	}
	l.later = nil
}

// AfterResolvingDeps ends the run, before any file is written, where something is unresolved that must not be. The
// interface has no errors, so there is no other way.
func (l *ocipkgLang) AfterResolvingDeps(context.Context) {
	if l.failed.Load() {
		log.Fatalf("nothing was written, because # gazelle:%s is error. Do what the messages above say, or set it to warn.", unresolvedDirective)
	}
}

// attributes are where the flags of each verb go.
var attributes = map[string]string{cgo.CFlags: "copts", cgo.CPPFlags: "cppopts", cgo.CXXFlags: "cxxopts", cgo.LDFlags: "clinkopts"}

// flags corrects the flags of the rule that the language for Go has generated: it adds those that stand behind a
// pkg-config line, at which that language stops reading, writes folders with ${SRCDIR} as they are, which that language
// has the package's path in twice, and takes away -l and -L which a label in cdeps replaces. These
// attributes are mergeable, so that what is generated replaces what was.
func (q *query) flags() {
	wrong := slices.ContainsFunc(q.pkg, func(f *cgo.File) bool {
		return slices.ContainsFunc(f.Lines, func(l cgo.Line) bool {
			return l.AfterPkgConfig || slices.ContainsFunc(l.Args, func(arg string) bool { return strings.Contains(arg, "${SRCDIR}") })
		})
	})
	if wrong {
		q.restore()
	}
	if value := q.withoutAnswered(q.r.Attr("clinkopts")); value != nil {
		q.r.SetAttr("clinkopts", value)
	} else if q.r.Attr("clinkopts") != nil {
		q.r.DelAttr("clinkopts")
	}
}

// restore writes the attributes for flags anew, from all lines.
func (q *query) restore() {
	for verb, attr := range attributes {
		byPlatform := map[string]map[rule.Platform]bool{}
		for _, platform := range q.platforms() {
			for _, l := range q.pkg.Lines(cgo.Platform(platform), q.s.tags) {
				if group := group(l.Args, q.srcdir()); l.Verb == verb && group != "" {
					if byPlatform[group] == nil {
						byPlatform[group] = map[rule.Platform]bool{}
					}
					byPlatform[group][platform] = true
				}
			}
		}
		if len(byPlatform) > 0 {
			q.r.SetAttr(attr, platformStrings(byPlatform, q.conditional, platformPrefix(q.args.Config)))
		}
	}
}

// srcdir is how flags name the folder of the package: from the root of the repository, or, in the repository of a Go
// module, from where Bazel compiles.
func (q *query) srcdir() string {
	if mode := q.l.repositoryMode; mode != nil && mode.Value.String() == "true" {
		return path.Join("external", filepath.Base(q.args.Config.RepoRoot), q.args.Rel)
	}
	return q.args.Rel
}

// group writes the words of one line as the language for Go does: one string, in which blanks of a word are escaped and
// paths are relative to the root of the repository: rel is the folder of the package.
func group(args []string, rel string) string {
	if rel == "" {
		rel = "."
	}
	var words []string
	isPath := false
	for _, arg := range args {
		fix := func(p string) string {
			if strings.HasPrefix(p, "/") {
				return p
			}
			if strings.Contains(p, "${SRCDIR}") {
				return path.Clean(strings.ReplaceAll(p, "${SRCDIR}", rel))
			}
			return path.Join(rel, p)
		}
		short := arg[:min(2, len(arg))]
		switch {
		case isPath:
			arg, isPath = fix(arg), false
		case (short == "-I" || short == "-L" || short == "-F") && len(arg) > 2:
			arg = short + fix(arg[2:])
		case slices.Contains([]string{"-I", "-L", "-F", "-iquote", "-isystem"}, arg):
			isPath = true
		default:
			arg = strings.ReplaceAll(arg, "${SRCDIR}", rel)
		}
		words = append(words, escape.Replace(arg))
	}
	return strings.Join(words, " ")
}

// escape is the language's for Go; "$(" is left for "Make" variables.
var escape = strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`, ` `, `\ `, "\t", "\\\t", "\n", "\\\n", "\r", "\\\r", "$(", "$(", "$", "$$")

// linked reports whether the cdeps that the rule ends up with link the library of a label: by that label, by the main
// target of its repository or folder, or by one of these that somebody chose: in a directive, or one that no index gives,
// such as @openssl//:static.
func (q *query) linked(at label.Label) bool {
	d := cdeps{pkg: q.args.Rel}
	owned := q.s.owned()
	place := q.s.vendored.place(at)
	return d.some(q.cdepsNow, func(l label.Label) bool {
		return l == at || place != "" && q.s.vendored.place(l) == place && (l == q.main(at) || !owned[l] || slices.Contains(q.s.labels, l))
	})
}

// withoutAnswered takes -l from linker options where a label in cdeps answers it, and with the last -l of a line its -L.
func (q *query) withoutAnswered(value build.Expr) build.Expr {
	if value == nil {
		return nil
	}
	answered := func(name string) bool {
		at := q.answer(cgo.Need{Kind: cgo.Library, Name: name})
		return at != label.NoLabel && q.linked(at)
	}
	took, left := false, false
	take := func(line string) string {
		words := unescapedFields(line)
		var rest []string
		libraries, gone := 0, 0
		for i := 0; i < len(words); i++ {
			name, isLibrary := strings.CutPrefix(words[i], "-l")
			step := 0
			if isLibrary && name == "" && i+1 < len(words) {
				name, step = words[i+1], 1
			}
			switch {
			case !isLibrary || name == "":
			case name[0] == ':': // a file, which no label answers, and which is searched for as well
				libraries, left = libraries+1, true
			default:
				if answered(name) {
					libraries, gone, took = libraries+1, gone+1, true
					i += step
					continue
				}
				if !system.Library(name) {
					libraries, left = libraries+1, true
				}
			}
			rest = append(rest, words[i:i+1+step]...)
			i += step
		}
		if gone > 0 && gone == libraries {
			rest = withoutSearch(rest)
		}
		return strings.Join(rest, " ")
	}
	value = rule.MapExprStrings(value, take)
	if value != nil && took && !left {
		// A line of its own may have named the folder.
		value = rule.MapExprStrings(value, func(line string) string {
			words := unescapedFields(line)
			if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "-l") }) {
				return line
			}
			return strings.Join(withoutSearch(words), " ")
		})
	}
	return value
}

func withoutSearch(words []string) []string {
	var rest []string
	for i := 0; i < len(words); i++ {
		switch {
		case words[i] == "-L":
			i++
		case strings.HasPrefix(words[i], "-L"):
		default:
			rest = append(rest, words[i])
		}
	}
	return rest
}

// unescapedFields splits at blanks that no backslash precedes.
func unescapedFields(line string) []string {
	var words []string
	start := 0
	for i := 0; i <= len(line); i++ {
		switch {
		case i < len(line) && line[i] == '\\':
			i++
		case i >= len(line) || line[i] == ' ':
			if end := min(i, len(line)); end > start {
				words = append(words, line[start:end])
			}
			start = i + 1
		}
	}
	if start < len(line) {
		words = append(words, line[start:])
	}
	return words
}
