package kafkatest

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Cluster starts a broker that ends with the test. Options are kfake's, on top of having one
// broker.
func Cluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Quick lets a group's first session begin at once instead of waiting for further members.
func Quick() kfake.Opt {
	return kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"})
}

// Client makes a client of the brokers, which ends with the test.
func Client(t testing.TB, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// Patience is how long Eventually waits: far beyond what anything takes on a loaded machine.
const Patience = 40 * time.Second

// Eventually returns once holds, called every few ms, returns true; it fails the test if that takes
// longer than Patience.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	Within(t, Patience, what, holds)
}

// Within is Eventually with another patience.
func Within(t testing.TB, most time.Duration, what string, holds func() bool) {
	t.Helper()
	missing := errors.New(what)
	poll(t, most, 5*time.Millisecond, func() error {
		if holds() {
			return nil
		}
		return missing
	})
}

// Until returns once check returns nil, and fails the test with check's last error if that takes
// longer than most. It asks less often than Eventually, as check may ask other processes.
func Until(t testing.TB, most time.Duration, check func() error) {
	t.Helper()
	poll(t, most, 50*time.Millisecond, check)
}

func poll(t testing.TB, most, every time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(most); ; time.Sleep(every) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", most, err)
		}
	}
}
