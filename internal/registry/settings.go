package registry

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

const (
	configVariable  = "OCIPKG_CONFIG"
	mirrorsVariable = "OCIPKG_MIRRORS"
	caVariable      = "OCIPKG_CA_FILE"
)

// Settings is what a person has said about registries: the variables OCIPKG_MIRRORS and OCIPKG_CA_FILE, and the configuration file.
// The zero value is nothing.
type Settings struct {
	environment []Mirror // before those of Options
	file        []Mirror // after them
	hosts       map[string]hostSettings
	roots       []byte // PEM, for every host besides the system's
}

// hostSettings are one registry's, by host[:port] as it stands in a URL.
type hostSettings struct {
	roots       []byte // PEM, besides the others
	certificate *tls.Certificate
	plain       bool // HTTP without TLS
}

// configDocument is the configuration file.
type configDocument struct {
	Registries map[string]struct {
		Mirrors []struct {
			Location string `json:"location"`
			Tags     bool   `json:"tags"`
		} `json:"mirrors"`
		CAFile    string `json:"caFile"`
		CertFile  string `json:"certFile"`
		KeyFile   string `json:"keyFile"`
		PlainHTTP bool   `json:"plainHTTP"`
	} `json:"registries"`
}

// maxSettings is the largest configuration file that is read, in bytes.
const maxSettings = 1 << 20

// LoadSettings reads the environment and the configuration file: OCIPKG_CONFIG's, else $XDG_CONFIG_HOME/ocipkg/config.json, else
// ~/.config/ocipkg/config.json, which need not exist. Every error is a diagnostic of kind Usage that says which variable, or
// which key of the file, is wrong.
func LoadSettings() (Settings, error) {
	var s Settings
	var err error
	if s.environment, err = ParseMirrors(os.Getenv(mirrorsVariable)); err != nil {
		return Settings{}, diagnostic.Wrap(err, "%s", mirrorsVariable)
	}
	if path := os.Getenv(caVariable); path != "" {
		if s.roots, err = readCertificates(path); err != nil {
			return Settings{}, &diagnostic.Error{Kind: diagnostic.Usage, What: caVariable + "=" + path, Why: err.Error(), Do: "name a file with certificates in PEM"}
		}
	}
	path := os.Getenv(configVariable)
	named := path != ""
	if !named {
		dir := os.Getenv("XDG_CONFIG_HOME")
		if dir == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return s, nil // a machine without homes has no such file
			}
			dir = filepath.Join(home, ".config")
		}
		path = filepath.Join(dir, "ocipkg", "config.json")
	}
	data, err := readAtMost(path, maxSettings)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return s, nil
	}
	if err != nil {
		return Settings{}, &diagnostic.Error{Kind: diagnostic.Usage, What: "configuration " + path, Why: bareError(err).Error(), Do: "correct it, or name another file with " + configVariable}
	}
	if err := s.parse(data, filepath.Dir(path)); err != nil {
		return Settings{}, &diagnostic.Error{Kind: diagnostic.Usage, What: "configuration " + path, Why: err.Error(), Do: `write {"registries": {"ghcr.io": {"mirrors": [{"location": "mirror.example.com/ghcr"}]}}}; docs/registries.md has every key`}
	}
	return s, nil
}

