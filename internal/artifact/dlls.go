package artifact

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/native"
)

// A DLL is linked with by way of an import library, which says what the DLL is called. Which belongs to which is read
// from there: zlib1.dll, libz.dll.a and zdll.lib are one library, and no rule of names says so.

// importLibrary is a file of the tree that leads to a DLL.
type importLibrary struct {
	place, name string
	archive     *native.Archive
}

// dll is a DLL of the tree.
type dll struct {
	place  string
	shared *native.Shared
}

// pairDLLs makes a library of each DLL and its import library.
func (m *measuring) pairDLLs() error {
	refuse := func(place, why, do string) error {
		return &diagnostic.Error{Kind: diagnostic.Refused, What: "library " + place, Why: why, Do: do}
	}
	leads := map[string]importLibrary{} // by lower-case name of the DLL, as the loader compares names
	for _, i := range m.imports {
		if len(i.archive.DLLs) != 1 {
			return refuse(i.place, fmt.Sprintf("it is an import library of %d DLLs (%s)", len(i.archive.DLLs), strings.Join(i.archive.DLLs, ", ")), "give one for each DLL")
		}
		name := strings.ToLower(i.archive.DLLs[0])
		if other, twice := leads[name]; twice {
			same, err := m.same(i.place, other.place)
			if err != nil {
				return err
			}
			if same {
				continue
			}
			return refuse(i.place, "it and "+other.place+" are import libraries of one DLL, "+i.archive.DLLs[0], "keep the one for the compiler that the artifact is for: .lib for Microsoft's, .dll.a for MinGW")
		}
		leads[name] = i
		d, there := m.dlls[name]
		if !there {
			return refuse(i.place, "it is the import library of "+i.archive.DLLs[0]+", which is not in the folder", "add the DLL; it is often in bin/")
		}
		l := m.named(i.name)
		if l.Shared != nil {
			return refuse(i.place, "it and "+l.Shared.Interface+" are two shared libraries of one name", "keep one of them")
		}
		l.Shared = sharedLibrary(d.place, d.shared)
		l.Shared.Interface = i.place
		m.interfaces[i.name] = i.archive
	}
	for _, name := range slices.Sorted(maps.Keys(m.dlls)) {
		d := m.dlls[name]
		if _, led := leads[name]; !led {
			return refuse(d.place, "no import library in the folder leads to it, and without one nothing can be linked with it",
				"add its .lib or .dll.a, or leave it out; `dlltool -d X.def -l libX.dll.a` or `lib /def:X.def` makes one")
		}
	}
	return nil
}

// dllName is how the loader knows a DLL.
func dllName(p string) string { return strings.ToLower(path.Base(p)) }

// alike refuses static libraries that Microsoft's linker does not put into one program, such as a debugging build beside
// the other one: people depend on all libraries of an artifact at once.
func (m *measuring) alike() error {
	type said struct{ value, place string }
	first := map[string]said{}
	for _, name := range m.order {
		s := m.libraries[name].Static
		if s == nil {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(s.Mismatch)) {
			value := s.Mismatch[key]
			if have, ok := first[key]; ok && have.value != value {
				return &diagnostic.Error{Kind: diagnostic.Refused, What: "library " + s.Path,
					Why: fmt.Sprintf("it was compiled with %s=%s and %s with %s, which Microsoft's linker does not put into one program", key, value, have.place, have.value),
					Do:  "pack one artifact for each of the two builds"}
			}
			first[key] = said{value, s.Path}
		}
	}
	return nil
}
