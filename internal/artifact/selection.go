package artifact

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Selection says where the parts of a library lie in a folder that is no install prefix. Paths are slash-separated and
// relative to the folder; * and ? and [a-z] stand for characters of one part of a path (path.Match). A part of which
// nothing is said is guessed by Arrange.
type Selection struct {
	Headers   []string // folders, whose headers keep their paths below include/, or files, which become include/<name>
	Libraries []string // files and links, which become lib/<name>
	PkgConfig []string // .pc files, which become lib/pkgconfig/<name>
	Licenses  []string // files, which become share/licenses/<name>
}

// places gives files their places. One rule is one word of a selection.
type places struct {
	rules []*placeRule
	// guessed are the folders of an artifact of which the selection says nothing.
	guessed []string
}

type placeRule struct {
	key, pattern, folder string
	used                 bool
}

func (s Selection) places() (*places, error) {
	p := &places{}
	for _, part := range []struct {
		key, folder string
		patterns    []string
	}{
		{"headers", "include/", s.Headers},
		{"libraries", "lib/", s.Libraries},
		{"pkgConfig", "lib/pkgconfig/", s.PkgConfig},
		{"licenses", "share/licenses/", s.Licenses},
	} {
		for _, pattern := range part.patterns {
			clean := path.Clean(pattern)
			if _, err := path.Match(clean, ""); err != nil || pattern == "" || !fs.ValidPath(clean) {
				return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("%s %q", part.key, pattern), Why: "it is no path inside the folder", Do: "write it relative to the folder that is packed, with slashes and without .."}
			}
			p.rules = append(p.rules, &placeRule{key: part.key, pattern: clean, folder: part.folder})
		}
		if len(part.patterns) == 0 {
			p.guessed = append(p.guessed, part.folder)
		}
	}
	return p, nil
}

// of gives the place in an artifact of the file at p in a folder, "" for none.
func (s *places) of(p string) string {
	for _, r := range s.rules {
		if place := r.of(p); place != "" {
			r.used = true
			return place
		}
	}
	place := arrangePath(p)
	folder := ""
	for _, f := range s.guessed {
		if strings.HasPrefix(place, f) && len(f) > len(folder) {
			folder = f
		}
	}
	if folder == "lib/" && strings.HasPrefix(place, "lib/pkgconfig/") || folder == "" {
		return ""
	}
	return place
}

func (r *placeRule) of(p string) string {
	base := path.Base(p)
	if ok, _ := path.Match(r.pattern, p); ok {
		return r.folder + base
	}
	if r.key != "headers" {
		return ""
	}
	rest, below := strings.CutPrefix(p, r.pattern+"/")
	if r.pattern == "." {
		rest, below = p, true
	}
	// In a folder of sources only names tell what is a header; a folder of headers has some without an ending.
	if below && (path.Base(r.pattern) == "include" || IsHeader(base)) {
		return r.folder + rest
	}
	return ""
}

// unused complains of the first word of the selection that found nothing.
func (s *places) unused() error {
	for _, r := range s.rules {
		if !r.used {
			return &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("%s %q", r.key, r.pattern), Why: "the folder holds nothing of that name", Do: "write it relative to the folder that is packed; * stands for part of a name"}
		}
	}
	return nil
}
