package artifact

import (
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

func TestParseTriple(t *testing.T) {
	for in, want := range map[string]string{
		"x86_64-unknown-linux-gnu":       "x86_64-unknown-linux-gnu",
		"x86_64-linux-gnu":               "x86_64-unknown-linux-gnu",
		"aarch64-apple-darwin":           "aarch64-apple-darwin",
		"x86_64-pc-windows-msvc":         "x86_64-pc-windows-msvc",
		"x86_64-windows-gnu":             "x86_64-pc-windows-gnu",
		"x86_64-w64-mingw32":             "x86_64-pc-windows-gnu",
		"i686-w64-mingw32":               "i686-pc-windows-gnu",
		"armv7-unknown-linux-gnueabihf":  "armv7-unknown-linux-gnueabihf",
		"riscv64-unknown-linux-musl":     "riscv64-unknown-linux-musl",
		"powerpc64le-unknown-linux-gnu":  "powerpc64le-unknown-linux-gnu",
		"amd64-unknown-linux-gnu":        "x86_64 here",
		"arm64-apple-darwin":             "aarch64 here",
		"386-unknown-linux-gnu":          "i686 here",
		"x86_64":                         "three or four parts",
		"x86_64-unknown-linux-gnu-extra": "three or four parts",
		"":                               "three or four parts",
		"m68k-unknown-linux-gnu":         "not a known one",
		"x86_64-unknown-plan9":           "not a known one",
		"x86_64-unknown-linux-gnu\n":     "no part",
		"x86_64-unknown-linux-":          "no part",
		"x86_64-\x1b[2J-linux-gnu":       "no part",
	} {
		got, err := ParseTriple(in)
		if err == nil {
			if got.String() != want {
				t.Errorf("%q: got %s", in, got)
			}
			continue
		}
		if diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", in, err, want)
		}
	}
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		have, want string
		fits       bool
	}{
		{"x86_64-unknown-linux-gnu", "x86_64-pc-linux-gnu", true},
		{"x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl", false},
		{"x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", false},
		{"x86_64-unknown-linux-gnu", "x86_64-pc-windows-gnu", false},
		{"armv7-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf", true}, // archives do not tell the calling convention
		{"armv7-unknown-linux-gnueabi", "armv7-unknown-linux-gnueabihf", false},
		{"armv7-unknown-linux-musleabihf", "armv7-unknown-linux-gnueabihf", false},
		{"aarch64-apple-darwin", "aarch64-apple-darwin", true},
	} {
		have, err := ParseTriple(c.have)
		if err != nil {
			t.Fatal(err)
		}
		want, err := ParseTriple(c.want)
		if err != nil {
			t.Fatal(err)
		}
		if have.Fits(want) != c.fits || want.Fits(have) != c.fits {
			t.Errorf("%s fits %s: want %v", c.have, c.want, c.fits)
		}
	}
	open := Triple{Arch: "x86_64", Vendor: "unknown", OS: "linux"}
	for _, env := range []string{"gnu", "musl", ""} {
		if want := (Triple{Arch: "x86_64", OS: "linux", Env: env}); !open.Fits(want) || !want.Fits(open) {
			t.Errorf("what has no C library does not fit %q", env)
		}
	}
}

func TestHostTripleIsOne(t *testing.T) {
	host := HostTriple()
	parsed, err := ParseTriple(host.String())
	if err != nil || parsed != host {
		t.Errorf("%v, %v", parsed, err)
	}
}

func FuzzParseTriple(f *testing.F) {
	for _, s := range []string{"x86_64-unknown-linux-gnu", "x86_64-linux-gnu", "aarch64-apple-darwin", "--", "x86_64-linux-linux"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTriple(s)
		if err != nil {
			return
		}
		again, err := ParseTriple(got.String())
		if err != nil || again != got {
			t.Errorf("%q is %+v and then %+v, %v", s, got, again, err)
		}
		if !got.Fits(got) || got.Platform().Architecture == "" || hasControl(got.String()) {
			t.Errorf("%q is %+v", s, got)
		}
	})
}
