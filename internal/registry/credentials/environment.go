package credentials

import (
	"os"
	"strings"
)

const variablePrefix = "OCIPKG_AUTH_"

// Variable returns the name of the environment variable for a registry, host[:port]: letters in upper case, "." as "_", "-" as
// "__" and ":" as "___". No two host names have the same one, since in a host name a "." or ":" never stands beside another of
// the three: a password meant for one registry cannot reach another that is called similarly. IPv6 addresses have none ("").
func Variable(host string) string {
	var b strings.Builder
	b.WriteString(variablePrefix)
	for _, c := range []byte(canonicalHost(host)) {
		switch {
		case c >= 'a' && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
		case c >= '0' && c <= '9':
			b.WriteByte(c)
		case c == '.':
			b.WriteString("_")
		case c == '-':
			b.WriteString("__")
		case c == ':':
			b.WriteString("___")
		default:
			return ""
		}
	}
	return b.String()
}

// fromEnvironment reads OCIPKG_AUTH_<HOST>: "name:password", or "Bearer token" for a token that is sent as it is.
func (c *Chain) fromEnvironment(t target) *Credential {
	variable := Variable(t.host)
	if variable == "" {
		return nil
	}
	// Secrets that come out of files often end in a newline, and no name or password does.
	value := strings.TrimRight(os.Getenv(variable), "\r\n")
	if value == "" {
		c.tracef(t, "%s: not set", variable)
		return nil
	}
	if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(token) != "" {
		c.tracef(t, "%s: used", variable)
		return &Credential{RegistryToken: strings.TrimSpace(token), Source: variable}
	}
	user, password, ok := strings.Cut(value, ":")
	if !ok || user == "" || password == "" {
		c.tracef(t, "%s: cannot be used", variable)
		c.warnf(t, "%s is neither NAME:PASSWORD nor Bearer TOKEN; going on without it", variable)
		return nil
	}
	c.tracef(t, "%s: used", variable)
	return newCredential(user, password, variable)
}
