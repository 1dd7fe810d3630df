//go:build engines

package scylla

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

// address returns the address of the cluster under test: Cassandra or ScyllaDB.
func address(t *testing.T) string {
	t.Helper()
	a := os.Getenv("WEIR_TEST_CQL")
	if a == "" {
		t.Fatal("WEIR_TEST_CQL: not set, must be host:port of a Cassandra or ScyllaDB node")
	}
	return a
}

// open opens a store in a keyspace of its own, which is dropped after the test.
func open(t *testing.T, host string, tiers []cql.Tier) (*Store, Config, *prometheus.Registry) {
	t.Helper()
	cfg := Default()
	cfg.Hosts = []string{host}
	cfg.Keyspace = fmt.Sprintf("weir_test_%x", rand.Uint64())
	cfg.Timeout = conf.Duration(2 * time.Second)
	t.Cleanup(func() { drop(t, cfg) })
	s, reg := reopen(t, cfg, tiers)
	return s, cfg, reg
}

func reopen(t *testing.T, cfg Config, tiers []cql.Tier) (*Store, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	s, err := Open(t.Context(), cfg, tiers, reg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, reg
}

func drop(t *testing.T, cfg Config) {
	cfg.Hosts = []string{address(t)}
	cluster, err := clusterOf(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Error(err)
		return
	}
	cluster.Timeout = ddlTimeout
	session, err := cluster.CreateSession()
	if err != nil {
		t.Error(err)
		return
	}
	defer session.Close()
	if err := session.Query("DROP KEYSPACE IF EXISTS " + cfg.Keyspace).Exec(); err != nil {
		t.Error(err)
	}
}

func TestConformance(t *testing.T) {
	s, _, reg := open(t, address(t), sinktest.Tiers)
	sinktest.Run(t, func(t *testing.T) sinktest.Store {
		return sinktest.Store{TierStore: s,
			NowMS: func() int64 { return time.Now().UnixMilli() },
			Tick:  func() { time.Sleep(10 * time.Millisecond) }, Registry: reg}
	})
}

func window(metric string, startMS int64) schemas.Window {
	return schemas.Window{Series: schemas.Series{Metric: metric, Labels: schemas.Labels{{Name: "host", Value: "web01"}}},
		TierMS: 10_000, StartMS: startMS, Aggregate: schemas.Aggregate{Count: 1, Sum: 2, Min: 2, Max: 2, First: 2, Last: 2}}
}

func recent() int64 {
	t := time.Now().UnixMilli() - 600_000
	return t - t%10_000
}

// A row's write time and remaining TTL are as the package documents.
func TestStampAndTTLOfARow(t *testing.T) {
	s, _, _ := open(t, address(t), sinktest.Tiers)
	w := window("m", recent())
	w.Revision = 3
	if err := s.WriteWindows(t.Context(), &schemas.WindowBatch{Group: "g", Windows: []schemas.Window{w}}); err != nil {
		t.Fatal(err)
	}
	var stamp int64
	var ttl int
	if err := s.session.Query("SELECT writetime(sum), ttl(sum) FROM metrics_10s", nil).Iter().Scan(&stamp, &ttl); !err {
		t.Fatal("no row")
	}
	if want := w.EndMS()*1000 + 3; stamp != want {
		t.Errorf("write time %d, want %d", stamp, want)
	}
	want := int((sinktest.Tiers[0].ExpiresMS(w.StartMS) - time.Now().UnixMilli()) / 1000)
	if ttl < want-2 || ttl > want+2 {
		t.Errorf("ttl %d s, want about %d", ttl, want)
	}
}

// A second process finds the tables, and keeps the times of a series that the first process wrote.
func TestOpenAgainKeepsTablesAndFirstTimes(t *testing.T) {
	s, cfg, _ := open(t, address(t), sinktest.Tiers)
	start := recent()
	for _, at := range []int64{start, start + 10_000} {
		if err := s.WriteWindows(t.Context(), &schemas.WindowBatch{Group: "g", Windows: []schemas.Window{window("m", at)}}); err != nil {
			t.Fatal(err)
		}
		s, _ = reopen(t, cfg, sinktest.Tiers)
	}
	infos, err := s.ListSeries(t.Context(), "m", nil, "", 10)
	if err != nil || len(infos) != 1 || infos[0].FirstMS != start || infos[0].LastMS != start+20_000 {
		t.Errorf("%+v, %v, want %d to %d", infos, err, start, start+20_000)
	}
	// A tier that is new in the config gets its table.
	more := append(slices.Clone(sinktest.Tiers), cql.Tier{SizeMS: 300_000, TTL: 24 * time.Hour})
	s, _ = reopen(t, cfg, more)
	if ws, err := s.ReadWindows(t.Context(), "g", window("m", 0).Series, 300_000, 0, 1<<60, 10); err != nil || len(ws) != 0 {
		t.Errorf("%+v, %v", ws, err)
	}
}

func TestOpenNamesTheHosts(t *testing.T) {
	cfg := Default()
	cfg.Hosts, cfg.Timeout = []string{"127.0.0.1:1"}, conf.Duration(200*time.Millisecond)
	reg := prometheus.NewRegistry()
	if _, err := Open(t.Context(), cfg, sinktest.Tiers, reg, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error")
	} else if got := err.Error(); !strings.Contains(got, "127.0.0.1:1") {
		t.Errorf("%s: does not name the host", got)
	}
}

// If the cluster refuses a row that the intake should have refused, the other rows are still written.
func TestRowThatTheClusterRefuses(t *testing.T) {
	s, _, reg := open(t, address(t), sinktest.Tiers)
	var rows []sinks.Row
	for i := range 10 {
		w := window(fmt.Sprint("m", i), recent())
		rows = append(rows, sinks.Row{Window: &w, Tier: sinktest.Tiers[0], Text: cql.LabelsText(w.Series)})
	}
	rows[7].Text = "\xff"
	c := chunksOf(rows)[0]
	if err := s.writeChunk(t.Context(), "g", c); !errors.Is(err, sinks.ErrRefused) || !strings.Contains(err.Error(), `m7{`) {
		t.Errorf("error %v, want %v that names m7", err, sinks.ErrRefused)
	}
	if len(c.rows) != 9 {
		t.Errorf("%d rows left in the chunk, want the 9 that were written", len(c.rows))
	}
	if n := sinktest.Counter(t, reg, "weir_tierstore_windows_total", "refused"); n != 1 {
		t.Errorf("%v counted as refused, want 1", n)
	}
	for i, r := range rows {
		ws, err := s.ReadWindows(t.Context(), "g", r.Series, 10_000, 0, 1<<60, 10)
		if want := 1; err != nil || i != 7 && len(ws) != want || i == 7 && len(ws) != 0 {
			t.Errorf("row %d: %+v, %v", i, ws, err)
		}
	}
}

// A missing table is not the row's fault: the store waits for it.
func TestMissingTableIsWaitedFor(t *testing.T) {
	s, cfg, reg := open(t, address(t), sinktest.Tiers)
	if err := s.session.ExecStmt("DROP TABLE metrics_10s"); err != nil {
		t.Fatal(err)
	}
	w := window("m", recent())
	done := make(chan error, 1)
	go func() {
		done <- s.WriteWindows(t.Context(), &schemas.WindowBatch{Group: "g", Windows: []schemas.Window{w}})
	}()
	for deadline := time.Now().Add(20 * time.Second); sinktest.Counter(t, reg, "weir_scylla_retries_total", "") < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no retries while the table is missing")
		}
	}
	reopen(t, cfg, sinktest.Tiers)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if ws, err := s.ReadWindows(t.Context(), "g", w.Series, 10_000, 0, 1<<60, 10); err != nil || len(ws) != 1 {
		t.Errorf("%+v, %v", ws, err)
	}
}

