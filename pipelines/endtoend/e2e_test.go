package endtoend

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/sinks/embedded"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// process is a whole weir, with embedded broker and tiers, inside the test's process.
type process struct {
	url  string
	stop func()
}

// start runs all roles but the agent with a config file, and returns when /readyz reports that
// they are ready.
func start(t testing.TB, file string, config *pipelines.Config) *process {
	t.Helper()
	loaded, rules, err := pipelines.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	*config = *loaded
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if err := config.Override(pipelines.Overrides{HTTP: addr, Data: filepath.Join(filepath.Dir(file), "data")}); err != nil {
		t.Fatal(err)
	}
	roles := slices.DeleteFunc(slices.Clone(pipelines.Roles), func(r string) bool { return r == "agent" })
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	weir := pipelines.Process{Config: config, Rules: rules, Roles: roles, Out: io.Discard, Log: log}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- weir.Run(ctx) }()
	stopped := false
	p := &process{url: "http://" + addr}
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("weir ended: %v", err)
		}
	}
	t.Cleanup(p.stop)
	kafkatest.Until(t, 30*time.Second, func() error {
		resp, err := http.Get(p.url + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz: %s: %s", resp.Status, body)
		}
		return nil
	})
	return p
}

// checkStore opens the embedded tiers of a weir that has stopped, and compares every column
// with the oracle.
func (s *scenario) checkStore(t *testing.T, config *pipelines.Config) {
	t.Helper()
	var tiers []cql.Tier
	for _, tier := range config.Windows.Tiers {
		tiers = append(tiers, cql.Tier{SizeMS: tier.Size.MS(), TTL: tier.TTL.Std()})
	}
	store, err := embedded.Open(filepath.Join(config.Data, "tiers"), tiers, time.Now, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, f := range s.files {
		var got []schemas.Window
		series := nabSeries(f.name)
		for _, tier := range tiers {
			ws, err := store.ReadWindows(context.Background(), schemas.GroupOf(series, config.Route.GroupLabels), series,
				tier.SizeMS, 0, s.endMS, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ws...)
		}
		if err := windowtest.Compare(got, s.wanted[f.name]); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

func writeConfig(t testing.TB, dir, text string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestEndToEnd sends real metrics through all of weir: every window of every tier matches the
// oracle, each receiver is told every alert once, and a restart changes nothing.
func TestEndToEnd(t *testing.T) {
	s := newScenario(t)
	dir := t.TempDir()
	file := writeConfig(t, dir, s.config(t, dir, 1))
	var config pipelines.Config
	p := start(t, file, &config)
	for _, f := range s.files {
		post(t, p.url, s.samples(t, f), 500)
	}
	s.closeAll(t, p.url)
	kafkatest.Until(t, 30*time.Second, func() error { return s.checkAPI(p.url) })
	kafkatest.Until(t, 30*time.Second, s.checkTold)
	p.stop()
	s.checkStore(t, &config)

	p = start(t, file, &config)
	s.probe(t, p.url)
	kafkatest.Until(t, 30*time.Second, s.checkTold)
	if err := s.checkAPI(p.url); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	p.stop()
	s.checkStore(t, &config)
}

// TestEndToEndOutOfOrder cuts the same samples into pieces of up to a few hours and sends them in
// random order, over several partitions: windows are revised, late samples become late partials,
// and every merged window still matches the oracle. A repeat is recognized only while its window
// is kept, so rows with the same time stay in one piece.
func TestEndToEndOutOfOrder(t *testing.T) {
	s := newScenario(t)
	dir := t.TempDir()
	file := writeConfig(t, dir, s.config(t, dir, 4))
	var config pipelines.Config
	p := start(t, file, &config)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var pieces [][]schemas.Sample
	for _, f := range s.files {
		samples := s.samples(t, f)
		for len(samples) > 0 {
			n := min(1+rnd.IntN(100), len(samples))
			for n < len(samples) && samples[n].TimeMS == samples[n-1].TimeMS {
				n++
			}
			pieces = append(pieces, samples[:n])
			samples = samples[n:]
		}
	}
	rnd.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
	for _, piece := range pieces {
		postOne(t, p.url, piece)
	}
	s.closeAll(t, p.url)
	kafkatest.Until(t, 60*time.Second, func() error { return s.checkAPI(p.url) })
	p.stop()
	s.checkStore(t, &config)
}
