package pipelines

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// TestOtherTiers: a process whose state was kept for other tiers says so once, and what to do, and does not try again for ever.
// Its other roles run, and no group is lost: with the tiers put back, and with the table deleted, it runs again.
func TestOtherTiers(t *testing.T) {
	cluster := kafkatest.Cluster(t, kafkatest.Quick())
	p := process(t, cluster.ListenAddrs()...)
	p.Roles = []string{"route", "window"}
	before := p.Config.Windows.Tiers
	fill(t, p, 20)

	start := func(tiers []windows.Tier, log slog.Handler) (*Process, func()) {
		c := *p.Config
		c.Windows.Tiers, c.HTTP, c.Data = tiers, freeAddress(t), t.TempDir()
		again := &Process{Config: &c, Rules: p.Rules, Roles: p.Roles, Out: p.Out, Log: slog.New(log)}
		done, stop := runs(t, again)
		return again, func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	day := windows.Tier{Size: conf.Duration(24 * time.Hour), Grace: conf.Duration(time.Minute), TTL: conf.Duration(1000 * 24 * time.Hour)}
	resized := slices.Clone(before)
	resized[2].Size = conf.Duration(2 * time.Hour)
	for _, other := range []struct {
		tiers []windows.Tier
		has   string
	}{
		{append(slices.Clone(before), day), "10s, 1m, 1h, 1d"},
		{resized, "10s, 1m, 2h"},
		{before[:2], "10s, 1m"},
	} {
		var lines errorLines
		q, stop := start(other.tiers, &lines)
		await(t, q, func(r readiness) bool {
			why := r.NotReady["window"]
			return len(r.NotReady) == 1 && strings.HasPrefix(why, "stopped: ") && strings.Contains(why, "10s, 1m, 1h, the config has "+other.has+".") &&
				strings.Contains(why, "restore windows.tiers") && strings.Contains(why, "delete the topic "+topics.WindowTable)
		})
		for _, zero := range []string{"weir_pipelines_role_restarts_total", "weir_writeback_lost_values_total"} {
			if n := total(t, q.reg, zero); n != 0 {
				t.Errorf("%s: %s is %v", other.has, zero, n)
			}
		}
		stop()
		if got := lines.all(); len(got) != 1 {
			t.Errorf("%s: %d errors in the log, want 1: %q", other.has, len(got), got)
		}
	}
	adm := kadm.NewClient(kafkatest.Client(t, cluster.ListenAddrs()))
	ends, err := adm.ListEndOffsets(t.Context(), topics.DeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			t.Errorf("%d letters in %s/%d", o.Offset, o.Topic, o.Partition)
		}
	})

	same, stop := start(before, slog.DiscardHandler)
	await(t, same, func(r readiness) bool { return r.Ready })
	stop()
	if _, err := adm.DeleteTopics(context.Background(), topics.WindowTable); err != nil {
		t.Fatal(err)
	}
	fresh, stop := start(append(slices.Clone(before), day), slog.DiscardHandler)
	await(t, fresh, func(r readiness) bool { return r.Ready })
	stop()
}

// errorLines is a log of errors.
type errorLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *errorLines) Enabled(_ context.Context, at slog.Level) bool { return at >= slog.LevelError }
func (l *errorLines) WithAttrs([]slog.Attr) slog.Handler            { return l }
func (l *errorLines) WithGroup(string) slog.Handler                 { return l }
func (l *errorLines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Message)
	return nil
}

func (l *errorLines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}
