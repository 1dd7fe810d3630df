//go:build engines

package endtoend

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

// How long a partition may stand still, as the median of the rounds, when its process is killed or
// stopped.
const (
	killPause  = 2500 * time.Millisecond
	stopPause  = 6 * time.Second
	takeovers  = 3                // kills, and as many stops
	standStill = 15 * time.Second // longer than Kafka's session
)

// TestTakeover: under load, one of three processes is killed (SIGKILL) and restarted later, and another is stopped
// (SIGSTOP) for longer than Kafka's session and then continued, several times each. The other processes take over the
// partitions within the bounds. All windows and notifications are right, whatever the continued process does: all changes
// are told in order, and if that process tells one late, the newest is told again after it.
func TestTakeover(t *testing.T) {
	enginetest.Reset(t, keyspace)
	pager := sinktest.NewPagerDuty(t, pagerKey)
	evidence(t, pager)
	config := beatConfig(t, pager)
	var weirs []*enginetest.Weir
	for i := range 3 {
		weirs = append(weirs, enginetest.Run(t, fmt.Sprint(i), config, "--roles", rolesButAgent))
	}
	for _, w := range weirs {
		w.Ready(t, time.Minute)
	}
	load := newFeed(t, beatEvery, beats)
	pass(t, 7*time.Second)
	var spans []span
	for i := range takeovers {
		killed := weirs[i%len(weirs)]
		kill := span{what: "kill", from: time.Now()}
		killed.Kill(t)
		pass(t, 6*time.Second)
		kill.to = time.Now()
		killed.Start(t)
		killed.Ready(t, time.Minute)
		pass(t, 4*time.Second)

		stopped := weirs[(i+1)%len(weirs)]
		stop := span{what: "stop", from: time.Now()}
		stopped.Pause(t)
		pass(t, standStill)
		stop.to = time.Now()
		stopped.Resume(t)
		pass(t, 2*time.Second)
		stopped.Ready(t, time.Minute)
		pass(t, 4*time.Second)
		spans = append(spans, kill, stop)
	}
	load.stop(t)
	want := checkBeats(t, pager, load.samples, checkPagerLate)
	routed, closed := pulses(t)
	paused := map[string][]time.Duration{}
	for _, s := range spans {
		route, routeOf := routed.pause(s)
		window, windowOf := closed.pause(s)
		told, err := delays(t, pager, want, s.from, s.to)
		if err != nil || len(told) == 0 {
			t.Fatalf("%s: %d changes of alerts were told, %v", s.what, len(told), err)
		}
		t.Logf("%s: metrics/%d stood still for %v, samples/%d for %v; %d changes of alerts were told, the slowest %v after its window",
			s.what, routeOf, route, windowOf, window, len(told), slices.Max(told).Round(time.Millisecond))
		paused[s.what] = append(paused[s.what], max(route, window))
	}
	for what, bound := range map[string]time.Duration{"kill": killPause, "stop": stopPause} {
		slices.Sort(paused[what])
		pause := paused[what][takeovers/2]
		t.Logf("%s: the median of the longest pauses is %v", what, pause)
		if pause > bound {
			t.Errorf("%s: a partition stood still for %v, want at most %v", what, paused[what], bound)
		}
	}
}
