package listener

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Config is the section web of the config file. Settings that Prometheus's web.config.yml has, too,
// have the same names.
type Config struct {
	// AllowedHosts are names that a request's Host may have, beside the machine's, localhost, IP
	// addresses and the host of notify.external_url: weir.example.com, *.example.com for all below it, *
	// for any.
	AllowedHosts []string `yaml:"allowed_hosts"`
	// TrustedProxies are addresses or networks whose X-Forwarded-For is believed.
	TrustedProxies []string `yaml:"trusted_proxies"`
	TLS            TLS      `yaml:"tls_server_config"`
	// Users are bcrypt hashes by user name.
	Users map[string]conf.Secret `yaml:"basic_auth_users"`
	// Tokens are bearer tokens, by the names that logs and errors use.
	Tokens map[string]conf.Secret `yaml:"bearer_tokens"`
	// Roles are what a user or token may do, by its name: read, write. Those without roles may read.
	Roles map[string][]string `yaml:"roles"`

	// MaxConnections bounds the open connections, MaxConnectionsPerClient those of one address (a /64 of
	// IPv6).
	MaxConnections          int `yaml:"max_connections"`
	MaxConnectionsPerClient int `yaml:"max_connections_per_client"`
	// MaxHeaderBytes bounds a request's line and headers, bytes.
	MaxHeaderBytes int `yaml:"max_header_bytes"`
	// HeaderTimeout is how long a client may take for them, BodyTimeout for a body,
	// and IdleTimeout how long a connection may wait for its next request.
	HeaderTimeout conf.Duration `yaml:"header_timeout"`
	BodyTimeout   conf.Duration `yaml:"body_timeout"`
	IdleTimeout   conf.Duration `yaml:"idle_timeout"`
}

// TLS is the section web.tls_server_config. Without CertFile the address speaks plain HTTP. Paths are
// relative to the config file.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ClientCAFile has the CAs of client certificates.
	ClientCAFile string `yaml:"client_ca_file"`
	// ClientAuthType is what clients must present, in Go's words; see clientAuthTypes.
	ClientAuthType string `yaml:"client_auth_type"`
	// MinVersion is TLS12 or TLS13.
	MinVersion string `yaml:"min_version"`
}

// Default is plain HTTP for everybody.
func Default() Config {
	return Config{
		AllowedHosts: []string{}, TrustedProxies: []string{},
		Users: map[string]conf.Secret{}, Tokens: map[string]conf.Secret{}, Roles: map[string][]string{},
		TLS:            TLS{ClientAuthType: "NoClientCert", MinVersion: "TLS12"},
		MaxConnections: 4096, MaxConnectionsPerClient: 1024,
		MaxHeaderBytes: 64 << 10,
		HeaderTimeout:  conf.Duration(10 * time.Second),
		BodyTimeout:    conf.Duration(time.Minute),
		IdleTimeout:    conf.Duration(2 * time.Minute),
	}
}

// The roles. Reading is GET and HEAD: pages, queries, streams and weir's own metrics. Writing is
// everything else: the gateway and reloads.
const (
	Read  = "read"
	Write = "write"
)

var (
	clientAuthTypes = map[string]tls.ClientAuthType{
		"NoClientCert": tls.NoClientCert, "RequestClientCert": tls.RequestClientCert,
		"RequireAnyClientCert":       tls.RequireAnyClientCert,
		"VerifyClientCertIfGiven":    tls.VerifyClientCertIfGiven,
		"RequireAndVerifyClientCert": tls.RequireAndVerifyClientCert,
	}
	versions = map[string]uint16{"TLS12": tls.VersionTLS12, "TLS13": tls.VersionTLS13}
)

// Bounds of a Config.
const (
	maxConnections   = 1 << 20
	minHeader        = 4 << 10
	maxHeader        = 1 << 20
	minWait, maxWait = conf.Duration(time.Second), conf.Duration(10 * time.Minute)
	// maxCost bounds the cost of a bcrypt hash: with it, a comparison takes a second.
	maxCost = 14
	// minTokenBytes keeps tokens from being guessed: 16 random characters have 90 bits.
	minTokenBytes = 16
)

// Validate reports every setting that is out of bounds, and certificates that cannot be loaded. It
// makes relative paths relative to the config file's folder.
func (c *Config) Validate(at string, d *conf.Doc) {
	for i, h := range c.AllowedHosts {
		if h != "*" && !validName(strings.TrimPrefix(strings.ToLower(h), "*.")) {
			d.Fail(fmt.Sprintf("%s.allowed_hosts[%d]", at, i), h, "must be a host's name without a port, *.name for all below it, or *")
		}
	}
	for i, p := range c.TrustedProxies {
		if _, err := parsePrefix(p); err != nil {
			d.Fail(fmt.Sprintf("%s.trusted_proxies[%d]", at, i), p, "must be an IP address or a network such as 10.0.0.0/8")
		}
	}
	c.TLS.validate(at+".tls_server_config", d)
	c.validateUsers(at, d)
	number := func(name string, n, least, most int) {
		if n < least || n > most {
			d.Fail(at+"."+name, n, fmt.Sprintf("must be %d to %d", least, most))
		}
	}
	number("max_connections", c.MaxConnections, 16, maxConnections)
	number("max_connections_per_client", c.MaxConnectionsPerClient, 1, max(1, c.MaxConnections))
	number("max_header_bytes", c.MaxHeaderBytes, minHeader, maxHeader)
	for _, w := range []struct {
		name string
		is   conf.Duration
	}{{"header_timeout", c.HeaderTimeout}, {"body_timeout", c.BodyTimeout}, {"idle_timeout", c.IdleTimeout}} {
		if w.is < minWait || w.is > maxWait {
			d.Fail(at+"."+w.name, w.is, fmt.Sprintf("must be %v to %v", minWait, maxWait))
		}
	}
}

