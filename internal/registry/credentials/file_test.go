package credentials_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/credentials"
)

// saveVariable makes this program one that saves credentials for the hosts it lists, in place of running tests.
const saveVariable = "CREDENTIALS_TEST_SAVE"

func TestMain(m *testing.M) {
	if hosts := os.Getenv(saveVariable); hosts != "" {
		for host := range strings.SplitSeq(hosts, " ") {
			if _, err := (&credentials.Chain{}).Save(context.Background(), host, &credentials.Credential{Username: "bob", Password: secret}); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func object(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return doc
}

func wantMode(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v", path, info.Mode())
	}
}

func wantAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(path) && e.Name() != filepath.Base(path)+".lock" {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

func TestSaveAndRemove(t *testing.T) {
	const before = `{"HttpHeaders":{"X-Meta":"<a&b>"},"auths":{"quay.io":{"auth":"cTpx","email":"q@example.com"},"https://ghcr.io":{"auth":"b2xkOm9sZA=="}},"psFormat":"{{.ID}} <x>","n":12345678901234567890,"currentContext":null}`
	for _, host := range []string{"ghcr.io", "docker.io"} {
		m := newMachine(t)
		path := m.write(".docker/config.json", before)
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		c := &credentials.Chain{}
		place, err := c.Save(t.Context(), host, &credentials.Credential{Username: "bob", Password: secret})
		if err != nil || place != (credentials.Place{File: path}) {
			t.Fatalf("%+v, %v", place, err)
		}
		key := map[string]string{"ghcr.io": "ghcr.io", "docker.io": "https://index.docker.io/v1/"}[host]
		var want map[string]any
		if err := json.Unmarshal([]byte(before), &want); err != nil {
			t.Fatal(err)
		}
		want["auths"].(map[string]any)[key] = map[string]any{"auth": auth("bob")}
		if got := object(t, path); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{`"<a&b>"`, "12345678901234567890", "{{.ID}} <x>"} {
			if !strings.Contains(string(data), text) {
				t.Errorf("%s has become something else in %s", text, data)
			}
		}
		wantMode(t, path)
		wantAlone(t, path)
		found, _, _ := find(t, host, "acme/zlib")
		wantUser(t, found, "bob", "config.json")

		places, err := c.Remove(t.Context(), host)
		if err != nil || len(places) == 0 || places[0] != (credentials.Place{File: path}) {
			t.Errorf("%+v, %v", places, err)
		}
		delete(want["auths"].(map[string]any), key)
		if host == "ghcr.io" {
			delete(want["auths"].(map[string]any), "https://ghcr.io") // another spelling of it
		}
		if got := object(t, path); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if places, err := c.Remove(t.Context(), host); err != nil || len(places) != 0 {
			t.Errorf("again: %+v, %v", places, err)
		}
	}
}

// What is saved is what is used, although Docker Hub has other spellings in the file.
func TestSaveReplacesOtherSpellings(t *testing.T) {
	m := newMachine(t)
	path := m.write(".docker/config.json", `{"auths":{"docker.io":{"auth":"b2xkOm9sZA=="},"docker.io/acme":{"auth":"cTpx"}}}`)
	c := &credentials.Chain{}
	if _, err := c.Save(t.Context(), "docker.io", &credentials.Credential{Username: "bob", Password: secret}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"auths": map[string]any{"https://index.docker.io/v1/": map[string]any{"auth": auth("bob")}, "docker.io/acme": map[string]any{"auth": "cTpx"}}}
	if got := object(t, path); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSaveWhereNothingIs(t *testing.T) {
	m := newMachine(t)
	t.Setenv("DOCKER_CONFIG", filepath.Join(m.dir, "a", "b"))
	c := &credentials.Chain{}
	if places, err := c.Remove(t.Context(), "ghcr.io"); err != nil || len(places) != 0 {
		t.Errorf("%v, %v", places, err)
	}
	place, err := c.Save(t.Context(), "ghcr.io", &credentials.Credential{Username: "bob", Password: secret})
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, place.File)
	found, _, _ := find(t, "ghcr.io", "x")
	wantUser(t, found, "bob", filepath.Join("a", "b", "config.json"))
}

// A link into somebody's dotfiles stays one.
func TestSaveThroughLink(t *testing.T) {
	m := newMachine(t)
	real := m.write("dotfiles/docker.json", "{}")
	m.write(".docker/x", "")
	link := filepath.Join(m.dir, ".docker/config.json")
	if err := os.Symlink(real, link); err != nil {
		t.Skip(err)
	}
	if _, err := (&credentials.Chain{}).Save(t.Context(), "ghcr.io", &credentials.Credential{Username: "bob", Password: secret}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("%v, %v", info, err)
	}
	if _, ok := object(t, real)["auths"]; !ok {
		t.Error("the file it leads to has not changed")
	}
}

// A file that is not understood is not written over, and what is in it is not quoted.
func TestSaveInBrokenFile(t *testing.T) {
	for _, text := range []string{`{"auths":` + secret, `[]`, `{"auths":["` + secret + `"]}`, `{"auths":{}} {}`} {
		m := newMachine(t)
		path := m.write(".docker/config.json", text)
		_, err := (&credentials.Chain{}).Save(t.Context(), "ghcr.io", &credentials.Credential{Username: "bob", Password: secret})
		if diagnostic.KindOf(err) != diagnostic.Usage || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", text, err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != text {
			t.Errorf("%s has become %s, %v", text, data, err)
		}
		wantAlone(t, path)
	}
}

func (m *machine) keeping(name string) {
	m.helper(name, fmt.Sprintf(`cd '%s'
input=$(cat)
case "$1" in
store) printf '%%s' "$input" >kept ;;
get) if [ -e kept ]; then cat kept; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) rm kept; printf '%%s' "$input" >erased ;;
esac
echo "$0 $*" >>argv
`, m.dir))
}

func TestSaveWithHelper(t *testing.T) {
	for _, config := range []string{`{"credsStore":"x"}`, `{"credHelpers":{"ghcr.io":"x"},"credsStore":"nowhere"}`, `{"auths":{"ghcr.io":{"auth":"b2xkOm9sZA=="}},"credsStore":"x"}`} {
		m := newMachine(t)
		m.keeping("x")
		path := m.write(".docker/config.json", config)
		c := &credentials.Chain{}
		place, err := c.Save(t.Context(), "ghcr.io", &credentials.Credential{Username: "bob", Password: secret})
		if err != nil || place != (credentials.Place{File: path, Helper: "docker-credential-x"}) {
			t.Fatalf("%+v, %v", place, err)
		}
		data, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(data), auth("bob")) || strings.Contains(string(data), "b2xkOm9sZA==") {
			t.Errorf("%s, %v", data, err)
		}
		found, warnings, _ := find(t, "ghcr.io", "acme/zlib")
		wantUser(t, found, "bob", "docker-credential-x")
		if warnings != "" {
			t.Errorf("warnings %q", warnings)
		}
		places, err := c.Remove(t.Context(), "ghcr.io")
		if err != nil || len(places) != 1 || places[0].Helper != "docker-credential-x" {
			t.Errorf("%+v, %v", places, err)
		}
		if erased, err := os.ReadFile(filepath.Join(m.dir, "erased")); err != nil || string(erased) != "ghcr.io" {
			t.Errorf("erased %q, %v", erased, err)
		}
		if argv, err := os.ReadFile(filepath.Join(m.dir, "argv")); err != nil || strings.Contains(string(argv), "hunter") || strings.Contains(string(argv), "bob") {
			t.Errorf("argv %q, %v", argv, err)
		}
		found, _, _ = find(t, "ghcr.io", "acme/zlib")
		wantUser(t, found, "", "")
	}
}

// A helper that does not take a password is an error: it is not written into a file instead.
func TestSaveWithBrokenHelper(t *testing.T) {
	m := newMachine(t)
	m.helper("x", "cat; exit 7")
	path := m.write(".docker/config.json", `{"credsStore":"x"}`)
	c := &credentials.Chain{}
	_, err := c.Save(t.Context(), "ghcr.io", &credentials.Credential{Username: "bob", Password: secret})
	if diagnostic.KindOf(err) != diagnostic.Failure || !strings.Contains(err.Error(), "docker-credential-x") || !strings.Contains(err.Error(), "exit status 7") || strings.Contains(err.Error(), "hunter") {
		t.Errorf("got %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != `{"credsStore":"x"}` {
		t.Errorf("%s, %v", data, err)
	}
	if _, err = c.Remove(t.Context(), "ghcr.io"); diagnostic.KindOf(err) != diagnostic.Failure || !strings.Contains(err.Error(), "docker-credential-x") {
		t.Errorf("got %v", err)
	}
}

// Processes and goroutines that log in to different registries at the same time: all are logged in afterwards. Some processes are
// killed on the way: the file is whole at every instant.
func TestSaveAtOnce(t *testing.T) {
	m := newMachine(t)
	path := m.write(".docker/config.json", `{"kept":true}`)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const each = 10
	var want []string
	var group sync.WaitGroup
	hosts := func(prefix string) []string {
		var list []string
		for i := range each {
			list = append(list, fmt.Sprintf("%s-%d.example.com", prefix, i))
		}
		return list
	}
	for i := range 4 {
		names := hosts(fmt.Sprintf("process-%d", i))
		want = append(want, names...)
		group.Go(func() {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), saveVariable+"="+strings.Join(names, " "))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		others := hosts(fmt.Sprintf("goroutine-%d", i))
		want = append(want, others...)
		group.Go(func() {
			for _, host := range others {
				if _, err := (&credentials.Chain{}).Save(t.Context(), host, &credentials.Credential{Username: "bob", Password: secret}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 6 {
		group.Go(func() {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), saveVariable+"="+strings.Join(hosts(fmt.Sprintf("killed-%d", i)), " "))
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			for range i * 3 { // somewhere on the way
				object(t, path)
			}
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
			_ = cmd.Wait()
		})
	}
	group.Wait()
	doc := object(t, path)
	auths, _ := doc["auths"].(map[string]any)
	for _, host := range want {
		if !reflect.DeepEqual(auths[host], map[string]any{"auth": auth("bob")}) {
			t.Errorf("%s: %v", host, auths[host])
		}
	}
	if doc["kept"] != true {
		t.Error("a key it did not know is gone")
	}
	wantMode(t, path)
}