// proxy forwards connections to the cluster until cut, and again after mend.
type proxy struct {
	t      *testing.T
	to     string
	addr   string
	mu     sync.Mutex
	listen net.Listener
	conns  map[net.Conn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	p := &proxy{t: t, to: to, addr: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	p.mend()
	t.Cleanup(p.cut)
	return p
}

func (p *proxy) mend() {
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.listen, p.addr = l, l.Addr().String()
	p.mu.Unlock()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.to)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns[in], p.conns[out] = true, true
			p.mu.Unlock()
			go func() { io.Copy(in, out); in.Close() }()
			go func() { io.Copy(out, in); out.Close() }()
		}
	}()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listen.Close()
	for c := range maps.Keys(p.conns) {
		c.Close()
	}
	clear(p.conns)
}

// The store rides out an outage: calls block, none fails, and everything is written soon after it.
func TestOutageIsBridged(t *testing.T) {
	p := newProxy(t, address(t))
	s, _, reg := open(t, p.addr, sinktest.Tiers)
	start := recent()
	const calls = 200
	done := make(chan error, calls)
	for i := range calls {
		if i == calls/2 {
			p.cut()
		}
		go func() {
			done <- s.WriteWindows(t.Context(), &schemas.WindowBatch{Group: fmt.Sprint("g", i%7), Windows: []schemas.Window{window(fmt.Sprint("m", i), start)}})
		}()
	}
	for deadline := time.Now().Add(20 * time.Second); sinktest.Counter(t, reg, "weir_scylla_retries_total", "") < 100; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no retries while the cluster is down")
		}
	}
	p.mend()
	mended := time.Now()
	for range calls {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("calls are still blocked 30 s after the outage")
		}
	}
	t.Logf("everything was written %v after the outage", time.Since(mended))
	for i := range calls {
		ws, err := s.ReadWindows(t.Context(), fmt.Sprint("g", i%7), window(fmt.Sprint("m", i), start).Series, 10_000, 0, 1<<60, 10)
		if err != nil || len(ws) != 1 {
			t.Fatalf("call %d: %+v, %v", i, ws, err)
		}
	}
}
