package embedded

import (
	"net"
	"net/http"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/registry/loopback"
)

// A web page that someone on this machine looks at can have the browser send requests here. The browser keeps the answers from it
// and asks before it sends a PUT, unless the page's host is this registry's: whoever has a name can let it be an address of his own
// at first, and 127.0.0.1 when the page is there ("DNS rebinding"). To the browser both are one host, but the Host field has the name.

// allows reports whether a request is of a program, or of somebody who means this registry; if not, it has answered itself.
func (s *Registry) allows(w http.ResponseWriter, r *http.Request) bool {
	if s.private {
		host := hostname(r.Host)
		if !loopback.Host(host) && !s.hosts[strings.ToLower(host)] {
			refuse(w, http.StatusMisdirectedRequest, "DENIED", "this registry is for its own machine, and is not called what the request calls it; "+
				"it answers to localhost, to loopback addresses, and to the names that it was started with (--host)")
			return false
		}
	}
	// What changes something is not for other hosts' pages, whose uploads need no question before. No client but browsers says
	// where a request comes from.
	if err := s.crossOrigin.Check(r); err != nil {
		refuse(w, http.StatusForbidden, "DENIED", "web pages of other hosts may not change this registry")
		return false
	}
	return true
}

// hostname takes the port off a host as a request or an address has it.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
