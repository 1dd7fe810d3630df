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

// Last is why the newest connection could not be opened, or nil if it could be: clients try again
// and again, and in the end report only that they got none.
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
	_ = raw.Close() // nothing of importance was written
	return nil, fmt.Errorf("%s at %s: TLS: %w", d.What, addr, err)
}

// plainly shortens the error of a connection to what it means.
func plainly(err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused: nothing listens there")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errors.New("timed out: nothing answers there")
	case errors.As(err, &dns):
		return fmt.Errorf("cannot resolve the name %q: %s", dns.Name, dns.Err)
	default:
		return err
	}
}

// client returns the settings of one connection, from the files as they are now.
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

// Explain returns an error that tells what a handshake's error means and which setting it concerns;
// it returns other errors unchanged. A server reports some of them only with its first answer.
func (c *Config) Explain(err error) error {
	var header tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var op *net.OpError
	trusted := "the system"
	if c.CAFile != "" {
		trusted = "ca_file " + c.CAFile
	}
	switch {
	case errors.As(err, &header):
		return errors.New("the server does not speak TLS: is this the port for plain connections?")
	case errors.As(err, &authority):
		return fmt.Errorf("the server's certificate is not signed by any authority of %s: %w", trusted, err)
	case errors.As(err, &name):
		return fmt.Errorf("the server's certificate is for another name (set server_name to the one to expect): %w", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("the server's certificate is expired, or not yet valid: %w", err)
	case errors.As(err, &op) && op.Op == "remote error" && c.CertFile == "":
		return fmt.Errorf("the server refuses the connection: perhaps it requires a client certificate (cert_file and key_file): %w", err)
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("the server refuses the connection, perhaps for the certificate in cert_file %s: %w", c.CertFile, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the connection is open, but nothing answers in time")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return errors.New("the server closed the connection: does it speak TLS?")
	default:
		return err
	}
}
