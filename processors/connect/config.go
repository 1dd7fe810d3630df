package connect

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/dial"
)

// Config is the section kafka of the config.
type Config struct {
	TLS  dial.Config `yaml:"tls"`
	SASL SASL        `yaml:"sasl"`
}

// SASL is how weir identifies itself to Kafka.
type SASL struct {
	// Mechanism is one of Mechanisms; "": no SASL.
	Mechanism string `yaml:"mechanism"`
	// Username and Password are for PLAIN and SCRAM.
	Username string      `yaml:"username"`
	Password conf.Secret `yaml:"password"`
	// Token is for OAUTHBEARER, for instance a file that is kept fresh.
	Token conf.Secret `yaml:"token"`
	// TokenURL issues tokens for ClientID and ClientSecret instead (OAuth's client credentials),
	// for Scope if it is not "".
	TokenURL     string      `yaml:"token_url"`
	ClientID     string      `yaml:"client_id"`
	ClientSecret conf.Secret `yaml:"client_secret"`
	Scope        string      `yaml:"scope"`
}

// Kafka's names of the mechanisms.
const (
	plainText   = "PLAIN"
	scram256    = "SCRAM-SHA-256"
	scram512    = "SCRAM-SHA-512"
	oauthBearer = "OAUTHBEARER"
)

// Mechanisms are the values that SASL.Mechanism may have.
var Mechanisms = []string{plainText, scram256, scram512, oauthBearer}

// Default is neither TLS nor SASL.
func Default() Config { return Config{} }

// Validate reports settings that exclude each other, secrets that cannot be read, and TLS files
// that cannot be used.
func (c *Config) Validate(at string, d *conf.Doc) {
	c.TLS.Validate(at+".tls", d)
	s, at := &c.SASL, at+".sasl"
	password := s.Username != "" || !s.Password.IsZero()
	oauth := !s.Token.IsZero() || s.TokenURL != "" || s.ClientID != "" || !s.ClientSecret.IsZero() || s.Scope != ""
	switch {
	case s.Mechanism == "":
		if password || oauth {
			d.Fail(at+".mechanism", "", "must be given: one of "+strings.Join(Mechanisms, ", "))
		}
	case !slices.Contains(Mechanisms, s.Mechanism):
		d.Fail(at+".mechanism", s.Mechanism, "must be one of "+strings.Join(Mechanisms, ", "))
	case s.Mechanism == oauthBearer:
		if password {
			d.Fail(at+".username", s.Username, "must not be given with OAUTHBEARER, nor a password")
		}
		s.validateOAuth(at, d)
	default:
		if s.Username == "" {
			d.Fail(at+".username", "", "must be given with "+s.Mechanism)
		}
		needs(d, at+".password", s.Password, s.Mechanism)
		if oauth {
			d.Fail(at+".token", nil, "must not be given with "+s.Mechanism+", nor may token_url and its settings")
		}
	}
}

func (s *SASL) validateOAuth(at string, d *conf.Doc) {
	if s.TokenURL == "" {
		needs(d, at+".token", s.Token, "OAUTHBEARER, or token_url")
		return
	}
	if !s.Token.IsZero() {
		d.Fail(at+".token", nil, "must not be given with token_url")
	}
	u, err := url.Parse(s.TokenURL)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		d.Fail(at+".token_url", nil, "must be a URL without a user: https://host/path")
	case u.Scheme != "https" && !(u.Scheme == "http" && local(u.Hostname())):
		d.Fail(at+".token_url", nil, "must begin with https:// (http:// only for this machine), as the client's secret is sent there")
	}
	if s.ClientID == "" {
		d.Fail(at+".client_id", "", "must be given with token_url")
	}
	needs(d, at+".client_secret", s.ClientSecret, "token_url")
}

// needs reports a secret that is missing, or cannot be read.
func needs(d *conf.Doc, field string, s conf.Secret, with string) {
	if s.IsZero() {
		d.Fail(field, nil, "must be given with "+with)
	} else if _, err := s.Reveal(); err != nil {
		d.Fail(field, nil, fmt.Sprintf("must be readable: %v", err))
	}
}

// Warnings lists what is allowed but dangerous in the section at the path at.
func (c *Config) Warnings(at string) []string {
	all := c.TLS.Warnings(at + ".tls")
	if c.SASL.Mechanism == plainText || c.SASL.Mechanism == oauthBearer {
		if !c.TLS.On() {
			all = append(all, fmt.Sprintf("%s.sasl: %s without tls: anyone on the way can read the password or token", at, c.SASL.Mechanism))
		}
	}
	return all
}

// local reports whether a host is this machine.
func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
