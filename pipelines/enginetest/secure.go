package enginetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// Authority signs certificates and keeps them in a folder, as NAME.pem and NAME.key. Its own certificate is ca.pem.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority returns a new authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{dir: t.TempDir()}
	a.cert, a.key = a.sign(t, "ca", nil, nil)
	return a
}

// Path returns the path of a file in the authority's folder.
func (a *Authority) Path(name string) string { return filepath.Join(a.dir, name) }

// Sign makes a certificate for a name and 127.0.0.1, for both ends of a connection.
func (a *Authority) Sign(t testing.TB, name string) { t.Helper(); a.sign(t, name, a.cert, a.key) }

func (a *Authority) sign(t testing.TB, name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	a.write(t, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	return c, key
}

func (a *Authority) write(t testing.TB, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(a.Path(name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Secured is a Kafka and a Cassandra of one test, which require TLS and a login, and check ACLs and grants.
type Secured struct {
	CA *Authority
	// Login is Kafka's listener for SASL. Certificate is the one for clients with certificates, which Kafka
	// identifies by their common names.
	Login, Certificate string
	CQLAddr            string
	AdminClient        *kgo.Client // logged in as the superuser

	kafka, cassandra *Engine
}

const adminName, adminPassword = "admin", "admin-of-the-test"

// Secure starts the engines, which end with the test. plainUsers maps the users who may log in by PLAIN to their
// passwords.
func Secure(t testing.TB, plainUsers map[string]string) *Secured {
	t.Helper()
	ca := NewAuthority(t)
	for _, name := range []string{"node", "client"} {
		ca.Sign(t, name)
	}
	var users strings.Builder
	for name, password := range plainUsers {
		fmt.Fprintln(&users, name, password)
	}
	ca.write(t, "server.pem", append(read(t, ca.Path("node.key")), read(t, ca.Path("node.pem"))...))
	ca.write(t, "admin", []byte(adminName+" "+adminPassword+"\n"))
	ca.write(t, "plain-users", []byte(users.String()))

	port, own := freePorts(t, 6), filepath.Join(env(t, "WEIR_ENGINES_OWN"), "secured")
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", port+i) }
	s := &Secured{CA: ca, Login: at(0), Certificate: at(2), CQLAddr: at(3)}
	s.kafka = &Engine{Name: "kafka", Addr: s.Login, run: own + "-kafka", env: []string{
		"KAFKA_PORT=" + strconv.Itoa(port), "KAFKA_RUN=" + own + "-kafka", "KAFKA_HEAP=384M", "KAFKA_SECURE=" + ca.dir, "WIPE=1"}}
	s.cassandra = &Engine{Name: "cassandra", Addr: s.CQLAddr, env: []string{
		"CQL_PORT=" + strconv.Itoa(port+3), "CASSANDRA_RUN=" + own + "-cassandra", "CASSANDRA_HEAP=512M", "CASSANDRA_SECURE=" + ca.dir, "WIPE=1"}}
	var starting sync.WaitGroup
	for _, e := range []*Engine{s.kafka, s.cassandra} {
		t.Cleanup(func() { e.Kill(t) })
		starting.Go(func() { e.Start(t) })
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	s.AdminClient = s.client(t, plain.Auth{User: adminName, Pass: adminPassword})
	return s
}

// client returns a client of the SASL listener.
func (s *Secured) client(t testing.TB, who plain.Auth) *kgo.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, s.CA.Path("ca.pem")))
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Login), kgo.SASL(who.AsMechanism()), kgo.DialTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// Users creates users of Kafka who log in by SCRAM; passwords maps their names to their passwords.
func (s *Secured) Users(t testing.TB, passwords map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, m := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		var all []kadm.UpsertSCRAM
		for name, password := range passwords {
			all = append(all, kadm.UpsertSCRAM{User: name, Mechanism: m, Iterations: 4096, Password: password})
		}
		altered, err := kadm.NewClient(s.AdminClient).AlterUserSCRAMs(ctx, nil, all)
		if err == nil {
			err = altered.Error()
		}
		if err != nil {
			t.Fatalf("users: %v", err)
		}
	}
}

// CQL runs statements as Cassandra's superuser.
func (s *Secured) CQL(t testing.TB, statements string) string {
	t.Helper()
	settings := fmt.Sprintf("[ssl]\ncertfile = %s\nuserkey = %s\nusercert = %s\n", s.CA.Path("ca.pem"), s.CA.Path("client.key"), s.CA.Path("client.pem"))
	s.CA.write(t, "cqlshrc", []byte(settings))
	return cqlsh(t, s.CQLAddr, statements, "--cqlshrc", s.CA.Path("cqlshrc"), "--ssl", "-u", "cassandra", "-p", "cassandra")
}

// Denied returns what Kafka denied, each once, as it logs it: Principal = User:a is Denied operation = READ …
func (s *Secured) Denied(t testing.TB) (all []string) {
	t.Helper()
	for line := range strings.Lines(string(read(t, s.kafka.run+"/out.log"))) {
		if _, what, ok := strings.Cut(line, "Principal = "); ok && strings.Contains(what, " is Denied ") {
			if what = strings.TrimSpace(what); !slices.Contains(all, what) {
				all = append(all, what)
			}
		}
	}
	return all
}

var allowed = regexp.MustCompile(`Principal = User:(\S+) is Allowed operation = (\S+) from host = \S+ on resource = (\S+) `)

// Used returns what Kafka allowed a user, or the user's variants (user-1), each once: the operation and the resource as
// Kafka writes it, such as READ Topic:LITERAL:metrics.
func (s *Secured) Used(t testing.TB, user string) (all []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, m := range allowed.FindAllStringSubmatch(string(read(t, s.kafka.run+"/out.log")), -1) {
		if what := m[2] + " " + m[3]; (m[1] == user || strings.HasPrefix(m[1], user+"-")) && !seen[what] {
			seen[what] = true
			all = append(all, what)
		}
	}
	return all
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// freePorts returns the first of n adjacent ports that nothing listens on, outside the range of outgoing connections.
func freePorts(t testing.TB, n int) int {
	t.Helper()
	for port := 12000 + os.Getpid()%500*8; port < 20000; port += 8 {
		free := true
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
			if err != nil {
				free = false
				break
			}
			_ = l.Close() // nobody has connected
		}
		if free {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}
