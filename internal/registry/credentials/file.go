package credentials

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// loginFile is where credentials are kept: Docker's own file, so that docker, podman and every other tool find them.
func loginFile() (string, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", &diagnostic.Error{Kind: diagnostic.Failure, What: "configuration of docker", Err: err, Do: "set HOME, or DOCKER_CONFIG to a folder"}
		}
		dir = filepath.Join(home, ".docker")
	}
	return filepath.Join(dir, "config.json"), nil
}

// Place is where credentials were put, or taken from.
type Place struct {
	File   string
	Helper string // the program that keeps the secret; "" if it is in the file, in the clear
}

// Save keeps a name and a password for a registry in Docker's config.json, or in the helper which that names for it. The file is
// replaced at one instant with mode 0600; keys it had and this package does not know stay. Others who save at the same time
// wait; docker itself knows of no lock.
func (c *Chain) Save(ctx context.Context, host string, cred *Credential) (Place, error) {
	t := target{host: canonicalHost(host)}
	defer c.forget()
	var place Place
	err := edit(ctx, func(path string, config *config, auths map[string]json.RawMessage) (bool, error) {
		place = Place{File: path}
		entry := authEntry{Auth: base64.StdEncoding.EncodeToString([]byte(cred.Username + ":" + cred.Password))}
		if helper, server := config.helperFor(t); helper != "" {
			place.Helper = helperPrefix + helper
			if err := c.storeWithHelper(ctx, helper, server, cred); err != nil {
				return false, &diagnostic.Error{
					Kind: kindOf(ctx),
					What: "keep the password for " + host,
					Why:  fmt.Sprintf("the helper %s, which %s names, %v", place.Helper, path, err),
					Do:   "repair the helper, or take it out of that file; nothing was written",
				}
			}
			entry = authEntry{} // lists the registry, as docker does
		}
		data, err := json.Marshal(struct {
			Auth string `json:"auth,omitempty"`
		}{entry.Auth})
		if err != nil {
			return false, err
		}
		auths[serverURL(t.host)] = data
		for _, key := range matching(auths, t) {
			if key == serverURL(t.host) {
				break
			}
			delete(auths, key) // the host in another spelling, which would be used in the place of this one
		}
		return true, nil
	})
	return place, err
}

// Remove takes a registry's credentials out of Docker's config.json and of the helper which that names, and returns where there
// were any.
func (c *Chain) Remove(ctx context.Context, host string) ([]Place, error) {
	t := target{host: canonicalHost(host)}
	defer c.forget()
	var places []Place
	var failed error
	err := edit(ctx, func(path string, config *config, auths map[string]json.RawMessage) (bool, error) {
		if helper, server := config.helperFor(t); helper != "" {
			program := helperPrefix + helper
			had, err := c.eraseFromHelper(ctx, helper, server)
			if err != nil {
				failed = &diagnostic.Error{
					Kind: kindOf(ctx),
					What: "forget the password for " + host,
					Why:  fmt.Sprintf("the helper %s, which %s names, %v", program, path, err),
					Do:   "repair the helper and run it again",
				}
			}
			if had {
				places = append(places, Place{File: path, Helper: program})
			}
		}
		changed := false
		for _, key := range matching(auths, t) {
			changed = true
			if found, err := parseEntry(auths[key]); found != nil || err != nil {
				places = append(places, Place{File: path})
			}
			delete(auths, key)
		}
		return changed, nil
	})
	if err == nil {
		err = failed
	}
	return places, err
}

func kindOf(ctx context.Context) diagnostic.Kind {
	if ctx.Err() != nil {
		return diagnostic.Interrupted
	}
	return diagnostic.Failure
}

// edit changes the entries of Docker's file, under a lock. change answers whether there is something to write.
func edit(ctx context.Context, change func(path string, config *config, auths map[string]json.RawMessage) (bool, error)) error {
	path, err := loginFile()
	if err != nil {
		return err
	}
	failed := func(err error) error {
		return &diagnostic.Error{Kind: diagnostic.Failure, What: "write " + path, Why: bare(err).Error(), Do: "set DOCKER_CONFIG to a folder of yours, or give yourself access", Err: err}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return failed(err)
	}
	// People link it to their dotfiles.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	unlock, err := lockFolder(ctx, path)
	if err != nil {
		return &diagnostic.Error{Kind: diagnostic.Interrupted, What: "write " + path, Why: "interrupted while another process was writing it", Do: "run it again when that process is done", Err: err}
	}
	defer unlock()

	broken := func(why string) error {
		return &diagnostic.Error{Kind: diagnostic.Usage, What: "read " + path, Why: why, Do: "correct it; it was not changed"}
	}
	data, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed(err)
	}
	config, err := parseConfig(data)
	if err != nil {
		return broken(err.Error())
	}
	document := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(data)) > 0 {
		if err := json.Unmarshal(data, &document); err != nil || document == nil {
			return broken("it is not a JSON object")
		}
	}
	auths := config.Auths
	if auths == nil {
		auths = map[string]json.RawMessage{}
	}
	write, err := change(path, config, auths)
	if err != nil || !write {
		return err
	}
	if document["auths"], err = json.Marshal(auths); err != nil {
		return err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // what was there is to stay as it was
	enc.SetIndent("", "\t")
	if err := enc.Encode(document); err != nil {
		return err
	}
	if err := replace(path, out.Bytes()); err != nil {
		return failed(err)
	}
	return nil
}

// replace gives a file a new content at one instant. The new one can be read by its owner alone from its first byte on.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// ParseHost reads what people write for a registry: host[:port], also as a URL. Docker Hub is docker.io, whatever it was called.
func ParseHost(s string) string {
	if _, rest, ok := strings.Cut(s, "://"); ok {
		s = rest
	}
	for _, suffix := range []string{"/", "/v1", "/v2"} {
		s = strings.TrimSuffix(s, suffix)
	}
	return canonicalHost(s)
}
