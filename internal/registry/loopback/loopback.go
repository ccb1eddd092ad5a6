// Package loopback says which hosts are this machine.
//
// Invariant: a host that it says yes to is reached without leaving the machine: one of the loopback addresses, or a name that no
// name server may answer for (RFC 6761, 6.3). Client (registry) and server (embedded) have to mean the same by it: one speaks
// plain HTTP to these hosts, and the other believes that who names them is a program of this machine.
package loopback

import (
	"net/netip"
	"strings"
)

// Host reports whether a host, without a port and an IPv6 address without its brackets, is this machine.
func Host(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}
