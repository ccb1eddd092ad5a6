package ocipkg

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/bazelbuild/bazel-gazelle/config"
	"github.com/bazelbuild/bazel-gazelle/label"
	"github.com/bazelbuild/bazel-gazelle/rule"
	"github.com/bazelbuild/buildtools/build"
)

// cdeps are the labels that a rule should have, and those among which this language chooses: of what a file has, it
// takes away an owned label that is not wanted, and leaves everything else.
type cdeps struct {
	owned     map[label.Label]bool
	wanted    map[string]map[rule.Platform]bool // label as it is written -> platforms; nil: all
	labels    map[string]label.Label
	pkg       string // the package of the rule
	platforms string // what labels of platforms begin with
}

// add wants a label on a platform, or on all.
func (d *cdeps) add(at label.Label, on *rule.Platform) {
	if d.wanted == nil {
		d.wanted, d.labels = map[string]map[rule.Platform]bool{}, map[string]label.Label{}
	}
	as := written(at, d.pkg)
	d.labels[as] = at
	platforms, there := d.wanted[as]
	switch {
	case on == nil:
		d.wanted[as] = nil
	case !there:
		d.wanted[as] = map[rule.Platform]bool{*on: true}
	case platforms != nil:
		platforms[*on] = true
	}
}

// written is a label as people write it: the main target of a repository is called as that is. Gazelle's own way depends
// on its version.
func written(l label.Label, pkg string) string {
	if l.Repo != "" && l.Pkg == "" && l.Name == l.Repo && !l.Canonical {
		return "@" + l.Repo
	}
	return l.Rel("", pkg).String()
}

// edit changes the cdeps of a rule in a file.
func edit(r *rule.Rule, d cdeps) {
	was := r.Attr("cdeps")
	if was == nil && len(d.wanted) == 0 {
		return
	}
	switch value := d.merge(was); {
	case value == nil:
		r.DelAttr("cdeps")
	case value != was:
		r.SetAttr("cdeps", value)
	}
}

// merge gives what an attribute should be that was was; nil stands for no attribute. It is was itself where nothing has
// to change, and where it is made in a way that cannot be taken apart: by a macro, or of a constant.
func (d cdeps) merge(was build.Expr) build.Expr {
	terms, ok := sum(was)
	if !ok {
		return was
	}
	d.leave(terms)
	common, selects := d.split()
	changed := false
	var kept []build.Expr
	var list *build.ListExpr
	for _, term := range terms {
		l, isList := term.(*build.ListExpr)
		switch {
		case isList && list == nil:
			list = l
			kept = append(kept, nil) // its place
		case isList:
			// A second list: what is wanted stays in it, what is not goes.
			values := slices.DeleteFunc(slices.Clone(l.List), func(e build.Expr) bool { return d.unwanted(e, common) })
			for _, e := range values {
				common = without(common, d.parse(e), d.labels)
			}
			if len(values) != len(l.List) {
				changed = true
				copied := *l
				copied.List = values
				l = &copied
			}
			if len(l.List) > 0 {
				kept = append(kept, l)
			}
		case d.ours(term):
			if at := slices.IndexFunc(selects, func(s build.Expr) bool { return build.FormatString(s) == build.FormatString(term) }); at >= 0 {
				selects = slices.Delete(selects, at, at+1)
				kept = append(kept, term)
			} else {
				changed = true
			}
		default:
			kept = append(kept, term)
		}
	}
	var values []build.Expr
	if list != nil {
		for _, e := range list.List {
			if d.unwanted(e, common) {
				changed = true
				continue
			}
			values = append(values, e)
			common = without(common, d.parse(e), d.labels)
		}
	}
	for _, as := range common {
		changed = true
		values = append(values, &build.StringExpr{Value: as})
	}
	if len(selects) > 0 {
		changed = true
	}
	if !changed {
		return was
	}
	var all []build.Expr
	if len(values) > 0 {
		merged := &build.ListExpr{List: values}
		if list != nil {
			copied := *list
			copied.List = values
			merged = &copied
		}
		merged.ForceMultiLine = merged.ForceMultiLine || len(values) > 1
		all = append(all, merged)
	}
	for _, term := range kept {
		if term != nil {
			all = append(all, term)
		}
	}
	all = append(all, selects...)
	if len(all) == 0 {
		return nil
	}
	value := all[0]
	for _, term := range all[1:] {
		value = &build.BinaryExpr{X: value, Op: "+", Y: term}
	}
	return value
}

