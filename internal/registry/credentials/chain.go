package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Credential is what one source knows. Its kinds exclude each other: a name with a password, an identity token (an OAuth2
// refresh token, exchanged for access tokens) or a registry token (sent as the bearer token it is).
type Credential struct {
	Username, Password string
	IdentityToken      string
	RegistryToken      string

	Source string // for people: a file, a helper or a variable
}

// String names the source, so that printing a Credential by mistake gives nothing away.
func (c *Credential) String() string { return "credentials from " + c.Source }

// GoString does so for %#v.
func (c *Credential) GoString() string { return c.String() }

// Authorization makes a Credential an authn.Authenticator.
func (c *Credential) Authorization() (*authn.AuthConfig, error) {
	return &authn.AuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}, nil
}

// tokenUser is the name under which Docker and its helpers keep an identity token in the password's place.
const tokenUser = "<token>"

func newCredential(user, secret, source string) *Credential {
	if user == tokenUser {
		return &Credential{IdentityToken: secret, Source: source}
	}
	return &Credential{Username: user, Password: secret, Source: source}
}

// Chain asks the sources in their order: the variable OCIPKG_AUTH_<HOST>, DOCKER_AUTH_CONFIG, the files that DOCKER_CONFIG and
// REGISTRY_AUTH_FILE name, Docker's and Podman's files at their usual places, netrc. It is safe for concurrent use.
type Chain struct {
	HelperTimeout time.Duration  // of one helper's run; 0 is 20 s
	Warn          func(m string) // told of each source that does not work; may be nil
	Trace         func(m string) // told of each source asked; may be nil

	mu      sync.Mutex
	answers map[question]*answer
}

const defaultHelperTimeout = 20 * time.Second

// maxConfig is the largest configuration file that is read, in bytes.
const maxConfig = 4 << 20

// Find returns the credentials for a repository ("" for the registry alone), or nil if there are none. The only error is that of a
// done context.
func (c *Chain) Find(ctx context.Context, host, repository string) (*Credential, error) {
	t := target{host: canonicalHost(host), path: repository}
	found, err := c.find(ctx, t)
	if err == nil && found == nil {
		c.tracef(t, "nothing found; without credentials")
	}
	return found, err
}

func (c *Chain) find(ctx context.Context, t target) (*Credential, error) {
	if found := c.fromEnvironment(t); found != nil {
		return found, nil
	}
	for _, file := range configFiles() {
		config, err := file.read()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			c.tracef(t, "%s: does not exist", file.name)
			continue
		case err != nil:
			c.tracef(t, "%s: cannot be used", file.name)
			c.warnf(t, "%s: %v; going on without it", file.name, err)
			continue
		}
		if found, err := c.fromConfig(ctx, t, file.name, config); found != nil || err != nil {
			return found, err
		}
	}
	return c.fromNetrc(t), nil
}

func (c *Chain) warnf(t target, format string, args ...any) {
	if c.Warn != nil {
		c.Warn(fmt.Sprintf("credentials for %s: ", t.host) + fmt.Sprintf(format, args...))
	}
}

func (c *Chain) tracef(t target, format string, args ...any) {
	if c.Trace != nil {
		c.Trace(fmt.Sprintf("credentials for %s: ", t) + fmt.Sprintf(format, args...))
	}
}

// target is what credentials are wanted for.
type target struct {
	host string // canonical
	path string // of the repository; "" is the registry itself
}

func (t target) String() string { return strings.TrimSuffix(t.host+"/"+t.path, "/") }

// hub is what Docker Hub is called here. Its other names are what its clients have written into their files.
const hub = "docker.io"

func canonicalHost(host string) string {
	host = strings.ToLower(host)
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return hub
	}
	return host
}

// serverURL is the key under which Docker keeps a registry's credentials, in files and in helpers.
func serverURL(host string) string {
	if host == hub {
		return authn.DefaultAuthKey
	}
	return host
}

// namedFile is a file in Docker's format, or the value of a variable that is one.
type namedFile struct {
	name string // for people
	path string // "" means text
	text string
}

// configFiles lists them in the order in which they are asked. What a variable names comes before what lies at its usual place.
func configFiles() []namedFile {
	var files []namedFile
	add := func(path string) {
		for _, f := range files {
			if f.path == path {
				return
			}
		}
		files = append(files, namedFile{name: path, path: path})
	}
	if text := os.Getenv("DOCKER_AUTH_CONFIG"); text != "" {
		files = append(files, namedFile{name: "DOCKER_AUTH_CONFIG", text: text})
	}
	dockerDir, authFile := os.Getenv("DOCKER_CONFIG"), os.Getenv("REGISTRY_AUTH_FILE")
	if dockerDir != "" {
		add(filepath.Join(dockerDir, "config.json"))
	}
	if authFile != "" {
		add(authFile)
	}
	home, _ := os.UserHomeDir() // without one there are fewer places to look at
	if dockerDir == "" && home != "" {
		add(filepath.Join(home, ".docker", "config.json"))
	}
	if authFile == "" {
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
			add(filepath.Join(dir, "containers", "auth.json"))
		} else if runtime.GOOS == "linux" {
			add(fmt.Sprintf("/run/containers/%d/auth.json", os.Getuid())) // as Podman does for root, and where nobody has logged in
		}
		if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
			add(filepath.Join(dir, "containers", "auth.json"))
		} else if home != "" {
			add(filepath.Join(home, ".config", "containers", "auth.json"))
		}
	}
	return files
}

func (f namedFile) read() (*config, error) {
	if f.path == "" {
		return parseConfig([]byte(f.text))
	}
	data, err := readFile(f.path)
	if err != nil {
		return nil, err
	}
	return parseConfig(data)
}

// readFile reads a file that is not larger than any configuration. Its errors do not repeat the path.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, bare(err)
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("it is larger than %d MiB", maxConfig>>20)
	}
	return data, nil
}

func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