// parse reads the configuration file. Files that it names are relative to dir.
func (s *Settings) parse(data []byte, dir string) error {
	if err := checkJSON(data); err != nil {
		return err
	}
	var doc configDocument
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fmt.Errorf("%s: %s has a %s where a %s belongs", lineOf(data, kind.Offset), kind.Field, kind.Value, kind.Type)
		}
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	s.hosts = map[string]hostSettings{}
	for _, key := range slices.Sorted(maps.Keys(doc.Registries)) {
		r := doc.Registries[key]
		of, err := parsePrefix(key)
		if err != nil {
			return fmt.Errorf("registries: %q: %w", key, err)
		}
		for i, m := range r.Mirrors {
			if at, ok := strings.CutPrefix(m.Location, fileScheme); ok {
				layout, err := filePath(at)
				if err == nil && m.Tags {
					err = errors.New("files do not decide what tags mean")
				}
				if err != nil {
					return fmt.Errorf("registries: %q: mirrors[%d]: location %q: %w", key, i, m.Location, err)
				}
				s.file = append(s.file, Mirror{of: of, layout: layout})
				continue
			}
			to, err := parsePrefix(m.Location)
			if err != nil {
				return fmt.Errorf("registries: %q: mirrors[%d]: location %q: %w", key, i, m.Location, err)
			}
			s.file = append(s.file, Mirror{of: of, to: to, Tags: m.Tags})
		}
		if r.CAFile == "" && r.CertFile == "" && r.KeyFile == "" && !r.PlainHTTP {
			continue
		}
		if of.path != "" {
			return fmt.Errorf("registries: %q: caFile, certFile, keyFile and plainHTTP belong to the registry %q as a whole", key, of.host)
		}
		host := hostSettings{plain: r.PlainHTTP}
		if r.CAFile != "" {
			if host.roots, err = readCertificates(within(dir, r.CAFile)); err != nil {
				return fmt.Errorf("registries: %q: caFile %q: %w", key, r.CAFile, err)
			}
		}
		if (r.CertFile == "") != (r.KeyFile == "") {
			return fmt.Errorf("registries: %q: certFile and keyFile go together", key)
		}
		if r.CertFile != "" {
			if host.certificate, err = loadCertificate(within(dir, r.CertFile), within(dir, r.KeyFile)); err != nil {
				return fmt.Errorf("registries: %q: certFile %q: %w", key, r.CertFile, err)
			}
		}
		s.hosts[of.host] = host
	}
	return nil
}

// checkJSON finds what encoding/json lets pass: a key that stands twice, of which it would take the last, and text after the end.
func checkJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	var keys []map[string]bool // of the objects around; nil for an array
	var key bool               // whether a key is next
	for {
		token, err := dec.Token()
		if err != nil {
			if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
				return fmt.Errorf("%s: %w", lineOf(data, syntax.Offset), syntax)
			}
			return fmt.Errorf("%s: it ends too early", lineOf(data, int64(len(data))))
		}
		top := len(keys) - 1
		inObject := top >= 0 && keys[top] != nil
		switch t := token.(type) {
		case json.Delim:
			switch t {
			case '{':
				keys = append(keys, map[string]bool{})
				key = true
				continue
			case '[':
				keys = append(keys, nil)
				continue
			default:
				keys = keys[:top]
				key = len(keys) > 0 && keys[len(keys)-1] != nil
			}
		case string:
			if inObject && key {
				if keys[top][t] {
					return fmt.Errorf("%s: %q stands twice", lineOf(data, dec.InputOffset()), t)
				}
				keys[top][t] = true
				key = false
				continue
			}
			key = inObject
		default:
			key = inObject
		}
		if len(keys) == 0 {
			break
		}
	}
	if rest := bytes.TrimSpace(data[dec.InputOffset():]); len(rest) > 0 {
		return fmt.Errorf("%s: something follows the end", lineOf(data, dec.InputOffset()))
	}
	return nil
}

func lineOf(data []byte, offset int64) string {
	return fmt.Sprintf("line %d", bytes.Count(data[:min(max(offset, 0), int64(len(data)))], []byte("\n"))+1)
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is larger than %d MiB", limit>>20)
	}
	return data, err
}

func bareError(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func readCertificates(path string) ([]byte, error) {
	pem, err := readAtMost(path, 16<<20)
	if err != nil {
		return nil, bareError(err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, errors.New("it has no certificate in PEM")
	}
	return pem, nil
}

// loadCertificate reads a client's certificate. Its errors do not quote the key.
func loadCertificate(certFile, keyFile string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, bareError(err)
	}
	return &pair, nil
}

func systemRoots() *x509.CertPool {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return x509.NewCertPool() // a container without any: what the user names is all there is
	}
	return roots
}

// prefix is a registry, or the repositories of it below a path.
type prefix struct {
	host string // as in a URL and in name.Registry: index.docker.io for Docker Hub
	path string // without a slash at its ends; may be ""
}

