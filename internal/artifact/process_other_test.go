//go:build !unix

package artifact

import "testing"

// Neither a umask nor such a limit exists here.

func umask(int) (restore func()) { return func() {} }

func fewHandles(*testing.T) (restore func()) { return func() {} }
