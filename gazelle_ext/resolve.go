package ocipkg

import (
	"log"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/resolve"
)

// CrossResolve answers an include path, asked for by the language "cc", with the one library that has that header. It
// is asked for every include that no rule of the repository answers, <stdio.h> too, hence the map.
func (l *ocipkgLang) CrossResolve(c *config.Config, _ *resolve.RuleIndex, imp resolve.ImportSpec, lang string) []resolve.FindResult {
	if lang != "cc" {
		return nil
	}
	list := indexesOf(c)
	if list == nil {
		return nil
	}
	a, ok := list.answers()[imp.Imp]
	if !ok {
		return nil
	}
	if a.rival != nil {
		l.warnOfRival(imp.Imp, a)
	}
	return []resolve.FindResult{{Label: a.winner.label}}
}

// warnOfRival says once of each header that two libraries have it. Only of headers that are included: libraries which
// replace each other, such as OpenSSL's forks, share hundreds.
func (l *ocipkgLang) warnOfRival(header string, a answer) {
	if _, warned := l.warned.LoadOrStore(header, true); warned {
		return
	}
	log.Printf("#include <%s>: %s (%s) has this header, and so has %s (%s). The first is used, because # gazelle:%s names it first; to choose the other, write # gazelle:resolve cc %s %s.",
		header, a.winner.written, a.winner.file.name, a.rival.written, a.rival.file.name, indexDirective, header, a.rival.written)
}
