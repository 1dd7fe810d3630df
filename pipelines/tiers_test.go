package pipelines

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// TestOtherTiers: a process whose state was kept for other tiers says so, and what to do, and does not try again for ever. Its
// other roles run. With the tiers put back, and with the table deleted, it runs again.
func TestOtherTiers(t *testing.T) {
	cluster := kafkatest.Cluster(t, kafkatest.Quick())
	p := process(t, cluster.ListenAddrs()...)
	p.Roles = []string{"route", "window"}
	before := p.Config.Windows.Tiers
	fill(t, p, 20)

	start := func(tiers []windows.Tier) (*Process, func()) {
		c := *p.Config
		c.Windows.Tiers, c.HTTP, c.Data = tiers, freeAddress(t), t.TempDir()
		again := &Process{Config: &c, Rules: p.Rules, Roles: p.Roles, Out: p.Out, Log: slog.New(slog.DiscardHandler)}
		done, stop := runs(t, again)
		return again, func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	day := windows.Tier{Size: conf.Duration(24 * time.Hour), Grace: conf.Duration(time.Minute), TTL: conf.Duration(1000 * 24 * time.Hour)}
	other, stop := start(append(slices.Clone(before), day))
	await(t, other, func(r readiness) bool {
		why := r.NotReady["window"]
		return len(r.NotReady) == 1 && strings.HasPrefix(why, "stopped: ") && strings.Contains(why, "10s, 1m, 1h, the config has 10s, 1m, 1h, 1d") &&
			strings.Contains(why, "restore windows.tiers") && strings.Contains(why, "delete the topic "+topics.WindowTable)
	})
	if n := total(t, other.reg, "weir_pipelines_role_restarts_total"); n != 0 {
		t.Errorf("%v restarts", n)
	}
	stop()
	same, stop := start(before)
	await(t, same, func(r readiness) bool { return r.Ready })
	stop()

	adm := kadm.NewClient(kafkatest.Client(t, cluster.ListenAddrs()))
	if _, err := adm.DeleteTopics(context.Background(), topics.WindowTable); err != nil {
		t.Fatal(err)
	}
	other, stop = start(append(slices.Clone(before), day))
	await(t, other, func(r readiness) bool { return r.Ready })
	stop()
}
