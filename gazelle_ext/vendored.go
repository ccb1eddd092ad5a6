package ocipkg

import (
	"maps"
	"path/filepath"
	"slices"

	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/bazel-gazelle/rule"
	"github.com/bazelbuild/buildtools/build"

	"github.com/ocipkg/rules_ocipkg/gazelle_ext/system"
	"github.com/ocipkg/rules_ocipkg/gazelle_ext/vendored"
)

// vendoredIndex is the libraries of the workspace, as an index has others. Where there are none it is nil, and has no
// answers.
type vendoredIndex struct {
	answers map[string]answer
	owned   map[label.Label]bool
	mains   map[string]label.Label // by package
	others  map[label.Label]bool   // what stands beside the targets of a library, in the same BUILD file
}

// vendoredFile is where the answers are from, for a warning.
var vendoredFile = &indexFile{name: "# gazelle:ocipkg_prebuilt"}

func readVendored(libraries *vendored.Libraries) *vendoredIndex {
	v := &vendoredIndex{map[string]answer{}, map[label.Label]bool{}, map[string]label.Label{}, map[label.Label]bool{}}
	for _, lib := range libraries.All() {
		index := lib.Index()
		targets := map[string]*library{}
		for key, target := range index {
			if targets[target] == nil {
				at := label.New("", lib.Pkg, target)
				targets[target] = &library{label: at, written: written(at, ""), file: vendoredFile}
				v.owned[at] = true
			}
			a := v.answers[key]
			a.claim(targets[target])
			v.answers[key] = a
		}
		if len(index) > 0 {
			v.mains[lib.Pkg] = label.New("", lib.Pkg, lib.Name)
			for _, name := range lib.Others {
				v.others[label.New("", lib.Pkg, name)] = true
			}
		}
	}
	return v
}

// place is what the targets of one library have in common: the repository, or, as //package, the folder; "" for other
// labels of the workspace.
func (v *vendoredIndex) place(at label.Label) string {
	if v != nil && at.Repo == "" && v.mains[at.Pkg] != label.NoLabel {
		return "//" + at.Pkg
	}
	return at.Repo
}

// folder is where the library of a label lies, "" for other labels.
func (q *query) folder(at label.Label) string {
	if at == label.NoLabel || at.Repo != "" || q.s.vendored.place(at) == "" {
		return ""
	}
	return filepath.Join(q.args.Config.RepoRoot, filepath.FromSlash(at.Pkg))
}

// main is the label of the target that brings all others of a library.
func (q *query) main(at label.Label) label.Label {
	if at.Repo == "" && q.s.vendored != nil {
		return q.s.vendored.mains[at.Pkg]
	}
	return q.l.main(q.args.Config, at.Repo)
}

// lookUpVendored finds the label that answers a key. It goes before an index, as it does for C++.
func (l *ocipkgLang) lookUpVendored(v *vendoredIndex, key string) (label.Label, bool) {
	if v == nil || system.Header(key) {
		return label.NoLabel, false
	}
	a, ok := v.answers[key]
	if !ok {
		return label.NoLabel, false
	}
	if a.rival != nil {
		l.warnOfRival(key, a)
	}
	return a.winner.label, true
}

// whenWalked does, with the libraries of the workspace, what is to be done to r or to the rule there that Gazelle merges it
// into. It has been merged by then, with flags that nobody had corrected, and a second merge would keep the order of what
// that left: so what was there before is put back first.
func (l *ocipkgLang) whenWalked(libraries *vendored.Libraries, s *settings, r, there *rule.Rule, do func(*settings)) {
	before := map[string]build.Expr{}
	comments := map[string]build.Comments{}
	if there != nil {
		for _, attr := range attributes {
			if before[attr] = there.Attr(attr); before[attr] != nil {
				comments[attr] = *there.AttrComments(attr)
			}
		}
	}
	l.later = append(l.later, func() {
		if l.vendored == nil {
			l.vendored = readVendored(libraries)
		}
		with := *s
		with.vendored = l.vendored
		do(&with)
		if there == nil {
			return
		}
		flags := rule.NewRule(r.Kind(), r.Name())
		for _, key := range r.PrivateAttrKeys() {
			flags.SetPrivateAttr(key, r.PrivateAttr(key)) // a merge takes them along
		}
		mergeable := map[string]bool{}
		for _, attr := range slices.Sorted(maps.Values(attributes)) {
			mergeable[attr] = true
			if value := r.Attr(attr); value != nil {
				flags.SetAttr(attr, value)
			}
			switch now := there.Attr(attr); {
			case now == before[attr]:
			case before[attr] == nil:
				there.DelAttr(attr)
			default:
				there.SetAttr(attr, before[attr])
				*there.AttrComments(attr) = comments[attr]
			}
		}
		rule.MergeRules(flags, there, mergeable, "")
	})
}
