package workspacestatus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	stable, volatile := filepath.Join(dir, "stable-status.txt"), filepath.Join(dir, "volatile-status.txt")
	for file, text := range map[string]string{
		stable:   "BUILD_EMBED_LABEL \nSTABLE_VERSION 1.3.1\r\nSTABLE_TITLE two words\n\nSTABLE_BARE\n",
		volatile: "BUILD_TIMESTAMP 17\nSTABLE_VERSION 1.3.2",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	one, err := Read([]string{stable})
	if err != nil {
		t.Fatal(err)
	}
	both, err := Read([]string{stable, volatile})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		values     Values
		text, want string
		missing    string // the key that the error names
	}{
		{one, "1.3.1", "1.3.1", ""},
		{one, "v{STABLE_VERSION}-{STABLE_VERSION}", "v1.3.1-1.3.1", ""},
		{both, "{STABLE_VERSION}.{BUILD_TIMESTAMP}", "1.3.2.17", ""},
		{one, "{STABLE_TITLE}", "two words", ""},
		{one, "{BUILD_TIMESTAMP}", "", "BUILD_TIMESTAMP"},
		{one, "{BUILD_EMBED_LABEL}", "", "BUILD_EMBED_LABEL"},
		{one, "{STABLE_BARE}", "", "STABLE_BARE"},
		{nil, "{STABLE_VERSION}", "", "STABLE_VERSION"},
		{nil, "{}", "", "no value"},
		{nil, "1", "1", ""},
	} {
		got, err := c.values.Expand(c.text)
		if c.missing != "" {
			if err == nil || !strings.Contains(err.Error(), c.missing) || diagnostic.KindOf(err) != diagnostic.Usage {
				t.Errorf("%s: %q, %v", c.text, got, err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.text, got, err, c.want)
		}
	}
	if _, err := Read([]string{stable, filepath.Join(dir, "none")}); diagnostic.KindOf(err) != diagnostic.NotFound {
		t.Errorf("a file that is not there: %v", err)
	}
}
