package registry

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Options configures a Client. The zero value is a good client.
type Options struct {
	// Transport carries the requests; nil is a transport of our own that keeps the policy's connect and header timeouts. The
	// rest of the policy (redirects, plain HTTP, stalls, retries) holds for any transport.
	Transport http.RoundTripper
	// Keychain finds credentials; nil reads Docker's and Podman's configuration and runs their helpers. One that fails is a
	// warning, and the client goes on without credentials.
	Keychain authn.Keychain
	// HelperTimeout bounds one question to the keychain, whose helpers are programs that may hang; 0 is 20 s.
	HelperTimeout time.Duration
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
	policy        RetryPolicy
	keychain      authn.Keychain
	helperTimeout time.Duration
	warnFunc      func(string)
	userAgent     string
	download      http.RoundTripper
	upload        http.RoundTripper
	insecure      map[string]bool // host or host:port, lower case

	received atomic.Int64

	mu       sync.Mutex
	warned   map[string]bool
	secrets  []string
	creds    map[string]*credential      // by repository
	sessions map[sessionKey]*sessionSlot // by repository and scope
}

// NewClient returns a client. It reads OCIPKG_INSECURE_REGISTRIES (host or host:port, separated by commas): the registries
// besides this machine's own that may be spoken to without TLS.
func NewClient(o Options) *Client {
	c := &Client{
		policy:        o.Retry.withDefaults(),
		keychain:      o.Keychain,
		helperTimeout: o.HelperTimeout,
		warnFunc:      o.Warn,
		userAgent:     o.UserAgent,
		insecure:      map[string]bool{},
		warned:        map[string]bool{},
		creds:         map[string]*credential{},
		sessions:      map[sessionKey]*sessionSlot{},
	}
	setDefault(&c.helperTimeout, 20*time.Second)
	if c.keychain == nil {
		c.keychain = authn.DefaultKeychain
	}
	if c.userAgent == "" {
		c.userAgent = "ocipkg"
	}
	if o.Transport != nil {
		c.download, c.upload = o.Transport, o.Transport
	} else {
		c.download = newTransport(c.policy, c.policy.HeaderTimeout)
		c.upload = newTransport(c.policy, uploadPatience*c.policy.HeaderTimeout)
	}
	for host := range strings.SplitSeq(os.Getenv(insecureVariable), ",") {
		if host = strings.ToLower(strings.TrimSpace(host)); host != "" {
			c.insecure[host] = true
		}
	}
	return c
}

// Received returns how many bytes of bodies have come over the network so far: manifests, tokens and blobs, including what
// had to be fetched twice.
func (c *Client) Received() int64 { return c.received.Load() }

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
