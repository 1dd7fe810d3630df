package dial

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Config is a section tls of the config. Setting any of its fields turns TLS on.
type Config struct {
	// Enabled turns TLS on when nothing else is set; the system's authorities are trusted.
	Enabled bool `yaml:"enabled"`
	// CAFile holds the certificates, PEM, of the authorities to trust; no others are trusted then.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile, PEM, are what weir shows the server (mTLS).
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName is the name that the server's certificate must be for; "": the host that is dialled.
	ServerName string `yaml:"server_name"`
	// InsecureSkipVerify accepts any certificate: anybody on the way can then read and change
	// everything. For a look at a test system.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// On reports whether connections use TLS.
func (c *Config) On() bool { return *c != Config{} }

// Validate reports settings that exclude each other, and files that cannot be used. It makes paths
// relative to the config file's folder.
func (c *Config) Validate(at string, d *conf.Doc) {
	for field, name := range map[string]*string{"ca_file": &c.CAFile, "cert_file": &c.CertFile, "key_file": &c.KeyFile} {
		if *name == "" {
			continue
		}
		*name = d.Path(*name)
		if info, err := os.Stat(*name); err != nil {
			d.Fail(at+"."+field, *name, "must be readable: "+reason(err))
			return
		} else if !info.Mode().IsRegular() {
			d.Fail(at+"."+field, *name, "must be a file")
			return
		}
	}
	switch {
	case c.CertFile != "" && c.KeyFile == "":
		d.Fail(at+".key_file", "", "must be given with cert_file")
	case c.CertFile == "" && c.KeyFile != "":
		d.Fail(at+".cert_file", "", "must be given with key_file")
	}
	if c.InsecureSkipVerify && c.CAFile != "" {
		d.Fail(at+".insecure_skip_verify", true, "must not be set together with ca_file, which would have no effect")
	}
	if c.CAFile != "" {
		if _, err := c.roots(); err != nil {
			d.Fail(at+".ca_file", c.CAFile, err.Error())
		}
	}
	if c.CertFile != "" && c.KeyFile != "" {
		if _, err := c.certificate(time.Now()); err != nil {
			d.Fail(at+".cert_file", c.CertFile, err.Error())
		}
	}
}

// Warnings lists what is allowed but dangerous in the section at the path at.
func (c *Config) Warnings(at string) []string {
	if c.InsecureSkipVerify {
		return []string{at + ".insecure_skip_verify: the server may be anybody: anyone on the way can read and change everything, passwords included"}
	}
	return nil
}

func reason(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// roots are the authorities to trust; nil: the system's.
func (c *Config) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	text, err := conf.ReadSmall(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca_file %s: contains no PEM certificate", c.CAFile)
	}
	return pool, nil
}

// certificate is what weir shows the server, or nil.
func (c *Config) certificate(now time.Time) (*tls.Certificate, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	cert, err := conf.ReadSmall(c.CertFile)
	if err != nil {
		return nil, fmt.Errorf("cert_file: %w", err)
	}
	key, err := conf.ReadSmall(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert_file %s and key_file %s: %w", c.CertFile, c.KeyFile, err)
	}
	if leaf := pair.Leaf; now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return nil, fmt.Errorf("cert_file %s: valid only from %s to %s", c.CertFile, leaf.NotBefore.Format(time.DateTime), leaf.NotAfter.Format(time.DateTime))
	}
	return &pair, nil
}
