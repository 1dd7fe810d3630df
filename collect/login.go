package collect

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Login is how a program of weir's identifies itself to a listener, and the listener to it. The
// zero Login has no credentials, and trusts the system's authorities.
type Login struct {
	Username string      // of basic auth, "" for none
	Password conf.Secret // read at each request
	Token    conf.Secret // a bearer token, instead; read at each request
	CAFile   string      // authorities of the listener's certificate, "" for the system's
	CertFile string      // client certificate, with KeyFile
	KeyFile  string
}

// Client returns a client that trusts and shows the Login's certificates, and gives up a request
// after the timeout. The error names a file that cannot be used.
func (l Login) Client(timeout time.Duration) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if l.CAFile != "" {
		pem, err := conf.ReadSmall(l.CAFile)
		if err != nil {
			return nil, fmt.Errorf("login: CA file: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("login: CA file %s contains no certificate", l.CAFile)
		}
	}
	if l.CertFile != "" || l.KeyFile != "" {
		pair, err := conf.KeyPair(l.CertFile, l.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("login: client certificate %s: %w", l.CertFile, err)
		}
		transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Timeout: timeout, Transport: transport}, nil
}

// Sign adds the credentials to a request. A redirect does not carry them to another host: net/http
// leaves out Authorization.
func (l Login) Sign(r *http.Request) error {
	switch {
	case !l.Token.IsZero():
		token, err := l.Token.Reveal()
		if err != nil {
			return fmt.Errorf("login: token: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
	case l.Username != "":
		password, err := l.Password.Reveal()
		if err != nil {
			return fmt.Errorf("login: password: %w", err)
		}
		r.SetBasicAuth(l.Username, password)
	}
	return nil
}
