package artifact

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/artifact/artifacttest"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/native/nativetest"
)

// systemFiles is a prefix of files by place, each by its name in nativetest; "" is an empty file, and "-> x" a link.
func systemFiles(places map[string]string) map[string]string {
	files := map[string]string{}
	for place, name := range places {
		if name != "" && !strings.HasPrefix(name, "->") {
			name, how, _ := strings.Cut(name, " ")
			data := string(nativetest.File(name))
			switch how {
			case "changed": // of what is not looked at
				data += "\x00"
			case "soft": // in the header's flags
				data = data[:37] + "\x02" + data[38:]
			case "debugging": // another build
				data = strings.ReplaceAll(data, `MD_DynamicRelease"`, `MDd_DynamicDebug" `)
			case "hostile":
				data = strings.NewReplacer("libSystem.B.dylib", "libSystem\n\x1b.dylib", "libz-1.dll", "libz\n1.dll").Replace(data)
			}
			files[place] = data
			continue
		}
		files[place] = name
	}
	return files
}

// What compilers for macOS, Windows and other C libraries really write.
func TestDescribeSystems(t *testing.T) {
	const (
		libz    = `"exports":3,"exportsHash":"8c9d2ea09641db7c378e1b409edb95fac3d6f1b614e261e9c72dbe0158daba4b"`
		mingw   = `"exports":2,"exportsHash":"c24f8beee6e8d76312e4c8d7d99842c02cc40f4fb44b486414bd8835310ece7d"`
		msvcDLL = `"shared":{"path":"lib/z.dll","interface":"lib/z.lib","needed":["VCRUNTIME140.dll","api-ms-win-crt-runtime-l1-1-0.dll"],"exports":2,"exportsHash":"d45cdd181e07a5de67cafed80970ddabc7279c7a942766f361320d490248a709","crt":"ucrt"}`
	)
	for _, c := range []struct {
		what   string
		files  map[string]string
		claims Claims
		want   string // of the package, in JSON, without its schema
	}{
		{"macOS", map[string]string{"include/z.h": "", "lib/libz.1.dylib": "macho-libz.1-arm64.dylib", "lib/libz.dylib": "-> libz.1.dylib", "lib/libz.a": "macho-arm64.a"}, Claims{Name: "z", RefuseMissing: true},
			`{"name":"z","target":"aarch64-apple-darwin","libraries":[{"name":"z","static":{"path":"lib/libz.a","pic":"pic","floors":{"macOS":"11.0"}},"shared":{"path":"lib/libz.1.dylib","link":"lib/libz.dylib","installName":"@rpath/libz.1.dylib","needed":["/usr/lib/libSystem.B.dylib"],"floors":{"macOS":"11.0"},"buildId":"4c4c443255553144a1d55c5d703dfaf7",` + libz + `}}],"includes":["include"]}`},
		{"macOS on Intel, called otherwise than its install name", map[string]string{"lib/libz.dylib": "macho-libz.1-x86_64.dylib"}, Claims{Name: "z", Target: "x86_64-apple-darwin"},
			`{"name":"z","target":"x86_64-apple-darwin","libraries":[{"name":"z","shared":{"path":"lib/libz.dylib","link":"lib/libz.dylib","installName":"@rpath/libz.1.dylib","needed":["/usr/lib/libSystem.B.dylib"],"floors":{"macOS":"10.15"},"buildId":"4c4c446655553144a1b0b9325731a06e",` + libz + `}}]}`},
		{"siblings on macOS, re-exported and weak", map[string]string{"lib/libz.1.dylib": "macho-libz.1-arm64.dylib", "lib/libtwice.dylib": "macho-libtwice-arm64.dylib"}, Claims{Name: "z", RefuseMissing: true},
			`{"name":"z","target":"aarch64-apple-darwin","libraries":[{"name":"twice","shared":{"path":"lib/libtwice.dylib","link":"lib/libtwice.dylib","installName":"@rpath/libtwice.dylib","needed":["@rpath/libz.1.dylib","@rpath/libz.1.dylib","/usr/lib/libSystem.B.dylib"],"weak":["/usr/lib/libweak.1.dylib"],"reexports":["@rpath/libz.1.dylib"],"runPath":["@loader_path","/opt/lib"],"floors":{"macOS":"12.3.1"},"buildId":"4c4c448755553144a10d6e76b266cc84","exports":1,"exportsHash":"325943101c2df59cc2aa3e1aa443ae887771d5b8e9ce023cccb855ffe13adb4e"},"requires":["z"]},{"name":"z","shared":{"path":"lib/libz.1.dylib","installName":"@rpath/libz.1.dylib","needed":["/usr/lib/libSystem.B.dylib"],"floors":{"macOS":"11.0"},"buildId":"4c4c443255553144a1d55c5d703dfaf7",` + libz + `}}],"systemLibraries":["weak"]}`},
		{"MinGW: three names, one library", map[string]string{"include/z.h": "", "bin/libz-1.dll": "pe-mingw-libz-1.dll", "lib/libz.dll.a": "pe-mingw-libz.dll.a", "lib/libz.a": "pe-mingw-libz.a"}, Claims{Name: "z", RefuseMissing: true},
			`{"name":"z","target":"x86_64-pc-windows-gnu","libraries":[{"name":"z","static":{"path":"lib/libz.a","pic":"pic"},"shared":{"path":"lib/libz-1.dll","interface":"lib/libz.dll.a",` + mingw + `}}],"includes":["include"]}`},
		{"MinGW in GNU's spelling", map[string]string{"bin/libz-1.dll": "pe-mingw-libz-1.dll", "lib/libz.dll.a": "pe-mingw-libz.dll.a"}, Claims{Name: "z", Target: "x86_64-w64-mingw32"},
			`{"name":"z","target":"x86_64-pc-windows-gnu","libraries":[{"name":"z","shared":{"path":"lib/libz-1.dll","interface":"lib/libz.dll.a",` + mingw + `}}]}`},
		{"C++ of MinGW", map[string]string{"bin/libshout.dll": "pe-mingw-libshout.dll", "lib/libshout.dll.a": "pe-mingw-libshout.dll.a"}, Claims{Name: "s", RefuseMissing: true},
			`{"name":"s","target":"x86_64-pc-windows-gnu","libraries":[{"name":"shout","shared":{"path":"lib/libshout.dll","interface":"lib/libshout.dll.a","needed":["msvcrt.dll","libstdc++-6.dll"],"exports":1,"exportsHash":"7de0462b84c10c3b4e26b78277e43a89806da4259915c6e591532a750c99956a","cxxFlavour":"libstdc++","crt":"msvcrt"}}]}`},
		{"Microsoft's: one .lib leads to a DLL, one is static", map[string]string{"bin/z.dll": "pe-msvc-z.dll", "lib/z.lib": "pe-msvc-z.lib", "lib/zs.lib": "pe-msvc-zs.lib"}, Claims{Name: "z", RefuseMissing: true},
			`{"name":"z","target":"x86_64-pc-windows-msvc","libraries":[{"name":"z",` + msvcDLL + `},{"name":"zs","static":{"path":"lib/zs.lib","pic":"pic","defaultLibs":["msvcrt","oldnames"],"mismatch":{"RuntimeLibrary":"MD_DynamicRelease"}}}]}`},
		{"a flat folder of Windows", map[string]string{"z.dll": "pe-msvc-z.dll", "z.lib": "pe-msvc-z.lib"}, Claims{Name: "z"},
			`{"name":"z","target":"x86_64-pc-windows-msvc","libraries":[{"name":"z",` + msvcDLL + `}]}`},
		{"functions of C in a DLL of MinGW, for Microsoft's compiler", map[string]string{"bin/libz-1.dll": "pe-mingw-libz-1.dll", "lib/z.lib": "pe-short-libz-1.lib"}, Claims{Name: "z", Target: "x86_64-pc-windows-msvc"},
			`{"name":"z","target":"x86_64-pc-windows-msvc","libraries":[{"name":"z","shared":{"path":"lib/libz-1.dll","interface":"lib/z.lib",` + mingw + `}}]}`},
		{"the same without a claim", map[string]string{"bin/libz-1.dll": "pe-mingw-libz-1.dll", "lib/z.lib": "pe-short-libz-1.lib"}, Claims{Name: "z"},
			`{"name":"z","target":"x86_64-pc-windows-gnu","libraries":[{"name":"z","shared":{"path":"lib/libz-1.dll","interface":"lib/z.lib",` + mingw + `}}]}`},
		{"two copies of one DLL", map[string]string{"bin/z.dll": "pe-msvc-z.dll", "lib/z.dll": "pe-msvc-z.dll", "lib/z.lib": "pe-msvc-z.lib"}, Claims{Name: "z"},
			`{"name":"z","target":"x86_64-pc-windows-msvc","libraries":[{"name":"z",` + msvcDLL + `}]}`},
		{"static library for Windows on Arm", map[string]string{"lib/t.lib": "pe-msvc-cxx-aarch64.lib"}, Claims{Name: "t"},
			`{"name":"t","target":"aarch64-pc-windows-msvc","libraries":[{"name":"t","static":{"path":"lib/t.lib","pic":"pic","cxxFlavour":"msvc","defaultLibs":["libcmt","oldnames"]}}]}`},
		{"musl", map[string]string{"lib/libz.so.1": "elf-musl-x86_64.so"}, Claims{Name: "z"},
			`{"name":"z","target":"x86_64-unknown-linux-musl","libraries":[{"name":"z","shared":{"path":"lib/libz.so.1","soname":"libz.so.1","needed":["libc.so"],"exports":1,"exportsHash":"014589aeac0c2073e4109988a52d9c9d119e19c0e95ad1cf481fd573795ce93d"}}]}`},
		{"Arm with floating-point registers", map[string]string{"lib/libz.so.1": "elf-arm-linux-gnueabihf.so"}, Claims{Name: "z"},
			`{"name":"z","target":"armv7-unknown-linux-gnueabihf","libraries":[{"name":"z","shared":{"path":"lib/libz.so.1","soname":"libz.so.1","exports":3,"exportsHash":"6e7662af885b559a39a1dc6db132e7835c2549621ba489aea7d380fe49964695"}}]}`},
		{"C++ of the old ABI", map[string]string{"lib/libgreet.a": "elf-cxx11-0-x86_64.a"}, Claims{Name: "g"},
			`{"name":"g","target":"x86_64-unknown-linux-gnu","libraries":[{"name":"greet","static":{"path":"lib/libgreet.a","pic":"pic","cxx":true,"cxxFlavour":"libstdc++-old"}}]}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, err := described(t, systemFiles(c.files), c.claims)
			if err != nil {
				t.Fatal(err)
			}
			p.Schema = 0
			got, err := marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Replace(c.want, "{", `{"schema":0,`, 1); string(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestDescribeSystemsRefuses(t *testing.T) {
	for _, c := range []struct {
		what   string
		files  map[string]string
		claims Claims
		names  string
		says   string
		advice string
	}{
		{"universal dylib", map[string]string{"lib/libz.1.dylib": "macho-universal.dylib"}, Claims{}, "lib/libz.1.dylib", "a universal file", "lipo -thin arm64 -output NEW libz.1.dylib"},
		{"universal archive", map[string]string{"lib/libz.a": "macho-universal.a"}, Claims{}, "lib/libz.a", "a universal file", "lipo -thin"},
		{"install name of the author's machine", map[string]string{"lib/libz.1.dylib": "macho-absolute-x86_64.dylib"}, Claims{}, "lib/libz.1.dylib", `its install name is "/usr/local/lib/libz.1.dylib"`, "install_name_tool -id @rpath/libz.1.dylib libz.1.dylib"},
		{"sibling in a place of the author's machine", map[string]string{"lib/libz.1.dylib": "macho-libz.1-x86_64.dylib", "lib/libtwice.dylib": "macho-needs-absolute-x86_64.dylib"}, Claims{}, "lib/libtwice.dylib",
			"it looks for libz.1.dylib, which is in the folder, at /usr/local/lib/libz.1.dylib", "install_name_tool -change /usr/local/lib/libz.1.dylib @rpath/libz.1.dylib libtwice.dylib"},
		{"dependency in a place of the author's machine", map[string]string{"lib/libtwice.dylib": "macho-needs-absolute-x86_64.dylib"}, Claims{RefuseMissing: true}, "", "need /usr/local/lib/libz.1.dylib", "add them"},
		{"dylib for another processor than claimed", map[string]string{"lib/libz.1.dylib": "macho-libz.1-arm64.dylib"}, Claims{Target: "x86_64-apple-darwin"}, "lib/libz.1.dylib", "it is for aarch64-apple-darwin and was said to be for x86_64-apple-darwin", "leave --target out"},
		{"archive for another processor than the dylib", map[string]string{"lib/libz.1.dylib": "macho-libz.1-arm64.dylib", "lib/liby.a": "macho-x86_64.a"}, Claims{}, "lib/libz.1.dylib", "it is for aarch64-darwin, and lib/liby.a is for x86_64-darwin", "one artifact for each platform"},
		{"two dylibs of one name", map[string]string{"lib/libz.1.dylib": "macho-libz.1-x86_64.dylib", "lib/libz.2.dylib": "macho-libz.1-x86_64.dylib changed"}, Claims{}, "lib/libz.2.dylib", `(SONAME "@rpath/libz.1.dylib") are two shared libraries of one name`, "keep one"},
		{"dylib that needs what ends a line", map[string]string{"lib/libz.1.dylib": "macho-libz.1-x86_64.dylib hostile"}, Claims{}, "lib/libz.1.dylib", `it names "/usr/lib/libSystem\n\x1b.dylib"`, "damaged"},
		{"import library of a DLL that ends a line", map[string]string{"lib/z.lib": "pe-short-libz-1.lib hostile"}, Claims{}, "lib/z.lib", `it says "libz\n1.dll"`, "damaged"},
		{"iOS", map[string]string{"lib/libz.a": "macho-ios-arm64.a"}, Claims{}, "lib/libz.a", "it is for aarch64-ios, a platform that is not supported", ""},
		{"DLL for another system than claimed", map[string]string{"lib/z.dll": "pe-msvc-z.dll", "lib/z.lib": "pe-msvc-z.lib"}, Claims{Target: "x86_64-unknown-linux-gnu"}, "lib/z.dll", "it is for x86_64-pc-windows and was said to be for x86_64-unknown-linux-gnu", ""},
		{"DLL for another processor than claimed", map[string]string{"lib/z.dll": "pe-msvc-z.dll", "lib/z.lib": "pe-msvc-z.lib"}, Claims{Target: "aarch64-pc-windows-msvc"}, "lib/z.dll", "it is for x86_64-pc-windows", ""},
		{"C++ of MinGW for Microsoft's compiler", map[string]string{"bin/libshout.dll": "pe-mingw-libshout.dll", "lib/libshout.dll.a": "pe-mingw-libshout.dll.a"}, Claims{Target: "x86_64-pc-windows-msvc"}, "lib/libshout.dll", "x86_64-pc-windows-gnu and was said", ""},
		{"static libraries of both compilers", map[string]string{"lib/libz.a": "pe-mingw-libz.a", "lib/zs.lib": "pe-msvc-zs.lib"}, Claims{}, "lib/zs.lib", "the C library msvc, and lib/libz.a is for the C library gnu", ""},
		{"objects that Microsoft's linker keeps apart", map[string]string{"lib/z.lib": "pe-msvc-mismatch.lib"}, Claims{}, "lib/z.lib", "RuntimeLibrary=MT_StaticRelease", ""},
		{"builds that Microsoft's linker keeps apart", map[string]string{"lib/zs.lib": "pe-msvc-zs.lib", "lib/zsd.lib": "pe-msvc-zs.lib debugging"}, Claims{}, "lib/zsd.lib", "RuntimeLibrary=MDd_DynamicDebug and lib/zs.lib with MD_DynamicRelease", "each of the two builds"},
		{"DLL that nothing leads to", map[string]string{"bin/z.dll": "pe-msvc-z.dll"}, Claims{}, "lib/z.dll", "no import library in the folder leads to it", "lib /def:X.def"},
		{"import library that leads nowhere", map[string]string{"lib/z.lib": "pe-msvc-z.lib"}, Claims{}, "lib/z.lib", "the import library of z.dll, which is not in the folder", "bin/"},
		{"two import libraries of one DLL", map[string]string{"bin/libz-1.dll": "pe-mingw-libz-1.dll", "lib/libz.dll.a": "pe-mingw-libz.dll.a", "lib/z.lib": "pe-short-libz-1.lib"}, Claims{}, "lib/z.lib", "import libraries of one DLL, libz-1.dll", "keep the one"},
		{"DLL that holds something else", map[string]string{"bin/z.dll": "elf-musl-x86_64.so"}, Claims{Target: "x86_64-pc-windows-msvc"}, "lib/z.dll", "it is for x86_64-unknown-linux-musl", ""},
		{"intermediate code of GCC", map[string]string{"lib/libz.a": "pe-mingw-lto.a"}, Claims{}, "lib/libz.a", "LTO", "-ffat-lto-objects"},
		{"intermediate code of clang-cl", map[string]string{"lib/z.lib": "pe-msvc-lto.lib"}, Claims{}, "lib/z.lib", "LTO", ""},
		{"glibc's functions claimed for musl", map[string]string{"lib/libz.a": "elf-fortified-x86_64.a"}, Claims{Target: "x86_64-unknown-linux-musl"}, "lib/libz.a", "it is for x86_64-unknown-linux-gnu and was said to be for x86_64-unknown-linux-musl", ""},
		{"Arm with floating-point registers claimed to be without", map[string]string{"lib/libz.so.1": "elf-arm-linux-gnueabihf.so"}, Claims{Target: "armv7-unknown-linux-gnueabi"}, "lib/libz.so.1", "it is for armv7-unknown-linux-eabihf and was said to be for armv7-unknown-linux-gnueabi", ""},
		{"both calling conventions of Arm", map[string]string{"lib/libz.so.1": "elf-arm-linux-gnueabihf.so", "lib/liby.so.1": "elf-arm-linux-gnueabihf.so soft"}, Claims{}, "lib/libz.so.1", "the calling convention eabihf, and lib/liby.so.1 is for eabi", ""},
		{"musl claimed for glibc", map[string]string{"lib/libz.so.1": "elf-musl-x86_64.so"}, Claims{Target: "x86_64-unknown-linux-gnu"}, "lib/libz.so.1", "linux-musl and was said", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, err := described(t, systemFiles(c.files), c.claims)
			if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v (%+v)", err, p)
			}
			var told *diagnostic.Error
			if errors.As(err, &told); told == nil || !strings.Contains(told.Do, c.advice) {
				t.Errorf("%v does not advise %q", err, c.advice)
			}
		})
	}
	t.Run("said to be position independent", func(t *testing.T) {
		absolute := string(artifacttest.Archive(artifacttest.Object{Defines: []string{"a"}, Absolute: true}))
		_, err := described(t, map[string]string{"lib/libz.a": absolute}, Claims{PIC: true})
		if diagnostic.KindOf(err) != diagnostic.Refused || !strings.Contains(err.Error(), "R_X86_64_32 against symbol a") {
			t.Errorf("got %v", err)
		}
		if _, err := described(t, map[string]string{"lib/libz.a": static("a")}, Claims{PIC: true}); err != nil {
			t.Errorf("one that is: %v", err)
		}
	})
}

// The facts and the files travel together: what is packed unpacks into a tree that its description fits.
func TestPackOfSystems(t *testing.T) {
	for what, c := range map[string]struct {
		files map[string]string
		want  map[string]string // component to its files
	}{
		"macOS": {
			map[string]string{"lib/libz.dylib": "macho-libz.1-x86_64.dylib", "lib/libz.a": "macho-x86_64.a"},
			map[string]string{ComponentStatic: "lib/libz.a libz.a", ComponentShared: "lib/libz.1.dylib lib/libz.dylib"},
		},
		"Windows": {
			map[string]string{"bin/z.dll": "pe-msvc-z.dll", "lib/z.lib": "pe-msvc-z.lib", "lib/zs.lib": "pe-msvc-zs.lib"},
			map[string]string{ComponentStatic: "lib/zs.lib", ComponentShared: "lib/z.dll lib/z.lib"},
		},
		"MinGW": {
			map[string]string{"bin/libz-1.dll": "pe-mingw-libz-1.dll", "lib/libz.dll.a": "pe-mingw-libz.dll.a", "lib/libz.a": "pe-mingw-libz.a"},
			map[string]string{ComponentStatic: "lib/libz.a libz.a", ComponentShared: "lib/libz-1.dll lib/libz.dll.a"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "layout")
			p := packed(t, prefixOf(t, systemFiles(c.files)), Claims{Name: "z"}, Zstd, dest)
			_, m, config := opened(t, dest)
			got := map[string]string{}
			for i, component := range p.Package.Components {
				got[component.Name] = strings.Join(config.Layers[m.Layers[i].Digest.String()], " ")
			}
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("%s holds %q, want %q", name, got[name], want)
				}
			}
		})
	}
}
