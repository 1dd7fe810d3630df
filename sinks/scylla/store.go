package scylla

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gocql/gocql"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/scylladb/gocqlx/v2"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/schemas/dial"
	"github.com/weir-metrics/weir/sinks"
)

const (
	// renew is how far SeriesInfo.LastMS may lag behind.
	renew = 24 * time.Hour
	// ddlTimeout is how long creating a table may take: a busy node needs seconds.
	ddlTimeout = 30 * time.Second
	// reconnect is how soon a node that was down is tried again.
	reconnect = time.Second
)

// Store is a sinks.TierStore on a cluster.
type Store struct {
	session  gocqlx.Session
	keyspace string
	in       *sinks.Intake
	text     statements
	log      *slog.Logger

	slots   chan struct{} // one for each request in flight
	indexMu stripes       // by source: held while rows about series are read and rewritten
	outage  outage
	metrics metrics
}

var _ sinks.TierStore = (*Store)(nil)

type metrics struct {
	retries  prometheus.Counter
	requests prometheus.Histogram
}

// Open connects, creates the keyspace and the tables if they are missing, and registers the store's
// metrics, weir_tierstore_* and weir_scylla_*, with reg. It tries once. On an error, which names
// the hosts or what is wrong with the configuration or a tier, nothing stays registered.
func Open(ctx context.Context, cfg Config, tiers []cql.Tier, reg prometheus.Registerer, log *slog.Logger) (*Store, error) {
	schema := cql.Schema{Keyspace: cfg.Keyspace, Replication: cfg.Replication, Tiers: tiers}
	if err := schema.Check(); err != nil {
		return nil, err
	}
	cluster, err := clusterOf(cfg, log)
	if err != nil {
		return nil, err
	}
	if err := create(ctx, *cluster, &schema, log); err != nil {
		return nil, unreached(cfg, err)
	}
	cluster.Keyspace = cfg.Keyspace
	session, err := gocqlx.WrapSession(cluster.CreateSession())
	if err != nil {
		return nil, unreached(cfg, err)
	}
	s := &Store{session: session, keyspace: cfg.Keyspace, log: log, text: statementsOf(tiers), slots: make(chan struct{}, cfg.InFlight), indexMu: newStripes()}
	s.metrics.retries = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "weir_scylla_retries_total", Help: "Writes that failed and were tried again."})
	s.metrics.requests = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "weir_scylla_write_seconds", Help: "Duration of one write request, in seconds, failed ones included.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8)})
	if err := register(reg, s.metrics.retries, s.metrics.requests); err != nil {
		session.Close()
		return nil, fmt.Errorf("cql store: %w", err)
	}
	if s.in, err = sinks.NewIntake(tiers, renew, reg); err != nil {
		reg.Unregister(s.metrics.retries)
		reg.Unregister(s.metrics.requests)
		session.Close()
		return nil, err
	}
	return s, nil
}

// unreached adds to an error which hosts it is about, and what else it may mean.
func unreached(cfg Config, err error) error {
	hint, text := "", err.Error()
	switch {
	case cfg.TLS.On() && strings.Contains(text, "remote error: tls"):
		hint = " (the nodes require a certificate, or refuse this one: cql.tls.cert_file and key_file)"
	case cfg.TLS.On():
	case strings.Contains(text, "EOF"), strings.Contains(text, "connection reset"), strings.Contains(text, "no response"): // received, or to connection startup
		hint = " (is it CQL's port, and does it require TLS, cql.tls?)"
	case cfg.Username == "" && strings.Contains(text, "authentication required"):
		hint = " (cql.username and cql.password must be given)"
	}
	return fmt.Errorf("cql at %s: %w%s", strings.Join(cfg.Hosts, ", "), err, hint)
}

// register registers all of the collectors or none.
func register(reg prometheus.Registerer, all ...prometheus.Collector) error {
	for i, c := range all {
		if err := reg.Register(c); err != nil {
			for _, done := range all[:i] {
				reg.Unregister(done)
			}
			return err
		}
	}
	return nil
}

// clusterOf makes the driver's settings.
func clusterOf(cfg Config, log *slog.Logger) (*gocql.ClusterConfig, error) {
	if len(cfg.Hosts) == 0 {
		return nil, fmt.Errorf("cql: hosts: none given")
	}
	level, err := consistency(cfg.Consistency)
	if err != nil {
		return nil, fmt.Errorf("cql: consistency %q: %w", cfg.Consistency, err)
	}
	c := gocql.NewCluster(cfg.Hosts...)
	if c.Port, err = hostPort(cfg.Hosts[0]); err != nil { // the port of the nodes that the driver finds itself
		return nil, fmt.Errorf("cql: host %q: %w", cfg.Hosts[0], err)
	}
	c.Consistency = level
	c.Timeout = cfg.Timeout.Std()
	c.ConnectTimeout = cfg.Timeout.Std()
	c.ReconnectInterval = reconnect
	c.RetryPolicy = &gocql.SimpleRetryPolicy{NumRetries: 1}
	c.DefaultIdempotence = true
	c.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(fallback(cfg.LocalDC))
	c.Logger = driverLog{log}
	// The dialer does TLS, and reads certificates for each connection; the password, too, is read each time.
	c.Dialer = &dial.Dialer{What: "CQL", TLS: cfg.TLS, Within: cfg.Timeout.Std()}
	if cfg.Username != "" {
		c.AuthProvider = func(*gocql.HostInfo) (gocql.Authenticator, error) {
			password, err := cfg.Password.Reveal()
			if err != nil {
				return nil, fmt.Errorf("cql: password: %w", err)
			}
			return gocql.PasswordAuthenticator{Username: cfg.Username, Password: password}, nil
		}
	}
	return c, nil
}

