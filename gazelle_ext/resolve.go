package ocipkg

import (
	"log"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/bazel-gazelle/resolve"

	"github.com/ocipkg/rules_ocipkg/gazelle_ext/system"
	"github.com/ocipkg/rules_ocipkg/internal/headerindex"
)

// prebuiltLanguage is the language of gazelle_ext/prebuilt. It measures libraries, and to import it would be to compile
// that for everyone.
const prebuiltLanguage = "ocipkg_prebuilt"

// CrossResolve answers an include path, asked for by the language "cc", with the one library that has that header. It
// is asked for every include that no rule of the repository answers, <stdio.h> too, hence the map. A library whose files
// lie in the workspace goes before a fetched one: two answers would be none.
func (l *ocipkgLang) CrossResolve(c *config.Config, ix *resolve.RuleIndex, imp resolve.ImportSpec, lang string) []resolve.FindResult {
	if lang != "cc" {
		return nil
	}
	list := indexesOf(c)
	if list == nil {
		return nil
	}
	if _, ok := list.find(imp.Imp); !ok || !headerindex.IsHeader(imp.Imp) {
		return nil
	}
	if len(ix.FindRulesByImport(resolve.ImportSpec{Lang: prebuiltLanguage, Imp: imp.Imp}, prebuiltLanguage)) > 0 {
		return nil
	}
	a, ok := l.lookUp(list, imp.Imp)
	if !ok {
		return nil
	}
	return []resolve.FindResult{{Label: a}}
}

// lookUp finds the label that answers a key of an index. Headers of the C library and of POSIX are nobody's: a library
// that brings a copy of one must not be linked by everyone who includes it.
func (l *ocipkgLang) lookUp(list *indexList, key string) (label.Label, bool) {
	a, ok := list.find(key)
	if !ok || system.Header(key) {
		return label.NoLabel, false
	}
	if a.rival != nil {
		l.warnOfRival(key, a)
	}
	return a.winner.label, true
}

// warnOfRival says once of each header that two libraries have it. Only of headers that are included: libraries which
// replace each other, such as OpenSSL's forks, share hundreds.
func (l *ocipkgLang) warnOfRival(key string, a answer) {
	if _, warned := l.warned.LoadOrStore(key, true); warned {
		return
	}
	because := "it stands there first"
	switch {
	case a.winner.file == vendoredFile:
		because = "its folder comes first"
	case a.winner.file != a.rival.file:
		because = "its index is named first"
	}
	if headerindex.IsHeader(key) {
		log.Printf("#include <%s>: %s (%s) has this header, and so has %s (%s). The first is used, because %s; to choose the other, write # gazelle:resolve cc %s %s.",
			key, a.winner.written, a.winner.file.name, a.rival.written, a.rival.file.name, because, key, a.rival.written)
		return
	}
	log.Printf("%s: %s (%s) answers to this, and so does %s (%s). The first is used, because %s; to choose the other, write # gazelle:resolve %s %s %s.",
		key, a.winner.written, a.winner.file.name, a.rival.written, a.rival.file.name, because, languageName, key, a.rival.written)
}
