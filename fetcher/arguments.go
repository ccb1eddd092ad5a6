package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// countArguments has every command take as many arguments as its usage line names, so that what --help says and what is
// taken cannot differ. Of commands that only lead to others cobra looks for the one that is meant.
func countArguments(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		countArguments(sub)
	}
	if !cmd.HasSubCommands() {
		cmd.Args = asManyAsUsage
	}
}

func asManyAsUsage(cmd *cobra.Command, args []string) error {
	least, most := argumentsOf(cmd.Use)
	if n := len(args); least <= n && n <= most {
		return nil
	}
	_, what, _ := strings.Cut(cmd.CommandPath(), " ")
	return &diagnostic.Error{Kind: diagnostic.Usage, What: what, Why: fmt.Sprintf("it takes %s, and got %d", takes(least, most), len(args)),
		Do: fmt.Sprintf("usage: %s; see `%s --help`", cmd.UseLine(), cmd.CommandPath())}
}

// argumentsOf reads from a usage line, such as "push LAYOUT... [IMAGE]", how many arguments it names before its flags.
func argumentsOf(use string) (least, most int) {
	for _, word := range strings.Fields(use)[1:] {
		if strings.HasPrefix(word, "-") {
			break
		}
		optional := strings.HasPrefix(word, "[")
		if !optional {
			least++
		}
		if strings.HasSuffix(strings.TrimSuffix(word, "]"), "...") {
			most = math.MaxInt
		} else if most < math.MaxInt {
			most++
		}
	}
	return least, most
}

func takes(least, most int) string {
	if least < most { // all that take several take any number
		return "at least " + arguments(least)
	}
	return arguments(least)
}

func arguments(n int) string {
	switch n {
	case 0:
		return "no arguments"
	case 1:
		return "one argument"
	}
	return fmt.Sprintf("%d arguments", n)
}
