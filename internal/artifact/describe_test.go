package artifact

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

func shared(soname string, needed ...string) string {
	return string(artifacttest.Shared{SONAME: soname, Needed: append(needed, "libc.so.6")}.Bytes())
}

func static(defines string, wants ...string) string {
	return string(artifacttest.Archive(artifacttest.Object{Defines: []string{defines}, Wants: wants}))
}

// having describes x.io/NAME as the package NAME with shared libraries of these SONAMEs, x.io/other as one without.
func having(sonames ...string) func(string, Triple) (*Package, error) {
	return func(image string, target Triple) (*Package, error) {
		if target.String() != "x86_64-unknown-linux-gnu" {
			return nil, fmt.Errorf("it was asked for %s", target)
		}
		p := &Package{Name: strings.TrimPrefix(image, "x.io/")}
		if p.Name == "other" {
			return p, nil
		}
		for _, soname := range sonames {
			p.Libraries = append(p.Libraries, Library{Name: soname, Shared: &SharedLibrary{Path: "lib/" + soname, SONAME: soname}})
		}
		return p, nil
	}
}

// described arranges and describes a folder as Pack does.
func described(t *testing.T, files map[string]string, claims Claims) (*Package, error) {
	t.Helper()
	prefix := os.DirFS(prefixOf(t, files))
	tree, _, err := Arrange(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return Describe(prefix, tree, claims)
}

// Artifacts of others have libraries at the root and below lib/, and may hold what no packer of ours takes: which of two
// libraries is linked, is up to whoever fetches them.
func TestDescribeInSeveralFolders(t *testing.T) {
	for what, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"copies": {map[string]string{"libpng.so": shared("libpng16.so.16"), "lib/libpng16.so.16": shared("libpng16.so.16"), "lib/libpng16.so": shared("libpng16.so.16")}, "png16: lib/libpng16.so.16"},
		"builds": {map[string]string{"lib/libz.so.1": shared("libz.so.1"), "lib/libz_debug.so.1": shared("libz.so.1", "libm.so.6")}, "z: lib/libz.so.1, z_debug: lib/libz_debug.so.1"},
	} {
		tree := Tree{}
		for place := range c.files {
			tree[place] = Entry{Source: place}
		}
		p, err := Describe(os.DirFS(prefixOf(t, c.files)), tree, Claims{Name: "x"})
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if got := librariesOf(p); got != c.want {
			t.Errorf("%s: libraries %s, not %s", what, got, c.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	const pc = "prefix=/usr\nlibdir=${prefix}/lib\nName: z\nDescription: d\nVersion: 1.3.1\nLibs: -L${libdir} -lz\nLibs.private: -lm -lpthread -lother -lz\n"
	aarch64 := string(artifacttest.Shared{Machine: elf.EM_AARCH64, SONAME: "libz.so.1"}.Bytes())
	for _, c := range []struct {
		what   string
		files  map[string]string
		claims Claims
		want   string // of the package, in JSON, without its schema
	}{
		{"everything", map[string]string{"include/z.h": "", "lib/libz.a": static("deflate"), "lib/libz.so": "-> libz.so.1", "lib/libz.so.1": "-> libz.so.1.3.1", "lib/libz.so.1.3.1": shared("libz.so.1", "libm.so.6"), "lib/pkgconfig/z.pc": pc, "share/licenses/z/LICENSE": ""}, Claims{License: "Zlib", Defines: []string{"Z=1"}},
			`{"name":"z","version":"1.3.1","license":"Zlib","target":"x86_64-unknown-linux-gnu","libraries":[{"name":"z","static":{"path":"lib/libz.a","pic":"pic"},"shared":{"path":"lib/libz.so.1","link":"lib/libz.so","soname":"libz.so.1","needed":["libm.so.6","libc.so.6"]}}],"includes":["include"],"defines":["Z=1"],"systemLibraries":["m","pthread"],"pkgConfig":["lib/pkgconfig/z.pc"],"licenses":["share/licenses/z/LICENSE"]}`},
		{"headers alone fit everything", map[string]string{"include/z.h": ""}, Claims{Name: "z"}, `{"name":"z","includes":["include"]}`},
		{"headers for one target", map[string]string{"include/z.h": ""}, Claims{Name: "z", Target: "x86_64-linux-gnu"}, `{"name":"z","target":"x86_64-unknown-linux-gnu","includes":["include"]}`},
		{"an archive alone is taken for glibc's", map[string]string{"lib/libz.a": static("a")}, Claims{Name: "z"},
			`{"name":"z","target":"x86_64-unknown-linux-gnu","libraries":[{"name":"z","static":{"path":"lib/libz.a","pic":"pic"}}]}`},
		{"or for what is claimed", map[string]string{"lib/libz.a": static("a")}, Claims{Name: "z", Target: "x86_64-unknown-linux-musl"},
			`{"name":"z","target":"x86_64-unknown-linux-musl","libraries":[{"name":"z","static":{"path":"lib/libz.a","pic":"pic"}}]}`},
		{"an empty archive fits every machine", map[string]string{"lib/libpthread.a": "!<arch>\n", "lib/libz.so.1": aarch64}, Claims{Name: "z"},
			`{"name":"z","target":"aarch64-unknown-linux-gnu","libraries":[{"name":"pthread","static":{"path":"lib/libpthread.a","pic":"pic"}},{"name":"z","shared":{"path":"lib/libz.so.1","soname":"libz.so.1"}}]}`},
		{"siblings", map[string]string{"lib/liba.so.1": shared("liba.so.1", "libb.so.2", "ld-linux-x86-64.so.2"), "lib/libb.so.2": shared("libb.so.2"), "lib/liba.a": static("a", "b_open"), "lib/libb.a": static("b_open", "a")}, Claims{Name: "ab"},
			`{"name":"ab","target":"x86_64-unknown-linux-gnu","libraries":[{"name":"a","static":{"path":"lib/liba.a","pic":"pic"},"shared":{"path":"lib/liba.so.1","soname":"liba.so.1","needed":["libb.so.2","ld-linux-x86-64.so.2","libc.so.6"]},"requires":["b"]},{"name":"b","static":{"path":"lib/libb.a","pic":"pic"},"shared":{"path":"lib/libb.so.2","soname":"libb.so.2","needed":["libc.so.6"]},"requires":["a"]}]}`},
		{"a linker script is no library", map[string]string{"lib/libz.so": "GROUP ( /lib/libz.so.1 )\n", "lib/libz.so.1": shared("libz.so.1")}, Claims{Name: "z"},
			`{"name":"z","target":"x86_64-unknown-linux-gnu","libraries":[{"name":"z","shared":{"path":"lib/libz.so.1","soname":"libz.so.1","needed":["libc.so.6"]}}]}`},
		{"copies for links", map[string]string{"lib/libz.so": shared("libz.so.1"), "lib/libz.so.1": shared("libz.so.1")}, Claims{Name: "z"},
			`{"name":"z","target":"x86_64-unknown-linux-gnu","libraries":[{"name":"z","shared":{"path":"lib/libz.so.1","link":"lib/libz.so","soname":"libz.so.1","needed":["libc.so.6"]}}]}`},
		{"code for -no-pie alone", map[string]string{"lib/libz.a": string(artifacttest.Archive(artifacttest.Object{Defines: []string{"a"}, Absolute: true}))}, Claims{Name: "z"},
			`{"name":"z","target":"x86_64-unknown-linux-gnu","libraries":[{"name":"z","static":{"path":"lib/libz.a","pic":"none","reason":"o0.o: R_X86_64_32 against symbol a"}}]}`},
		{"missing, and told", map[string]string{"lib/libz.so.1": shared("libz.so.1", "libssl.so.3")}, Claims{Name: "z"},
			`{"name":"z","target":"x86_64-unknown-linux-gnu","libraries":[{"name":"z","shared":{"path":"lib/libz.so.1","soname":"libz.so.1","needed":["libssl.so.3","libc.so.6"]}}],"missing":["libssl.so.3"]}`},
		{"missing, and allowed", map[string]string{"lib/libz.so.1": shared("libz.so.1", "libssl.so.3")}, Claims{Name: "z", RefuseMissing: true, AllowMissing: []string{"libssl.so.3"}},
			`{"name":"z","target":"x86_64-unknown-linux-gnu","libraries":[{"name":"z","shared":{"path":"lib/libz.so.1","soname":"libz.so.1","needed":["libssl.so.3","libc.so.6"]}}],"missing":["libssl.so.3"]}`},
		{"missing, and in a dependency", map[string]string{"lib/libz.so.1": shared("libz.so.1", "libssl.so.3")}, Claims{Name: "z", RefuseMissing: true, Dependencies: map[string]string{"openssl": "x.io/openssl", "other": "x.io/other"}, Dependency: having("libcrypto.so.3", "libssl.so.3")},
			`{"name":"z","target":"x86_64-unknown-linux-gnu","libraries":[{"name":"z","shared":{"path":"lib/libz.so.1","soname":"libz.so.1","needed":["libssl.so.3","libc.so.6"]}}],"dependencies":[{"name":"openssl","image":"x.io/openssl","needed":["libssl.so.3"]},{"name":"other","image":"x.io/other"}]}`},
		{"headers that need others", map[string]string{"include/z.h": ""}, Claims{Name: "z", Dependencies: map[string]string{"y": "x.io/y"}},
			`{"name":"z","dependencies":[{"name":"y","image":"x.io/y"}],"includes":["include"]}`},
		{"two .pc files of one version", map[string]string{"include/z.h": "", "lib/pkgconfig/a.pc": "Name: a\nDescription: d\nVersion: 2\n", "lib/pkgconfig/b.pc": "Name: b\nDescription: d\nVersion: 2\n"}, Claims{Name: "z"},
			`{"name":"z","version":"2","includes":["include"],"pkgConfig":["lib/pkgconfig/a.pc","lib/pkgconfig/b.pc"]}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, err := described(t, c.files, c.claims)
			if err != nil {
				t.Fatal(err)
			}
			p.Schema = 0
			for _, l := range p.Libraries {
				if s := l.Shared; s != nil {
					// They all export what artifacttest gives them.
					if s.Exports != 1 || s.ExportsHash != fmt.Sprintf("%x", sha256.Sum256([]byte("entry\n"))) {
						t.Errorf("exports of %s: %d, %s", l.Name, s.Exports, s.ExportsHash)
					}
					s.Exports, s.ExportsHash = 0, ""
				}
			}
			got, err := marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Replace(c.want, "{", `{"schema":0,`, 1)
			if string(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// A library has the name that the linker calls it by, whatever its file's: then its archive belongs to it.
func TestLibrariesAreCalledAsByTheLinker(t *testing.T) {
	for _, c := range []struct {
		what  string
		files map[string]string
		want  string
	}{
		{"a version in the SONAME (libyaml)", map[string]string{"lib/libyaml.a": static("a"), "lib/libyaml.so": "-> libyaml-0.so.2.0.9", "lib/libyaml-0.so.2": "-> libyaml-0.so.2.0.9", "lib/libyaml-0.so.2.0.9": shared("libyaml-0.so.2")},
			"yaml: lib/libyaml.a lib/libyaml-0.so.2"},
		{"a version in the file's name (libelf)", map[string]string{"lib/libelf.a": static("a"), "lib/libelf.so": "-> libelf.so.1", "lib/libelf.so.1": "-> libelf-0.188.so", "lib/libelf-0.188.so": shared("libelf.so.1")},
			"elf: lib/libelf.a lib/libelf.so.1"},
		{"without an archive", map[string]string{"lib/libyaml.so": "-> libyaml-0.so.2", "lib/libyaml-0.so.2": shared("libyaml-0.so.2")}, "yaml: lib/libyaml-0.so.2"},
		{"a default among releases (libdb)", map[string]string{"lib/libdb.so": "-> libdb-5.3.so", "lib/libdb-5.3.so": shared("libdb-5.3.so")}, "db-5.3: lib/libdb-5.3.so"},
		{"with an archive of each name", map[string]string{"lib/libpng.a": "-> libpng16.a", "lib/libpng16.a": static("a"), "lib/libpng.so": "-> libpng16.so.16", "lib/libpng16.so": "-> libpng16.so.16", "lib/libpng16.so.16": shared("libpng16.so.16")},
			"png16: lib/libpng16.a lib/libpng16.so.16"},
		{"a name that another has", map[string]string{"lib/libz.so": "-> libz-2.so.2", "lib/libz-2.so.2": shared("libz-2.so.2"), "lib/libz.so.1": shared("libz.so.1")}, "z: lib/libz.so.1, z-2: lib/libz-2.so.2"},
		{"another name (ncurses)", map[string]string{"lib/libcurses.so": "-> libncursesw.so.6", "lib/libncursesw.so.6": shared("libncursesw.so.6")}, "ncursesw: lib/libncursesw.so.6"},
		{"another name with an archive", map[string]string{"lib/libfoo.a": static("a"), "lib/libfoo.so": "-> libbar.so.1", "lib/libbar.so.1": shared("libbar.so.1")}, "bar: lib/libbar.so.1, foo: lib/libfoo.a"},
		{"an archive by a link (OpenLDAP)", map[string]string{"lib/libldap.a": "-> libldap_r.a", "lib/libldap_r.a": static("a"), "lib/libldap.so": "-> libldap_r-2.4.so.2", "lib/libldap_r.so": "-> libldap_r-2.4.so.2", "lib/libldap_r-2.4.so.2": shared("libldap_r-2.4.so.2")},
			"ldap_r: lib/libldap_r.a lib/libldap_r-2.4.so.2"},
		{"a name that is none", map[string]string{"lib/lib.yaml.so": "-> libyaml-0.so.2", "lib/libyaml .so": "-> libyaml-0.so.2", "lib/libyaml-0.so.2": shared("libyaml-0.so.2")}, "yaml-0: lib/libyaml-0.so.2"},
		{"copies of one name", map[string]string{"lib/libyaml.so": "-> libyaml-0.so.2", "lib/libyaml-0.so.2": shared("libyaml-0.so.2"), "lib/libyaml-0.so.2.0.9": shared("libyaml-0.so.2")}, "yaml: lib/libyaml-0.so.2"},
		{"copies of all", map[string]string{"lib/libpng.a": static("a"), "lib/libpng16.a": static("a"), "lib/libpng.so": shared("libpng16.so.16"), "lib/libpng16.so": shared("libpng16.so.16"), "lib/libpng16.so.16": shared("libpng16.so.16"), "lib/libpng16.so.16.39.0": shared("libpng16.so.16")},
			"png16: lib/libpng16.a lib/libpng16.so.16"},
		{"copies of a version in the SONAME", map[string]string{"lib/libyaml.a": static("a"), "lib/libyaml.so": shared("libyaml-0.so.2"), "lib/libyaml-0.so.2": shared("libyaml-0.so.2"), "lib/libyaml-0.so.2.0.9": shared("libyaml-0.so.2")}, "yaml: lib/libyaml.a lib/libyaml-0.so.2"},
		{"copies, and an archive of another content", map[string]string{"lib/libpng.a": static("a"), "lib/libpng16.a": static("b"), "lib/libpng.so": shared("libpng16.so.16"), "lib/libpng16.so.16": shared("libpng16.so.16")},
			"png: lib/libpng.a, png16: lib/libpng16.a lib/libpng16.so.16"},
		{"copies under other names (ncurses)", map[string]string{"lib/libcurses.so": shared("libncursesw.so.6"), "lib/libncurses.so": shared("libncursesw.so.6"), "lib/libncursesw.so": shared("libncursesw.so.6"), "lib/libncursesw.so.6": shared("libncursesw.so.6"), "lib/libncursesw.so.6.4": shared("libncursesw.so.6")},
			"ncursesw: lib/libncursesw.so.6"},
		{"copies with archives (OpenLDAP)", map[string]string{"lib/libldap.a": static("a"), "lib/libldap_r.a": static("a"), "lib/libldap.so": shared("libldap_r-2.4.so.2"), "lib/libldap_r.so": shared("libldap_r-2.4.so.2"), "lib/libldap_r-2.4.so.2": shared("libldap_r-2.4.so.2")},
			"ldap_r: lib/libldap_r.a lib/libldap_r-2.4.so.2"},
		{"copies of a release (glibc)", map[string]string{"lib/libm.a": static("a"), "lib/libm.so.6": shared("libm.so.6"), "lib/libm-2.31.so": shared("libm.so.6")}, "m: lib/libm.a lib/libm.so.6"},
		{"copies of a release, with archives", map[string]string{"lib/libfoo.a": static("a"), "lib/libfoo-2.a": static("a"), "lib/libfoo.so": shared("libfoo.so"), "lib/libfoo-2.so": shared("libfoo.so")}, "foo: lib/libfoo.a lib/libfoo.so"},
		{"copies, and none called as the SONAME", map[string]string{"lib/libcurses.so": shared("libncurses.so.6"), "lib/libncurses.so": shared("libncurses.so.6")}, "ncurses: lib/libncurses.so"},
		{"copies, and no archive", map[string]string{"libpng.so": shared("libpng16.so.16"), "lib/libpng16.so.16": shared("libpng16.so.16")}, "png: lib/libpng16.so.16"},
		{"copies without a SONAME", map[string]string{"lib/libfoo.so": shared(""), "lib/libfoo-2.so": shared("")}, "foo: lib/libfoo.so, foo-2: lib/libfoo-2.so"},
		{"copies of archives alone", map[string]string{"lib/libfoo.a": static("a"), "lib/libfoo_pic.a": static("a"), "lib/libfoo.so": "-> libfoo.so.1", "lib/libfoo.so.1": shared("libfoo.so.1")}, "foo: lib/libfoo.a lib/libfoo.so.1, foo_pic: lib/libfoo_pic.a"},
		{"a link from elsewhere", map[string]string{"lib/libz.so": "-> ../lib64/libz-2.so.2", "lib64/libz-2.so.2": shared("libz-2.so.2")}, "z: lib/libz-2.so.2"},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, err := described(t, c.files, Claims{Name: "x"})
			if err != nil {
				t.Fatal(err)
			}
			if got := librariesOf(p); got != c.want {
				t.Errorf("libraries %s, not %s", got, c.want)
			}
		})
	}
}

func TestDescribeRefuses(t *testing.T) {
	const pc = "Name: z\nDescription: d\nVersion: 1\n"
	aarch64 := artifacttest.Shared{Machine: elf.EM_AARCH64, SONAME: "libz.so.1", Needed: []string{"libc.so.6"}}.Bytes()
	musl := artifacttest.Shared{SONAME: "libm.so.1", Needed: []string{"libc.musl-x86_64.so.1"}}.Bytes()
	m68k := artifacttest.Shared{Machine: elf.EM_SPARCV9, SONAME: "libz.so.1"}.Bytes()
	for _, c := range []struct {
		what   string
		files  map[string]string
		claims Claims
		names  string
		says   string
	}{
		{"for another machine than claimed", map[string]string{"lib/libz.so.1": string(aarch64)}, Claims{Target: "x86_64-unknown-linux-gnu"}, "lib/libz.so.1", "it is for aarch64-unknown-linux-gnu and was said to be for x86_64-unknown-linux-gnu"},
		{"for another C library than claimed", map[string]string{"lib/libm.so.1": string(musl)}, Claims{Target: "x86_64-unknown-linux-gnu"}, "lib/libm.so.1", "linux-musl"},
		{"mixed machines", map[string]string{"lib/liba.a": static("a"), "lib/libz.so.1": string(aarch64)}, Claims{}, "lib/libz.so.1", "it is for aarch64-linux, and lib/liba.a is for x86_64-linux"},
		{"mixed C libraries", map[string]string{"lib/libm.so.1": string(musl), "lib/libz.so.1": shared("libz.so.1")}, Claims{}, "lib/libz.so.1", "the C library gnu"},
		{"a machine that nobody targets", map[string]string{"lib/libz.so.1": string(m68k)}, Claims{}, "lib/libz.so.1", "not supported"},
		{"two shared libraries of one name", map[string]string{"lib/libz.so.1": shared("libz.so.1"), "lib/libz.so.2": shared("libz.so.2")}, Claims{}, "lib/libz.so.2", "two shared libraries of one name"},
		{"two builds of one library", map[string]string{"lib/libz.so": "-> libz-0.so.2.9", "lib/libz-0.so.2.9": shared("libz-0.so.2"), "lib/libz-0.so.2.8": shared("libz-0.so.2", "libm.so.6")}, Claims{}, "lib/libz-0.so.2.9", "two shared libraries of one name"},
		{"two builds of one SONAME", map[string]string{"lib/libz.so.1.2": shared("libz.so.1"), "lib/libz.so.1.3": shared("libz.so.1", "libm.so.6")}, Claims{}, "lib/libz.so.1.3", "two shared libraries of one name"},
		{"garbage called a static library", map[string]string{"lib/libz.a": "\x00\x01\x02"}, Claims{}, "lib/libz.a", "something else"},
		{"garbage called a shared library", map[string]string{"lib/libz.so": "\x00\x01\x02"}, Claims{}, "lib/libz.so", "something else"},
		{"static called shared", map[string]string{"lib/libz.so": static("a")}, Claims{}, "lib/libz.so", "something else (archive)"},
		{"damaged archive", map[string]string{"lib/libz.a": static("a")[:150]}, Claims{}, "lib/libz.a", ""},
		{"damaged library", map[string]string{"lib/libz.so": shared("libz.so.1")[:100]}, Claims{}, "lib/libz.so", ""},
		{"LTO alone", map[string]string{"lib/libz.a": string(artifacttest.Archive(artifacttest.Object{LTO: true}))}, Claims{}, "lib/libz.a", "LTO"},
		{"missing, and in no dependency", map[string]string{"lib/libz.so.1": shared("libz.so.1", "libssl.so.3", "libcrypto.so.3")}, Claims{RefuseMissing: true, Dependencies: map[string]string{"openssl": "x.io/openssl"}, Dependency: having("libssl.so.3")}, "", "need libcrypto.so.3, which"},
		{"a dependency of another name", map[string]string{"lib/libz.so.1": shared("libz.so.1")}, Claims{Dependencies: map[string]string{"ssl": "x.io/openssl"}, Dependency: having("libssl.so.3")}, "dependency ssl", "is called openssl"},
		{"two dependencies have it", map[string]string{"lib/libz.so.1": shared("libz.so.1", "libssl.so.3")}, Claims{Dependencies: map[string]string{"openssl": "x.io/openssl", "libressl": "x.io/libressl"}, Dependency: having("libssl.so.3")}, "dependency openssl", "libressl both have libssl.so.3"},
		{"missing", map[string]string{"lib/libz.so.1": shared("libz.so.1", "libssl.so.3", "libcrypto.so.3")}, Claims{RefuseMissing: true, AllowMissing: []string{"libssl.so.3"}}, "", "need libcrypto.so.3, which"},
		{"SONAME that is a path", map[string]string{"lib/libz.so": shared("build/libz.so")}, Claims{}, "lib/libz.so", "SONAME"},
		{"SONAME that is no name", map[string]string{"lib/libz.so": shared("..")}, Claims{}, "lib/libz.so", "SONAME"},
		{"library that is no name", map[string]string{"lib/lib z$.a": static("a")}, Claims{}, "lib/lib z$.a", `" z$"`},
		{".pc with an undefined variable", map[string]string{"include/z.h": "", "lib/pkgconfig/z.pc": pc + "Libs: ${nowhere}\n"}, Claims{}, "lib/pkgconfig/z.pc", "nowhere"},
		{".pc without end of quotation", map[string]string{"include/z.h": "", "lib/pkgconfig/z.pc": pc + "Libs: \"-lz\n"}, Claims{}, "lib/pkgconfig/z.pc", "quot"},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, err := described(t, c.files, c.claims)
			if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%+v)", err, p)
			}
		})
	}
	t.Run("two static libraries of one name", func(t *testing.T) {
		// No prefix gives this; a foreign tree does.
		dir := prefixOf(t, map[string]string{"libz.a": static("a"), "lib/libz.a": static("b"), "copy/libz.a": static("a")})
		_, err := Describe(os.DirFS(dir), Tree{"libz.a": {Source: "libz.a"}, "lib/libz.a": {Source: "lib/libz.a"}}, Claims{})
		if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), "two static libraries of one name") {
			t.Errorf("got %v", err)
		}
		p, err := Describe(os.DirFS(dir), Tree{"libz.a": {Source: "libz.a"}, "copy/libz.a": {Source: "copy/libz.a"}}, Claims{})
		if err != nil || librariesOf(p) != "z: copy/libz.a" {
			t.Errorf("copies: %v", err)
		}
	})
	t.Run("target that is none", func(t *testing.T) {
		if _, err := described(t, map[string]string{"include/z.h": ""}, Claims{Target: "amd64"}); diagnostic.KindOf(err) != diagnostic.Usage {
			t.Errorf("got %v", err)
		}
	})
}

// What real compilers make, where there is one.
func TestDescribeCompiled(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler: what real ones write is not checked here")
	}
	ar, err := exec.LookPath("ar")
	if err != nil {
		t.Skip("no ar: what real compilers write is not checked here")
	}
	dir := prefixOf(t, map[string]string{
		"src/a.c": "#include <math.h>\nint b(void); static int table[3]; int *at(int i) { return &table[i]; } int a(double x) { return b() + (int)sqrt(x); }\n",
		"src/b.c": "int b(void) { return 1; }\n", "include/a.h": "int a(double);\n"})
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(cc, "-O2", "-fPIC", "-c", "src/a.c", "-o", "a.o")
	run(cc, "-O2", "-fPIC", "-c", "src/b.c", "-o", "b.o")
	run(ar, "rcD", "lib/liba.a", "a.o")
	run(ar, "rcD", "lib/libb.a", "b.o")
	run(cc, "-shared", "-Wl,-soname,libb.so.1", "b.o", "-o", "lib/libb.so.1.0")
	run(cc, "-shared", "-Wl,-soname,liba.so.1", "-Wl,-rpath,$ORIGIN", "a.o", "lib/libb.so.1.0", "-lm", "-o", "lib/liba.so.1.0")
	prefix := os.DirFS(dir)
	tree, leftOut, err := Arrange(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(leftOut, []string{"a.o", "b.o", "src/a.c", "src/b.c"}) {
		t.Errorf("left out %q", leftOut)
	}
	p, err := Describe(prefix, tree, Claims{Name: "a", RefuseMissing: true})
	if err != nil {
		t.Fatal(err)
	}
	if host := HostTriple(); host.OS == "linux" && p.Target != host.String() {
		t.Errorf("target %s", p.Target)
	}
	if got := librariesOf(p); got != "a: lib/liba.a lib/liba.so.1.0, b: lib/libb.a lib/libb.so.1.0" {
		t.Errorf("libraries %s", got)
	}
	a := p.Libraries[0]
	if !slices.Equal(a.Requires, []string{"b"}) || a.Static.PIC != "pic" || a.Shared.SONAME != "liba.so.1" || !slices.Equal(a.Shared.RunPath, []string{"$ORIGIN"}) || !slices.Contains(a.Shared.Needed, "libb.so.1") {
		data, _ := json.Marshal(a)
		t.Errorf("a is %s", data)
	}
	if len(p.Missing) > 0 {
		t.Errorf("missing %q", p.Missing)
	}
}
