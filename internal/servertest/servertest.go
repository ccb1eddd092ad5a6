// Package servertest runs servers that are programs of their own, for tests.
//
// Invariant: a server does not outlive the tests that started it. It ends with its test or when it is told to; should the tests
// themselves be killed, the kernel ends it, on Linux.
package servertest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is a running server.
type Server struct {
	// Ready is what it said when it was ready: the first group of the expression that it was waited for with.
	Ready string

	cmd    *exec.Cmd
	output output
	ended  chan struct{} // closed when it has
	how    error         // how it ended, from then on
}

// Start starts a server, waits until a line that it prints matches ready, and stops it with the test. A test that fails shows the
// end of what it printed. However long a slow machine takes, it is waited for while it lives.
func Start(t testing.TB, cmd *exec.Cmd, ready string) *Server {
	t.Helper()
	s, err := Run(cmd, ready)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Stop() // who wants to know how it ends has stopped it
		if t.Failed() {
			t.Logf("%v printed\n%s", cmd.Args, s.output.tail())
		}
	})
	return s
}

// Run is Start without a test: the caller has to stop the server. The error of one that ends before it is ready has what it printed.
// Both of its outputs are read.
func Run(cmd *exec.Cmd, ready string) (*Server, error) {
	s := &Server{cmd: cmd, output: output{match: regexp.MustCompile(ready), found: make(chan string, 1)}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	cmd.WaitDelay = time.Minute // of output that what the server has left behind holds open
	dieWithUs(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.how = cmd.Wait()
		close(s.ended)
	}()
	select {
	case s.Ready = <-s.output.found:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("%v ended before it was ready (%v):\n%s", cmd.Args, s.how, s.output.tail())
	}
}

// PID is its process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Signal sends it a signal, unless it has ended.
func (s *Server) Signal(signal os.Signal) {
	_ = s.cmd.Process.Signal(signal) // it may have ended by itself
}

// Wait waits for its end. The error is that of exec.Cmd's Wait: nil for exit status 0.
func (s *Server) Wait() error {
	<-s.ended
	return s.how
}

// Stop ends it with SIGTERM, where there are signals, and waits for that. The error is Wait's.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		_ = s.cmd.Process.Kill() // it may have ended by itself
	}
	return s.Wait()
}

// Output is what it has printed so far.
func (s *Server) Output() string {
	s.output.mu.Lock()
	defer s.output.mu.Unlock()
	return s.output.text.String()
}

// output keeps what is printed, and finds the first match in it.
type output struct {
	match *regexp.Regexp
	found chan string

	mu   sync.Mutex
	text bytes.Buffer
	done bool // found has the match
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.done {
		return len(p), nil
	}
	// Whole lines only: the beginning of a port matches as well as the port.
	lines := o.text.Bytes()
	if m := o.match.FindSubmatch(lines[:bytes.LastIndexByte(lines, '\n')+1]); m != nil {
		o.done = true
		o.found <- string(m[1])
	}
	return len(p), nil
}

func (o *output) tail() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.text.Bytes()
	return bytes.Clone(b[max(0, len(b)-8000):])
}
