package listener

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// load reads the files.
func (t *TLS) load() (*tls.Config, error) {
	cert, err := conf.KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   versions[t.MinVersion],
		ClientAuth:   clientAuthTypes[t.ClientAuthType],
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if t.ClientCAFile != "" {
		pem, err := conf.ReadSmall(t.ClientCAFile)
		if err != nil {
			return nil, err
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", t.ClientCAFile)
		}
	}
	return c, nil
}

// lookEvery is how often handshakes check whether the files have changed.
const lookEvery = time.Second

// certificates are those of the server, read again when a file changes.
type certificates struct {
	from TLS
	log  *slog.Logger

	mu     sync.Mutex
	config *tls.Config
	stamps [3]stamp // of the files when they were last read
	looked time.Time
}

// stamp distinguishes the states of a file.
type stamp struct {
	at   time.Time
	size int64
}

func newCertificates(from TLS, log *slog.Logger) (*certificates, error) {
	c := &certificates{from: from, log: log, stamps: stampsOf(from)}
	var err error
	if c.config, err = from.load(); err != nil {
		return nil, fmt.Errorf("web.tls_server_config: %w", err)
	}
	return c, nil
}

func stampsOf(t TLS) (all [3]stamp) {
	for i, path := range []string{t.CertFile, t.KeyFile, t.ClientCAFile} {
		if info, err := os.Stat(path); err == nil {
			all[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return all
}

// current is the config of the next handshake. If the files do not fit together, as in the middle of
// their replacement, the old config stays.
func (c *certificates) current(now time.Time) *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.looked) < lookEvery && now.After(c.looked) {
		return c.config
	}
	c.looked = now
	if stamps := stampsOf(c.from); stamps != c.stamps {
		c.stamps = stamps
		c.read()
	}
	return c.config
}

func (c *certificates) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamps = stampsOf(c.from)
	c.read()
}

func (c *certificates) read() {
	next, err := c.from.load()
	if err != nil {
		c.log.Error("certificates not reloaded, keeping the old ones", "cert_file", c.from.CertFile, "err", err)
		return
	}
	c.config = next
	c.log.Info("certificates reloaded", "cert_file", c.from.CertFile)
}

// serving is the config that the server is started with.
func (c *certificates) serving() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.current(time.Now()), nil
		},
	}
}
