package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Dialer opens connections. Safe for concurrent use.
type Dialer struct {
	What string // who is dialled, for errors: Kafka, CQL
	TLS  Config
	// Within bounds a connection, its TLS included; 0: 10 s.
	Within time.Duration

	mu   sync.Mutex
	last error
}

const within = 10 * time.Second

// Last is why the newest connection could not be opened, or nil if it could: clients
// try again and again, and say at the end that they got none.
func (d *Dialer) Last() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// Dial is DialContext without a context.
func (d *Dialer) Dial(network, addr string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, addr)
}

// DialContext connects to addr, host:port.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.dial(ctx, network, addr)
	if ctx.Err() == nil {
		d.mu.Lock()
		d.last = err
		d.mu.Unlock()
	}
	return c, err
}

func (d *Dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	limit := d.Within
	if limit == 0 {
		limit = within
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", d.What, addr, err)
	}
	raw, err := (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", d.What, addr, plainly(err))
	}
	if !d.TLS.On() {
		return raw, nil
	}
	config, err := d.TLS.client(host)
	if err == nil {
		c := tls.Client(raw, config)
		if err = c.HandshakeContext(ctx); err == nil {
			return c, nil
		}
		err = d.TLS.Explain(err)
	}
	_ = raw.Close() // nothing was written that matters
	return nil, fmt.Errorf("%s at %s: TLS: %w", d.What, addr, err)
}

// plainly shortens the error of a connection to what it means.
func plainly(err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("nobody listens there (connection refused)")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errors.New("nobody answers: no connection in time")
	case errors.As(err, &dns):
		return fmt.Errorf("the name %q is not known: %s", dns.Name, dns.Err)
	default:
		return err
	}
}

// client is the settings of one connection, with the files as they are now.
func (c *Config) client(host string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: c.InsecureSkipVerify}
	if c.ServerName != "" {
		config.ServerName = c.ServerName
	}
	var err error
	if config.RootCAs, err = c.roots(); err != nil {
		return nil, err
	}
	cert, err := c.certificate(time.Now())
	if err != nil {
		return nil, err
	}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	return config, nil
}

// Explain says what a handshake's error means, and which setting it is about; other errors it returns as
// they are. A server tells some of them with the first answer only.
func (c *Config) Explain(err error) error {
	var header tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var op *net.OpError
	trusted := "the system's authorities"
	if c.CAFile != "" {
		trusted = "ca_file " + c.CAFile
	}
	switch {
	case errors.As(err, &header):
		return errors.New("who listens there speaks no TLS: is it the port for plain connections?")
	case errors.As(err, &authority):
		return fmt.Errorf("the server's certificate is signed by nobody in %s: %w", trusted, err)
	case errors.As(err, &name):
		return fmt.Errorf("the server's certificate is of another name (server_name says which is expected): %w", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("the server's certificate is expired, or not yet valid: %w", err)
	case errors.As(err, &op) && op.Op == "remote error" && c.CertFile == "":
		return fmt.Errorf("the server refuses the connection: it wants a certificate of this client, perhaps (cert_file and key_file): %w", err)
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("the server refuses the certificate of cert_file %s, perhaps, or the connection: %w", c.CertFile, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the connection is open, and nobody answers in time")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return errors.New("who listens there closed the connection: does it speak TLS?")
	default:
		return err
	}
}
