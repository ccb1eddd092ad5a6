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
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a registry on this machine",
		Long: `Run an OCI registry, for trying things out, for tests and for machines without a network. Its
data is kept in a folder and is there again after a restart. It has neither accounts nor TLS:
it listens on this machine alone unless --address says otherwise.

Any OCI client can use it: it does all of the distribution specification 1.1, referrers and
deletion included. It refuses a manifest that names a blob or a manifest it does not have.

It runs until it is interrupted.`,
		Example: `  ocipkg serve                                # on localhost:5000
  ocipkg serve --address localhost:0 --address-file address.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := newTalk(cmd)
			if dir == "" {
				root, err := store.DefaultRoot()
				if err != nil {
					return err
				}
				dir = filepath.Join(root, ".registry")
			}
			// First, because it fails where this registry is being served already, whose unfinished uploads New would delete.
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return &diagnostic.Error{Kind: diagnostic.Failure, What: "listen on " + address, Err: err, Do: "choose another address with --address; port 0 takes a free one"}
			}
			handler, err := embedded.New(dir, t.printf)
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
			server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
			stopped := make(chan error, 1)
			go func() { stopped <- server.Serve(listener) }()
			select {
			case err := <-stopped:
				return err
			case <-cmd.Context().Done():
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				if err := server.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
					return err
				}
				return cmd.Context().Err()
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&address, "address", "localhost:5000", "host and port to listen on")
	f.StringVar(&dir, "dir", "", "folder of the data (default: .registry in the store)")
	f.StringVar(&addressFile, "address-file", "", "file to write the address to, for scripts that let the system choose a port")
	return cmd
}
