package connect

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/dial"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.sign(t, "ca", time.Now().Add(time.Hour), nil, nil)
	return a
}

// sign writes name.pem and name.key, signed by the parent or, without one, self-signed.
func (a *authority) sign(t *testing.T, name string, until time.Time, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(a.dir, name+".pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, filepath.Join(a.dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b})))
	return c, key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) server(t *testing.T, until time.Time, clients bool) *tls.Config {
	t.Helper()
	a.sign(t, "server", until, a.cert, a.key)
	pair, err := tls.LoadX509KeyPair(a.path("server.pem"), a.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}}
	if clients {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		text, err := os.ReadFile(a.path("ca.pem"))
		if err != nil || !c.ClientCAs.AppendCertsFromPEM(text) {
			t.Fatal(err)
		}
	}
	return c
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func broker(t *testing.T, opts ...kfake.Opt) string {
	t.Helper()
	c := kafkatest.Cluster(t, append(opts, kfake.SeedTopics(1, "t"))...)
	return c.ListenAddrs()[0]
}

// both makes a client of each library write a record, and returns their errors.
func both(t *testing.T, k *Kafka) (franz, sar error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(append(k.Options(), kgo.RetryTimeout(2*time.Second), kgo.RecordDeliveryTimeout(3*time.Second))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	franz = cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr()
	cfg := sarama.NewConfig()
	cfg.Version, cfg.Producer.Return.Successes, cfg.Metadata.Retry.Max = sarama.V2_8_0_0, true, 0
	if err := k.Sarama(cfg); err != nil {
		return franz, err
	}
	p, err := sarama.NewSyncProducer(k.Brokers(), cfg)
	if err != nil {
		return franz, err
	}
	defer p.Close()
	_, _, err = p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder("v")})
	return franz, err
}

// TestBothLibrariesLogIn: the same config section works for franz-go and sarama. After a password changes in its file,
// the next connection uses the new one.
func TestBothLibrariesLogIn(t *testing.T) {
	a := newAuthority(t)
	for _, mechanism := range []string{plainText, scram256, scram512} {
		addr := broker(t, kfake.TLS(a.server(t, time.Now().Add(time.Hour), true)), kfake.EnableSASL(), kfake.Superuser(mechanism, "weir", "right"))
		a.sign(t, "client", time.Now().Add(time.Hour), a.cert, a.key)
		password := a.path("password")
		write(t, password, "wrong\n")
		cfg := Config{
			TLS:  dial.Config{CAFile: a.path("ca.pem"), CertFile: a.path("client.pem"), KeyFile: a.path("client.key")},
			SASL: SASL{Mechanism: mechanism, Username: "weir", Password: conf.SecretFile(password)},
		}
		k := New([]string{addr}, cfg)
		if err := k.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), mechanism+` as "weir"`) || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: a wrong password: %v", mechanism, err)
		}
		if f, s := both(t, k); f == nil || s == nil {
			t.Errorf("%s: a wrong password: %v, %v", mechanism, f, s)
		}
		write(t, password, "right\n")
		if err := k.Probe(t.Context()); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
		if f, s := both(t, k); f != nil || s != nil {
			t.Errorf("%s: %v, %v", mechanism, f, s)
		}
	}
}

