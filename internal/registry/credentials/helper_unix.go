//go:build unix

package credentials

import (
	"os/exec"
	"syscall"
)

// killWhole makes the end of cmd's context end everything that it has started too: many helpers are shell scripts around the
// program that hangs.
func killWhole(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
