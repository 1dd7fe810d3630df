package broker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
)

func open(t *testing.T, dir string, c Config) *Broker {
	t.Helper()
	b, err := Start(dir, c, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func client(t *testing.T, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return kafkatest.Client(t, b.Addrs(), opts...)
}

// TestBrokerKeepsItsLogAndPort: records, topics, committed offsets and the address
// outlive a restart.
func TestBrokerKeepsItsLogAndPort(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, c := range []Config{{}, {Fsync: true}} {
		dir := t.TempDir()
		b := open(t, dir, c)
		addr := b.Addrs()[0]
		cl := client(t, b)
		if err := topics.Ensure(ctx, kadm.NewClient(cl), topics.All(topics.Default())); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			r := &kgo.Record{Topic: topics.Samples, Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)}
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		cl.Close()
		b.Close()

		b = open(t, dir, c)
		if b.Addrs()[0] != addr {
			t.Errorf("was at %s, is at %s", addr, b.Addrs()[0])
		}
		cl = client(t, b, kgo.ConsumeTopics(topics.Samples))
		got := map[string]bool{}
		for len(got) < 100 {
			fs := cl.PollFetches(ctx)
			if err := fs.Err0(); err != nil {
				t.Fatalf("%d records: %v", len(got), err)
			}
			fs.EachRecord(func(r *kgo.Record) { got[string(r.Value)] = true })
		}
		cl.Close()
		b.Close()
	}
}

func TestBrokerRefusesASecondProcess(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Config{})
	defer b.Close()
	if second, err := Start(dir, Config{}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err == nil {
		second.Close()
		t.Error("two brokers on one folder")
	}
}

func TestBrokerPortTaken(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port

	// One that was recorded gives way,
	if err := os.WriteFile(filepath.Join(dir, portFile), fmt.Append(nil, port), 0o644); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir, Config{})
	if _, p, _ := net.SplitHostPort(b.Addrs()[0]); p == fmt.Sprint(port) || fmt.Sprint(recordedPort(dir)) != p {
		t.Errorf("listens on %s, recorded %d", p, recordedPort(dir))
	}
	b.Close()

	// one that was asked for does not.
	if b, err := Start(dir, Config{Port: port}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err == nil {
		b.Close()
		t.Error("no error")
	}
	// The folder is free again after the failure.
	open(t, dir, Config{}).Close()
}

func TestRecordedPortIsNotTrusted(t *testing.T) {
	for text, want := range map[string]int{"29092\n": 29092, "": 0, "x": 0, "-1": 0, "65536": 0} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, portFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := recordedPort(dir); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
}

// TestBrokerIsItsOwners: both a new folder and one that others could read belong to the owner alone.
func TestBrokerIsItsOwners(t *testing.T) {
	old := filepath.Join(t.TempDir(), "old")
	if err := os.Mkdir(old, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{old, filepath.Join(t.TempDir(), "new")} {
		b := open(t, dir, Config{})
		for _, addr := range b.Addrs() {
			if host, _, err := net.SplitHostPort(addr); err != nil || !net.ParseIP(host).IsLoopback() {
				t.Errorf("listens on %s", addr)
			}
		}
		b.Close()
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
		for _, name := range []string{portFile, lockFile} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
	}
}
