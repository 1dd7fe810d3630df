package scylla

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

func TestStatements(t *testing.T) {
	st := statementsOf(sinktest.Tiers)
	const write = "INSERT INTO metrics_10s (source,bucket,metric,series,ts,part,count,sum,min,max,first,last,first_ts,last_ts,revision) " +
		"VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) USING TTL ? AND TIMESTAMP ? "
	if got := st.write[10_000]; got != write {
		t.Errorf("got  %s\nwant %s", got, write)
	}
	const read = "SELECT ts,part,count,sum,min,max,first,last,first_ts,last_ts,revision FROM metrics_1h " +
		"WHERE source=? AND bucket=? AND metric=? AND series=? AND ts>=? AND ts<? "
	if got := st.read[3_600_000]; got != read {
		t.Errorf("got  %s\nwant %s", got, read)
	}
}

// The stamp grows with the revision, but never reaches the stamp of the next window's row.
func TestStamp(t *testing.T) {
	w := schemas.Window{TierMS: 10_000, StartMS: 1_764_000_000_000}
	if got := stamp(&w); got != 1_764_000_010_000_000 {
		t.Errorf("stamp %d, want the window's end in µs", got)
	}
	w.Revision = 5
	if got := stamp(&w); got != 1_764_000_010_000_005 {
		t.Errorf("stamp %d, want 5 more than of revision 0", got)
	}
}

func row(tier int, startMS int64, text string) sinks.Row {
	return sinks.Row{Tier: sinktest.Tiers[tier], Text: text,
		Window: &schemas.Window{Series: schemas.Series{Metric: "m"}, TierMS: sinktest.Tiers[tier].SizeMS, StartMS: startMS}}
}

func TestChunksAreOfOnePartitionAndBounded(t *testing.T) {
	const day = 24 * 3600 * 1000
	var rows []sinks.Row
	for i := range 200 {
		rows = append(rows, row(i%3, int64(i%2)*7*13*day, "{}")) // two buckets in each tier
	}
	for range 10 {
		rows = append(rows, row(0, 0, strings.Repeat("x", 1000)))
	}
	rows = append(rows, row(0, 0, strings.Repeat("x", 2*maxBatchBytes)))
	seen := 0
	for _, c := range chunksOf(rows) {
		size := 0
		for _, r := range c.rows {
			if r.TierMS != c.tier.SizeMS || c.tier.Bucket(r.StartMS) != c.bucket {
				t.Errorf("row of tier %d at %d in the chunk of %s, bucket %d", r.TierMS, r.StartMS, c.tier.Table(), c.bucket)
			}
			size += rowBytes + len(r.Series.Metric) + len(r.Text)
		}
		if len(c.rows) == 0 || len(c.rows) > maxBatchRows || size > maxBatchBytes && len(c.rows) > 1 {
			t.Errorf("a chunk of %d rows and %d bytes, bounds are %d and %d", len(c.rows), size, maxBatchRows, maxBatchBytes)
		}
		seen += len(c.rows)
	}
	if seen != len(rows) {
		t.Errorf("%d rows in the chunks, want %d", seen, len(rows))
	}
	small := make([]sinks.Row, 2*maxBatchRows)
	for i := range small {
		small[i] = row(0, 0, "")
	}
	if n := len(chunksOf(small)); n < 2 || n > 6 {
		t.Errorf("%d chunks of %d small rows, want a few", n, len(small))
	}
}

// offline returns a store without a cluster, with a number of slots.
func offline(slots int) *Store {
	s := &Store{log: slog.New(slog.DiscardHandler), slots: make(chan struct{}, slots), indexMu: newStripes()}
	s.metrics.retries = prometheus.NewCounter(prometheus.CounterOpts{Name: "retries"})
	s.metrics.requests = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "requests"})
	return s
}