func (p prefix) String() string {
	host := p.host
	if host == hubHost {
		host = hubAlias
	}
	return strings.TrimSuffix(host+"/"+p.path, "/")
}

func parsePrefix(s string) (prefix, error) {
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		return prefix{}, fmt.Errorf("it begins with %s://, but is no URL; plainHTTP is how to do without TLS", scheme)
	}
	host, path, _ := strings.Cut(strings.TrimSuffix(s, "/"), "/")
	host = strings.ToLower(host)
	if host == "" || !isHost(host) {
		return prefix{}, errors.New("it does not begin with a registry's host name")
	}
	if err := checkHost(host); err != nil {
		return prefix{}, err
	}
	if path != "" {
		if err := checkRepositoryPath(path); err != nil {
			return prefix{}, err
		}
	}
	if host == hubAlias {
		host = hubHost
	}
	return prefix{host: host, path: path}, nil
}

// certified reports whether authorities or certificates were named for this host, and so that TLS is meant. A file that cannot be
// read was named.
func (s *Settings) certified(host string) bool {
	host = strings.ToLower(host)
	roots, certificates, err := certsDir(host)
	h := s.hosts[host]
	return err != nil || len(roots) > 0 || len(certificates) > 0 || h.certificate != nil || h.roots != nil
}

// tlsConfig returns what a host, with a port if that is not 443, needs besides the defaults, or nil.
func (s *Settings) tlsConfig(host string) (*tls.Config, error) {
	host = strings.ToLower(host)
	h := s.hosts[host]
	roots, certificates, err := certsDir(host)
	if err != nil {
		return nil, err
	}
	if h.certificate != nil {
		certificates = append([]tls.Certificate{*h.certificate}, certificates...)
	}
	for _, pem := range [][]byte{s.roots, h.roots} {
		if pem != nil {
			roots = append(roots, pem)
		}
	}
	if len(roots) == 0 && len(certificates) == 0 {
		return nil, nil
	}
	config := &tls.Config{Certificates: certificates}
	if len(roots) > 0 {
		config.RootCAs = systemRoots() // takes milliseconds, which a command that needs no network does not spend
		for _, pem := range roots {
			config.RootCAs.AppendCertsFromPEM(pem)
		}
	}
	return config, nil
}

// certsDir reads the folder for a host in Docker's layout: *.crt are authorities, NAME.cert and NAME.key a client's certificate.
// The first folder that exists counts: the user's before the machine's.
func certsDir(host string) (roots [][]byte, certificates []tls.Certificate, err error) {
	if host == hubHost {
		host = hubAlias
	}
	if u := (&url.URL{Host: host}); u.Port() == "443" {
		host = u.Hostname()
	}
	var dir string
	var entries []fs.DirEntry
	for _, parent := range certsParents() {
		dir = filepath.Join(parent, host)
		if entries, err = os.ReadDir(dir); err == nil {
			break
		}
	}
	if err != nil {
		return nil, nil, nil // none, or none for us; a certificate that is missed will be asked for
	}
	fail := func(file string, err error) ([][]byte, []tls.Certificate, error) {
		return nil, nil, &diagnostic.Error{Kind: diagnostic.Usage, Why: fmt.Sprintf("%s: %v", filepath.Join(dir, file), err), Do: "correct or remove the file"}
	}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".crt":
			pem, err := readCertificates(filepath.Join(dir, e.Name()))
			if err != nil {
				return fail(e.Name(), err)
			}
			roots = append(roots, pem)
		case ".cert":
			key := strings.TrimSuffix(e.Name(), ".cert") + ".key"
			pair, err := loadCertificate(filepath.Join(dir, e.Name()), filepath.Join(dir, key))
			if err != nil {
				return fail(e.Name(), err)
			}
			certificates = append(certificates, *pair)
		}
	}
	return roots, certificates, nil
}

func certsParents() []string {
	var parents []string
	config := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); config == "" && err == nil {
		config = filepath.Join(home, ".config")
	}
	if config != "" {
		parents = append(parents, filepath.Join(config, "containers", "certs.d"), filepath.Join(config, "docker", "certs.d"))
	}
	return append(parents, "/etc/containers/certs.d", "/etc/docker/certs.d")
}
