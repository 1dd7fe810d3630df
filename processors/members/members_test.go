package members

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// TestAsk: any answer shows that a process runs, even a TLS listener's. A closed port refuses. A port that accepts and
// then sends nothing, or hangs up, is silent.
func TestAsk(t *testing.T) {
	ok := func(http.ResponseWriter, *http.Request) {}
	plain := httptest.NewServer(http.HandlerFunc(ok))
	defer plain.Close()
	tls := httptest.NewTLSServer(http.HandlerFunc(ok))
	defer tls.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // like a stopped process: the kernel accepts
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, c := range []struct {
		name, address string
		want          Outcome
	}{
		{"http", plain.Listener.Addr().String(), Answered},
		{"https", tls.Listener.Addr().String(), Answered},
		{"mute", mute.Addr().String(), Silent},
		{"closed", gone.Addr().String(), Refused},
		{"nonsense", "no such address", Silent},
	} {
		if got := ask(t.Context(), c.address); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestDeadMemberIsTakenOut: one of three members of a group dies without a goodbye. The others remove it from its groups
// long before its session ends. A member that stops in order says goodbye, and is not counted as dead.
func TestDeadMemberIsTakenOut(t *testing.T) {
	c := kafkatest.Cluster(t, kfake.SeedTopics(1, topics.Members), kfake.SeedTopics(3, "input"))
	opts := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	adm, err := kadm.NewOptClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(adm.Close)
	group := topics.ConsumerGroupPrefix + "test"
	instances := func() string {
		d, err := adm.DescribeGroups(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, m := range d[group].Members {
			ids = append(ids, *m.InstanceID)
		}
		return strings.Join(ids, " ")
	}
	type process struct {
		*Member
		reg  *prometheus.Registry
		http *httptest.Server
		stop func()
	}
	start := func(id string) *process {
		p := &process{reg: prometheus.NewRegistry(), http: httptest.NewServer(http.NotFoundHandler())}
		in, err := kgo.NewClient(append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics("input"), kgo.InstanceID(id), kgo.SessionTimeout(5*time.Minute))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(in.Close) // a static member does not leave by itself
		go in.PollFetches(t.Context())
		if p.Member, err = New(id, p.http.Listener.Addr().String(), opts, p.reg, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		p.stop = func() { cancel(); <-done }
		t.Cleanup(func() { p.stop(); p.http.Close() })
		return p
	}
	a, b, dead := start("a"), start("b"), start("dead")
	known := func(p *process, n int) func() bool {
		return func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.judge.Known() == n }
	}
	reached := func(p *process, id string) func() bool {
		return func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.judge.known[id] != nil && p.judge.known[id].reached
		}
	}
	kafkatest.Eventually(t, "three members in the group", func() bool { return len(strings.Fields(instances())) == 3 })
	kafkatest.Eventually(t, "dead reached by a", reached(a, "dead"))
	kafkatest.Eventually(t, "dead reached by b", reached(b, "dead"))

	// Its port refuses, it stops renewing, and it sends no goodbye, as after kill -9.
	dead.client.Close()
	dead.http.Close()
	kafkatest.Eventually(t, "dead out of the group", func() bool { ids := instances(); return ids != "" && !strings.Contains(ids, "dead") })
	kafkatest.Eventually(t, "a counts the dead no longer", known(a, 1))

	removedBefore := removed(t, a.reg) + removed(t, b.reg)
	if removedBefore == 0 {
		t.Error("no member has logged that another was taken out")
	}
	b.stop()
	kafkatest.Eventually(t, "a heard the goodbye", known(a, 0))
	if !strings.Contains(instances(), "b") || removed(t, a.reg)+removed(t, b.reg) != removedBefore {
		t.Error("b said goodbye and was taken out")
	}

	// Rubbish in the topic changes nothing, and is counted.
	rubbish := [][]byte{{}, {0}, {1}, []byte("\x01{"), []byte("\x01null"), []byte("\x09{}"), schemas.EncodeDoc(&schemas.Member{Instance: "other"}), make([]byte, 100<<10)}
	for _, v := range rubbish {
		r := &kgo.Record{Topic: topics.Members, Key: []byte("x"), Value: v}
		if err := a.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	start("c")
	kafkatest.Eventually(t, "a knows c alone", known(a, 1))
	if n := counted(t, a.reg, "weir_members_undecodable_records_total"); n != float64(len(rubbish)) {
		t.Errorf("%g records of rubbish were counted, want %d", n, len(rubbish))
	}
}

func removed(t *testing.T, reg *prometheus.Registry) float64 {
	return counted(t, reg, "weir_members_removed_total")
}

func counted(t *testing.T, reg *prometheus.Registry, name string) (n float64) {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// TestDeadMemberOfUnknownGroups: Kafka does not list groups that a user may not Describe. If a dead member was therefore
// removed from none of them, the log does not claim that it was.
func TestDeadMemberOfUnknownGroups(t *testing.T) {
	c := kafkatest.Cluster(t, kfake.SeedTopics(1, topics.Members))
	var said strings.Builder
	m, err := New("me", "127.0.0.1:1", []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer m.client.Close()
	m.remove(t.Context(), Dead{Instance: "dead", Address: "127.0.0.1:2", Why: "refuses"})
	if !strings.Contains(said.String(), "leaving a dead member to Kafka's session") || strings.Contains(said.String(), "took a dead member out") {
		t.Errorf("logged %s", said.String())
	}
}
