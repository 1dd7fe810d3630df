package window

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/windows"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// TestNothingClosesWhileRouteIsBehind: windows that are due by the clock wait as long as samples are held up upstream, and
// close complete when the samples have come.
func TestNothingClosesWhileRouteIsBehind(t *testing.T) {
	s := newStage(t, "groups: []")
	var behind atomic.Bool
	var asked atomic.Int64
	behind.Store(true)
	stop := s.start(t.TempDir(), func(t *schemas.Tick) { asked.Add(1); t.Unknown = behind.Load() })
	defer stop(nil)
	now := time.Now().UnixMilli()
	from := now - now%3600_000 - 2*3600_000
	rounds := hosts(rand.New(rand.NewPCG(1, 1)), 5, 2, 9, from, 1000)
	waits := len(rounds) - 3
	for _, r := range rounds[:waits] { // these arrived when they were new, two hours ago
		s.send(r, r[0].TimeMS)
	}
	sent := len(flatten(rounds[:waits]))
	kafkatest.Eventually(s.t, "the samples are counted", func() bool { return s.counted() == int64(sent) })
	before := asked.Load()
	kafkatest.Eventually(s.t, "windows were due 20 times", func() bool { return asked.Load() > before+20 })
	if s.readWindows(); s.emitted != 0 {
		t.Fatalf("%d windows closed", s.emitted)
	}
	for _, r := range rounds[waits:] {
		s.send(r, r[0].TimeMS)
	}
	kafkatest.Eventually(s.t, "the others are counted", func() bool { return s.counted() == int64(len(flatten(rounds))) })
	behind.Store(false)
	cfg := windows.Default()
	want := windowtest.Oracle(flatten(rounds), cfg.TiersMS()...)
	kafkatest.Eventually(s.t, "all windows closed", func() bool { s.readWindows(); return s.emitted >= len(want) })
	if err := windowtest.Compare(s.merged.Windows(), want); err != nil || s.emitted != len(want) {
		t.Errorf("%d windows emitted, want %d, each once: %v", s.emitted, len(want), err)
	}
}