// leave forgets of what is wanted what stands in parts of an attribute that stay as they are: a label that is there twice
// on some platform is an error of Bazel's.
func (d *cdeps) leave(terms []build.Expr) {
	there := map[label.Label]bool{}
	for _, term := range terms {
		if list, ok := term.(*build.ListExpr); ok {
			for _, e := range list.List {
				if at := d.parse(e); !d.owned[at] || rule.ShouldKeep(e) {
					there[at] = true
				}
			}
		} else if !d.ours(term) {
			build.Walk(term, func(e build.Expr, _ []build.Expr) { there[d.parse(e)] = true })
		}
	}
	d.wanted = maps.Clone(d.wanted)
	maps.DeleteFunc(d.wanted, func(as string, _ map[rule.Platform]bool) bool { return there[d.labels[as]] })
}

// sum takes an expression apart at its +. It is not ok where a part is neither a list nor a select.
func sum(e build.Expr) (terms []build.Expr, ok bool) {
	switch e := e.(type) {
	case nil:
		return nil, true
	case *build.ListExpr:
		return []build.Expr{e}, true
	case *build.CallExpr:
		id, isName := e.X.(*build.Ident)
		return []build.Expr{e}, isName && id.Name == "select"
	case *build.BinaryExpr:
		x, okX := sum(e.X)
		y, okY := sum(e.Y)
		return append(x, y...), e.Op == "+" && okX && okY
	}
	return nil, false
}

// split divides what is wanted into labels for all platforms, sorted, and select()s for the others.
func (d cdeps) split() (common []string, selects []build.Expr) {
	conditional := map[string]map[rule.Platform]bool{}
	for as, platforms := range d.wanted {
		if platforms == nil {
			common = append(common, as)
		} else {
			conditional[as] = platforms
		}
	}
	ps := platformStrings(conditional, true, d.platforms)
	common = append(common, ps.Generic...)
	slices.SortFunc(common, inOrder)
	ps.Generic = nil
	if !ps.IsEmpty() {
		selects, _ = sum(ps.BzlExpr())
	}
	return common, selects
}

// inOrder compares labels in buildifier's order: of this package, of this repository, of others.
func inOrder(a, b string) int {
	phase := func(s string) int { return strings.Index(":/@", s[:1]) }
	return cmp.Or(cmp.Compare(phase(a), phase(b)), strings.Compare(a, b))
}

func (d cdeps) parse(e build.Expr) label.Label {
	s, ok := e.(*build.StringExpr)
	if !ok {
		return label.NoLabel
	}
	l, err := parseLabel(s.Value)
	if err != nil {
		return label.NoLabel
	}
	return l.Abs("", d.pkg)
}

type parsedLabel struct {
	label label.Label
	err   error
}

// parsedLabels has by their text all labels that rules have had.
var parsedLabels sync.Map

// parseLabel is label.Parse, which matches regular expressions: many rules have the same labels, and each is asked for
// some times.
func parseLabel(text string) (label.Label, error) {
	p, ok := parsedLabels.Load(text)
	if !ok {
		l, err := label.Parse(text)
		p, _ = parsedLabels.LoadOrStore(text, parsedLabel{l, err})
	}
	parsed := p.(parsedLabel)
	return parsed.label, parsed.err
}

// eachString calls f for the strings in an expression, which most often is a list of them.
func eachString(e build.Expr, f func(*build.StringExpr)) {
	switch e := e.(type) {
	case nil:
	case *build.StringExpr:
		f(e)
	case *build.ListExpr:
		for _, element := range e.List {
			eachString(element, f)
		}
	default:
		build.Walk(e, func(e build.Expr, _ []build.Expr) {
			if s, ok := e.(*build.StringExpr); ok {
				f(s)
			}
		})
	}
}

