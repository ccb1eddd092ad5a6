package credentials

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// config is what this package reads of Docker's config.json and of Podman's auth.json, which has the same format and names
// repositories besides registries.
type config struct {
	Auths       map[string]json.RawMessage `json:"auths"`
	CredHelpers map[string]string          `json:"credHelpers"`
	CredsStore  string                     `json:"credsStore"`
}

type authEntry struct {
	Auth          string `json:"auth"` // base64 of name:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// parseConfig reads a file's bytes; none at all are an empty configuration. Errors quote nothing of it.
func parseConfig(data []byte) (*config, error) {
	c := &config{}
	if len(strings.TrimSpace(string(data))) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, jsonError(data, err)
	}
	return c, nil
}

// jsonError says where JSON is wrong, without quoting it: encoding/json quotes a character, or a value's kind.
func jsonError(data []byte, err error) error {
	at := func(offset int64) string {
		before := string(data[:min(max(offset, 0), int64(len(data)))])
		return fmt.Sprintf("line %d", strings.Count(before, "\n")+1)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("%s is not JSON", at(syntax.Offset))
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s has a value of the wrong kind", at(kind.Offset))
	}
	return errors.New("it is not what it should be")
}

// splitKey takes a key of "auths" or "credHelpers" apart. Keys are hosts, repositories or parts of them (Podman), or URLs,
// whose path says nothing (https://index.docker.io/v1/).
func splitKey(key string) (t target, url bool) {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		return target{host: canonicalHost(host)}, true
	}
	if bare, ok := strings.CutSuffix(key, "/v1/"); ok {
		key = bare
	} else if bare, ok := strings.CutSuffix(key, "/v2/"); ok {
		key = bare
	}
	host, path, _ := strings.Cut(strings.TrimSuffix(key, "/"), "/")
	return target{host: canonicalHost(host), path: path}, false
}

// matching returns the keys that say something about t, the most specific first.
func matching[V any](keys map[string]V, t target) []string {
	type match struct {
		key    string
		length int
		url    bool
	}
	var found []match
	for key := range keys {
		k, url := splitKey(key)
		if k.host == t.host && (k.path == "" || k.path == t.path || strings.HasPrefix(t.path, k.path+"/")) {
			found = append(found, match{key, len(k.path), url})
		}
	}
	slices.SortFunc(found, func(a, b match) int {
		order := 0
		if a.url != b.url {
			order = 1 // the plain spelling is what `docker login` writes today
			if b.url {
				order = -1
			}
		}
		return cmp.Or(cmp.Compare(b.length, a.length), order, cmp.Compare(a.key, b.key))
	})
	list := make([]string, len(found))
	for i, m := range found {
		list[i] = m.key
	}
	return list
}

// helperFor returns the helper responsible for t and the name by which it knows it, or "".
func (c *config) helperFor(t target) (helper, server string) {
	if keys := matching(c.CredHelpers, t); len(keys) > 0 && c.CredHelpers[keys[0]] != "" {
		server := serverURL(t.host)
		if k, _ := splitKey(keys[0]); k.path != "" {
			server = keys[0]
		}
		return c.CredHelpers[keys[0]], server
	}
	return c.CredsStore, serverURL(t.host)
}

// fromConfig asks one file. Its helper, if it has one for t, comes before its own entry, which beside a helper is empty as a rule.
func (c *Chain) fromConfig(ctx context.Context, t target, file string, config *config) (*Credential, error) {
	if helper, server := config.helperFor(t); helper != "" {
		found, err := c.ask(ctx, helper, server)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		program := helperPrefix + helper
		switch {
		case err != nil:
			c.tracef(t, "%s: %s: does not work", file, program)
			c.warnf(t, "the helper %s, which %s names, %v; going on without it", program, file, err)
		case found == nil:
			c.tracef(t, "%s: %s: has none", file, program)
		default:
			c.tracef(t, "%s: %s: used", file, program)
			return found, nil
		}
	}
	for _, key := range matching(config.Auths, t) {
		found, err := parseEntry(config.Auths[key])
		if err != nil {
			c.tracef(t, "%s: the entry %s cannot be used", file, key)
			c.warnf(t, "%s: the entry %s %v; going on without it", file, key, err)
			continue
		}
		if found != nil {
			found.Source = file
			c.tracef(t, "%s: the entry %s: used", file, key)
			return found, nil
		}
	}
	c.tracef(t, "%s: has none", file)
	return nil, nil
}

// parseEntry reads a value of "auths"; nil is one without credentials, as Docker leaves beside a helper.
func parseEntry(data []byte) (*Credential, error) {
	var e authEntry
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, errors.New("is not an object of strings")
	}
	if e.Auth != "" {
		user, password, err := decodeAuth(e.Auth)
		if err != nil {
			return nil, err
		}
		e.Username, e.Password = user, password
	}
	switch {
	case e.RegistryToken != "":
		return &Credential{RegistryToken: e.RegistryToken}, nil
	case e.IdentityToken != "":
		return &Credential{IdentityToken: e.IdentityToken}, nil
	case e.Username != "" && e.Password != "":
		return newCredential(e.Username, e.Password, ""), nil
	}
	return nil, nil
}

func decodeAuth(auth string) (user, password string, err error) {
	auth = strings.TrimSpace(auth)
	// Some tools leave the padding out.
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(auth, "="))
	if err != nil {
		return "", "", errors.New(`has an "auth" that is not base64`)
	}
	user, password, ok := strings.Cut(string(raw), ":")
	if !ok || !utf8.Valid(raw) {
		return "", "", errors.New(`has an "auth" that is not base64 of NAME:PASSWORD`)
	}
	return user, strings.TrimRight(password, "\x00"), nil // old versions of Docker padded it with zeros
}