func TestPersistTriesUntilItWorks(t *testing.T) {
	s, tries := offline(1), 0
	err := s.persist(t.Context(), "table", func() error {
		if tries++; tries < 3 {
			return errors.New("no connections")
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("%d tries, error %v, want 3 and none", tries, err)
	}
}

func TestPersistEndsWithItsContext(t *testing.T) {
	s := offline(1)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.persist(ctx, "table", func() error { cancel(); return errors.New("no connections") })
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "table") || !strings.Contains(err.Error(), "no connections") {
		t.Errorf("error %v, want one that wraps %v and names the table and the last error", err, context.Canceled)
	}
	s.slots <- struct{}{} // all are taken
	if err := s.persist(ctx, "table", func() error { t.Error("tried without a slot"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestPersistIsBounded(t *testing.T) {
	s := offline(3)
	var now, most atomic.Int64
	enter := make(chan struct{})
	done := make(chan error, 20)
	for range 20 {
		go func() {
			done <- s.persist(t.Context(), "table", func() error {
				n := now.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				<-enter
				now.Add(-1)
				return nil
			})
		}()
	}
	for range 20 {
		enter <- struct{}{}
	}
	for range 20 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most.Load() > 3 {
		t.Errorf("%d calls at the same time, want at most 3", most.Load())
	}
}

func TestEachReturnsTheFirstErrorAndRunsAll(t *testing.T) {
	var ran atomic.Int64
	err := each(100, func(i int) error {
		ran.Add(1)
		if i%10 == 3 {
			return fmt.Errorf("fault %d", i)
		}
		return nil
	})
	if ran.Load() != 100 || err == nil || err.Error() != "fault 3" {
		t.Errorf("%d calls, error %v, want 100 and fault 3", ran.Load(), err)
	}
	if err := each(0, func(int) error { return errors.New("called") }); err != nil {
		t.Error(err)
	}
}

func TestWorstErrorIsTheOneToTryAgain(t *testing.T) {
	refused, outage := fmt.Errorf("row: %w", sinks.ErrRefused), errors.New("outage")
	for _, c := range []struct{ a, b, want error }{
		{nil, nil, nil}, {refused, nil, refused}, {nil, refused, refused},
		{refused, outage, outage}, {outage, refused, outage}, {outage, nil, outage},
	} {
		if got := worst(c.a, c.b); got != c.want {
			t.Errorf("of %v and %v: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// answered is an error as the driver's fork has it, wrapped errors included.
type answered struct {
	Message string
	Code    int
}

func (a answered) Error() string { return a.Message }
func (a answered) GetCode() int  { return a.Code }

func TestCodeOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{fmt.Errorf("query: %w", answered{"String didn't validate.", gocql.ErrCodeInvalid}), gocql.ErrCodeInvalid},
		{&gocql.RequestErrUnavailable{}, 0}, {gocql.ErrNoConnections, 0}, {context.Canceled, 0}, {nil, 0},
	} {
		if got := codeOf(c.err); got != c.want {
			t.Errorf("%v: code %#x, want %#x", c.err, got, c.want)
		}
	}
}

func TestStripesGiveUpWithTheContext(t *testing.T) {
	s := newStripes()
	unlock, err := s.lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.lock(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	unlock()
	if _, err := s.lock(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	load := func(yaml string) error {
		into := struct {
			CQL Config `yaml:"cql"`
		}{Default()}
		d := conf.Parse("weir.yaml", []byte(yaml), &into)
		into.CQL.Validate("cql", d)
		return d.Err()
	}
	for _, ok := range []string{
		"cql: {}",
		"cql: {hosts: [a, 'b:9043', '[::1]:9042'], replication: {dc1: 3}, consistency: quorum, local_dc: dc1, username: u, password: p}",
		"cql: {timeout: 100ms, in_flight: 1}", "cql: {timeout: 1m, in_flight: 1024}",
	} {
		if err := load(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for bad, want := range map[string]string{
		"cql: {hosts: [a, 'b:c']}":           `cql.hosts[1]: "b:c": must be`,
		"cql: {hosts: ['b:70000']}":          `cql.hosts[0]: "b:70000": must be`,
		"cql: {hosts: ['']}":                 `cql.hosts[0]`,
		"cql: {keyspace: A-b}":               `cql.keyspace: "A-b": must be`,
		"cql: {replication: {dc1: 0}}":       `cql.replication`,
		"cql: {consistency: any}":            `cql.consistency: "any": must be one of LOCAL_QUORUM`,
		"cql: {password: hunter2}":           `cql.username`,
		"cql: {timeout: 99ms}":               `cql.timeout: "99ms": must be 100ms to 1m`,
		"cql: {timeout: 61s}":                `cql.timeout`,
		"cql: {in_flight: 0}":                `cql.in_flight: "0": must be 1 to 1024`,
		"cql: {in_flight: 1025}":             `cql.in_flight`,
		"cql: {replication: {}, hosts: [x]}": `cql.replication: must name`,
	} {
		if err := load(bad); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %s", bad, err, want)
		}
	}
}

func TestClusterSettings(t *testing.T) {
	cfg := Default()
	cfg.Hosts = []string{"a:9999", "b"}
	cfg.Username, cfg.Password = "u", conf.NewSecret("p")
	c, err := clusterOf(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if c.Port != 9999 || !c.DefaultIdempotence || c.RetryPolicy == nil || c.ReconnectInterval != time.Second ||
		c.Timeout != 5*time.Second || c.Consistency.String() != "LOCAL_QUORUM" || c.AuthProvider == nil {
		t.Errorf("%+v", c)
	}
	if _, err := clusterOf(Default(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no hosts: no error")
	}
}

// TestUnreachedHints: a node that is silent, in whatever phase, may expect TLS.
func TestUnreachedHints(t *testing.T) {
	for _, text := range []string{"gocql: no response received from cassandra within timeout period", "gocql: no response to connection startup within timeout", "EOF"} {
		if err := unreached(Config{Hosts: []string{"h:9042"}}, errors.New(text)); !strings.Contains(err.Error(), "cql at h:9042: ") || !strings.Contains(err.Error(), "cql.tls") {
			t.Errorf("%v", err)
		}
	}
}