func fallback(localDC string) gocql.HostSelectionPolicy {
	if localDC == "" {
		return gocql.RoundRobinHostPolicy()
	}
	return gocql.DCAwareRoundRobinPolicy(localDC)
}

// driverLog hands the driver's lines to slog; they tell nothing that an error does not.
type driverLog struct{ log *slog.Logger }

func (l driverLog) Print(v ...any)            { l.log.Debug(strings.TrimSpace(fmt.Sprint(v...))) }
func (l driverLog) Printf(f string, v ...any) { l.log.Debug(strings.TrimSpace(fmt.Sprintf(f, v...))) }
func (l driverLog) Println(v ...any)          { l.log.Debug(strings.TrimSpace(fmt.Sprintln(v...))) }

// create runs the schema's statements unless every table exists: instances that start together
// should not alter the schema at once more than necessary, and the user of a running system need
// not have the right to.
func create(ctx context.Context, cluster gocql.ClusterConfig, schema *cql.Schema, log *slog.Logger) error {
	cluster.Timeout = ddlTimeout
	cluster.PoolConfig.HostSelectionPolicy = gocql.RoundRobinHostPolicy() // a policy serves one session
	session, err := gocqlx.WrapSession(cluster.CreateSession())
	if err != nil {
		return err
	}
	defer session.Close()
	missing, err := missingTables(ctx, session, schema)
	if err != nil || len(missing) == 0 {
		return err
	}
	log.Info("creating tables", "keyspace", schema.Keyspace, "missing", missing)
	for _, statement := range schema.Statements() {
		if err := session.ContextQuery(ctx, statement, nil).ExecRelease(); err != nil {
			first, _, _ := strings.Cut(statement, "\n")
			return fmt.Errorf("%s …: %w", first, err)
		}
	}
	return session.AwaitSchemaAgreement(ctx)
}

func missingTables(ctx context.Context, session gocqlx.Session, schema *cql.Schema) ([]string, error) {
	var have []string
	q := session.ContextQuery(ctx, "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?", nil)
	if err := q.Bind(schema.Keyspace).SelectRelease(&have); err != nil {
		return nil, fmt.Errorf("tables of keyspace %s: %w", schema.Keyspace, err)
	}
	want := []string{cql.SeriesTable, cql.LabelIndex, cql.LabelValues}
	for _, t := range schema.Tiers {
		want = append(want, t.Table())
	}
	return slices.DeleteFunc(want, func(name string) bool { return slices.Contains(have, name) }), nil
}

// Close ends the session; calls in progress fail.
func (s *Store) Close() error {
	s.session.Close()
	return nil
}

// ReadWindows implements sinks.TierStore.
func (s *Store) ReadWindows(ctx context.Context, source string, series schemas.Series, tierMS, fromMS, toMS int64, limit int) ([]schemas.Window, error) {
	tier, err := s.in.Tier(tierMS)
	if err != nil {
		return nil, err
	}
	nowMS := time.Now().UnixMilli()
	fromMS, toMS = max(fromMS, tier.OldestMS(nowMS)), min(toMS, nowMS+sinks.MaxAheadMS+1)
	if fromMS >= toMS || limit <= 0 {
		return nil, nil
	}
	labels := cql.LabelsText(series)
	var out []schemas.Window
	for bucket := tier.Bucket(fromMS); bucket <= tier.Bucket(toMS-1); bucket++ {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read %s of %.200q: %w", tier.Table(), series.String(), err)
		}
		q := s.session.ContextQuery(ctx, s.text.read[tierMS], nil).
			Bind(source, bucket, series.Metric, labels, fromMS, toMS)
		q.PageSize(min(limit+1, maxPage))
		w := schemas.Window{Series: series, TierMS: tierMS}
		var r cellsRead
		cells := r.into(&w)
		iter := q.Iter()
		for len(out) <= limit && iter.Scan(cells...) {
			r.take(&w)
			out = sinks.AppendPart(out, w)
		}
		if err := iter.Close(); err != nil {
			return nil, fmt.Errorf("read %s of %.200q: %w", tier.Table(), series.String(), err)
		}
		if len(out) > limit {
			return out[:limit], nil
		}
	}
	return out, nil
}

// maxPage is how many rows a node sends at once.
const maxPage = 2000

// each calls f for 0 to n-1, on at most perCall goroutines, and returns the first
// error by index.
func each(n int, f func(i int) error) error {
	errs := make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, perCall) {
		wg.Go(func() {
			for i := range next {
				errs[i] = f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// perCall is how many requests one call has in flight, so that one large batch does not hold up all
// others.
const perCall = 16
