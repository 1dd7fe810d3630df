package simulation

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// threeHosts is a world in which nothing fails, with all hosts in one partition.
func threeHosts() *World {
	return newWorld(Params{Seed: 7, Hosts: 3, Metrics: 3, Shards: 1, Alerts: 1, Routers: 1, Machines: 1, Chunk: 1000, MaxAge: 86400, Future: 60})
}

// second plays a second: some hosts send, everything is delivered, and ticks are written.
func (w *World) second(hosts ...int) {
	for _, h := range hosts {
		w.do(Op{"send", [5]int{h, h, 0, 1}})
	}
	w.settle()
	w.ticks()
	w.do(Op{"wait", [5]int{1000}})
}

func (w *World) ticks() {
	for r := range int(roles) {
		w.do(Op{"tick", [5]int{r, 0}})
	}
	w.settle()
}

// emittedOf returns the values of a topic under a key.
func (w *World) emittedOf(name, key string) (values []string) {
	for _, log := range w.topics[name].parts {
		for _, r := range log {
			if string(r.Key) == key {
				values = append(values, string(r.Value))
			}
		}
	}
	return values
}

// TestWrongClocksHarmOnlyThemselves: next to a host whose clock is five minutes fast and one whose
// clock is five minutes slow, a third host has the same windows, at the same times, as next to
// right clocks. The slow host's windows are complete when they close; the fast host's samples are
// refused.
func TestWrongClocksHarmOnlyThemselves(t *testing.T) {
	play := func(skewMS int) *World {
		w := threeHosts()
		w.do(Op{"hskew", [5]int{1, skewMS}})
		w.do(Op{"hskew", [5]int{2, -skewMS}})
		for range 200 {
			w.second(0, 1, 2)
		}
		w.finish()
		if err := w.check(); err != nil {
			t.Fatalf("clocks off by %d ms: %v", skewMS, err)
		}
		return w
	}
	right, wrong := play(0), play(300_000)
	want, got := right.emittedOf(topics.Windows, "h0"), wrong.emittedOf(topics.Windows, "h0")
	if len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("h0 has %d values next to wrong clocks and %d next to right ones, or they differ", len(got), len(want))
	}
	if n := len(right.topics[topics.DeadLetter].parts[0]); n != 0 {
		t.Errorf("%d dead letters with right clocks", n)
	}
	counts := wrong.counted()
	if perHost := 200 * 4; wrong.stats.Refused != perHost || counts["future"] == 0 || wrong.stats.Late != 0 || wrong.stats.Applied != 2*perHost {
		t.Errorf("refused %d, late %d, applied %d; want %d, 0, %d", wrong.stats.Refused, wrong.stats.Late, wrong.stats.Applied, perHost, 2*perHost)
	}
	for k, r := range wrong.store.rows {
		if host := schemas.GroupOf(r.window.Series, schemas.GroupLabels); host == "h1" || k.part != 0 || r.window.Revision != 0 {
			t.Fatalf("%s %d: part %d revision %d", k.series, k.startMS-epochMS, k.part, r.window.Revision)
		}
	}
}

// TestBacklog: an hour of samples waits, in the topic samples because no window processor ran, or
// in metrics because no route ran (writeback.Options.Behind then keeps the clock from closing
// windows). After weir has caught up, in small steps with ticks between them, no window has closed
// early, and the alerts are those of a batch evaluation: none ended for want of data.
func TestBacklog(t *testing.T) {
	for name, c := range map[string]struct {
		hold    func(w *World) // plays ten seconds of the outage
		catchUp func(w *World)
	}{
		"in samples": {
			func(w *World) {
				w.do(Op{"poll", [5]int{0, 10}})
				w.do(Op{"put", [5]int{0, 0, 10, 10}})
				w.do(Op{"commit", [5]int{0}})
			},
			func(w *World) {
				w.do(Op{"kill", [5]int{0, 0, 0, 0}}) // the window processor was down
				for w.do(Op{"read", [5]int{int(windowRole), 0, 0, 7}}) {
					for r := range int(roles) {
						w.do(Op{"tick", [5]int{r, 0}})
					}
					for _, q := range w.member(windowRole, 0).out.queues {
						q.put(100, 100)
					}
				}
			}},
		"in metrics": {
			func(*World) {},
			func(w *World) {
				for w.do(Op{"poll", [5]int{0, 5}}) {
					w.do(Op{"put", [5]int{0, 0, 10, 10}})
					w.do(Op{"wait", [5]int{50}})
					w.do(Op{"read", [5]int{int(windowRole), 0, 0, 100}})
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			w := threeHosts()
			for range 60 {
				w.second(0, 1, 2)
			}
			for range 360 {
				for h := range w.hosts {
					w.do(Op{"send", [5]int{h, h, 0, 1}})
				}
				c.hold(w)
				w.do(Op{"wait", [5]int{10_000}})
			}
			c.catchUp(w)
			for range 60 {
				w.second(0, 1, 2)
			}
			w.finish()
			// keep_firing_for depends on when conditions arrive (processors/alert/doc.go), so it
			// ends no alert during a backlog.
			kept := func(t transition) bool { return strings.HasPrefix(t.alert, "sim/sticky") }
			w.compareTransitions(w.told(), slices.DeleteFunc(alertOracle(w.tiers, w.params.Rules, w.store.merged()), kept), kept)
			if err := w.check(); err != nil {
				t.Fatal(err)
			}
			if w.stats.Late > 0 || w.stats.Refused > 0 || w.stats.Transitions < 50 {
				t.Errorf("%d samples were late, %d refused; %d transitions", w.stats.Late, w.stats.Refused, w.stats.Transitions)
			}
			for at, told := range w.told() {
				if told.Reason == "no data" && at.atMS < epochMS+3600_000 {
					t.Errorf("%s for want of data", at)
				}
			}
		})
	}
}

// TestClockOfAProcess: the clock of the process that keeps the windows is an hour off, and steps;
// the log holds ticks of even worse clocks. All alerts, with keep_firing_for or without, make the
// transitions that they make with right clocks, and no sample is late.
func TestClockOfAProcess(t *testing.T) {
	play := func(clocks ...int) *World {
		p := threeHosts().params
		p.Machines = 2
		w := newWorld(p)
		w.do(Op{"move", [5]int{int(alertRole), 1, 0}})
		w.do(Op{"leave", [5]int{int(alertRole), 0, 0}})
		for i := range 300 {
			if len(clocks) > 0 && i%40 == 20 {
				w.do(Op{"clock", [5]int{0, clocks[i/40%len(clocks)]}})
			}
			if len(clocks) > 0 && i%7 == 0 {
				w.do(Op{"strange", [5]int{i / 7 % 2, 0, i / 7 % len(wrongTicks)}})
			}
			w.second(0, 1, 2)
			w.do(Op{"tick", [5]int{int(alertRole), 1}})
			w.settle()
		}
		w.finish()
		if err := w.check(); err != nil {
			t.Fatalf("clocks off by %d: %v", clocks, err)
		}
		return w
	}
	want := play().told()
	for _, clocks := range [][]int{{3600_000}, {-3600_000}, {3600_000, 0, -3600_000, 40_000}} {
		w := play(clocks...)
		if got := w.told(); !maps.Equal(got, want) || len(want) < 100 || w.stats.Late > 0 || w.stats.Refused > 0 {
			t.Errorf("clocks off by %d: %d transitions, want the same %d; %d samples late, %d refused", clocks, len(got), len(want), w.stats.Late, w.stats.Refused)
		}
	}
}
