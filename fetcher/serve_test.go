package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/ocipkg/rules_ocipkg/internal/servertest"
)

// serve runs a registry as a process and returns it with its address, 127.0.0.1:port.
func (u *user) serve(t *testing.T, dir string, args ...string) (server *servertest.Server, address string) {
	t.Helper()
	cmd := u.command(t, append([]string{"serve", "--address", "127.0.0.1:0", "--dir", dir}, args...)...)
	server = servertest.Start(t, cmd, `(?m)^serving \S+ on http://(\S+)`)
	return server, server.Ready
}

// ask makes one request, with a Host header, and returns the status and the body.
func ask(t *testing.T, method, address, path, host string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

// TestServeEnds: a signal is the registry's normal end, which leaves nothing behind and says nothing; what was pushed is there at
// the next start.
func TestServeEnds(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such signals there")
	}
	u := newUser(t)
	var pinned string
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		server, address := u.serve(t, "registry", "--quiet", "--address-file", "address")
		if text, err := os.ReadFile("address"); err != nil || string(text) != address+"\n" {
			t.Errorf("%v: the file has the address %q, %v", signal, text, err)
		}
		if pinned == "" {
			pinned = u.publish(t, address+"/acme/ssl:3.0", "3.0", 0)
		}
		_, digest, _ := strings.Cut(pinned, "@")
		u.must(t, "inspect", address+"/acme/ssl@"+digest)
		server.Signal(signal)
		err := server.Wait()
		if said := strings.TrimSpace(server.Output()); err != nil || said != "serving registry on http://"+address {
			t.Errorf("%v: it ended with %v and said\n%s", signal, err, said)
		}
		if _, err := os.Stat("address"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v: the file with the address is still there: %v", signal, err)
		}
	}
}

// TestServeSecondSignal: whoever cannot wait for a transfer under way says so again.
func TestServeSecondSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such signals there")
	}
	u := newUser(t)
	server, address := u.serve(t, "registry")
	_, header, _ := ask(t, http.MethodPost, address, "/v2/acme/zlib/blobs/uploads/", "")
	upload, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer upload.Close()
	// With "Expect" the registry says when it reads: the transfer is under way then, and stays so.
	fmt.Fprintf(upload, "PATCH %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", header.Get("Location"), address)
	if _, err := io.ReadFull(upload, make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	for { // the second one counts when the first one has been heard
		server.Signal(os.Interrupt)
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != -1 {
				t.Errorf("it ended with %v: %s", err, server.Output())
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestServeTwice: a folder is served by one process at a time. The second one learns of the first, and does it no harm; when the
// first is gone, however it went, the folder is free.
func TestServeTwice(t *testing.T) {
	u := newUser(t)
	first, address := u.serve(t, "registry")
	_, header, _ := ask(t, http.MethodPost, address, "/v2/acme/zlib/blobs/uploads/", "")
	upload := header.Get("Location")

	second, err := servertest.Run(u.command(t, "serve", "--address", "127.0.0.1:0", "--dir", "registry", "--address-file", "address"), `on (http)`)
	if err == nil {
		_ = second.Stop()
		t.Fatal("two processes serve one folder")
	}
	want := fmt.Sprintf("ocipkg: serve registry: process %d, on %s, serves it already\n", first.PID(), address)
	if !strings.Contains(err.Error(), "exit status 1)") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "serving") {
		t.Errorf("%v, want %q", err, want)
	}
	if _, err := os.Stat("address"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the second one has written its address: %v", err)
	}
	if status, _, body := ask(t, http.MethodGet, address, upload, ""); status != http.StatusNoContent {
		t.Errorf("the upload that the first one had begun: %d %s", status, body)
	}
	u.serve(t, "another") // another folder is another's

	first.Signal(os.Kill)
	_ = first.Wait() // it was killed
	third, _ := u.serve(t, "registry")
	if err := third.Stop(); err != nil && runtime.GOOS != "windows" {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join("registry", "blobs")); err != nil {
		t.Error(err)
	}
}

// TestServeHosts: the clients there are reach the registry by the names of this machine, and a web page by none of its own.
func TestServeHosts(t *testing.T) {
	u := newUser(t)
	_, address := u.serve(t, "registry", "--host", "registry.example.com", "--host", "host.docker.internal")
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"localhost:" + port: 200, address: 200, "[::1]:" + port: 200, "registry.example.com": 200, "host.docker.internal:" + port: 200,
		"evil.example.com:" + port: 421, "evil.example.com": 421,
	} {
		status, _, body := ask(t, http.MethodGet, address, "/v2/", host)
		if status != want || want == 421 && !strings.Contains(body, `{"errors":[{"code":"DENIED","message":"`) {
			t.Errorf("Host %s: %d %s, want %d", host, status, body, want)
		}
	}
	for _, host := range []string{address, "localhost:" + port} {
		// Ours.
		pinned := u.publish(t, host+"/acme/ssl:3.0", "3.0", 0)
		u.must(t, "pull", pinned, "-o", strings.ReplaceAll("out-"+host, ":", "-"))
		if err := os.RemoveAll("prefix-3.0.tar"); err != nil {
			t.Fatal(err)
		}
		// crane's and ko's.
		ref, err := name.ParseReference(host + "/their/image:1")
		if err != nil {
			t.Fatal(err)
		}
		image, err := random.Image(1000, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
			t.Errorf("%s: %v", host, err)
		} else if _, err := remote.Image(ref, remote.WithContext(t.Context())); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}
