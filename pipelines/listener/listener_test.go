package listener

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"github.com/weir-metrics/weir/deploy/conf"
)

const externalURL = "https://weir.example.com/ui"

// open listens with the config, and serves h.
func open(t testing.TB, cfg Config, h http.Handler) (*Listener, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	l, err := Listen(cfg, Deps{Addr: "127.0.0.1:0", ExternalURL: externalURL, Hostname: "Web01", Registerer: reg,
		Log: slog.New(slog.DiscardHandler)}, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, reg
}

// served counts the requests that passed the doors, and reports whether they were brief.
type served struct {
	mu sync.Mutex
	n  int
}

func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
	fmt.Fprintf(w, "brief=%v from=%s", Brief(r), r.RemoteAddr)
}

// refusals returns weir_web_refused_total for a reason.
func refusals(t testing.TB, reg *prometheus.Registry, reason string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "weir_web_refused_total" && m.GetLabel()[0].GetValue() == reason {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no reason %q", reason)
	return 0
}

// through sends a request through the doors without a network.
func through(l *Listener, method, target string, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:7070"
	if edit != nil {
		edit(r)
	}
	rec := httptest.NewRecorder()
	l.doors.ServeHTTP(rec, r)
	return rec
}

// TestHost: a page whose name was made to resolve to this machine sends that name, and is refused.
func TestHost(t *testing.T) {
	ours := []string{"", "localhost", "LOCALHOST:7070", "localhost.", "localhost.:80", "a.localhost", "127.0.0.1", "127.0.0.1:7070", "127.9.9.9",
		"[::1]:7070", "[::1]", "[::ffff:127.0.0.1]:80", "web01", "WEB01:7070", "web01.", "weir.example.com", "Weir.Example.Com:443", "localhost:"}
	foreign := []string{"evil.example", "evil.example:7070", "localhost.evil.example", "evil-localhost", "127.0.0.1.evil.example",
		"127.0.0.1.nip.io", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "::1", "[::1", "[::1]x", "[::1]:x", "[127.0.0.1]", "localhost:x",
		"localhost:70700", "localhost:7070:7070", "localhost@evil.example", "evil.example@localhost", "loc\u0430lhost", "localhost\x00", "local host",
		"example.com", "a.weir.example.com", "..", ".", ".localhost", "web01..", "169.254.169.254", "192.0.2.1:7070", "[2001:db8::1]", "*",
		strings.Repeat("a", 300), strings.Repeat("a.", 120) + "localhost.x"}
	pass := func(h hosts, hosts ...string) {
		for _, host := range hosts {
			if !h.allows(host) {
				t.Errorf("%q is refused", host)
			}
		}
	}
	refuse := func(h hosts, hosts ...string) {
		for _, host := range hosts {
			if h.allows(host) {
				t.Errorf("%q passes", host)
			}
		}
	}
	loopback := newHosts("127.0.0.1:7070", nil, externalURL, "Web01")
	pass(loopback, ours...)
	refuse(loopback, foreign...)
	network := newHosts("[::]:7070", []string{"*.Example.org", "weir"}, "", "web01")
	pass(network, "192.0.2.1:7070", "[2001:db8::1]", "[fe80::1%25eth0]:7070", "169.254.169.254", "a.example.org", "a.b.example.org.", "weir:7070", "127.0.0.1")
	refuse(network, "example.org", "evilexample.org", ".example.org", "weir.example.com", "evil.example", "2130706433")
	pass(newHosts("0.0.0.0:7070", []string{"*"}, ""), "evil.example", "anything")

	l, reg := open(t, Default(), &served{})
	rec := through(l, "GET", "/api/v1/alerts", func(r *http.Request) { r.Host = "evil.example" })
	if rec.Code != http.StatusMisdirectedRequest || !strings.Contains(rec.Body.String(), "web.allowed_hosts") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if n := refusals(t, reg, "host"); n != 1 {
		t.Errorf("%v counted", n)
	}
	if machine, err := os.Hostname(); err == nil && through(l, "GET", "/", func(r *http.Request) { r.Host = machine + ":7070" }).Code != 200 {
		t.Errorf("the machine's own name %q is refused", machine)
	}
	// A probe may use any name, but learns only yes or no.
	if rec = through(l, "GET", "/readyz", func(r *http.Request) { r.Host = "evil.example" }); rec.Code != 200 || !strings.HasPrefix(rec.Body.String(), "brief=true") {
		t.Errorf("probe: %d %s", rec.Code, rec.Body)
	}
	if rec = through(l, "GET", "/readyz", nil); !strings.HasPrefix(rec.Body.String(), "brief=false") {
		t.Errorf("probe of ours: %s", rec.Body)
	}
	for _, h := range headers {
		if got := rec.Header().Get(h[0]); got != h[1] {
			t.Errorf("%s: %q", h[0], got)
		}
	}
}

// TestOrigin: requests that a page elsewhere can make a browser send.
func TestOrigin(t *testing.T) {
	l, _ := open(t, Default(), &served{})
	for _, c := range []struct {
		method, site, mode, dest, origin string
		want                             int
	}{
		{method: "POST", want: 200}, // an agent, curl
		{method: "GET", want: 200},
		{method: "POST", site: "same-origin", origin: "http://127.0.0.1:7070", want: 200},
		{method: "POST", origin: "http://127.0.0.1:7070", want: 200}, // an older browser
		{method: "POST", origin: "https://weir.example.com", want: 200},
		{method: "POST", site: "cross-site", origin: "https://weir.example.com", want: 200}, // behind a proxy that hands on another Host
		{method: "POST", site: "none", want: 200},
		{method: "POST", site: "cross-site", origin: "https://evil.example", want: 403},
		{method: "POST", site: "cross-site", want: 403},
		{method: "POST", site: "same-site", origin: "http://127.0.0.1:3000", want: 403},
		{method: "POST", origin: "https://evil.example", want: 403},
		{method: "POST", origin: "null", want: 403},
		{method: "POST", origin: "http://127.0.0.1:7071", want: 403},
		{method: "POST", origin: "https://weir.example.com.evil.example", want: 403},
		{method: "POST", site: "cross-site", mode: "navigate", dest: "document", want: 403}, // a form
		{method: "PATCH", site: "cross-site", want: 403},
		{method: "DELETE", origin: "https://evil.example", want: 403},
		{method: "OPTIONS", site: "cross-site", origin: "https://evil.example", want: 403}, // a preflight
		{method: "OPTIONS", want: 200},
		{method: "GET", site: "same-origin", mode: "cors", dest: "empty", want: 200},
		{method: "GET", site: "none", mode: "navigate", dest: "document", want: 200},
		{method: "GET", site: "cross-site", mode: "navigate", dest: "document", want: 200}, // a link
		{method: "GET", site: "cross-site", mode: "navigate", dest: "iframe", want: 403},
		{method: "GET", site: "cross-site", mode: "no-cors", dest: "image", want: 403},
		{method: "GET", site: "cross-site", mode: "no-cors", dest: "script", want: 403},
		{method: "GET", site: "same-site", mode: "cors", dest: "empty", origin: "http://127.0.0.1:3000", want: 403},
		{method: "HEAD", site: "cross-site", mode: "no-cors", dest: "empty", want: 403},
		{method: "GET", site: "nonsense", want: 403},
	} {
		rec := through(l, c.method, "/write", func(r *http.Request) {
			for name, v := range map[string]string{"Sec-Fetch-Site": c.site, "Sec-Fetch-Mode": c.mode, "Sec-Fetch-Dest": c.dest, "Origin": c.origin} {
				if v != "" {
					r.Header.Set(name, v)
				}
			}
		})
		if rec.Code != c.want {
			t.Errorf("%+v: %d %s", c, rec.Code, rec.Body)
		}
		if rec.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%+v: other origins are let in", c)
		}
	}
}