// TestProbeNamesWhatIsWrong: Probe names the fault within seconds, whatever listens at the address.
func TestProbeNamesWhatIsWrong(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	hour := time.Now().Add(time.Hour)
	listen := func(serve func(net.Conn)) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				t.Cleanup(func() { _ = c.Close() })
				go serve(c)
			}
		}()
		return ln.Addr().String()
	}
	nobody := listen(func(net.Conn) {})
	dead := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}()
	trust := dial.Config{CAFile: a.path("ca.pem")}
	secure := broker(t, kfake.TLS(a.server(t, hour, false)))
	mutual := broker(t, kfake.TLS(a.server(t, hour, true)))
	expired := broker(t, kfake.TLS(a.server(t, time.Now().Add(-time.Hour), false)))
	a.sign(t, "old", time.Now().Add(-time.Hour), a.cert, a.key)
	for name, c := range map[string]struct {
		addr string
		tls  dial.Config
		sasl SASL
		want string
	}{
		"dead":              {dead, dial.Config{}, SASL{}, "nothing listens"},
		"dead, with TLS":    {dead, trust, SASL{}, "nothing listens"},
		"black hole":        {nobody, dial.Config{}, SASL{}, "nothing answers"},
		"black hole of TLS": {nobody, trust, SASL{}, "nothing answers"},
		"hangs up":          {listen(func(c net.Conn) { _ = c.Close() }), dial.Config{}, SASL{}, "closes the connection"},
		"HTTP":              {listen(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }), dial.Config{}, SASL{}, "speaks HTTP"},
		"plain to TLS":      {secure, dial.Config{}, SASL{}, "kafka.tls"},
		"TLS to plain":      {broker(t), trust, SASL{}, "TLS"},
		"another authority": {secure, dial.Config{CAFile: other.path("ca.pem")}, SASL{}, "not signed by any authority of ca_file"},
		"expired":           {expired, trust, SASL{}, "expired"},
		"another name":      {secure, dial.Config{CAFile: a.path("ca.pem"), ServerName: "kafka.example"}, SASL{}, "server_name"},
		"no client cert":    {mutual, trust, SASL{}, "requires a client certificate"},
		"old client cert":   {mutual, dial.Config{CAFile: a.path("ca.pem"), CertFile: a.path("old.pem"), KeyFile: a.path("old.key")}, SASL{}, "old.pem: valid only from"},
		"no such ca":        {secure, dial.Config{CAFile: a.path("none.pem")}, SASL{}, "none.pem"},
		"a login is wanted": {broker(t, kfake.EnableSASL(), kfake.Superuser(plainText, "u", "p")), dial.Config{}, SASL{}, "kafka.sasl"},
		"no such name":      {"no-such-host.invalid:9092", dial.Config{}, SASL{}, "cannot resolve"},
		"another mechanism": {broker(t, kfake.EnableSASL(), kfake.Superuser(plainText, "u", "p")), dial.Config{}, SASL{Mechanism: scram256, Username: "u", Password: conf.NewSecret("p")}, "SCRAM-SHA-256"},
		"insecure":          {secure, dial.Config{InsecureSkipVerify: true}, SASL{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			err := New([]string{c.addr}, Config{TLS: c.tls, SASL: c.sasl}).Probe(t.Context())
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.addr) && c.want != "not known" {
				t.Errorf("%v, want %q", err, c.want)
			}
			if took := time.Since(began); took > 4*probeWithin {
				t.Errorf("took %v", took)
			}
		})
	}
	// One broker that answers is enough.
	if err := New([]string{dead, secure}, Config{TLS: trust}).Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTokens: tokens come from a file that changes, or from a URL that is asked again when they expire; no error contains the secret.
