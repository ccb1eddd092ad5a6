package main

import (
	"math"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// TestArgumentsOf: a usage line says how many arguments a command takes.
func TestArgumentsOf(t *testing.T) {
	for use, want := range map[string][2]int{
		"serve":                     {0, 0},
		"pull IMAGE":                {1, 1},
		"copy IMAGE|LAYOUT LAYOUT":  {2, 2},
		"fetch IMAGE --output DIR":  {1, 1},
		"join LAYOUT... -o OUTPUT":  {1, math.MaxInt},
		"push LAYOUT... [IMAGE]":    {1, math.MaxInt},
		"tag IMAGE TAG...":          {2, math.MaxInt},
		"pack [DIR|FILE...] -o OUT": {0, math.MaxInt},
	} {
		if least, most := argumentsOf(use); least != want[0] || most != want[1] {
			t.Errorf("%s takes %d to %d, want %v", use, least, most, want)
		}
	}
}

// TestWrongNumbersOfArguments: every command answers them alike.
func TestWrongNumbersOfArguments(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			check(sub)
		}
		if cmd.HasSubCommands() {
			return
		}
		if least, most := argumentsOf(cmd.Use); least > 0 || most < math.MaxInt {
			wrong := least - 1
			if least == 0 {
				wrong = most + 1
			}
			if err := cmd.ValidateArgs(make([]string, wrong)); diagnostic.KindOf(err) != diagnostic.Usage {
				t.Errorf("%s with %d arguments: %v", cmd.CommandPath(), wrong, err)
			}
			if err := cmd.ValidateArgs(make([]string, least)); err != nil {
				t.Errorf("%s with %d arguments: %v", cmd.CommandPath(), least, err)
			}
		}
	}
	check(newRoot())
}
