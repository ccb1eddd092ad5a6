package main

import (
	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

func newLogout() *cobra.Command {
	return &cobra.Command{
		Use:   "logout REGISTRY",
		Short: "Forget the user name and password for a registry",
		Long: `Take what "ocipkg login" or "docker login" has kept for REGISTRY out of docker's configuration and
of the credential helper that is named there. Other places that credentials can come from
(variables, podman's file, netrc) stay as they are, and are named if they have some.`,
		Example: `  ocipkg logout ghcr.io`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			host, err := registry.ParseRegistry(args[0])
			if err != nil {
				return err
			}
			client, err := newClient(t)
			if err != nil {
				return err
			}
			places, remains, err := client.Logout(cmd.Context(), host)
			for _, p := range places {
				if p.Helper != "" {
					t.printf("logged out of %s: %s has forgotten it", args[0], p.Helper)
				} else {
					t.printf("logged out of %s: taken out of %s", args[0], p.File)
				}
			}
			if err != nil {
				return err
			}
			if len(places) == 0 {
				t.printf("nobody was logged in to %s", args[0])
			}
			if remains != "" {
				t.warnf("there are still credentials for %s: %s", args[0], remains)
			}
			return nil
		},
	}
}