func hash(t testing.TB, password string) conf.Secret {
	t.Helper()
	b, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return conf.NewSecret(string(b))
}

// guardedConfig has a user who reads, one who does both, and a token that writes.
func guardedConfig(t testing.TB) Config {
	c := Default()
	c.Users = map[string]conf.Secret{"reader": hash(t, "r3ad"), "admin": hash(t, "b0th")}
	c.Tokens = map[string]conf.Secret{"agents": conf.NewSecret("0123456789abcdef")}
	c.Roles = map[string][]string{"admin": {Read, Write}, "agents": {Write}}
	return c
}

func TestCredentials(t *testing.T) {
	l, reg := open(t, guardedConfig(t), &served{})
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	header := func(values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header["Authorization"] = values }
	}
	for _, c := range []struct {
		name, method, path string
		edit               func(*http.Request)
		want               int
	}{
		{"nobody", "GET", "/", nil, 401},
		{"nobody", "GET", "/metrics", nil, 401},
		{"nobody", "POST", "/write", nil, 401},
		{"nobody", "POST", "/-/reload", nil, 401},
		{"nobody", "GET", "/healthz", nil, 200},
		{"nobody", "GET", "/-/ready", nil, 200},
		{"nobody", "GET", "//healthz", nil, 401},
		{"nobody", "GET", "/healthz/", nil, 401},
		{"nobody", "GET", "/x/../healthz", nil, 401},
		{"reader", "GET", "/", basic("reader", "r3ad"), 200},
		{"reader", "HEAD", "/", basic("reader", "r3ad"), 200},
		{"reader", "POST", "/write", basic("reader", "r3ad"), 403},
		{"reader", "GET", "/readyz", basic("reader", "r3ad"), 200},
		{"admin", "GET", "/", basic("admin", "b0th"), 200},
		{"admin", "POST", "/-/reload", basic("admin", "b0th"), 200},
		{"admin", "PATCH", "/metrics/x", basic("admin", "b0th"), 200},
		{"agent", "POST", "/write", header("Bearer 0123456789abcdef"), 200},
		{"agent", "POST", "/write", header("bearer  0123456789abcdef"), 200},
		{"agent", "GET", "/", header("Bearer 0123456789abcdef"), 403},
		{"wrong", "GET", "/", basic("reader", "r3a"), 401},
		{"wrong", "GET", "/", basic("reader", "r3ad "), 401},
		{"wrong", "GET", "/", basic("reader", ""), 401},
		{"wrong", "GET", "/", basic("nobody", "r3ad"), 401},
		{"wrong", "GET", "/readyz", basic("reader", "r3a"), 401},
		{"wrong", "GET", "/", basic("agents", "0123456789abcdef"), 401},
		{"wrong", "GET", "/", header("Bearer 0123456789abcdeF"), 401},
		{"wrong", "GET", "/", header("Bearer "), 401},
		{"wrong", "GET", "/", header("Bearer"), 401},
		{"wrong", "GET", "/", header(""), 401},
		{"wrong", "GET", "/", header("Basic !!!"), 401},
		{"wrong", "GET", "/", header("Basic cmVhZGVy"), 401}, // no colon
		{"wrong", "GET", "/", header("Digest username=reader"), 401},
		{"wrong", "GET", "/", header("Bearer 0123456789abcdef", "Bearer 0123456789abcdef"), 401},
		{"wrong", "GET", "/", header("Bearer " + strings.Repeat("a", 60000)), 401},
		{"wrong", "GET", "/", basic("reader", strings.Repeat("r", 73)), 401},
	} {
		rec := through(l, c.method, c.path, c.edit)
		if rec.Code != c.want {
			t.Errorf("%s %s %s: %d %s, want %d", c.name, c.method, c.path, rec.Code, rec.Body, c.want)
		}
		if told := rec.Header().Values("WWW-Authenticate"); (rec.Code == 401) != (len(told) == 2) {
			t.Errorf("%s %s %s: WWW-Authenticate %q", c.name, c.method, c.path, told)
		}
		if c.want == 200 && c.edit == nil && !strings.HasPrefix(rec.Body.String(), "brief=true") {
			t.Errorf("%s %s: %s, want brief", c.name, c.path, rec.Body)
		}
	}
	if refusals(t, reg, "role") != 2 || refusals(t, reg, "credentials") < 20 {
		t.Errorf("role %v, credentials %v", refusals(t, reg, "role"), refusals(t, reg, "credentials"))
	}
	if err := bcrypt.CompareHashAndPassword([]byte(l.doors.who.nobody), []byte("x")); err != bcrypt.ErrMismatchedHashAndPassword {
		t.Errorf("the hash of strangers: %v", err)
	}
}

