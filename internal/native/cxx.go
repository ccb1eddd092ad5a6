package native

import "strings"

// CXXFlavour says whose C++ standard library the symbols of a file speak of. Two flavours do not link with each other
// where standard types cross the border: the names differ, or, worse, agree while the types do not.
type CXXFlavour string

const (
	CXXNone          CXXFlavour = ""                // C, or C++ without a trace of a standard library in its symbols
	CXXLibstdcxx     CXXFlavour = "libstdc++"       // GCC's; nothing tells which of its two ABIs
	CXXLibstdcxxNew  CXXFlavour = "libstdc++-cxx11" // GCC's, with std::string of the namespace std::__cxx11
	CXXLibstdcxxOld  CXXFlavour = "libstdc++-old"   // GCC's, with the std::string of before GCC 5 (_GLIBCXX_USE_CXX11_ABI=0)
	CXXLibcxx        CXXFlavour = "libc++"          // LLVM's
	CXXLibcxxAndroid CXXFlavour = "libc++-ndk"      // LLVM's as the Android NDK has it, in the namespace std::__ndk1
	CXXMicrosoft     CXXFlavour = "msvc"            // Microsoft's names, which no other compiler's library has
	CXXMixed         CXXFlavour = "mixed"           // of more than one of the families
)

// cxxEvidence collects what names say.
type cxxEvidence struct {
	libstdcxx, cxx11, old, libcxx, ndk, microsoft bool
}

// onlyInLibstdcxx are beginnings of names that libstdc++ has and libc++ has not: what the latter puts into std::__1.
// What both have directly in std, because the C++ ABI wants it there (std::exception, std::terminate), proves nothing.
var onlyInLibstdcxx = []string{
	"_ZNSo", "_ZNSi", "_ZNSd", "_ZNKSo", "_ZNKSi", // the streams' own abbreviations
	"_ZSt4cout", "_ZSt4cerr", "_ZSt4clog", "_ZSt3cin", "_ZSt16__ostream_insert", "_ZNSt8ios_base",
	"_ZNSt6vectorI", "_ZNKSt6vectorI", "_ZNSt8__detail", "_ZSt18_Rb_tree", "_ZSt28_Rb_tree", "_ZNSt8_Rb_treeI",
}

// see takes a symbol as the compiler mangled it, without the underscore of Mach-O.
func (e *cxxEvidence) see(name string) {
	if strings.HasPrefix(name, "?") {
		e.microsoft = true
		return
	}
	if !strings.HasPrefix(name, "_Z") || mangledByRust(name) {
		return
	}
	// Namespaces inside std are mangled by length and name behind "St", in whatever position.
	switch {
	case strings.Contains(name, "St7__cxx11"), strings.Contains(name, "B5cxx11"):
		e.cxx11 = true
	case strings.Contains(name, "St6__ndk1"):
		e.ndk = true
	case strings.Contains(name, "St3__1"), strings.Contains(name, "St3__2"), strings.Contains(name, "St4__Cr"):
		e.libcxx = true
	case strings.HasPrefix(name, "_ZNSs"), strings.HasPrefix(name, "_ZNKSs"):
		e.old = true // members of the abbreviated std::string, which the new ABI has not
	case strings.HasPrefix(name, "_ZSt") && strings.Contains(name, "__throw_"):
		e.libstdcxx = true
	default:
		for _, prefix := range onlyInLibstdcxx {
			if strings.HasPrefix(name, prefix) {
				e.libstdcxx = true
				return
			}
		}
	}
}

// needs takes the name of a library that is needed at run time.
func (e *cxxEvidence) needs(library string) {
	switch {
	case strings.HasPrefix(library, "libstdc++.so."), strings.HasPrefix(library, "libstdc++-"):
		e.libstdcxx = true
	case strings.HasPrefix(library, "libc++.so."), strings.HasSuffix(library, "/libc++.1.dylib"), library == "libc++.dll":
		e.libcxx = true
	case library == "libc++_shared.so":
		e.ndk = true
	case strings.HasPrefix(library, "msvcp1"):
		e.microsoft = true
	}
}

func (e *cxxEvidence) flavour() CXXFlavour {
	var found []CXXFlavour
	switch {
	case e.cxx11 && !e.old:
		found = append(found, CXXLibstdcxxNew)
	case e.old && !e.cxx11:
		found = append(found, CXXLibstdcxxOld)
	case e.old || e.libstdcxx:
		found = append(found, CXXLibstdcxx) // both ABIs, as libstdc++ itself has them, or neither
	}
	if e.libcxx {
		found = append(found, CXXLibcxx)
	}
	if e.ndk {
		found = append(found, CXXLibcxxAndroid)
	}
	if e.microsoft {
		found = append(found, CXXMicrosoft)
	}
	switch len(found) {
	case 0:
		return CXXNone
	case 1:
		return found[0]
	}
	return CXXMixed
}

// isCXX reports whether a name is one of C++: mangled by the Itanium ABI's rules, which all but Microsoft's compiler
// follow, or by Microsoft's.
func isCXX(name string) bool {
	return strings.HasPrefix(name, "_Z") && !mangledByRust(name) || strings.HasPrefix(name, "?")
}