// unwanted reports whether an element of a list is a label of ours that is not among the wanted, or the second of two.
func (d cdeps) unwanted(e build.Expr, wanted []string) bool {
	at := d.parse(e)
	if at == label.NoLabel || !d.owned[at] || rule.ShouldKeep(e) {
		return false
	}
	return !slices.ContainsFunc(wanted, func(as string) bool { return d.labels[as] == at })
}

// without leaves out of wanted what a file has already, however it is written there.
func without(wanted []string, at label.Label, labels map[string]label.Label) []string {
	if at == label.NoLabel {
		return wanted
	}
	return slices.DeleteFunc(wanted, func(as string) bool { return labels[as] == at })
}

// ours reports whether a select is one that this language writes: its keys are platforms of Go, and all that it gives are
// labels of ours.
func (d cdeps) ours(e build.Expr) bool {
	call, ok := e.(*build.CallExpr)
	if !ok || len(call.List) != 1 || rule.ShouldKeep(e) {
		return false
	}
	dict, ok := call.List[0].(*build.DictExpr)
	if !ok {
		return false
	}
	any := false
	for _, kv := range dict.List {
		key, ok := kv.Key.(*build.StringExpr)
		if !ok || !isPlatform(key.Value) || rule.ShouldKeep(kv) {
			return false
		}
		values, ok := kv.Value.(*build.ListExpr)
		if !ok || rule.ShouldKeep(values) {
			return false
		}
		for _, v := range values.List {
			if at := d.parse(v); at == label.NoLabel || !d.owned[at] || rule.ShouldKeep(v) {
				return false
			}
			any = true
		}
	}
	return any
}

// some reports whether a label for which f holds is surely in an attribute. Of a select() on platforms one branch is
// enough, for the flags that it answers are for those platforms too; of any other, every branch must have one. What a
// macro or a constant holds is not known.
func (d cdeps) some(e build.Expr, f func(label.Label) bool) bool {
	switch e := e.(type) {
	case *build.StringExpr:
		at := d.parse(e)
		return at != label.NoLabel && f(at)
	case *build.ListExpr:
		return slices.ContainsFunc(e.List, func(e build.Expr) bool { return d.some(e, f) })
	case *build.BinaryExpr:
		return e.Op == "+" && (d.some(e.X, f) || d.some(e.Y, f))
	case *build.CallExpr:
		dict, ok := argumentOf(e, "select")
		if !ok {
			return false
		}
		platforms, every, any := true, len(dict.List) > 0, false
		for _, kv := range dict.List {
			key, ok := kv.Key.(*build.StringExpr)
			platforms = platforms && ok && isPlatform(key.Value)
			has := d.some(kv.Value, f)
			every, any = every && has, any || has
		}
		return every || platforms && any
	}
	return false
}

// isPlatform reports whether a key of a select() is one that this language writes.
func isPlatform(key string) bool {
	return key == "//conditions:default" || strings.Contains(key, "//go/platform:")
}

// placesByHand are the repositories, and the folders of libraries of the workspace, of which a label was written by hand
// that nothing gives: @openssl//:static, //third_party/openssl:static.
func (l *ocipkgLang) placesByHand(c *config.Config, v *vendoredIndex, e build.Expr, d cdeps) map[string]bool {
	found := map[string]bool{}
	var left map[label.Label]string
	if c.ShouldFix {
		left = l.left(c, v, e, d)
	}
	d.each(v, e, func(at label.Label, e *build.StringExpr) {
		if _, gone := left[at]; !d.owned[at] && !gone {
			found[v.place(at)] = true
		}
	})
	return found
}

// each calls f for the labels in an attribute that have a place, but those of Go's platforms.
func (d cdeps) each(v *vendoredIndex, e build.Expr, f func(at label.Label, e *build.StringExpr)) {
	eachString(e, func(s *build.StringExpr) {
		if at := d.parse(s); v.place(at) != "" && (at.Repo == "" || !strings.HasPrefix(at.Pkg, "go/platform")) {
			f(at, s)
		}
	})
}

