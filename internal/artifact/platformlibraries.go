package artifact

import (
	"path"
	"slices"
	"strings"
)

// platformLibraries are the SONAMEs that every system with the same C library has, each with the name that -l wants
// for static linking, "" where the compiler's driver adds it by itself.
var platformLibraries = map[string]string{
	"libc.so.6": "", "libm.so.6": "m", "libdl.so.2": "dl", "libpthread.so.0": "pthread", "librt.so.1": "rt",
	"libresolv.so.2": "resolv", "libutil.so.1": "util", "libanl.so.1": "anl", "libmvec.so.1": "mvec",
	"libgcc_s.so.1": "", "libstdc++.so.6": "", "libatomic.so.1": "atomic",
}

// windowsLibraries are the DLLs that every Windows has and libraries commonly import from; their import libraries are
// called as they are. The driver adds what is in windowsDefault.
var (
	windowsLibraries = strings.Fields(`advapi32 authz avicap32 avrt bcrypt bcryptprimitives cabinet cfgmgr32 combase comctl32
		comdlg32 credui crypt32 cryptui d2d1 d3d11 d3d12 d3d9 dbgeng dbghelp dcomp dinput8 dnsapi dsound dwmapi dwrite dxgi
		dxva2 evr gdi32 gdiplus glu32 hid httpapi imagehlp imm32 iphlpapi kernel32 kernelbase ktmw32 mf mfplat mfreadwrite
		mpr msacm32 msimg32 mswsock msvfw32 mscoree ncrypt netapi32 normaliz ntdll odbc32 ole32 oleacc oleaut32 opengl32
		pdh powrprof propsys psapi rpcrt4 rstrtmgr secur32 setupapi shcore shell32 shfolder shlwapi slc tdh uiautomationcore
		urlmon user32 userenv usp10 uxtheme version wer wevtapi wininet winhttp winmm winspool.drv wintrust winusb wlanapi
		wldap32 ws2_32 wsock32 wtsapi32 xinput1_4 xinput9_1_0 xmllite`)
	windowsDefault = []string{"kernel32", "kernelbase", "ntdll"}
	// darwinLibraries are what follows -l for the libraries of macOS that others commonly need.
	darwinLibraries = strings.Fields("bz2 compression curl dl edit expat ffi iconv m ncurses objc pthread resolv sandbox sqlite3 xml2 z")

	// windowsRuntime are beginnings of the names of what the compiler's own run-time libraries are called.
	windowsRuntime = []string{"api-ms-win-", "ext-ms-win-", "ucrtbase", "vcruntime", "msvcp1", "concrt1", "msvcrt", "msvcr1",
		"libgcc_s_", "libstdc++-", "libwinpthread-", "libssp-", "libatomic-", "libgomp-", "libc++", "libunwind"}
)

// platformLibrary reports whether the platform brings a library that another one needs, by the name that is recorded
// there. library is what static linking with it takes after -l, and framework after -framework; "" where the
// compiler's driver adds it by itself.
func platformLibrary(os, needed string) (library, framework string, ok bool) {
	switch os {
	case "darwin":
		return darwinLibrary(needed)
	case "windows":
		name := strings.TrimSuffix(strings.ToLower(needed), ".dll")
		if slices.ContainsFunc(windowsRuntime, func(p string) bool { return strings.HasPrefix(name, p) }) {
			return "", "", true
		}
		if !slices.Contains(windowsLibraries, name) {
			return "", "", false
		}
		if slices.Contains(windowsDefault, name) {
			return "", "", true
		}
		return strings.TrimSuffix(name, ".drv"), "", true
	}
	if strings.HasPrefix(needed, "ld-linux") || strings.HasPrefix(needed, "ld64.so") || strings.HasPrefix(needed, "libc.musl-") || needed == "libc.so" {
		return "", "", true
	}
	library, ok = platformLibraries[needed]
	return library, "", ok
}

// systemLibrary reports whether name, as it follows -l in a .pc file, is a library that the platform brings and the
// compiler's driver does not add.
func systemLibrary(os, name string) bool {
	switch os {
	case "darwin":
		return slices.Contains(darwinLibraries, name)
	case "windows":
		return slices.Contains(windowsLibraries, name) && !slices.Contains(windowsDefault, name)
	}
	for _, known := range platformLibraries {
		if name != "" && known == name {
			return true
		}
	}
	return false
}

// darwinLibrary: what lies in /usr/lib and in /System/Library comes with macOS, and nothing else can lie there.
func darwinLibrary(needed string) (library, framework string, ok bool) {
	if strings.HasPrefix(needed, "/System/Library/") {
		if dir, _, found := strings.Cut(needed, ".framework/"); found && ValidLibraryName(path.Base(dir)) {
			return "", path.Base(dir), true
		}
		return "", "", true
	}
	rest, ok := strings.CutPrefix(needed, "/usr/lib/")
	if !ok {
		return "", "", false
	}
	// libz.1.dylib is linked as -lz. The compiler's driver adds libSystem, which is libc, libm and libpthread, and libc++.
	name, _, _ := strings.Cut(strings.TrimPrefix(rest, "lib"), ".")
	if strings.Contains(rest, "/") || !ValidLibraryName(name) || name == "System" || name == "c++" || name == "c++abi" {
		return "", "", true
	}
	return name, "", true
}
