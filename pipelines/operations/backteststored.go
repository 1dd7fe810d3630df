package operations

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/alerts/backtest"
	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
)

// storedSpanMS is the length of a report on windows that weir kept, unless another is asked for: the last day.
const storedSpanMS = 24 * 3600_000

func lastDay() (fromMS, toMS int64) {
	now := time.Now().UnixMilli()
	return now - storedSpanMS, now
}

// reads returns the metrics that the rules of a backtest read, by tier, and how far back the rules look, ms.
func reads(c *backtest.Config) (byTier map[int64][]string, historyMS int64) {
	byTier = map[int64][]string{}
	for _, rules := range []*alerts.RuleSet{c.Rules, c.Against} {
		if rules == nil {
			continue
		}
		for _, r := range rules.Reads() {
			historyMS = max(historyMS, r.HistoryMS)
			for _, m := range r.Metrics {
				if !slices.Contains(byTier[r.TierMS], m) {
					byTier[r.TierMS] = append(byTier[r.TierMS], m)
				}
			}
		}
	}
	return byTier, historyMS
}

// closing holds windows of one series group, tier and end, which closed at the same time.
type closing struct {
	atMS, tierMS, endMS int64
	group               string
	windows             []schemas.Window
}

// closingQueue passes windows to a backtest in the order in which they closed. It holds them until no earlier ones can come.
type closingQueue struct {
	to      *backtest.Backtest
	waiting []closing
}

// playBefore plays the windows that closed before a time, and returns their number.
func (q *closingQueue) playBefore(ms int64) (n int) {
	slices.SortStableFunc(q.waiting, func(a, b closing) int {
		return cmp.Or(cmp.Compare(a.atMS, b.atMS), cmp.Compare(a.tierMS, b.tierMS), cmp.Compare(a.endMS, b.endMS), strings.Compare(a.group, b.group))
	})
	for len(q.waiting) > 0 && q.waiting[0].atMS < ms {
		first := q.waiting[0]
		ws := first.windows
		for q.waiting = q.waiting[1:]; len(q.waiting) > 0; q.waiting = q.waiting[1:] {
			next := &q.waiting[0]
			if next.atMS != first.atMS || next.tierMS != first.tierMS || next.endMS != first.endMS || next.group != first.group {
				break
			}
			ws = append(ws, next.windows...)
		}
		q.to.Windows(first.group, first.atMS, first.tierMS, first.endMS, ws)
		n += len(ws)
	}
	return n
}

// tablesSource plays windows of the tier store.
type tablesSource struct {
	config *pipelines.Config
	only   func(schemas.Series) bool // which series to play; nil: all
}

func (s *tablesSource) hints() []string { return nil }

func (s *tablesSource) span(context.Context, *progress) (fromMS, toMS int64, err error) {
	fromMS, toMS = lastDay()
	return fromMS, toMS, nil
}

// stored is a series in the store, and a tier in which rules read it.
type stored struct {
	series  schemas.Series
	source  string
	tierMS  int64
	graceMS int64
}

// chunkWindows is roughly the number of windows that are held at once.
const chunkWindows = 200_000

func (s *tablesSource) play(ctx context.Context, to *backtest.Backtest, c *backtest.Config, say *progress) error {
	say.what = "windows"
	store, err := pipelines.OpenTiers(s.config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // it was only read
	all, historyMS, err := list(ctx, store, c)
	if err != nil {
		return err
	}
	if s.only != nil {
		all = slices.DeleteFunc(all, func(x stored) bool { return !s.only(x.series) })
	}
	from := c.FromMS - historyMS
	smallest := c.Windows.Tiers[0].Size.MS()
	chunk := max(60, chunkWindows/int64(max(1, len(all)))) * smallest
	q := closingQueue{to: to}
	for at := from; at < c.ToMS; at += chunk {
		until := min(at+chunk, c.ToMS)
		for i := range all {
			if err := all[i].read(ctx, store, at, until, &q); err != nil {
				return err
			}
		}
		say.playing(q.playBefore(until), from, until, c.ToMS)
	}
	return nil
}

// read adds the windows that end in [fromMS, toMS).
func (x *stored) read(ctx context.Context, store sinks.TierStore, fromMS, toMS int64, q *closingQueue) error {
	const page = 10_000
	for start := fromMS - x.tierMS; start < toMS-x.tierMS; {
		ws, err := store.ReadWindows(ctx, x.source, x.series, x.tierMS, start, toMS-x.tierMS, page)
		if err != nil {
			return err
		}
		for k := range ws {
			end := ws[k].EndMS()
			q.waiting = append(q.waiting, closing{end + x.graceMS, x.tierMS, end, x.source, ws[k : k+1 : k+1]})
		}
		if len(ws) < page {
			return nil
		}
		start = ws[len(ws)-1].StartMS + 1
	}
	return nil
}

// list finds the series that the rules read.
func list(ctx context.Context, store sinks.TierStore, c *backtest.Config) (all []stored, historyMS int64, err error) {
	byTier, historyMS := reads(c)
	for _, tier := range c.Windows.Tiers {
		for _, metric := range byTier[tier.Size.MS()] {
			for after := ""; ; {
				const page = 1000
				found, err := store.ListSeries(ctx, metric, nil, after, page)
				if err != nil {
					return nil, 0, err
				}
				for _, f := range found {
					all = append(all, stored{f.Series, f.Source, tier.Size.MS(), tier.Grace.MS()})
					after = f.Series.String()
				}
				if len(found) < page {
					break
				}
			}
		}
	}
	return all, historyMS, nil
}
