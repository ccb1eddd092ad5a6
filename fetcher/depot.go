package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/library"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
	"github.com/ocipkg/rules_ocipkg/internal/store"
	"github.com/ocipkg/rules_ocipkg/internal/trust"
)

func newClient(t *talk, mirrors ...registry.Mirror) (*registry.Client, error) {
	settings, err := registry.LoadSettings()
	if err != nil {
		return nil, err
	}
	options := registry.Options{
		UserAgent: "ocipkg/" + version,
		Settings:  settings,
		Mirrors:   mirrors,
		Warn:      func(message string) { t.warnf("%s", message) },
	}
	if debug := os.Getenv("OCIPKG_DEBUG_AUTH"); debug != "" && debug != "0" {
		options.Trace = func(message string) { fmt.Fprintf(os.Stderr, "ocipkg: debug: %s\n", message) }
	}
	return registry.NewClient(options), nil
}

func openStore() (*store.Store, error) {
	root, err := store.DefaultRoot()
	if err != nil {
		return nil, err
	}
	return store.Open(root)
}

func newDepot(t *talk, what string, mirrors ...registry.Mirror) (*library.Depot, error) {
	policy, err := trust.PolicyFromEnvironment()
	if err != nil {
		return nil, err
	}
	s, err := openStore()
	if err != nil {
		return nil, err
	}
	client, err := newClient(t, mirrors...)
	if err != nil {
		return nil, err
	}
	return &library.Depot{
		Warn:     func(message string) { t.warnf("%s", message) },
		Registry: client,
		Store:    s,
		Policy:   policy,
		Waiting: func(pid int) {
			if pid > 0 {
				t.printf("ocipkg: waiting for process %d, which is fetching the same", pid)
			} else {
				t.printf("ocipkg: waiting for another process, which is fetching the same")
			}
		},
		Progress: t.progress(what),
	}, nil
}

// targetFlag is the platform a library is for; its default is the machine at hand.
type targetFlag struct{ text string }

func (f *targetFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.text, "target", "", "target triple of the library, such as aarch64-unknown-linux-gnu (default: this machine's)")
}

func (f *targetFlag) triple() (artifact.Triple, error) {
	if f.text == "" {
		return artifact.HostTriple(), nil
	}
	return artifact.ParseTriple(f.text)
}
