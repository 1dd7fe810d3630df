package collect

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
)

// raw opens a connection to the gateway and writes text to it.
func (b *bed) raw(text string) net.Conn {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.server.Listener.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		b.t.Fatal(err)
	}
	return conn
}

// status reads the status of the answer from a connection.
func status(t *testing.T, conn net.Conn) int {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// partOf returns n bytes of lines in gzip, without its end. It can be unpacked as far as it goes.
func partOf(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for i := 0; i < n; i += 30 {
		fmt.Fprintf(w, "cpu,host=web%07d value=%d\n", i, i*i)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestStalledBodiesAreCutOff: 15 connections of a client that send gzip and then nothing hold at most the client's share, and not
// for long. Other clients are served meanwhile.
func TestStalledBodiesAreCutOff(t *testing.T) {
	cfg := Default()
	b := newBed(t, cfg)
	b.gateway.patience = 3 * time.Second
	b.gateway.deps.User = func(r *http.Request) string { return r.Header.Get("X-User") }
	part := partOf(t, 4_000_000)
	var stalled []net.Conn
	for range 15 {
		stalled = append(stalled, b.raw(fmt.Sprintf("POST /write HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(part)+1000, part)))
	}
	for _, user := range []string{"other", "third"} {
		if status, _, answer := b.post("/write", strings.Repeat("cpu,host=a value=1\n", 400_000), "X-User", user); status != 204 {
			t.Errorf("%s: status %d while others stall: %s", user, status, answer.Message)
		}
	}
	slow, busy := 0, 0
	for _, conn := range stalled {
		switch got := status(t, conn); got {
		case http.StatusRequestTimeout:
			slow++
		case http.StatusTooManyRequests:
			busy++
		default:
			t.Errorf("status %d", got)
		}
	}
	if slow == 0 || busy == 0 || slow > cfg.share()/4_000_000 {
		t.Errorf("%d were cut off and %d were told to wait", slow, busy)
	}
	b.untilHeld(0)
}

// TestByteASecondIsCutOff: a body must come at the minimum rate, and, however fast it comes, within body_timeout.
func TestByteASecondIsCutOff(t *testing.T) {
	cfg := Default()
	cfg.MinBodyRate = 1000
	b := newBed(t, cfg)
	b.gateway.patience = 300 * time.Millisecond
	for name, zipped := range map[string]string{"plain": "", "gzip": "Content-Encoding: gzip\r\n"} {
		conn := b.raw("POST /write HTTP/1.1\r\nHost: a\r\n" + zipped + "Content-Length: 1000000\r\n\r\n")
		answered := make(chan int)
		go func() { answered <- status(t, conn) }()
		tick := time.NewTicker(50 * time.Millisecond)
		for open := true; open; {
			select {
			case got := <-answered:
				if open = false; got != http.StatusRequestTimeout {
					t.Errorf("%s: status %d", name, got)
				}
			case <-tick.C:
				_, _ = conn.Write([]byte("\x1f")) // fails once the connection is closed
			}
		}
		tick.Stop()
	}
	cfg.BodyTimeout = conf.Duration(300 * time.Millisecond)
	b = newBed(t, cfg)
	conn := b.raw("POST /write HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 100_000))
	if got := status(t, conn); got != http.StatusRequestTimeout {
		t.Errorf("status %d after body_timeout", got)
	}
	b.untilHeld(0)
}

// TestSlowAcknowledgementOutlastsTheBody: the deadline of the body does not apply to the wait for Kafka.
func TestSlowAcknowledgementOutlastsTheBody(t *testing.T) {
	cfg := Default()
	cfg.BodyTimeout = conf.Duration(100 * time.Millisecond)
	b := newBed(t, cfg)
	b.gateway.patience = 100 * time.Millisecond
	b.holdProduce(300 * time.Millisecond)
	for range 2 { // the second request uses the same connection
		if status, _, answer := b.post("/write", "cpu,host=a value=1\n"); status != 204 {
			t.Errorf("status %d: %s", status, answer.Message)
		}
	}
}

// TestGzipIsBounded: the ratio of gzip is bounded while it is unpacked.
func TestGzipIsBounded(t *testing.T) {
	b := newBed(t, Default())
	if status, _, answer := b.post("/write", zipped(strings.Repeat("a", 9<<20)), "Content-Encoding", "gzip"); status != 413 || !strings.Contains(answer.Message, "200") {
		t.Errorf("a bomb: status %d: %s", status, answer.Message)
	}
	if status, _, answer := b.post("/write", zipped(strings.Repeat("cpu,host=a value=1\n", 40_000)), "Content-Encoding", "gzip"); status != 204 {
		t.Errorf("the same line 40,000 times: status %d: %s", status, answer.Message)
	}
	b.untilHeld(0)
}

// TestEncodings: encodings may be names in any case, x-gzip, identity, and lists.
func TestEncodings(t *testing.T) {
	b := newBed(t, Default())
	for _, c := range []struct {
		encoding string
		zipped   bool
		want     int
	}{
		{"gzip", true, 204}, {"GZIP", true, 204}, {"GZip", true, 204}, {"x-gzip", true, 204}, {" gzip ", true, 204}, {"identity, gzip", true, 204},
		{"gzip,", true, 204}, {"identity", false, 204}, {"Identity", false, 204}, {"", false, 204},
		{"gzip, gzip", true, 415}, {"br", false, 415}, {"deflate", false, 415}, {"gzip, br", true, 415}, {"*", false, 415}, {"gzip", false, 400},
	} {
		body := "cpu,host=a value=1"
		if c.zipped {
			body = zipped(body)
		}
		if status, _, answer := b.post("/write", body, "Content-Encoding", c.encoding); status != c.want {
			t.Errorf("%q: status %d, want %d: %s", c.encoding, status, c.want, answer.Message)
		}
	}
}

// TestPrecisions: the precision is the one in the URL, or otherwise the one in the content type.
func TestPrecisions(t *testing.T) {
	b := newBed(t, Default())
	for _, c := range []struct{ query, contentType, want string }{
		{"", "", "ns"}, {"?precision=ms", "", "ms"}, {"?precision=µ", "", "us"}, {"?precision=n", "", "ns"}, {"?precision=", "", "ns"},
		{"", "text/plain; Precision=ms", "ms"}, {"", "Text/Plain; charset=utf-8", "ns"}, {"?precision=s", "text/plain; precision=ms", "s"},
		{"", "application/x-www-form-urlencoded", "ns"},
		{"?precision=ms&precision=s", "", ""}, {"?precision=m", "", ""}, {"?precision=MS", "", ""}, {"", "text/plain; precision=fortnight", ""},
	} {
		status, _, answer := b.post("/write"+c.query, "cpu,host=a value=1 5", "Content-Type", c.contentType)
		if c.want == "" {
			if status != 400 || !strings.Contains(answer.Message, "precision") {
				t.Errorf("%q %q: status %d %s", c.query, c.contentType, status, answer.Message)
			}
			continue
		}
		if status != 204 {
			t.Fatalf("%q %q: status %d %s", c.query, c.contentType, status, answer.Message)
		}
		if r := b.read(1)[0]; header(r, "content-type") != "text/plain; precision="+c.want {
			t.Errorf("%q %q: %s, want %s", c.query, c.contentType, header(r, "content-type"), c.want)
		}
	}
}

// TestSenderIsNamed: records and letters name their sender; all those of a client have the same name.
func TestSenderIsNamed(t *testing.T) {
	b := newBed(t, Default())
	b.gateway.deps.User = func(r *http.Request) string { return r.Header.Get("X-User") }
	names := map[string]bool{}
	for _, user := range []string{"", "", "a", "a", "b"} {
		b.post("/write", "cpu,host=a value=1\nbad", "X-User", user)
		for _, r := range b.read(2) {
			name := header(r, schemas.SenderHeader)
			if len(name) != 16 || strings.Contains(name, "127.0.0.1") {
				t.Errorf("%s: sender %q", r.Topic, name)
			}
			names[name] = true
		}
	}
	if len(names) != 3 {
		t.Errorf("senders %v, want one for the address and one for each user", names)
	}
	for _, c := range [][2]string{{"10.0.0.1:1", "10.0.0.1:2"}, {"[::ffff:10.0.0.1]:1", "10.0.0.1:2"}, {"[2001:db8::1]:1", "[2001:db8::ffff:1]:2"}, {"[fe80::1%eth0]:1", "[fe80::2%eth1]:1"}} {
		if one, other := clientOf(&http.Request{RemoteAddr: c[0]}), clientOf(&http.Request{RemoteAddr: c[1]}); one != other {
			t.Errorf("%s is %s and %s is %s, want one client", c[0], one, c[1], other)
		}
	}
	if one, other := clientOf(&http.Request{RemoteAddr: "10.0.0.1:1"}), clientOf(&http.Request{RemoteAddr: "10.0.0.2:1"}); one == other {
		t.Error("two addresses have the same sender")
	}
}

// TestBudgetIsTakenAsBytesCome: an announced length uses none of the budget.
func TestBudgetIsTakenAsBytesCome(t *testing.T) {
	b := newBed(t, Default())
	for range 20 {
		b.raw("POST /write HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nx")
	}
	b.untilHeld(20 * 16 << 10)
	if status, _, _ := b.post("/write", strings.Repeat("cpu,host=a value=1\n", 300_000)); status != 204 {
		t.Errorf("status %d", status)
	}
}

func TestBudget(t *testing.T) {
	b := newBudget(100, 60)
	for _, c := range []struct {
		client string
		n      int
		want   error
	}{{"a", 60, nil}, {"a", 1, errShare}, {"b", 41, errBusy}, {"b", 40, nil}, {"c", 1, errBusy}} {
		if err := b.take(c.client, c.n); !errors.Is(err, c.want) {
			t.Errorf("%s takes %d: %v, want %v", c.client, c.n, err, c.want)
		}
	}
	b.give("a", 60)
	b.give("b", 40)
	if b.free() != 100 || len(b.clients) != 0 {
		t.Errorf("%d free, clients %v", b.free(), b.clients)
	}
}

// BenchmarkBodies sorts bodies with good and with bad lines, 1 MB each.
func BenchmarkBodies(b *testing.B) {
	for name, line := range map[string]string{"good": "cpu,host=web01 value=1 1700000000000000000\n", "bad": "cpu,host=web01 value=1_000 17000000000000\n", "short": "x\n"} {
		body := []byte(strings.Repeat(line, 1<<20/len(line)))
		d := formats.NewDecoder()
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				sortBody(d, body, formats.Options{Format: formats.Line}, time.UnixMilli(1_700_000_000_000)).records("", "", nil)
			}
		})
	}
}

// holdProduce makes the broker answer each write after a delay.
func (b *bed) holdProduce(d time.Duration) {
	b.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		b.cluster.SleepControl(func() { <-time.After(d) }) // the broker's time, not the test's
		return nil, nil, false
	})
}
