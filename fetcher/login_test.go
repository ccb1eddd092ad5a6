package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// command is `ocipkg args` in an empty home.
func command(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = []string{"OCIPKG_BE_THE_COMMAND=1", "HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	return cmd
}

// Log in with a password on standard input, use it, see what was used, log out.
func TestLoginCommand(t *testing.T) {
	const password = "hunter22-secret"
	server := registrytest.New(t.TempDir())
	defer server.Close()
	server.RequireBearer("bob", password)
	home := t.TempDir()
	run := func(stdin string, env []string, args ...string) (output string, status int) {
		t.Helper()
		cmd := command(t, home, args...)
		cmd.Stdin = strings.NewReader(stdin)
		cmd.Env = append(cmd.Env, env...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), password) {
			t.Errorf("%q says the password: %s", args, out.String())
		}
		return out.String(), cmd.ProcessState.ExitCode()
	}
	want := func(name, output string, status, wantStatus int, words ...string) {
		t.Helper()
		if status != wantStatus {
			t.Errorf("%s: status %d, want %d: %s", name, status, wantStatus, output)
		}
		for _, w := range words {
			if !strings.Contains(output, w) {
				t.Errorf("%s: %q does not say %q", name, output, w)
			}
		}
	}
	file := filepath.Join(home, ".docker", "config.json")
	image := server.Host + "/acme/zlib:1"

	out, status := run("", nil, "login", server.Host)
	want("no terminal", out, status, 2, "there is no terminal", "--password-stdin")
	out, status = run(password, nil, "login", server.Host, "--password-stdin")
	want("no name", out, status, 2, "--username")
	out, status = run("wrong\n", nil, "login", server.Host, "-u", "bob", "--password-stdin")
	want("wrong", out, status, 4, "does not accept this name and password", "Nothing was written")
	out, status = run("", nil, "login", server.Host, "-u", "bob", "--password", password)
	want("on the command line", out, status, 2, "unknown flag: --password")
	out, status = run(password, nil, "login", "bob:"+password+"@"+server.Host)
	want("in the name", out, status, 2, "leave user names and passwords out")
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("%v: something was written", err)
	}
	out, status = run(password+"\n", nil, "login", server.Host, "-u", "bob", "--password-stdin")
	want("right", out, status, 0, "logged in to "+server.Host, file, "not encrypted")

	out, status = run("", []string{"OCIPKG_DEBUG_AUTH=1"}, "inspect", image)
	want("used", out, status, 3, "404", fmt.Sprintf("ocipkg: debug: credentials for %s/acme/zlib: %s: the entry %s: used", server.Host, file, server.Host), "wants a token of "+server.Host)
	out, status = run("", nil, "logout", server.Host)
	want("out", out, status, 0, "taken out of "+file)
	out, status = run("", nil, "logout", server.Host)
	want("out again", out, status, 0, "nobody was logged in")
	out, status = run("", []string{"OCIPKG_DEBUG_AUTH=0"}, "inspect", image)
	want("no longer", out, status, 4, "none were found", "ocipkg login "+server.Host)
	if strings.Contains(out, "debug") {
		t.Errorf("%s", out)
	}

	out, status = run("", []string{"OCIPKG_MIRRORS=x"}, "inspect", image)
	want("wrong setting", out, status, 2, "OCIPKG_MIRRORS", "it has no =")
}