// TestPasswordFlood: wrong passwords of one client are compared only a few at a time, and a user who is known, or comes from
// elsewhere, is let in meanwhile.
func TestPasswordFlood(t *testing.T) {
	p := newPasswords()
	now := time.Unix(1_800_000_000, 0)
	p.now = func() time.Time { return now }
	text, err := hash(t, "right").Reveal()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(client, password string) (bool, error) {
		return p.compare(t.Context(), client, "u", password, text)
	}
	if right, err := ask("bad", "right"); !right || err != nil {
		t.Fatal(right, err)
	}
	compared, busy := 0, 0
	for i := range 1000 {
		right, err := ask("bad", fmt.Sprint(i))
		if right {
			t.Fatal("let in")
		}
		if err == nil {
			compared++
		} else {
			busy++
		}
	}
	if compared != burst || busy != 1000-burst {
		t.Errorf("%d compared, %d refused, want %d", compared, busy, burst)
	}
	if right, err := ask("bad", "right"); !right || err != nil {
		t.Errorf("who is known: %v %v", right, err)
	}
	if right, err := p.compare(t.Context(), "good", "u2", "right", text); !right || err != nil {
		t.Errorf("who comes from elsewhere: %v %v", right, err)
	}
	now = now.Add(regain + time.Millisecond)
	if _, err := ask("bad", "later"); err != nil {
		t.Errorf("later: %v", err)
	}
	if _, err := ask("bad", "and again"); err == nil {
		t.Error("two after one regain")
	}
	// As many clients as there are addresses: what is kept stays bounded.
	for i := range 3 * maxKept {
		p.learn([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, fmt.Sprint(i), false)
	}
	if len(p.wrong) > maxKept || len(p.wrongs) > maxKept {
		t.Errorf("%d passwords and %d clients are kept", len(p.wrong), len(p.wrongs))
	}
	// The queue is bounded, in length and in time.
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range maxWaiting {
		wg.Go(func() { _, _ = p.compare(ctx, fmt.Sprint("c", i), "u", "new", text) })
	}
	for {
		p.mu.Lock()
		waiting := p.waiting
		p.mu.Unlock()
		if waiting == maxWaiting {
			break
		}
		time.Sleep(time.Millisecond) // a poll
	}
	if _, err := p.compare(t.Context(), "one more", "u", "new", text); err == nil {
		t.Error("the queue has no end")
	}
	cancel()
	wg.Wait()
}

// TestSecretsAreReadAgain: a token that is replaced in its file is read again.
func TestSecretsAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("first-token-00000000")
	var section struct {
		Web Config `yaml:"web"`
	}
	section.Web = Default()
	d := conf.Parse("weir.yaml", fmt.Appendf(nil, "web: {bearer_tokens: {agents: {file: %s}}}", file), &section)
	if section.Web.Validate("web", d); d.Err() != nil {
		t.Fatal(d.Err())
	}
	l, _ := open(t, section.Web, &served{})
	ask := func(token string) int {
		return through(l, "GET", "/", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }).Code
	}
	if ask("first-token-00000000") != 200 || ask("second-token-0000000") != 401 {
		t.Fatal("before")
	}
	put("second-token-0000000")
	l.Reload()
	if ask("first-token-00000000") != 401 || ask("second-token-0000000") != 200 {
		t.Error("after the reload")
	}
	put("third-token-00000000")
	l.doors.who.refresh(time.Now().Add(rereadEvery + time.Second))
	if ask("third-token-00000000") != 200 {
		t.Error("after a while")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	l.Reload()
	if ask("third-token-00000000") != 200 {
		t.Error("a secret that cannot be read locks everybody out")
	}
}

