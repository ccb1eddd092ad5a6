package system

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestHeader(t *testing.T) {
	for _, name := range strings.Fields("stdio.h string unordered_map net/if.h arpa/inet.h sysexits.h sys/epoll.h iconv.h libintl.h execinfo.h linux/if.h asm/types.h bits/stdc++.h immintrin.h windows.h") {
		if !Header(name) {
			t.Errorf("%s is taken for a library's", name)
		}
	}
	for _, name := range strings.Fields("zlib.h crypt.h omp.h unwind.h fts.h argp.h obstack.h ndbm.h nss.h sys/capability.h sys/acl.h netinet/sctp.h ext/standard/info.h experimental/mdspan linux string/string linuxinput.h") {
		if Header(name) {
			t.Errorf("%s is taken for the system's", name)
		}
	}
}

var (
	installed = regexp.MustCompile(`(?m)^/usr/include/(?:[a-z0-9_]+-linux-gnu[a-z0-9]*/)?(?:c\+\+/\d+/)?(.+)$`)
	header    = regexp.MustCompile(`(^|/)[^/.]+$|\.h$`)
)

// TestHeadersOfDebian: on a machine with Debian's packages, what those of glibc and libstdc++ have in the folders that
// compilers search is the system's, and what packages of libraries have is not.
func TestHeadersOfDebian(t *testing.T) {
	lists, _ := filepath.Glob("/var/lib/dpkg/info/lib*-dev*.list")
	if len(lists) == 0 {
		t.Skip("SKIPPED: there are no lists of Debian's packages")
	}
	// Of glibc, and not listed: nss.h is what Mozilla's library has, features-time64.h is included by headers alone, and the
	// others have libraries of their own for musl. Included by headers alone are most in the folders of libstdc++, too.
	others := map[string]bool{"nss.h": true, "features-time64.h": true, "fts.h": true, "argp.h": true, "obstack.h": true}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(list), ".list")
		systems := strings.HasPrefix(name, "libc6-dev") || strings.HasPrefix(name, "libstdc++-")
		for _, m := range installed.FindAllStringSubmatch(string(text), -1) {
			file := m[1]
			info, err := os.Stat(m[0])
			if err != nil || info.IsDir() || !header.MatchString(file) || others[file] {
				continue
			}
			isInternal := strings.Contains(m[0], "/c++/") && path.Dir(file) != "." || strings.HasPrefix(file, "gnu/stubs") || strings.HasPrefix(file, "gnu/lib-names-") || strings.HasPrefix(file, "finclude/")
			if got := Header(file); got != systems && !(systems && isInternal) {
				t.Errorf("%s of %s: it is the system's: %v", file, name, got)
			}
		}
	}
}
