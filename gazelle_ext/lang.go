// Package ocipkg is the Gazelle language "ocipkg". It tells the languages that write C and C++ rules which fetched
// library has a header, so that #include <zlib.h> becomes deps = ["@zlib//:zlib"] with nothing written by hand:
//
//	gazelle_binary(
//	    name = "gazelle_binary",
//	    languages = ["@gazelle_cc//language/cc", "@rules_ocipkg//gazelle_ext"],
//	)
//
//	# gazelle:ocipkg_index third_party/zlib/header_index.json
//
// Invariant: it generates no rules and changes none. It reads a file only when a header is asked for in a directory
// where a directive names that file, and never twice; where no directive is in force it does nothing. An answer is a
// function of the directives and the files they name, and is one label: the languages that ask cannot choose between
// two.
//
// The format of an index is the business of gazelle_ext/headerindex, which knows nothing of Gazelle.
package ocipkg

import (
	"sync"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/language"
	"github.com/bazelbuild/bazel-gazelle/resolve"
)

const languageName = "ocipkg"

type ocipkgLang struct {
	language.BaseLang
	indexes indexes
	warned  sync.Map // header -> true, of those that two libraries have and that were warned of
}

var (
	_ language.Language     = (*ocipkgLang)(nil)
	_ config.Configurer     = (*ocipkgLang)(nil)
	_ resolve.CrossResolver = (*ocipkgLang)(nil)
)

// NewLanguage returns the language, as gazelle_binary calls it. It reads nothing.
func NewLanguage() language.Language { return &ocipkgLang{} }

func (*ocipkgLang) Name() string { return languageName }