// authority makes certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	der, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.key = cert, key
	return a
}

func (a *authority) sign(c *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(a.n), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

// write makes a certificate and writes it, with its key, into two files of dir.
func (a *authority) write(dir, name string) (cert, key string) {
	a.t.Helper()
	der, k := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	pk, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: pk}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

// TestTLS: HTTPS with HTTP/2, a minimum version, client certificates, and certificates that are replaced while the server runs.
func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	dir, clientDir := t.TempDir(), t.TempDir()
	cfg := Default()
	cfg.TLS.CertFile, cfg.TLS.KeyFile = ca.write(dir, "first")
	cfg.TLS.ClientCAFile, cfg.TLS.ClientAuthType = filepath.Join(dir, "ca.pem"), "RequireAndVerifyClientCert"
	if err := os.WriteFile(cfg.TLS.ClientCAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	clientCert, clientKey := ca.write(clientDir, "client")
	d := conf.Parse("weir.yaml", nil, &struct{}{})
	if cfg.Validate("web", d); d.Err() != nil {
		t.Fatal(d.Err())
	}
	l, _ := open(t, cfg, &served{})
	if !strings.HasPrefix(l.URL(), "https://127.0.0.1:") {
		t.Error(l.URL())
	}
	pair, err := tls.LoadX509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	ask := func(certs []tls.Certificate, most uint16) (name string, major int, err error) {
		client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs, MaxVersion: most}}}
		resp, err := client.Get(l.URL())
		if err != nil {
			return "", 0, err
		}
		defer resp.Body.Close()
		return resp.TLS.PeerCertificates[0].Subject.CommonName, resp.ProtoMajor, nil
	}
	if name, major, err := ask([]tls.Certificate{pair}, 0); name != "first" || major != 2 || err != nil {
		t.Errorf("%s over HTTP/%d: %v", name, major, err)
	}
	if _, _, err := ask(nil, 0); err == nil {
		t.Error("let in without a certificate")
	}
	if _, _, err := ask([]tls.Certificate{pair}, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1")
	}
	stranger := newAuthority(t)
	c2, k2 := stranger.write(t.TempDir(), "stranger")
	other, err := tls.LoadX509KeyPair(c2, k2)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ask([]tls.Certificate{other}, 0); err == nil {
		t.Error("let in with a certificate of another authority")
	}
	// Half of a replacement leaves what was; the whole of it is served without a restart.
	if err := os.WriteFile(cfg.TLS.KeyFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.Reload()
	if name, _, err := ask([]tls.Certificate{pair}, 0); name != "first" || err != nil {
		t.Errorf("in the middle of a replacement: %s %v", name, err)
	}
	ca.write(dir, "second")
	later := time.Now()
	if got := l.certs.current(later.Add(2 * lookEvery)); got.Certificates[0].Leaf.Subject.CommonName != "second" {
		t.Errorf("after the replacement: %s", got.Certificates[0].Leaf.Subject.CommonName)
	}
	// Plain HTTP on the port is told so, and nothing is served.
	resp, err := http.Get("http://" + l.Addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: %s", resp.Status)
	}
}