// left are the labels in an attribute, as they are written there, that an index or a library of the workspace gave once:
// of targets that the library could have, and has not, since it has a new version, or another platform. A choice between
// the forms of what there is was made by hand: nothing ever gives :static, :shared, :headers or :ssl_static. So was that of
// a target that somebody wrote into the BUILD file of a library of the workspace.
func (l *ocipkgLang) left(c *config.Config, v *vendoredIndex, e build.Expr, d cdeps) map[label.Label]string {
	var left map[label.Label]string
	var places map[string]bool
	d.each(v, e, func(at label.Label, e *build.StringExpr) {
		if d.owned[at] || rule.ShouldKeep(e) || at.Canonical || slices.Contains(forms, at.Name) {
			return
		}
		if at.Repo == "" && (at == v.mains[at.Pkg] || v.others[at]) || at.Repo != "" && (at.Pkg != "" || at == l.main(c, at.Repo)) {
			return
		}
		for _, form := range forms {
			if base, ok := strings.CutSuffix(at.Name, "_"+form); ok && d.owned[label.New(at.Repo, at.Pkg, base)] {
				return
			}
		}
		if places == nil {
			places = map[string]bool{}
			for at := range d.owned {
				if at.Repo == "" || at.Pkg == "" {
					places[v.place(at)] = true
				}
			}
		}
		if places[v.place(at)] {
			if left == nil {
				left = map[label.Label]string{}
			}
			left[at] = e.Value
		}
	})
	return left
}

// forms are the targets of a library's repository that choose how it is linked, and the ends of the names of such targets
// for one of several libraries (internal/ccplan).
var forms = []string{"static", "shared", "headers", "auto"}

// main is the label of the main target of a repository.
func (l *ocipkgLang) main(c *config.Config, repo string) label.Label {
	return l.indexes.declared(c.RepoRoot).main(repo)
}

// platformStrings divides strings by the platforms that they are for into what Gazelle writes: a list for all, and
// select()s on the system, on the processor, or on both.
func platformStrings(byPlatform map[string]map[rule.Platform]bool, conditional bool, prefix string) rule.PlatformStrings {
	ps := rule.PlatformStrings{OS: map[string][]string{}, Arch: map[string][]string{}, Platform: map[rule.PlatformConstraint][]string{}}
	keys := make([]string, 0, len(byPlatform))
	for s := range byPlatform {
		keys = append(keys, s)
	}
	slices.Sort(keys)
	for _, s := range keys {
		platforms := byPlatform[s]
		if !conditional || len(platforms) == len(rule.KnownPlatforms) {
			ps.Generic = append(ps.Generic, s)
			continue
		}
		if systems := whole(platforms, func(p rule.Platform) string { return p.OS }); systems != nil {
			for _, os := range systems {
				ps.OS[prefix+os] = append(ps.OS[prefix+os], s)
			}
			continue
		}
		if archs := whole(platforms, func(p rule.Platform) string { return p.Arch }); archs != nil {
			for _, arch := range archs {
				ps.Arch[prefix+arch] = append(ps.Arch[prefix+arch], s)
			}
			continue
		}
		for p := range platforms {
			key := rule.PlatformConstraint{Platform: p, ConstraintPrefix: prefix}
			ps.Platform[key] = append(ps.Platform[key], s)
		}
	}
	return ps
}

// whole gives the systems, or the processors, that a set of platforms is made of; nil where it has only some platforms
// of one.
func whole(platforms map[rule.Platform]bool, part func(rule.Platform) string) []string {
	var parts []string
	for _, p := range rule.KnownPlatforms {
		if platforms[p] && !slices.Contains(parts, part(p)) {
			parts = append(parts, part(p))
		}
	}
	for _, p := range rule.KnownPlatforms {
		if slices.Contains(parts, part(p)) && !platforms[p] {
			return nil
		}
	}
	return parts
}
