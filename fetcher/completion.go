package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/modulefile"
)

// addCompletion makes cobra's completion command say how its scripts are installed.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd("completion")
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Short = "Print a shell's completion script"
		cmd.Long = `Print the script that completes commands, flags, files and the images that are in the store.

To install it, once:

  bash        ocipkg completion bash > ~/.local/share/bash-completion/completions/ocipkg
  zsh         ocipkg completion zsh > "${fpath[1]}/_ocipkg"
  fish        ocipkg completion fish > ~/.config/fish/completions/ocipkg.fish
  powershell  ocipkg completion powershell | Out-String | Invoke-Expression   # in $PROFILE

bash needs the package bash-completion; zsh needs "autoload -U compinit; compinit" in ~/.zshrc. It
works from the next shell on.`
		for _, shell := range cmd.Commands() {
			shell.Long = shell.Short + "; \"ocipkg completion --help\" says where it goes."
		}
	}
}

// completeImages offers the references that are in the store. They cost no network request, and are what is asked for
// again and again.
func completeImages(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return storedImages(), cobra.ShellCompDirectiveNoFileComp
}

// completeImagesAndFiles is for commands that take layouts, too.
func completeImagesAndFiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return storedImages(), cobra.ShellCompDirectiveDefault
}

// storedImages is best effort: a shell has no place for errors.
func storedImages() []cobra.Completion {
	s, err := existingStore()
	if err != nil || s == nil {
		return nil
	}
	names, err := s.Names()
	if err != nil {
		return nil
	}
	return names
}

// completeLibraries offers the libraries that the file of --file declares.
func completeLibraries(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	file, err := cmd.Flags().GetString("file")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	module, err := modulefile.Parse(file, data)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, l := range module.Libraries {
		names = append(names, l.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