func TestConfigFaults(t *testing.T) {
	var section struct {
		Web Config `yaml:"web"`
	}
	section.Web = Default()
	d := conf.Parse("weir.yaml", []byte(`web:
  allowed_hosts: ["ok.example", "*.ok.example", "*", "a:7070", "http://x", ""]
  trusted_proxies: [10.0.0.0/8, "::1", nonsense]
  tls_server_config: {key_file: k.pem}
  basic_auth_users: {plain: hunter2, dear: $2y$20$fEQdHYGBPNJKxYyz4gSGKe5NyWWxUqCzYgzzxWVmQYz9nTjwXCcOe, "a:b": x}
  bearer_tokens: {short: abc, plain: 0123456789abcdef, spaced: "0123456789 abcdef"}
  roles: {nobody: [read], plain: [admin], short: []}
  max_connections: 1
  max_header_bytes: 1
  header_timeout: 0s
`), &section)
	section.Web.Validate("web", d)
	text := fmt.Sprint(d.Err())
	for _, want := range []string{
		`allowed_hosts[3]: "a:7070"`, `allowed_hosts[4]: "http://x"`, `allowed_hosts[5]`, `trusted_proxies[2]: "nonsense"`,
		`tls_server_config.cert_file: must be given`, `basic_auth_users.plain: must be a bcrypt hash`, `basic_auth_users.dear: has a bcrypt cost of 20`,
		`basic_auth_users.a:b: "a:b"`, `bearer_tokens.short: must be 16 to`, `bearer_tokens.plain: "plain": must not have the name`, `bearer_tokens.spaced: must be`,
		`roles.nobody: "nobody": must be one of`, `roles.plain[0]: "admin": must be read or write`, `roles.short: must contain`,
		`max_connections: "1": must be 16 to`, `max_header_bytes: "1"`, `header_timeout: "0s"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, secret := range []string{"hunter2", "abc", "0123456789"} {
		if strings.Contains(strings.ReplaceAll(text, "abcdefgh", ""), ": \""+secret) {
			t.Errorf("%q is told:\n%s", secret, text)
		}
	}
	c := Default()
	c.TLS.CertFile, c.TLS.KeyFile = "missing.pem", "missing.pem"
	d = conf.Parse("weir.yaml", nil, &struct{}{})
	if c.Validate("web", d); d.Err() == nil || !strings.Contains(d.Err().Error(), "must be loadable") {
		t.Error(d.Err())
	}
}

// TestConnectionsAreBounded: connections are bounded per client and in total, where the client with the most gives way.
func TestConnectionsAreBounded(t *testing.T) {
	cfg := Default()
	cfg.MaxConnectionsPerClient = 3
	l, reg := open(t, cfg, &served{})
	for range 8 {
		conn, err := net.Dial("tcp", l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	deadline := time.Now().Add(20 * time.Second)
	for refusals(t, reg, "connections") < 5 {
		if time.Now().After(deadline) {
			t.Fatalf("%v refused, %d open", refusals(t, reg, "connections"), l.guard.count())
		}
		time.Sleep(5 * time.Millisecond) // a poll
	}
	if n := l.guard.count(); n != 3 {
		t.Errorf("%d open, want 3", n)
	}

	g := &guard{most: 4, mostOfClient: 3, open: map[*guarded]struct{}{}, clients: map[string]int{}}
	var all []*guarded
	admit := func(client string) (gave, c *guarded, ok bool) {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close(); there.Close() })
		c = &guarded{Conn: here, guard: g, client: client}
		gave, ok = g.admit(c, false)
		all = append(all, c)
		return gave, c, ok
	}
	for range 3 {
		if gave, _, ok := admit("flood"); !ok || gave != nil {
			t.Fatal("refused below the bounds")
		}
	}
	if _, _, ok := admit("flood"); ok {
		t.Error("a fourth of one client")
	}
	all[0].busy = true
	if gave, _, ok := admit("a"); !ok || gave != nil {
		t.Error("the last place")
	}
	gave, _, ok := admit("b")
	if !ok || gave != all[1] {
		t.Errorf("the flood's oldest idle connection does not give way: %v %v", gave, ok)
	}
	_ = gave.Close()
	_ = gave.Close() // twice counts once
	if g.clients["flood"] != 2 || len(g.open) != 4 {
		t.Errorf("%v, %d open", g.clients, len(g.open))
	}
	if clientOf(netip.MustParseAddr("2001:db8::1")) != clientOf(netip.MustParseAddr("2001:db8::ffff:1")) ||
		clientOf(netip.MustParseAddr("::ffff:192.0.2.1")) != "192.0.2.1" {
		t.Error("clients of IPv6")
	}
}

// TestProxies: X-Forwarded-For is believed only from trusted proxies.
func TestProxies(t *testing.T) {
	cfg := Default()
	cfg.TrustedProxies = []string{"10.0.0.0/8", "192.0.2.1"}
	l, _ := open(t, cfg, &served{})
	for _, c := range []struct{ remote, forwarded, want string }{
		{"10.1.2.3:99", "203.0.113.7", "203.0.113.7:0"},
		{"10.1.2.3:99", "198.51.100.1, 203.0.113.7, 10.9.9.9", "203.0.113.7:0"},
		{"10.1.2.3:99", "rubbish, 203.0.113.7", "203.0.113.7:0"},
		{"10.1.2.3:99", "203.0.113.7, rubbish", "10.1.2.3:0"},
		{"10.1.2.3:99", "", "10.1.2.3:0"},
		{"203.0.113.9:99", "127.0.0.1", "203.0.113.9:99"},
	} {
		rec := through(l, "GET", "/", func(r *http.Request) {
			r.RemoteAddr = c.remote
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-For", c.forwarded)
			}
		})
		if !strings.HasSuffix(rec.Body.String(), "from="+c.want) {
			t.Errorf("%+v: %s", c, rec.Body)
		}
	}
}

// TestPanicsLoseOneRequest: one request is lost, and counted.
func TestPanicsLoseOneRequest(t *testing.T) {
	l, reg := open(t, Default(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			_, _ = io.WriteString(w, "some")
			_ = http.NewResponseController(w).Flush()
		}
		panic("oops")
	}))
	resp, err := http.Get(l.URL())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 500 || bytes.Contains(body, []byte("oops")) {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, err = http.Get(l.URL() + "late"); err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("half an answer looks like a whole one")
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "weir_web_panics_total" && f.GetMetric()[0].GetCounter().GetValue() != 2 {
			t.Errorf("%v", f)
		}
	}
}

// TestSlowClients: clients whose headers or bodies trickle are cut off, and so is one that does not read.
func TestSlowClients(t *testing.T) {
	cfg := Default()
	cfg.HeaderTimeout, cfg.BodyTimeout = conf.Duration(200*time.Millisecond), conf.Duration(200*time.Millisecond)
	l, _ := open(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusRequestTimeout)
		}
	}))
	for name, start := range map[string]string{
		"nothing":             "",
		"half a line":         "GET / HT",
		"headers without end": "GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n",
		"a body that stops":   "POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc",
		"chunks that stop":    "POST /write HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"a body of a GET":     "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", l.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, start)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() { // a byte now and then, as slowloris does
				for every := time.NewTicker(50 * time.Millisecond); ; {
					select {
					case <-every.C:
						if start != "" {
							_, _ = io.WriteString(conn, "a")
						}
					case <-stop:
						return
					}
				}
			})
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.Copy(io.Discard, conn); err != nil && os.IsTimeout(err) {
				t.Error("never cut off")
			}
			close(stop)
			wg.Wait()
		})
	}
}

// TestWarnings: an unprotected listener on a network gives a warning, one on this machine does not.
func TestWarnings(t *testing.T) {
	warning := func(addr string, cfg Config) string {
		l := &Listener{addr: addr, doors: &doors{cfg: cfg}}
		if cfg.guarded() {
			l.doors.who = &credentials{}
		}
		if cfg.TLS.CertFile != "" {
			l.certs = &certificates{}
		}
		return l.Warning()
	}
	open, users, tls := Default(), guardedConfig(t), guardedConfig(t)
	tls.TLS.CertFile = "x"
	mutual := Default()
	mutual.TLS.CertFile, mutual.TLS.ClientAuthType = "x", "RequireAndVerifyClientCert"
	for _, c := range []struct {
		addr string
		cfg  Config
		want string
	}{
		{"127.0.0.1:7070", open, ""}, {"[::1]:7070", open, ""}, {"127.0.0.1:7070", users, ""},
		{"[::]:7070", open, "web.basic_auth_users"}, {"0.0.0.0:7070", open, "may read everything"}, {"192.0.2.1:7070", users, "in the clear"},
		{"[::]:7070", tls, ""}, {"[::]:7070", mutual, ""},
	} {
		if got := warning(c.addr, c.cfg); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.addr, got, c.want)
		}
	}
}