func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "one\n")
	k := New(nil, Config{SASL: SASL{Mechanism: oauthBearer, Token: conf.SecretFile(file)}})
	for _, want := range []string{"one", "two"} {
		write(t, file, want)
		if got, err := k.tokens.token(t.Context()); got != want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	asked, answer, status := 0, `{"access_token":"t1","expires_in":3600}`, 200
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		user, pass, _ := r.BasicAuth()
		if r.Method != "POST" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "kafka" || user != "id" || pass != "hush%2Bhush" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	defer s.Close()
	cfg := SASL{Mechanism: oauthBearer, TokenURL: s.URL, ClientID: "id", ClientSecret: conf.NewSecret("hush+hush"), Scope: "kafka"}
	ask := func() (string, error) { return New(nil, Config{SASL: cfg}).tokens.token(t.Context()) }
	k = New(nil, Config{SASL: cfg})
	for range 3 {
		if got, err := k.tokens.token(t.Context()); err != nil || got != "t1" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	k.tokens.until = time.Now()
	if _, err := k.tokens.token(t.Context()); err != nil || asked != 2 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	for _, c := range []struct {
		answer string
		status int
	}{{`{}`, 200}, {`rubbish hush+hush`, 200}, {`{"error":"hush+hush"}`, 400}, {strings.Repeat("x", 2<<20), 200}} {
		answer, status = c.answer, c.status
		if _, err := ask(); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.20s: %v", c.answer, err)
		}
	}
	s.Close()
	if _, err := ask(); err == nil || strings.Contains(err.Error(), "hush") {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	a := newAuthority(t)
	write(t, a.path("rubbish.pem"), "rubbish")
	write(t, a.path("password"), "p")
	for text, want := range map[string]string{
		"tls: {ca_file: ca.pem}":                                                "",
		"tls: {enabled: true}":                                                  "",
		"tls: {ca_file: none.pem}":                                              "kafka.tls.ca_file",
		"tls: {ca_file: rubbish.pem}":                                           "no PEM certificate",
		"tls: {ca_file: /dev/zero}":                                             "must be a file",
		"tls: {cert_file: ca.pem}":                                              "kafka.tls.key_file",
		"tls: {key_file: ca.key}":                                               "kafka.tls.cert_file",
		"tls: {cert_file: ca.pem, key_file: ca.key}":                            "",
		"tls: {cert_file: ca.pem, key_file: rubbish.pem}":                       "kafka.tls.cert_file",
		"tls: {insecure_skip_verify: true, ca_file: ca.pem}":                    "insecure_skip_verify",
		"sasl: {mechanism: plain, username: u, password: p}":                    "must be one of PLAIN, SCRAM-SHA-256",
		"sasl: {username: u, password: p}":                                      "kafka.sasl.mechanism",
		"sasl: {mechanism: PLAIN, username: u}":                                 "kafka.sasl.password",
		"sasl: {mechanism: PLAIN, password: p}":                                 "kafka.sasl.username",
		"sasl: {mechanism: PLAIN, username: u, password: {file: password}}":     "",
		"sasl: {mechanism: SCRAM-SHA-512, username: u, password: {file: none}}": "none: no such file",
		"sasl: {mechanism: PLAIN, username: u, password: p, token: t}":          "kafka.sasl.token",
		"sasl: {mechanism: OAUTHBEARER}":                                        "kafka.sasl.token",
		"sasl: {mechanism: OAUTHBEARER, token: t}":                              "",
		"sasl: {mechanism: OAUTHBEARER, token: t, username: u}":                 "kafka.sasl.username",
		"sasl: {mechanism: OAUTHBEARER, token_url: 'http://a.example/t', client_id: i, client_secret: s}":            "https://",
		"sasl: {mechanism: OAUTHBEARER, token_url: 'https://u:hunter2@a.example/t', client_id: i, client_secret: s}": "without a user",
		"sasl: {mechanism: OAUTHBEARER, token_url: 'http://127.0.0.1/t', client_id: i, client_secret: s}":            "",
		"sasl: {mechanism: OAUTHBEARER, token_url: 'https://a.example/t', client_secret: s}":                         "kafka.sasl.client_id",
	} {
		cfg := struct{ Kafka Config }{}
		d := conf.Parse(a.path("weir.yaml"), []byte("kafka: {"+text+"}"), &cfg)
		cfg.Kafka.Validate("kafka", d)
		got := ""
		if err := d.Err(); err != nil {
			got = err.Error()
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) || strings.Contains(got, "hunter2") {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	loud := Config{TLS: dial.Config{InsecureSkipVerify: true}}
	if w := loud.Warnings("kafka"); len(w) != 1 || !strings.Contains(w[0], "kafka.tls.insecure_skip_verify") {
		t.Error(w)
	}
	loud = Config{SASL: SASL{Mechanism: plainText}}
	if w := loud.Warnings("kafka"); len(w) != 1 || !strings.Contains(w[0], "PLAIN without tls") {
		t.Error(w)
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		err  error
		want string
	}{
		{Config{SASL: SASL{Mechanism: scram256, Username: "weir"}}, fmt.Errorf("write alerts: %w", kerr.TopicAuthorizationFailed), `write alerts: TOPIC_AUTHORIZATION_FAILED: Not authorized to access topics: [Topic authorization failed.] (denied to the user "weir"; docs/security.md lists the rights of each role)`},
		{Config{SASL: SASL{Mechanism: oauthBearer}}, kerr.GroupAuthorizationFailed, "denied to the token's user"},
		{Config{TLS: dial.Config{CertFile: "weir.pem"}}, &sarama.ConsumerError{Topic: "samples", Err: sarama.ErrTopicAuthorizationFailed}, "denied to the user of weir.pem"},
		{Config{}, kerr.TopicAuthorizationFailed, "denied to nobody in particular"},
		{Config{}, io.ErrUnexpectedEOF, io.ErrUnexpectedEOF.Error()},
	} {
		got := New(nil, c.cfg).Explain(c.err)
		if !errors.Is(got, c.err) || !strings.Contains(got.Error(), c.want) {
			t.Errorf("%v, want %q", got, c.want)
		}
	}
}
