//go:build !unix

package credentials

import "os/exec"

// killWhole leaves it at what exec.CommandContext does: there are no process groups here.
func killWhole(*exec.Cmd) {}