// validateUsers checks names, roles, and the secrets that can be read now: files and variables may be
// missing where a config is only checked.
func (c *Config) validateUsers(at string, d *conf.Doc) {
	for name, hash := range c.Users {
		field := at + ".basic_auth_users." + name
		if name == "" || strings.ContainsAny(name, ":\x00\r\n") || len(name) > maxNameBytes {
			d.Fail(field, name, fmt.Sprintf("a user's name must be 1 to %d bytes without colon and line breaks", maxNameBytes))
		}
		if text, err := hash.Reveal(); err == nil {
			if err := checkHash(text); err != nil {
				d.Fail(field, nil, err.Error())
			}
		} else if hash.IsZero() {
			d.Fail(field, nil, "must be a bcrypt hash: htpasswd -nB "+name)
		}
	}
	for name, token := range c.Tokens {
		field := at + ".bearer_tokens." + name
		if _, twice := c.Users[name]; twice {
			d.Fail(field, name, "must not have the name of a user: roles are assigned by name")
		}
		if text, err := token.Reveal(); err == nil {
			if err := checkToken(text); err != nil {
				d.Fail(field, nil, err.Error())
			}
		} else if token.IsZero() {
			d.Fail(field, nil, "must be a text, {file: path} or {env: NAME}")
		}
	}
	for name, roles := range c.Roles {
		field := at + ".roles." + name
		_, user := c.Users[name]
		if _, token := c.Tokens[name]; !user && !token {
			d.Fail(field, name, "must be one of basic_auth_users or bearer_tokens")
		}
		for i, r := range roles {
			if r != Read && r != Write {
				d.Fail(fmt.Sprintf("%s[%d]", field, i), r, "must be read or write")
			}
		}
		if len(roles) == 0 {
			d.Fail(field, nil, "must contain read, write or both")
		}
	}
}

// guarded reports whether clients have to authenticate.
func (c *Config) guarded() bool { return len(c.Users)+len(c.Tokens) > 0 }

func checkHash(hash string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || len(hash) != 60 {
		return fmt.Errorf("must be a bcrypt hash of 60 characters: htpasswd -nB NAME")
	}
	if cost > maxCost {
		return fmt.Errorf("has a bcrypt cost of %d, must be at most %d: each doubling costs CPU", cost, maxCost)
	}
	return nil
}

func checkToken(token string) error {
	if len(token) < minTokenBytes || len(token) > maxNameBytes || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("must be %d to %d printable ASCII characters without space", minTokenBytes, maxNameBytes)
	}
	return nil
}

func (t *TLS) validate(at string, d *conf.Doc) {
	for _, path := range []*string{&t.CertFile, &t.KeyFile, &t.ClientCAFile} {
		if *path != "" {
			*path = d.Path(*path)
		}
	}
	if _, ok := clientAuthTypes[t.ClientAuthType]; !ok {
		d.Fail(at+".client_auth_type", t.ClientAuthType, "must be one of "+strings.Join(slices.Sorted(maps.Keys(clientAuthTypes)), ", "))
		return
	}
	if _, ok := versions[t.MinVersion]; !ok {
		d.Fail(at+".min_version", t.MinVersion, "must be TLS12 or TLS13")
		return
	}
	verifies := clientAuthTypes[t.ClientAuthType] >= tls.VerifyClientCertIfGiven
	switch {
	case t.CertFile == "" && (t.KeyFile != "" || t.ClientCAFile != "" || t.ClientAuthType != "NoClientCert"):
		d.Fail(at+".cert_file", nil, "must be given with the other settings of TLS")
	case t.CertFile == "":
	case t.KeyFile == "":
		d.Fail(at+".key_file", nil, "must be given with cert_file")
	case verifies != (t.ClientCAFile != ""):
		d.Fail(at+".client_ca_file", t.ClientCAFile, "must be given with VerifyClientCertIfGiven and RequireAndVerifyClientCert, and only with them")
	default:
		if _, err := t.load(); err != nil {
			d.Fail(at+".cert_file", t.CertFile, "must be loadable with key_file and client_ca_file: "+err.Error())
		}
	}
}

// parsePrefix reads an address or a network.
func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}
