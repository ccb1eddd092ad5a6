package registry

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/ocipkg/rules_ocipkg/internal/registry/credentials"
)

// Options configures a Client. The zero value is a good client.
type Options struct {
	// Transport carries the requests; nil is a transport of our own that keeps the policy's connect and header timeouts. The
	// rest of the policy (redirects, plain HTTP, stalls, retries) holds for any transport.
	Transport http.RoundTripper
	// Keychain finds credentials; nil is a credentials.Chain of this machine's. One that fails is a warning, and the client goes
	// on without credentials.
	Keychain authn.Keychain
	// HelperTimeout bounds one run of a credential helper, which is a program that may hang; 0 is 20 s.
	HelperTimeout time.Duration
	// Trace is told which source of credentials was asked and what it had, never a secret; may be nil. It may be called from
	// several goroutines.
	Trace func(message string)
	// Settings are the person's: mirrors, certificates. The zero value is none of them.
	Settings Settings
	// Mirrors are asked after those that the environment names and before those of the configuration file.
	Mirrors []Mirror
	// Warn is told, one sentence each and each once, what went wrong without stopping anything; may be nil. It may be called
	// from several goroutines.
	Warn func(message string)
	// UserAgent is sent with every request; "" is "ocipkg".
	UserAgent string
	// Retry is how long and how often to try; nil is the default policy.
	Retry *RetryPolicy
}

// Client talks to registries. It is safe for concurrent use; one authenticated session is kept per repository and scope.
type Client struct {
	policy    RetryPolicy
	keychain  authn.Keychain // nil: chain
	chain     *credentials.Chain
	warnFunc  func(string)
	traceFunc func(string)
	userAgent string
	download  http.RoundTripper
	upload    http.RoundTripper
	insecure  map[string]bool        // host or host:port, lower case
	certified func(host string) bool // whether a person has named authorities or certificates for it
	mirrors   [][]Mirror             // groups in their order

	received atomic.Int64

	mu       sync.Mutex
	warned   map[string]bool
	aside    map[string]bool // mirrors that do not work, by host or repository
	secrets  []string
	creds    map[string]*credentialSlot  // by repository
	sessions map[sessionKey]*sessionSlot // by repository and scope
}

// NewClient returns a client. It reads OCIPKG_INSECURE_REGISTRIES (host or host:port, separated by commas): the registries
// besides this machine's own that may be spoken to without TLS.
func NewClient(o Options) *Client {
	c := &Client{
		policy:    o.Retry.withDefaults(),
		keychain:  o.Keychain,
		warnFunc:  o.Warn,
		traceFunc: o.Trace,
		userAgent: o.UserAgent,
		insecure:  map[string]bool{},
		certified: o.Settings.certified,
		mirrors:   [][]Mirror{o.Settings.environment, o.Mirrors, o.Settings.file},
		warned:    map[string]bool{},
		aside:     map[string]bool{},
		creds:     map[string]*credentialSlot{},
		sessions:  map[sessionKey]*sessionSlot{},
	}
	c.chain = &credentials.Chain{HelperTimeout: o.HelperTimeout, Warn: c.warn, Trace: c.trace}
	if c.userAgent == "" {
		c.userAgent = "ocipkg"
	}
	if o.Transport != nil {
		c.download, c.upload = o.Transport, o.Transport
	} else {
		c.download = newTransport(c.policy, c.policy.HeaderTimeout, o.Settings.tlsConfig)
		c.upload = newTransport(c.policy, uploadPatience*c.policy.HeaderTimeout, o.Settings.tlsConfig)
	}
	for host := range strings.SplitSeq(os.Getenv(insecureVariable), ",") {
		if host = strings.ToLower(strings.TrimSpace(host)); host != "" {
			c.insecure[host] = true
		}
	}
	for host, settings := range o.Settings.hosts {
		if settings.plain {
			c.insecure[host] = true
		}
	}
	return c
}

// Received returns how many bytes of bodies have come over the network so far: manifests, tokens and blobs, including what
// had to be fetched twice.
func (c *Client) Received() int64 { return c.received.Load() }

func (c *Client) trace(message string) {
	if c.traceFunc != nil {
		c.traceFunc(c.clean(message))
	}
}

// warn passes a message on once; a hundred layers with the same broken helper are one warning.
func (c *Client) warn(message string) {
	message = c.clean(message)
	c.mu.Lock()
	told := c.warned[message]
	c.warned[message] = true
	c.mu.Unlock()
	if !told && c.warnFunc != nil {
		c.warnFunc(message)
	}
}
