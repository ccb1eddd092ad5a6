package credentials

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
)

const (
	helperPrefix = "docker-credential-"
	// maxAnswer is more than any token has, in bytes.
	maxAnswer = 1 << 20
	// closing is how long the pipes of a helper that was killed are waited for; a process that it started and that left its
	// group may hold them.
	closing = 2 * time.Second
)

// question is put to a helper once; answer is what it said, to whoever asks.
type question struct{ helper, server string }

type answer struct {
	turn  chan struct{} // held by whoever asks
	known bool
	found *Credential
	err   error
}

// ask puts one question to one helper, once in the life of the chain. While it is asked, others wait who have the same question,
// and nobody else.
func (c *Chain) ask(ctx context.Context, helper, server string) (*Credential, error) {
	q := question{helper, server}
	c.mu.Lock()
	if c.answers == nil {
		c.answers = map[question]*answer{}
	}
	a := c.answers[q]
	if a == nil {
		a = &answer{turn: make(chan struct{}, 1)}
		c.answers[q] = a
	}
	c.mu.Unlock()
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if a.known {
		return a.found, a.err
	}
	found, err := c.get(ctx, helper, server)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // that says nothing about the helper; the next one may ask it
	}
	a.known, a.found, a.err = true, found, err
	return found, err
}

// forget makes the next one who asks run the helpers anew.
func (c *Chain) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = nil
}

func (c *Chain) get(ctx context.Context, helper, server string) (*Credential, error) {
	run := &runs{ctx: ctx, helper: helper, timeout: cmp.Or(c.HelperTimeout, defaultHelperTimeout)}
	got, err := client.Get(run.program, server)
	if err != nil {
		if credentials.IsErrCredentialsNotFound(err) {
			return nil, nil
		}
		return nil, run.explain(err)
	}
	if got.Username == "" && got.Secret == "" {
		return nil, nil
	}
	return newCredential(got.Username, got.Secret, helperPrefix+helper), nil
}

func (c *Chain) storeWithHelper(ctx context.Context, helper, server string, cred *Credential) error {
	run := &runs{ctx: ctx, helper: helper, timeout: cmp.Or(c.HelperTimeout, defaultHelperTimeout)}
	err := client.Store(run.program, &credentials.Credentials{ServerURL: server, Username: cred.Username, Secret: cred.Password})
	if err != nil {
		return run.explain(err)
	}
	return nil
}

// eraseFromHelper reports whether there was anything to erase.
func (c *Chain) eraseFromHelper(ctx context.Context, helper, server string) (bool, error) {
	had, err := c.get(ctx, helper, server)
	if err != nil || had == nil {
		return false, err
	}
	run := &runs{ctx: ctx, helper: helper, timeout: cmp.Or(c.HelperTimeout, defaultHelperTimeout)}
	if err := client.Erase(run.program, server); err != nil && !credentials.IsErrCredentialsNotFound(err) {
		return false, run.explain(err)
	}
	return true, nil
}

// runs makes the programs that docker-credential-helpers' client runs, and remembers how the last one ended: the client's own
// errors quote the helper's output, which may be the secret.
type runs struct {
	ctx     context.Context
	helper  string
	timeout time.Duration
	failed  error
}

func (r *runs) program(args ...string) client.Program {
	return &program{runs: r, args: args}
}

func (r *runs) explain(err error) error {
	if r.failed != nil {
		return r.failed
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return errors.New("answered with something that is not JSON")
	}
	return errors.New("answered with something that is no credential")
}

// program is one run of a helper, killed with all it started when its time is up or nobody wants it any more.
type program struct {
	runs *runs
	args []string
	in   io.Reader
}

func (p *program) Input(in io.Reader) { p.in = in }

func (p *program) Output() ([]byte, error) {
	out, err := p.run()
	if err != nil {
		p.runs.failed = err
		return out, err
	}
	return out, nil
}

func (p *program) run() ([]byte, error) {
	if p.runs.helper == "" || strings.ContainsAny(p.runs.helper, `/\`) {
		return nil, errors.New("has a name that is a path, and is not run")
	}
	path, err := exec.LookPath(helperPrefix + p.runs.helper)
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errors.New("is not in PATH")
		}
		return nil, fmt.Errorf("cannot be run: %w", bareExec(err))
	}
	ctx, cancel := context.WithTimeout(p.runs.ctx, p.runs.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, p.args...)
	out := &limitedBuffer{left: maxAnswer}
	cmd.Stdin, cmd.Stdout = p.in, out // what it says on standard error may be a secret as well
	cmd.WaitDelay = closing
	killWhole(cmd)
	err = cmd.Run()
	switch {
	case p.runs.ctx.Err() != nil:
		return nil, context.Cause(p.runs.ctx)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("gave no answer within %v", p.runs.timeout)
	case out.full:
		return nil, errors.New("answered with far more than a credential")
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.buf.Bytes(), fmt.Errorf("ended with %s", exit.ProcessState)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return out.buf.Bytes(), nil // it has ended well; something that it left running holds its output
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be run: %w", bareExec(err))
	}
	return out.buf.Bytes(), nil
}

func bareExec(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return bare(e.Err)
	}
	return bare(err)
}

// limitedBuffer has its buffer as a field: embedded, its ReadFrom would be used in Write's place, and know no limit.
type limitedBuffer struct {
	buf  bytes.Buffer
	left int
	full bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if len(p) > b.left {
		b.full = true
		return 0, io.ErrShortWrite
	}
	b.left -= len(p)
	return b.buf.Write(p)
}
