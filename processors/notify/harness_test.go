package notify

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/pagerduty"
	"github.com/weir-metrics/weir/sinks/sinktest"
	"github.com/weir-metrics/weir/sinks/twilio"
	"github.com/weir-metrics/weir/sinks/webhook"
)

const (
	routingKey = "0123456789abcdef0123456789abcdef"
	account    = "AC0123456789abcdef0123456789abcdef"
	authToken  = "fedcba9876543210fedcba9876543210"
	phone      = "+14155552671"
	partitions = 4
)

// broker is a kfake cluster with the topics that notify uses.
type broker struct {
	*kfake.Cluster
	opts   []kgo.Opt
	client *kgo.Client
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	c := kafkatest.Cluster(t, kfake.SeedTopics(partitions, topics.Alerts, topics.NotificationLog), kfake.SeedTopics(1, topics.DeadLetter))
	b := &broker{Cluster: c, opts: []kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...),
		kgo.HeartbeatInterval(100 * time.Millisecond), kgo.MetadataMinAge(50 * time.Millisecond), // rebalances and errors pass quickly
	}}
	b.client = kafkatest.Client(t, c.ListenAddrs(), append(b.opts, kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partitionOf)))...)
	return b
}

func (b *broker) produce(t *testing.T, rs ...*kgo.Record) {
	t.Helper()
	if err := b.client.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (b *broker) publish(t *testing.T, alerts ...*schemas.Alert) {
	t.Helper()
	for _, a := range alerts {
		b.produce(t, &kgo.Record{Topic: topics.Alerts, Key: []byte(a.Fingerprint), Value: schemas.EncodeDoc(a)})
	}
}

// records reads the records that a topic holds, in order within each partition.
func (b *broker) records(t *testing.T, topic string) []*kgo.Record {
	t.Helper()
	ends, err := kadm.NewClient(b.client).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	in, err := kgo.NewClient(append(b.opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var all []*kgo.Record
	for int64(len(all)) < left {
		fetches := in.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		all = append(all, fetches.Records()...)
	}
	return all
}

// ledger returns the entries of the ledger by key, each with its whole history.
func (b *broker) ledger(t *testing.T) map[string][]*schemas.Delivery {
	t.Helper()
	all := map[string][]*schemas.Delivery{}
	for _, r := range b.records(t, topics.NotificationLog) {
		if string(r.Key) == "rubbish" {
			continue
		}
		if _, _, _, _, ok := parseKey(string(r.Key)); !ok && r.Value != nil {
			continue
		}
		if r.Value == nil {
			delete(all, string(r.Key))
			continue
		}
		d, err := schemas.DecodeDoc[schemas.Delivery](r.Value)
		if err != nil {
			continue // poison
		}
		all[string(r.Key)] = append(all[string(r.Key)], d)
	}
	return all
}

// statuses writes the history of an entry: "PENDING SUBMITTED".
func statuses(ds []*schemas.Delivery) string {
	var all []string
	for _, d := range ds {
		all = append(all, string(d.Status))
	}
	return strings.Join(all, " ")
}

func (b *broker) newest(t *testing.T, a *schemas.Alert, receiver string) *schemas.Delivery {
	t.Helper()
	ds := b.ledger(t)[newDelivery(a, receiver).Key()]
	if len(ds) == 0 {
		return &schemas.Delivery{}
	}
	return ds[len(ds)-1]
}

func (b *broker) awaitStatus(t *testing.T, a *schemas.Alert, receiver string, want schemas.DeliveryStatus) *schemas.Delivery {
	t.Helper()
	var d *schemas.Delivery
	kafkatest.Eventually(t, fmt.Sprintf("%s of %s to %s is %s", a.Last.To, a.Fingerprint, receiver, want), func() bool {
		d = b.newest(t, a, receiver)
		return d.Status == want
	})
	return d
}

// instance is a running processor.
type instance struct {
	*Processor
	cancel context.CancelFunc
	ended  chan error
}

// run starts an instance that drains quickly. It is stopped at the end of the test at the latest, and must end without an
// error.
func (b *broker) run(t *testing.T, cfg Config, rs ...sinks.Receiver) *instance {
	t.Helper()
	return b.runDraining(t, 200*time.Millisecond, cfg, rs...)
}

func (b *broker) runDraining(t *testing.T, drain time.Duration, cfg Config, rs ...sinks.Receiver) *instance {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	level := slog.LevelError + 1
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	i := &instance{Processor: New(cfg, Deps{Options: b.opts, Receivers: rs, Registry: prometheus.NewRegistry(), Log: log}), cancel: cancel, ended: make(chan error, 1)}
	i.drain = drain
	go func() { i.ended <- i.Run(ctx) }()
	t.Cleanup(func() { i.stop(t) })
	return i
}

// stop ends the instance and waits for it; a second stop does nothing.
func (i *instance) stop(t *testing.T) {
	t.Helper()
	if i.ended == nil {
		return
	}
	i.cancel()
	select {
	case err := <-i.ended:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not end within 20 s")
	}
	i.ended = nil
}

func (i *instance) count(receiver, to, outcome string) float64 {
	return counted(i.metrics.deliveries.WithLabelValues(receiver, to, outcome))
}

// counted reads a counter.
func counted(c prometheus.Counter) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}

// gauged reads a gauge.
func gauged(g prometheus.Gauge) float64 {
	var m dto.Metric
	if err := g.Write(&m); err != nil {
		panic(err)
	}
	return m.GetGauge().GetValue()
}

// newProcessorForTest returns a processor that does not run.
func newProcessorForTest(rs []sinks.Receiver) *Processor {
	return New(quick(), Deps{Receivers: rs, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
}

// holdLedger makes the broker refuse records of the ledger until release. held is closed at the first refusal.
func (b *broker) holdLedger(t *testing.T) (release func(), held <-chan struct{}) {
	refuse := b.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: topics.NotificationLog, Err: kerr.NotEnoughReplicas, Count: -1,
	})
	ch := make(chan struct{})
	go func() {
		if err := refuse.Wait(t.Context(), 1); err != nil {
			t.Error(err)
		}
		close(ch)
	}()
	return refuse.Remove, ch
}

// quick retries after a few milliseconds.
func quick() Config {
	cfg := Default()
	cfg.Retry = Retry{Initial: conf.Duration(5 * time.Millisecond), Max: conf.Duration(20 * time.Millisecond), MaxElapsed: conf.Duration(10 * time.Second)}
	return cfg
}

func toPagerDuty(mock *sinktest.PagerDuty) sinks.Receiver {
	return sinks.Receiver{Name: "pd", Notifier: pagerduty.New(pagerduty.Config{
		RoutingKey: conf.NewSecret(routingKey), URL: mock.URL, Timeout: conf.Duration(30 * time.Second),
	})}
}

func toPhone(mock *sinktest.Twilio, number string) sinks.Receiver {
	return sinks.Receiver{Name: "sms", Target: number, Notifier: twilio.New(twilio.Config{
		AccountSID: account, AuthToken: conf.NewSecret(authToken), From: "+15005550006", URL: mock.URL, Timeout: conf.Duration(30 * time.Second),
	}, number)}
}

func toWebhook(mock *sinktest.Webhook) sinks.Receiver {
	return sinks.Receiver{Name: "hook", Notifier: webhook.New(webhook.Config{
		URL: conf.NewSecret(mock.URL + "/hook"), Timeout: conf.Duration(30 * time.Second),
	})}
}

// notifierFunc is a notifier made of a function.
type notifierFunc func(context.Context, *sinks.Notification) (string, error)

func (f notifierFunc) Notify(ctx context.Context, n *sinks.Notification) (string, error) {
	return f(ctx, n)
}

// alertNow returns an alert that began to fire that long ago.
func alertNow(i int, ago time.Duration) *schemas.Alert {
	return sinktest.FiringAlert(fmt.Sprintf("%016x", i), time.Now().Add(-ago).UnixMilli())
}

func resolvedNow(a *schemas.Alert) *schemas.Alert {
	return sinktest.ResolvedAlert(a, max(a.Last.AtMS+1, time.Now().UnixMilli()))
}

func checkViolations(t *testing.T, mocks ...interface{ Violations() []string }) {
	t.Helper()
	for _, m := range mocks {
		if vs := m.Violations(); len(vs) > 0 {
			t.Errorf("%T: requests violate the API: %q", m, vs)
		}
	}
}
