package pipelines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/pipelines/broker"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

// process returns a weir with the defaults, on an address and in a folder of its own.
func process(t *testing.T, brokers ...string) *Process {
	t.Helper()
	c := Default()
	c.HTTP, c.Data, c.Brokers = freeAddress(t), t.TempDir(), brokers
	return &Process{Config: &c, Rules: &alerts.RuleSet{}, Roles: []string{"route", "query"}, Out: io.Discard, Log: slog.New(slog.DiscardHandler)}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// await polls /readyz until the answer fits.
func await(t *testing.T, p *Process, fits func(readiness) bool) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		resp, err := http.Get("http://" + p.Config.HTTP + "/readyz")
		if err != nil {
			last = err.Error()
			continue
		}
		var r readiness
		err = json.NewDecoder(resp.Body).Decode(&r)
		resp.Body.Close()
		if err == nil && fits(r) {
			return
		}
		last = fmt.Sprint(resp.Status, r, err)
	}
	t.Fatalf("/readyz has not answered what the test waits for; its last answer: %s", last)
}

// TestRunSomeRoles: roles that other processes run are distinguished from roles that do not answer.
func TestRunSomeRoles(t *testing.T) {
	p := process(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	await(t, p, func(r readiness) bool { return r.Ready })
	for path, want := range map[string]int{"/": 200, "/api/v1/alerts": 200, "/healthz": 200, "/metrics": 200} {
		resp, err := http.Get("http://" + p.Config.HTTP + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	resp, err := http.Post("http://"+p.Config.HTTP+"/write", "", strings.NewReader("cpu v=1"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "the role gateway does not run") {
		t.Errorf("POST /write: %s %s", resp.Status, body)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + p.Config.HTTP + "/healthz"); err == nil {
		t.Error("still answers")
	}
}

// TestRunWaitsForBrokers: weir may start before Kafka does, and stops while it waits.
func TestRunWaitsForBrokers(t *testing.T) {
	p := process(t, freeAddress(t))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	await(t, p, func(r readiness) bool {
		return !r.Ready && r.NotReady["topics"] != "" && r.NotReady["route"] == "starting"
	})
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("did not stop")
	}
}

func TestRunRefusesAnotherShape(t *testing.T) {
	c := kafkatest.Cluster(t, kfake.SeedTopics(3, topics.Samples))
	err := process(t, c.ListenAddrs()...).Run(t.Context())
	if !errors.Is(err, topics.ErrShape) || !strings.Contains(err.Error(), "topic samples: has 3 partitions, the config wants 8") {
		t.Error(err)
	}
}

// TestRunWarnsOfAlteredSamples: somebody has added partitions to samples. weir works, and /readyz tells what to do instead.
func TestRunWarnsOfAlteredSamples(t *testing.T) {
	c := kafkatest.Cluster(t, kfake.SeedTopics(11, topics.Samples))
	p := process(t, c.ListenAddrs()...)
	p.Roles = []string{"window"}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	await(t, p, func(r readiness) bool {
		return r.Ready && strings.Contains(r.Warnings["window"], "samples has 11 partitions, 8 are on record") &&
			strings.Contains(r.Warnings["window"], "run weir reshard")
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRunAddressTaken(t *testing.T) {
	p := process(t)
	ln, err := net.Listen("tcp", p.Config.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), p.Config.HTTP) {
		t.Error(err)
	}
}

// TestRunOutlivesTheBroker: after an outage of the broker, every role is built anew.
func TestRunOutlivesTheBroker(t *testing.T) {
	dir := t.TempDir()
	b := openBroker(t, dir)
	p := process(t, b.Addrs()...)
	p.Roles = Roles
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	await(t, p, func(r readiness) bool { return r.Ready })
	b.Close()
	await(t, p, func(r readiness) bool { return !r.Ready })
	b = openBroker(t, dir)
	defer b.Close()
	await(t, p, func(r readiness) bool { return r.Ready })

	// weir works: a sample is routed.
	post(t, p, "cpu,host=a v=1 1000000000")
	awaitRecords(t, b, topics.Samples)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRunLeavesItsGroups: a process that has stopped is no longer a member of any group, so its partitions need not wait for its
// sessions to end.
func TestRunLeavesItsGroups(t *testing.T) {
	b := openBroker(t, t.TempDir())
	defer b.Close()
	p := process(t, b.Addrs()...)
	p.Roles = Roles
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	await(t, p, func(r readiness) bool { return r.Ready })
	adm, err := kadm.NewOptClient(kgo.SeedBrokers(b.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	members := func() (names []string) {
		groups, err := adm.DescribeGroups(t.Context())
		if err == nil {
			err = groups.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups.Sorted() {
			if len(g.Members) > 0 {
				names = append(names, g.Group)
			}
		}
		return names
	}
	want := "[weir-alert weir-notify weir-route weir-store weir-window]"
	for deadline := time.Now().Add(10 * time.Second); fmt.Sprint(members()) != want; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("member of %v, want %v", members(), want)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left := members(); len(left) > 0 {
		t.Errorf("still a member of %v", left)
	}
}

func post(t *testing.T, p *Process, line string) {
	t.Helper()
	resp, err := http.Post("http://"+p.Config.HTTP+"/write", "", strings.NewReader(line))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp.Status)
	}
}

func openBroker(t *testing.T, dir string) *broker.Broker {
	t.Helper()
	b, err := broker.Start(dir, broker.Config{}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// awaitRecords returns when the topic has a record.
func awaitRecords(t *testing.T, b *broker.Broker, topic string) {
	t.Helper()
	adm, err := kadm.NewOptClient(kgo.SeedBrokers(b.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		ends, err := adm.ListEndOffsets(t.Context(), topic)
		if err != nil {
			continue
		}
		n := int64(0)
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
		if n > 0 {
			return
		}
	}
	t.Fatalf("no record in %s", topic)
}
