package artifact

import "testing"

func TestValidLicense(t *testing.T) {
	for text, want := range map[string]bool{
		"Zlib": true, "GPL-2.0-or-later": true, "LGPL-2.1+": true, "BSD-3-Clause OR GPL-2.0-only": true, "(MIT AND Zlib) OR Apache-2.0": true,
		"GPL-2.0-only WITH Classpath-exception-2.0": true, "LicenseRef-mine": true, "DocumentRef-a:LicenseRef-b": true, "((MIT))": true,
		"": false, "My licence": false, "MIT/Apache-2.0": false, "MIT OR": false, "OR MIT": false, "(MIT": false, "MIT)": false, "()": false,
		"MIT and Zlib": false, "(MIT) WITH x": false, "MIT (Zlib)": false, "AND": false,
	} {
		if got := validLicense(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
