package servertest

import (
	"os/exec"
	"syscall"
)

// dieWithUs has the kernel end a server whose tests are killed.
func dieWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
