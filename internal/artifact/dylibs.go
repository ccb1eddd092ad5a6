package artifact

import (
	"fmt"
	"path"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// installName checks the name that a dylib of macOS gives itself. Whoever links with it records that name, and dyld
// looks for the library there: only "@rpath/" and a file's name lead to it wherever it lies.
func installName(place, name string) error {
	file, ok := strings.CutPrefix(name, "@rpath/")
	if ok && ValidLibraryName(file) {
		return nil
	}
	wanted := path.Base(place)
	if ValidLibraryName(path.Base(name)) {
		wanted = path.Base(name)
	}
	why := fmt.Sprintf("its install name is %q, and programs that link with it look for it there", name)
	if name == "" {
		why = "it has no install name, so programs that link with it do not find it"
	}
	return &diagnostic.Error{Kind: diagnostic.Refused, What: "library " + place, Why: why,
		Do: fmt.Sprintf("give it one that is found by a search path: `install_name_tool -id @rpath/%s %s` and then `codesign -f -s - %s`, or CMake's MACOSX_RPATH", wanted, path.Base(place), path.Base(place))}
}

// siblingsByName refuses a dylib that looks for another one of the tree in a place of the machine that it was built
// on. Where the other one is not in the tree it is missing, and that is told elsewhere.
func (m *measuring) siblingsByName() error {
	byFile := map[string]string{}
	for _, name := range m.order {
		if s := m.libraries[name].Shared; s != nil && s.InstallName != "" {
			byFile[path.Base(s.InstallName)] = s.InstallName
		}
	}
	for _, name := range m.order {
		s := m.libraries[name].Shared
		if s == nil || s.InstallName == "" {
			continue
		}
		for _, needed := range s.Needed {
			own, sibling := byFile[path.Base(needed)]
			_, _, system := platformLibrary("darwin", needed)
			if sibling && !system && path.IsAbs(needed) {
				return &diagnostic.Error{Kind: diagnostic.Refused, What: "library " + s.Path,
					Why: fmt.Sprintf("it looks for %s, which is in the folder, at %s", path.Base(needed), needed),
					Do:  fmt.Sprintf("change that: `install_name_tool -change %s %s %s` and then `codesign -f -s - %s`", needed, own, path.Base(s.Path), path.Base(s.Path))}
			}
		}
	}
	return nil
}
