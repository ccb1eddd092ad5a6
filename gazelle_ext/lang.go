// Package ocipkg is the Gazelle language "ocipkg". It finds the label of a fetched library: for the languages that write
// C and C++ rules, which ask for the rule behind #include <zlib.h>, and for the cgo rules of Gazelle's own language for
// Go, whose cdeps it writes:
//
//	gazelle_binary(
//	    name = "gazelle_binary",
//	    languages = [
//	        "@gazelle//language/go",
//	        "@gazelle_cc//language/cc",
//	        "@rules_ocipkg_gazelle_plugin//ocipkg",
//	    ],
//	)
//
// Invariant: it changes cdeps and flags of cgo rules alone. In cdeps it adds labels that an index gives and removes those
// of them that nothing asks for, whoever wrote them, unless they are marked # keep; so with targets that a library of an
// index, or of the workspace, no longer has. Other labels that no index gives it leaves, but for those that "gazelle fix" takes out because MODULE.bazel does not declare their repository. It takes -l and -L
// that a label in cdeps makes superfluous from what the language for Go is about to write. It reads an index when
// something is first looked up in it, and never twice; where none is named and none is there it does nothing. An answer
// is a function of the directives, the indexes and MODULE.bazel, and is one label.
//
// The format of an index is the business of internal/headerindex, what cgo asks for that of gazelle_ext/cgo; neither
// knows Gazelle.
package ocipkg

import (
	"flag"
	"sync"
	"sync/atomic"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/language"
	"github.com/bazelbuild/bazel-gazelle/resolve"
)

const languageName = "ocipkg"

type ocipkgLang struct {
	language.BaseLang
	indexes indexes
	warned  sync.Map // key of an index -> true, of those that two libraries have and that were warned of

	unjudged sync.Map // folder of a workspace -> true, of those that fix said it cannot judge

	registered            bool       // the command is one with flags of ours
	repositoryMode        *flag.Flag // of the language for Go: whether it is a module's repository
	flagIndexes, flagTags []string   // what the flags were set to
	failed                atomic.Bool

	later    []func()       // what waits for the end of the walk
	vendored *vendoredIndex // read then
}

var (
	_ language.Language     = (*ocipkgLang)(nil)
	_ config.Configurer     = (*ocipkgLang)(nil)
	_ resolve.CrossResolver = (*ocipkgLang)(nil)

	_ language.LifecycleManager = (*ocipkgLang)(nil)
)

// NewLanguage returns the language, as gazelle_binary calls it. It reads nothing.
func NewLanguage() language.Language { return &ocipkgLang{} }

func (*ocipkgLang) Name() string { return languageName }
