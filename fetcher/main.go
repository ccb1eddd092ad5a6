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
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

func main() {
	leaveRunfiles()
	postponeCollection()
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

// postponeCollection has garbage collected for the first time when there are 40 MB of memory in use, and from then on as
// always. Most commands have ended by then; beginning with 4 MB, Go would collect some times while a library comes, which
// is mostly the window of a decompressor that is still in use.
func postponeCollection() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(1000)
	runtime.AddCleanup(new([64]byte), func(percent int) { debug.SetGCPercent(percent) }, 100)
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The first signal asks, the second ends: packing and measuring do not listen.
	context.AfterFunc(ctx, stop)
	talking, t := withTalk(ctx)
	root := newRoot(args...)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(talking)
	t.done()
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
		fmt.Fprintf(os.Stderr, "  see `%s --help`\n", cmd.CommandPath())
		return int(diagnostic.Usage)
	}
	return int(diagnostic.KindOf(err))
}

// isUsage recognises cobra's complaints about commands and flags, most of which have no type of their own.
func isUsage(err error) bool {
	if _, ok := errors.AsType[*flagError](err); ok {
		return true
	}
	for _, start := range []string{"unknown command", "required flag", "invalid argument"} {
		if strings.HasPrefix(err.Error(), start) {
			return true
		}
	}
	return false
}

// flagError is a flag that does not exist or has no value that it takes.
type flagError struct{ error }

// commands are made where they are asked for: making all of them takes 0.9 of the 12 ms that the smallest library takes,
// and a build fetches a hundred.
var commands = []struct {
	name string
	make func() *cobra.Command
}{
	{"add", newAdd},
	{"copy", newCopy},
	{"fetch", newFetch},
	{"fingerprint", newFingerprint},
	{"index", newIndex},
	{"inspect", newInspect},
	{"join", newJoin},
	{"list", newList},
	{"login", newLogin},
	{"logout", newLogout},
	{"pack", newPack},
	{"pin", newPin},
	{"pull", newPull},
	{"push", newPush},
	{"rm", newRemove},
	{"serve", newServe},
	{"store", newStore},
	{"tag", newTag},
}

// newRoot has the command alone that the first of the arguments names, and all commands where it names none.
func newRoot(args ...string) *cobra.Command {
	root := &cobra.Command{
		Use:   "ocipkg",
		Short: "Share native libraries through OCI registries",
		Long: `ocipkg packs headers and libraries into OCI artifacts, pushes them to a registry, and
fetches them from there: verified by digest, with no container runtime.

  ocipkg pack ./prefix --name zlib --version 1.3.1 -o zlib.tar
  ocipkg push zlib.tar ghcr.io/acme/zlib:1.3.1
  ocipkg inspect ghcr.io/acme/zlib:1.3.1
  ocipkg pin                                    # write digests into MODULE.bazel
  ocipkg list                                   # what is on this machine

In Bazel, libraries come through ocipkg_library in MODULE.bazel, which runs "ocipkg fetch".

What a command takes comes first and where it goes last. An IMAGE is HOST/NAME:TAG, pinned where
@sha256:… follows; a LAYOUT is an archive in .tar or a folder, as "ocipkg pack" writes it. Results
go to standard output, one a line, and everything else to standard error.

Credentials are those of docker and podman, of netrc and of OCIPKG_AUTH_<HOST>; "ocipkg login"
keeps some. OCIPKG_DEBUG_AUTH=1 tells which were used. Mirrors and certificates: docs/registries.md.
Fetched libraries are kept in $XDG_DATA_HOME/ocipkg, or where OCIPKG_STORE says; "ocipkg store"
looks after them.

` + exitStatus(),
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &flagError{err} })
	root.PersistentFlags().BoolP("quiet", "q", false, "print results, warnings and errors alone")
	for _, c := range commands {
		if len(args) > 0 && args[0] == c.name {
			root.CompletionOptions.DisableDefaultCmd = true
			root.AddCommand(c.make())
		}
	}
	if !root.HasSubCommands() {
		for _, c := range commands {
			root.AddCommand(c.make())
		}
		addCompletion(root)
	}
	countArguments(root)
	return root
}

// exitStatus is the sentence about exit codes: those of internal/diagnostic.
func exitStatus() string {
	words := strings.Fields("Exit status: 0 done")
	for _, k := range diagnostic.Kinds() {
		words[len(words)-1] += ","
		words = append(words, strings.Fields(fmt.Sprintf("%d %s", int(k), k))...)
	}
	words[len(words)-1] += "."
	var b strings.Builder
	column := 0
	for _, w := range words {
		switch {
		case column == 0:
		case column+1+len(w) > 95:
			b.WriteString("\n")
			column = 0
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(w)
		column += len(w)
	}
	return b.String()
}
