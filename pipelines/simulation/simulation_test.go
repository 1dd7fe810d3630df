package simulation

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected results in the trace files")

func env(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// TestSeeds plays the runs of WEIR_SEEDS seeds, from WEIR_SEED on.
func TestSeeds(t *testing.T) {
	from, runs := env("WEIR_SEED", 1), env("WEIR_SEEDS", defaultSeeds)
	t.Logf("seeds %d to %d (WEIR_SEED and WEIR_SEEDS choose others)", from, from+runs-1)
	var all Stats
	for seed := from; seed < from+runs; seed++ {
		r := Seed(seed)
		if r.Err != nil {
			small := r.Shrink(400)
			t.Fatalf("seed %d: %v\n%d ops, shrunk to %d:\n%s\n%v", seed, r.Err, len(r.Ops), len(small.Ops), small.Trace(), small.Err)
		}
		all.Add(r.Stats)
	}
	t.Logf("%+v", all)
	for what, n := range map[string]int{"late samples": all.Late, "refused samples": all.Refused, "dropped samples": all.Dropped,
		"kills": all.Kills, "moves": all.Moves, "records processed by zombies": all.ZombieReads, "calm parts": all.Calm,
		"collapsed samples": all.Collapsed, "samples beyond a limit": all.Limited} {
		if n == 0 && from == 1 && runs >= 20 {
			t.Errorf("no %s in %d runs", what, runs)
		}
	}
	for what, n := range map[string]int{"wrong clocks": all.WrongClocks, "rubbish": all.Rubbish, "aborted records": all.Aborted,
		"broken stores": all.Broken, "harmed keys": all.Harmed, "lost values": all.Lost, "poisoned tables": all.Poisoned} {
		if n == 0 && all.Ops > 200_000 {
			t.Errorf("no %s in %d steps", what, all.Ops)
		}
	}
}

// TestSameSeedSameRun: a seed always gives the same run, and so do its ops, without the seed.
func TestSameSeedSameRun(t *testing.T) {
	for seed := uint64(1); seed <= 12; seed++ {
		a, b := Seed(seed), Seed(seed)
		if a.Trace() != b.Trace() || a.Stats != b.Stats {
			t.Errorf("seed %d: two runs differ: %+v and %+v", seed, a.Stats, b.Stats)
		}
		params, ops, err := ParseTrace(a.Trace())
		if err != nil {
			t.Fatal(err)
		}
		if c := Replay(params, ops); c.Stats != a.Stats {
			t.Errorf("seed %d: the run gives %+v, its trace %+v", seed, a.Stats, c.Stats)
		}
	}
}

// TestTraces plays testdata/*.trace. Each is the shrunk run of a former violation: comments, a
// world, ops, and, after ----, the expected result.
func TestTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/*.trace")
	if err != nil || len(files) == 0 {
		t.Fatal("no traces:", err)
	}
	page, err := os.ReadFile("../../docs/exactness.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.Contains(string(page), "\n| "+filepath.Base(file)) {
			t.Errorf("docs/exactness.md does not list %s", file)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".trace"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			trace, want, _ := strings.Cut(string(b), "----\n")
			params, ops, err := ParseTrace(trace)
			if err != nil {
				t.Fatal(err)
			}
			r := Replay(params, ops)
			got := fmt.Sprintf("%v\n", r.Err)
			if s := r.Stats; r.Err == nil {
				got = fmt.Sprintf("sent %d, applied %d, refused %d, dropped %d; %d windows, %d transitions\n",
					s.Sent, s.Applied, s.Refused, s.Dropped, s.Windows, s.Transitions)
			}
			if *rewrite && r.Err == nil {
				if err := os.WriteFile(file, []byte(trace+"----\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got  %swant %s", got, want)
			}
		})
	}
}

// busyWorld plays some ops that leave records in every topic. Its hosts have more series than max_series.
func busyWorld(t *testing.T) *World {
	t.Helper()
	w := newWorld(Params{Seed: 5, Hosts: 2, Metrics: 2, Shards: 2, Alerts: 2, Routers: 1, Machines: 2, Chunk: 1000, MaxAge: 3600, Future: 20,
		Paths: 5, MaxSeries: 4, Rate: 8})
	for i := range 60 {
		w.do(Op{"send", [5]int{i % 2, i % 2, 0, 1}})
		w.settle()
		w.do(Op{"wait", [5]int{2000}})
	}
	w.do(Op{"send", [5]int{0, 0, 60_000, 1}}) // refused
	w.finish()
	return w
}

// TestChecksFind: each check finds the fault that it exists for.
func TestChecksFind(t *testing.T) {
	if err := busyWorld(t).check(); err != nil {
		t.Fatalf("nothing was harmed: %v", err)
	}
	last := func(w *World, name string) (*kgo.Record, func()) {
		for p, log := range w.topics[name].parts {
			for i := len(log) - 1; i >= 0; i-- {
				if len(log[i].Key) > 0 {
					return log[i], func() { w.topics[name].parts[p] = append(log[:i:i], log[i+1:]...) }
				}
			}
		}
		t.Fatalf("nothing in %s", name)
		return nil, nil
	}
	for name, c := range map[string]struct {
		harm func(w *World)
		says string
	}{
		"a window is missing":    {func(w *World) { _, drop := last(w, topics.Windows); drop() }, "windows: key"},
		"a condition is missing": {func(w *World) { _, drop := last(w, topics.Conditions); drop() }, "conditions: key"},
		"an alert is missing":    {func(w *World) { _, drop := last(w, topics.Alerts); drop() }, "alerts: key"},
		"a letter is missing":    {func(w *World) { _, drop := last(w, topics.DeadLetter); drop() }, "deadletter:"},
		"an alert is altered": {func(w *World) {
			r, _ := last(w, topics.Alerts)
			r.Value = append(append([]byte(nil), r.Value...), ' ')
		}, "alerts: key"},
		"a row is lost": {func(w *World) {
			for k, r := range w.store.rows {
				if !isOverflow(r.window.Series) {
					delete(w.store.rows, k)
					return
				}
			}
		}, "tables:"},
		"a row is wrong": {func(w *World) {
			for k, r := range w.store.rows {
				if !isOverflow(r.window.Series) {
					r.window.Count++
					w.store.rows[k] = r
					return
				}
			}
		}, "tables:"},
		"a row of collapsed series is wrong": {func(w *World) {
			for k, r := range w.store.rows {
				if isOverflow(r.window.Series) {
					r.window.Max += 1000
					w.store.rows[k] = r
					return
				}
			}
		}, "tables:"},
		"a collapsed sample is not counted as one": {func(w *World) {
			for k, r := range w.store.rows {
				if isOverflow(r.window.Series) && r.window.TierMS == w.tiers[0] {
					r.window.Count++
					w.store.rows[k] = r
					return
				}
			}
		}, "in overflow series"},
		"a group has a series too many": {func(w *World) {
			for k, r := range w.store.rows {
				if r.window.TierMS == w.tiers[len(w.tiers)-1] {
					r.window.Series.Metric = "e"
					k.series = r.window.Series.String()
					w.store.rows[k] = r
				}
			}
		}, "limits:"},
		"a window has a sample too many": {func(w *World) {
			for k, r := range w.store.rows {
				if r.window.TierMS == w.tiers[0] {
					r.window.Count += 80
					w.store.rows[k] = r
					return
				}
			}
		}, "limits:"},
		"a row is written twice": {func(w *World) {
			for _, r := range w.store.rows {
				r.window.Last++
				w.store.write(&r.window)
				return
			}
		}, "one stamp, two rows"},
		"a record is not routed": {func(w *World) { w.metrics[0] = append(w.metrics[0], w.metrics[1][3]) }, "samples:"},
		"a sample is not applied": {func(w *World) {
			var all []schemas.Sample
			for _, r := range w.metrics[0] {
				all = append(all, r.samples...)
			}
			w.metrics[0] = nil
			for i := range all {
				w.metrics[0] = append(w.metrics[0], metricsRecord{samples: all[i : i+1]})
			}
		}, "samples:"},
		"a transition is told in two ways": {func(w *World) {
			for _, log := range w.topics[topics.Alerts].parts {
				for _, r := range log {
					if a, err := schemas.DecodeDoc[schemas.Alert](r.Value); err == nil {
						a.Last.Reason = "no reason"
						w.topics[topics.Alerts].append(&kgo.Record{Topic: topics.Alerts, Partition: r.Partition, Key: r.Key, Value: schemas.EncodeDoc(a)})
						w.checkTransitions(nil, false)
						return
					}
				}
			}
		}, "told as"},
		"an alert is not in the batch evaluation": {func(w *World) {
			w.reset, w.prompt, w.silence = epochMS-1, true, 600_000
			w.checkTransitions(nil, false)
		}, "a batch evaluation does not have it"},
	} {
		t.Run(name, func(t *testing.T) {
			w := busyWorld(t)
			c.harm(w)
			if err := w.check(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// TestShrink: shrinking keeps only the ops that the violation needs.
func TestShrink(t *testing.T) {
	r := Seed(4)
	bad := Op{Verb: "send", Args: [5]int{0, 0, 0, 1}}
	r.Ops = append(r.Ops, bad, Op{Verb: "nonsense"})
	failed := Replay(r.Params, r.Ops)
	small := failed.Shrink(300)
	if failed.Err == nil || small.Err == nil || len(small.Ops) != 1 || small.Ops[0].Verb != "nonsense" {
		t.Errorf("%d ops, %v; want the last op alone", len(small.Ops), small.Err)
	}
}

func TestParseTraceTellsTheLine(t *testing.T) {
	good := Params{Hosts: 1, Metrics: 1, Shards: 1, Alerts: 1, Routers: 1, Machines: 1, Chunk: 1}.String()
	for text, says := range map[string]string{
		"world seed=1": `"world seed=1"`,
		strings.Replace(good, "hosts=1", "hosts=0", 1): "out of bounds",
		strings.Replace(good, "hosts=1", "hosts=x", 1): `"hosts=x"`,
		good + "\nfly 1":  `"fly 1": no such verb`,
		good + "\nwait":   "wants wait ms",
		good + "\nwait x": `"wait x"`,
	} {
		if _, _, err := ParseTrace(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}
