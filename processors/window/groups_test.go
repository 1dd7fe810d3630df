package window

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/windows"
)

// checkpoint writes back what changed, and commits.
func (b *bench) checkpoint() {
	b.t.Helper()
	offset := b.driven.Begin(0)
	for b.driven.Flush(0) {
	}
	b.driven.Marked(0, offset)
	if err := b.driven.Failed(); err != nil {
		b.t.Fatal(err)
	}
}

// sourceOf returns the source of a changelog record, whose key also names the writer.
func sourceOf(r *kgo.Record) string {
	key, _, _ := strings.Cut(string(r.Key), "\x00")
	return key
}

// values counts the live values of the partition and what they hold.
func (b *bench) values() (all, open, series, groups int) {
	b.spy.part.Values(func(e *entry) {
		all++
		series += e.V.windows.Series()
		if e.V.windows.DueMS() != 0 || e.V.rules.DueMS() != 0 {
			open++
		}
		if !e.V.windows.Fresh() {
			groups++
		}
	})
	return all, open, series, groups
}

// countsAgree compares the running counts of the partition with its values.
func (b *bench) countsAgree(when string) {
	b.t.Helper()
	loc := b.spy.opened[len(b.spy.opened)-1]
	_, open, series, groups := b.values()
	if int(loc.open.Load()) != open || loc.core.Series() != series || loc.core.Groups() != groups {
		b.t.Errorf("%s: %d open groups, %d series and %d groups are counted, there are %d, %d and %d", when,
			loc.open.Load(), loc.core.Series(), loc.core.Groups(), open, series, groups)
	}
}

// TestRefusedSourcesLeaveNothing: a source of which nothing was ever counted leaves nothing, neither in memory nor in the
// table. Known sources continue, and the refused one is counted when there is room.
func TestRefusedSourcesLeaveNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		limit  func(c *windows.Config)
		ageMS  int64
		reason string
	}{
		"max_series_total": {func(c *windows.Config) { c.MaxSeriesTotal = 1 }, 0, "total_limit"},
		"max_groups":       {func(c *windows.Config) { c.MaxGroups = 1 }, 0, "group_limit"},
		"max_future":       {func(*windows.Config) {}, -5 * 60_000, "future"},
		"max_age":          {func(*windows.Config) {}, 3 * 86400_000, "too_old"},
	} {
		cfg := windows.Default()
		tc.limit(&cfg)
		b := newBench(t, cfg)
		b.send("known", 0, 0, "up")
		const hosts = 2000
		for i := range hosts {
			b.send(fmt.Sprintf("h%d", i), 1, tc.ageMS, "up")
			if i%100 == 0 {
				b.send("known", 0, 0, "up")
			}
			if i%700 == 0 {
				b.checkpoint()
			}
		}
		b.checkpoint()
		if all, _, _, groups := b.values(); all != 1 || groups != 1 {
			t.Errorf("%s: %d values are live, %d groups", name, all, groups)
		}
		for _, r := range b.table {
			if sourceOf(r) != "known" {
				t.Fatalf("%s: %s is written to the table", name, r.Key)
			}
		}
		if n := b.counter("weir_window_samples_total", tc.reason); n != hosts {
			t.Errorf("%s: %v samples counted as %s", name, n, tc.reason)
		}
		if n := len(b.watch().sources(b.nowMS)); n > maxNamed+2*topSources {
			t.Errorf("%s: %d sources are named", name, n)
		}
		b.countsAgree(name)
		if tc.reason == "future" || tc.reason == "too_old" {
			b.send("h1", 1, 0, "up")
			if all, _, _, groups := b.values(); all != 2 || groups != 2 {
				t.Errorf("%s: a source that was refused is not accepted later: %d values", name, all)
			}
		}
	}
}

// TestCountsWhenAPartitionComesBack: open groups, series and groups are counted once, also when a partition leaves and comes
// back with what another owner has written and deleted.
func TestCountsWhenAPartitionComesBack(t *testing.T) {
	b := newBench(t, windows.Default())
	for i := range 30 {
		b.send(fmt.Sprintf("h%d", i), 10, 0, "up", `cpu{cpu="0"}`)
	}
	b.checkpoint()
	b.countsAgree("before")
	for round := range 5 {
		newest := map[string]*kgo.Record{}
		for _, r := range b.table {
			newest[sourceOf(r)] = r
		}
		if err := b.driven.Close(0); err != nil {
			t.Fatal(err)
		}
		if _, err := b.driven.Open(0); err != nil {
			t.Fatal(err)
		}
		for i := range 10 { // another owner wrote these, at a later offset of the table, and deleted some
			key := fmt.Sprintf("h%d", (i+7*round)%30)
			r := &kgo.Record{Key: append([]byte(key), "\x00wanother"...)[:len(newest[key].Key)], Value: newest[key].Value, Offset: int64(len(b.table))}
			if i == 0 {
				r.Key, r.Value = newest[key].Key, nil
			}
			b.table = append(b.table, r)
			if err := b.driven.Load(0, r); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.driven.Recovered(0); err != nil {
			t.Fatal(err)
		}
		b.driven.Joined()
		b.send("h29", 10, 0, "up")
		b.countsAgree(fmt.Sprintf("round %d", round))
		for i := range 30 {
			b.send(fmt.Sprintf("h%d", i), 10, 0, "up", fmt.Sprintf(`cpu{cpu="%d"}`, round))
		}
		b.checkpoint()
	}
	b.countsAgree("after")
}
