// Command ocipkg publishes native libraries to OCI registries and takes them from there.
//
// Each subcommand is one file here and a thin one: what it does lives in the packages under internal.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

func main() {
	leaveRunfiles()
	os.Exit(run(os.Args[1:]))
}

// leaveRunfiles goes to the folder that `bazel run` was called in: it starts programs among their runfiles, where none
// of the paths that a person gives mean anything. What it has started may in turn run this in a folder of its choice.
func leaveRunfiles() {
	cwd, err := os.Getwd()
	if dir := os.Getenv("BUILD_WORKING_DIRECTORY"); err == nil && dir != "" && strings.Contains(cwd, ".runfiles") {
		_ = os.Chdir(dir) // where that is gone, relative paths fail and say so
	}
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The first signal asks, the second ends: packing and measuring do not listen.
	context.AfterFunc(ctx, stop)
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	// A cancelled context surfaces as whatever was under way at that moment; what happened is the signal.
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "ocipkg: interrupted; nothing half-done was left")
		return int(diagnostic.Interrupted)
	}
	fmt.Fprintf(os.Stderr, "ocipkg: %s\n", err)
	if _, ok := errors.AsType[*diagnostic.Error](err); !ok && isUsage(err) {
		fmt.Fprintln(os.Stderr, "  see `ocipkg --help`, or `ocipkg COMMAND --help`")
		return int(diagnostic.Usage)
	}
	return int(diagnostic.KindOf(err))
}

// isUsage recognises cobra's complaints about commands, arguments and flags, which have no type of their own.
func isUsage(err error) bool {
	for _, start := range []string{"unknown command", "unknown flag", "unknown shorthand", "accepts ", "requires ", "required flag", "flag needed", "flag needs", "invalid argument"} {
		if strings.HasPrefix(err.Error(), start) {
			return true
		}
	}
	return false
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ocipkg",
		Short: "Share native libraries through OCI registries",
		Long: `ocipkg packs headers and libraries into OCI artifacts, pushes them to a registry, and
fetches them from there: verified by digest, with no container runtime.

  ocipkg pack ./prefix --name zlib --version 1.3.1 -o zlib.tar
  ocipkg push zlib.tar ghcr.io/acme/zlib:1.3.1
  ocipkg inspect ghcr.io/acme/zlib:1.3.1
  ocipkg pin                                    # write digests into MODULE.bazel

In Bazel, libraries come through ocipkg_library in MODULE.bazel, which runs "ocipkg fetch".

Credentials are those of docker and podman, of netrc and of OCIPKG_AUTH_<HOST>; "ocipkg login"
keeps some. OCIPKG_DEBUG_AUTH=1 tells which were used. Mirrors and certificates: docs/registries.md.
Fetched libraries are kept in $XDG_DATA_HOME/ocipkg, or where OCIPKG_STORE says.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 access denied, 5 registry
unreachable, 6 corrupt bytes, 7 not an ocipkg artifact, 8 wrong platform, 9 refused by a policy
or unsafe, 130 interrupted.`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().BoolP("quiet", "q", false, "print results, warnings and errors alone")
	root.AddCommand(newPack(), newPush(), newPull(), newInspect(), newPin(), newServe(), newFetch(), newLogin(), newLogout())
	return root
}

// version is the module's; a release sets it.
var version = "0.1.0-dev"
