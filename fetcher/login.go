package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

func newLogin() *cobra.Command {
	var user string
	var fromStdin bool
	cmd := &cobra.Command{
		Use:   "login REGISTRY",
		Short: "Keep a user name and password for a registry",
		Long: `Ask REGISTRY whether it accepts a user name and a password (or an access token in its place), and
keep them if it does: in docker's configuration, or in the credential helper that is named there,
so that docker and podman find them too.

They are asked for on the terminal. In scripts, give --username and --password-stdin; there is no
flag for the password itself, because every process on the machine could read it. In CI, a
variable needs no login: OCIPKG_AUTH_GHCR_IO=NAME:PASSWORD is for ghcr.io ("." is written _, "-"
__ and ":" ___).

The file is $DOCKER_CONFIG/config.json or ~/.docker/config.json, readable for you alone.`,
		Example: `  ocipkg login ghcr.io
  ocipkg login ghcr.io -u acme --password-stdin <token.txt`,
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
			user, password, err := askCredentials(cmd.Context(), user, fromStdin)
			if err != nil {
				return diagnostic.Wrap(err, "log in to %s", args[0])
			}
			done, err := client.Login(cmd.Context(), host, user, password)
			if err != nil {
				return err
			}
			if !done.Verified {
				t.warnf("%s did not ask for credentials, so that these were not checked", args[0])
			}
			if done.Shadowed != "" {
				t.warnf("what will be used for %s is not this but %s", args[0], done.Shadowed)
			}
			if done.Place.Helper != "" {
				t.printf("logged in to %s; %s keeps the password", args[0], done.Place.Helper)
			} else {
				t.printf("logged in to %s; the password is in %s, readable for you alone but not encrypted\n  a credential helper (credsStore in that file) would keep it better", args[0], done.Place.File)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&user, "username", "u", "", "user name (default: asked for)")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

// maxPassword is the longest that is read, in bytes; access tokens have some thousands at most.
const maxPassword = 64 << 10

func askCredentials(ctx context.Context, user string, fromStdin bool) (string, string, error) {
	if fromStdin {
		if user == "" {
			return "", "", &diagnostic.Error{Kind: diagnostic.Usage, Why: "--password-stdin leaves nothing to read the user name from", Do: "give it with --username"}
		}
		data, err := io.ReadAll(io.LimitReader(os.Stdin, maxPassword+1))
		if err != nil {
			return "", "", err
		}
		if len(data) > maxPassword {
			return "", "", &diagnostic.Error{Kind: diagnostic.Usage, Why: fmt.Sprintf("the password has more than %d bytes", maxPassword), Do: "see that standard input is the password alone"}
		}
		return user, strings.TrimRight(string(data), "\r\n"), nil
	}
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return "", "", &diagnostic.Error{Kind: diagnostic.Usage, Why: "there is no terminal to ask for the password", Do: "give --username and, on standard input, the password with --password-stdin"}
	}
	if user == "" {
		line, err := prompt(ctx, "Username: ", func() (string, error) { return bufio.NewReader(os.Stdin).ReadString('\n') })
		if err != nil {
			return "", "", err
		}
		user = strings.TrimSpace(line)
	}
	state, err := term.GetState(fd)
	if err != nil {
		return "", "", err
	}
	password, err := prompt(ctx, "Password: ", func() (string, error) {
		password, err := term.ReadPassword(fd)
		return string(password), err
	})
	_ = term.Restore(fd, state) // an interrupted read has left the echo off
	fmt.Fprintln(os.Stderr)
	return user, password, err
}

// prompt asks on standard error, since standard output may be a file, and heeds the context: a read of a terminal does not.
func prompt(ctx context.Context, question string, read func() (string, error)) (string, error) {
	fmt.Fprint(os.Stderr, question)
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		if errors.Is(a.err, io.EOF) {
			return "", &diagnostic.Error{Kind: diagnostic.Usage, Why: "nothing was typed", Do: "run it again and type it, or give --username and --password-stdin"}
		}
		return a.text, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
