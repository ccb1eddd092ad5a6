package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/embedded"
	"github.com/ocipkg/rules_ocipkg/internal/store"
)

func newServe() *cobra.Command {
	var address, dir, addressFile string
	var hosts []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a registry on this machine",
		Long: `Run an OCI registry, for trying things out, for tests and for machines without a network. Its
data is kept in a folder, which one registry serves at a time, and is there again after a
restart. It has neither accounts nor TLS: it listens on this machine alone unless --address
says otherwise.

Any OCI client can use it: it does all of the distribution specification 1.1, referrers and
deletion included. It refuses a manifest that names a blob or a manifest it does not have.

A registry for this machine alone answers only requests that call it localhost, by a loopback
address, or what --address or --host calls it, so that no web page can reach it by a name of
its own. To a proxy before it, or to a container that has another name for this machine, that
name is a --host.

It runs until Ctrl-C or SIGTERM ends it, and then exits with 0. A second one does not wait for
transfers under way.`,
		Example: `  ocipkg serve                                # on localhost:5000
  ocipkg serve --address localhost:0 --address-file address.txt`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := newTalk(cmd)
			if dir == "" {
				root, err := store.DefaultRoot()
				if err != nil {
					return err
				}
				dir = filepath.Join(root, ".registry")
			}
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return &diagnostic.Error{Kind: diagnostic.Failure, What: "listen on " + address, Err: err, Do: "choose another address with --address; port 0 takes a free one"}
			}
			if host, _, err := net.SplitHostPort(address); err == nil {
				hosts = append(hosts, host)
			}
			registry, err := embedded.New(dir, embedded.Options{Logf: t.printf, Address: listener.Addr().String(), Hosts: hosts})
			if err != nil {
				listener.Close()
				return diagnostic.Wrap(err, "serve %s", dir)
			}
			if addressFile != "" {
				// Written whole and last, so that whoever waits for the file can connect when it appears.
				partial := addressFile + ".partial"
				if err := os.WriteFile(partial, []byte(listener.Addr().String()+"\n"), 0o644); err != nil {
					return err
				}
				if err := os.Rename(partial, addressFile); err != nil {
					return err
				}
				defer os.Remove(addressFile)
			}
			fmt.Printf("serving %s on http://%s\n", dir, listener.Addr())
			server := &http.Server{Handler: registry, ReadHeaderTimeout: 10 * time.Second}
			stopped := make(chan error, 1)
			go func() { stopped <- server.Serve(listener) }()
			select {
			case err := <-stopped:
				return err
			case <-cmd.Context().Done():
				// This is how it ends. What is under way gets a moment, and after that keeps the folder until the process is gone.
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				if err := server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
					return server.Close()
				} else if err != nil {
					return err
				}
				return registry.Close()
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&address, "address", "localhost:5000", "host and port to listen on")
	f.StringVar(&dir, "dir", "", "folder of the data (default: .registry in the store)")
	f.StringArrayVar(&hosts, "host", nil, "another name that it is reached by; may be repeated")
	f.StringVar(&addressFile, "address-file", "", "file to write the address to, for scripts that let the system choose a port; deleted at the end")
	return cmd
}
