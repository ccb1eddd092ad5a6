package registry

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/credentials"
)

// ParseRegistry reads what people write for a registry: host[:port], also as the URL that they see in a browser. Docker Hub has
// its usual names.
func ParseRegistry(s string) (name.Registry, error) {
	bad := func(format string, args ...any) (name.Registry, error) {
		return name.Registry{}, &diagnostic.Error{Kind: diagnostic.Usage, What: fmt.Sprintf("registry %q", s), Why: fmt.Sprintf(format, args...), Do: "write its host name, for example ghcr.io or registry.example.com:5000"}
	}
	if strings.Contains(s, "@") {
		// Somebody wrote user:password@host: say so without repeating it.
		return name.Registry{}, &diagnostic.Error{Kind: diagnostic.Usage, What: "registry", Why: "it has an @", Do: "leave user names and passwords out; you are asked for them"}
	}
	host := credentials.ParseHost(s)
	switch {
	case host == "":
		return bad("it is empty")
	case strings.Contains(host, "/"):
		return bad("it has a path, and credentials are kept for whole registries")
	case !isHost(host):
		return bad("it is no host name with a dot in it, nor localhost")
	}
	if err := checkHost(host); err != nil {
		return bad("%v", err)
	}
	if host == hubAlias {
		host = hubHost
	}
	return name.NewRegistry(host)
}

// LoginResult is what came of a log-in.
type LoginResult struct {
	Place    credentials.Place
	Verified bool   // false: the registry answers everybody, so that it could not be asked
	Shadowed string // a source that is asked before Place and has other credentials; "" if Place's are used
}

// Login asks a registry whether it accepts a name and a password, token server included, and keeps them if it does. They go to
// Docker's configuration, or to the helper that it names. An error of kind Denied says that the registry does not accept them.
func (c *Client) Login(ctx context.Context, registry name.Registry, user, password string) (LoginResult, error) {
	host := hostName(registry)
	what := "log in to " + host
	if user == "" || password == "" {
		return LoginResult{}, &diagnostic.Error{Kind: diagnostic.Usage, What: what, Why: "the user name or the password is empty", Do: "give both; for a registry with tokens alone, the name is what its documentation says, often any word"}
	}
	if strings.Contains(user, ":") {
		return LoginResult{}, &diagnostic.Error{Kind: diagnostic.Usage, What: what, Why: "the user name has a colon in it, which stands between name and password wherever they are sent", Do: "take a name without one"}
	}
	cred := &credentials.Credential{Username: user, Password: password}
	var result LoginResult
	err := c.repeat(ctx, func() (err error) {
		result.Verified, err = c.verify(ctx, registry, cred)
		return err
	})
	if err != nil {
		return LoginResult{}, c.explainLogin(what, registry, err)
	}
	if result.Place, err = c.chain.Save(ctx, host, cred); err != nil {
		return LoginResult{}, diagnostic.Wrap(err, "%s", what)
	}
	found, err := c.chain.Find(ctx, registry.RegistryStr(), "")
	if err != nil {
		return LoginResult{}, c.explainLogin(what, registry, err)
	}
	if found == nil || found.Username != user || found.Password != password {
		result.Shadowed = "nothing: what was written cannot be read back"
		if found != nil {
			result.Shadowed = found.Source
		}
	}
	return result, nil
}

// Logout forgets a registry's credentials. It returns where there were any, and a source that still has some, or "".
func (c *Client) Logout(ctx context.Context, registry name.Registry) (places []credentials.Place, remains string, err error) {
	host := hostName(registry)
	places, err = c.chain.Remove(ctx, host)
	if err != nil {
		return places, "", diagnostic.Wrap(err, "log out of %s", host)
	}
	found, err := c.chain.Find(ctx, registry.RegistryStr(), "")
	if err != nil {
		return places, "", c.explainLogin("log out of "+host, registry, err)
	}
	if found != nil {
		remains = found.Source
	}
	return places, remains, nil
}

// verify reports whether the registry was asked, that is, whether it wanted credentials at all.
func (c *Client) verify(ctx context.Context, registry name.Registry, cred *credentials.Credential) (bool, error) {
	if c.plainAllowed(registry.RegistryStr()) {
		insecure, err := name.NewRegistry(registry.RegistryStr(), name.Insecure)
		if err != nil {
			return false, err
		}
		registry = insecure
	}
	config, err := cred.Authorization()
	if err != nil {
		return false, err
	}
	auth := c.newAuthenticator(*config, "")
	wrapper, err := authenticate(ctx, registry, c.newWire(registry.RegistryStr(), auth), nil)
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+registry.RegistryStr()+"/v2/", nil)
	if err != nil {
		return false, err
	}
	resp, err := (&http.Client{Transport: wrapper, CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}).Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false, newStatusError(resp)
	}
	return auth.wanted.Load(), nil
}

func (c *Client) explainLogin(what string, registry name.Registry, err error) error {
	e := c.explain(what, registry.Repo("login"), err)
	told, ok := e.(*diagnostic.Error)
	if ok && told.Kind == diagnostic.Denied {
		if status := statusOf(err); status != nil {
			told.Why = c.clean(fmt.Sprintf("%s; it does not accept this name and password", status))
			told.Do = "check both; many registries want an access token in the password's place. Nothing was written"
		}
	}
	return e
}
