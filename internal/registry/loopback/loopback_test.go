package loopback_test

import (
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/registry/loopback"
)

func TestHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "registry.localhost": true, "127.0.0.1": true, "127.1.2.3": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "localhost.example.com": false, "notlocalhost": false, "127.0.0.1.example.com": false, "127.1": false, "0.0.0.0": false, "::": false,
		"10.0.0.1": false, "[::1]": false, "localhost:5000": false,
	} {
		if got := loopback.Host(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}
