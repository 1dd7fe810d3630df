package simulation

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// This file checks docs/limits.md. A group refuses or collapses what is beyond its limits by
// its own state alone, so everything that holds without limits holds with them, and the
// totals of collapsed series are exact. max_series_total is different, as it depends on other
// groups: groups that met it are not compared at all.

// overflowName returns the overflow series into which a series would be collapsed.
func overflowName(s schemas.Series) schemas.Series {
	o := schemas.Series{Metric: s.Metric, Labels: slices.Clone(s.Labels)}
	for i := range o.Labels {
		if o.Labels[i].Name != "host" {
			o.Labels[i].Value = windows.Overflow
		}
	}
	return o
}

func isOverflow(s schemas.Series) bool {
	return len(s.Labels) > 1 && overflowName(s).String() == s.String()
}

// overflowSeries returns the overflow series that have rows.
func overflowSeries(ws []schemas.Window) map[string]bool {
	out := map[string]bool{}
	for i := range ws {
		if isOverflow(ws[i].Series) {
			out[ws[i].Series.String()] = true
		}
	}
	return out
}

// collapsedName returns the overflow series of a series if that has rows, and otherwise the series itself.
func collapsedName(s schemas.Series, collapsed map[string]bool) schemas.Series {
	if o := overflowName(s); len(s.Labels) > 1 && collapsed[o.String()] {
		return o
	}
	return s
}

// places holds the series that have rows.
type places map[string]bool

func placesOf(ws []schemas.Window) places {
	out := places{}
	for i := range ws {
		out[ws[i].Series.String()] = true
	}
	return out
}

// both reports whether a series may have been collapsed first and admitted later. A group
// does not recognize repeats of samples that it counted before that (windows/doc.go).
func (p places) both(s schemas.Series) bool {
	return len(s.Labels) > 1 && p[s.String()] && p[overflowName(s).String()]
}

// collapse merges the windows of each overflow series with those of all series that may have
// been collapsed into it: together they hold each sample once. It clears first and last,
// because several series may have a sample at the same time.
func (w *World) collapse(ws []schemas.Window, collapsed map[string]bool) []schemas.Window {
	m := windows.Merger{}
	for i, x := range ws {
		if name := collapsedName(x.Series, collapsed); name.String() != x.Series.String() || isOverflow(name) {
			x.Series, x.First, x.Last = name, 0, 0
		}
		x.Part = int64(i) // so that every window counts as a part of its own
		m.Add(x)
	}
	return m.Windows()
}

// checkCollapsed checks that the overflow series hold as many samples as were counted as collapsed.
func (w *World) checkCollapsed(got []schemas.Window, counted int) {
	n := 0
	w.stats.Collapsed = counted
	for i := range got {
		if isOverflow(got[i].Series) {
			w.stats.Overflows++
			if got[i].TierMS == w.tiers[0] {
				n += int(got[i].Count)
			}
		}
	}
	if n != counted && len(w.turned) == 0 {
		w.violate("%d samples in overflow series, but %d were counted as collapsed", n, counted)
	}
}

// checkLimits checks that no limit was exceeded, and that no sample was refused for a limit
// that it did not exceed.
func (w *World) checkLimits(refused map[letter]int, d *delivery) {
	w.checkOwn()
	inWindow := map[string]int{} // samples by group and window
	slot := func(s schemas.Series, timeMS int64) string {
		return fmt.Sprint(schemas.GroupOf(s, schemas.GroupLabels), timeMS-timeMS%w.tiers[0])
	}
	for i := range d.accepted {
		inWindow[slot(d.accepted[i].Series, d.accepted[i].TimeMS)]++
	}
	for p, s := range d.uncertain { // may have counted again, nobody knows how often
		inWindow[slot(s, p.timeMS)] += w.windowsCfg.MaxRate * int(w.tiers[0])
	}
	most := w.windowsCfg.MaxRate * int(w.tiers[0]/1000)
	for l := range refused {
		s, wrong := d.series[l.series], false
		switch windows.Reason(l.reason) {
		case windows.SeriesLimit:
			wrong = w.params.MaxSeries == 0 || len(s.Labels) > 1
		case windows.MetricLimit:
			wrong = w.params.PerMetric == 0 || len(s.Labels) > 1
		case windows.TotalLimit:
			wrong = w.params.Total == 0
		case windows.RateLimit:
			// The samples that filled the window may have been lost later, when the broker refused the group's value.
			lost, harmed := w.harmedMS[schemas.GroupOf(s, schemas.GroupLabels)]
			excused := harmed && l.timeMS <= lost+w.windowsCfg.MaxFuture.MS()
			wrong = inWindow[slot(s, l.timeMS)] < most && !excused
		}
		if wrong {
			w.violate("%s %d=%v: refused for %s, which it did not exceed", l.series, l.timeMS-epochMS, l.value, l.reason)
		}
	}
}

// checkOwn checks each group against its limits: its windows of the largest tier that closed
// together belong to no more series than it may have, and its windows of the smallest tier
// hold no more samples.
func (w *World) checkOwn() {
	type slot struct {
		group   string
		metric  string
		part    int64
		startMS int64
	}
	series, all, samples := map[slot]int{}, map[slot]int{}, map[slot]int{} // all includes overflow series
	for _, r := range w.store.rows {
		x := &r.window
		if x.Late() {
			continue
		}
		k := slot{group: schemas.GroupOf(x.Series, schemas.GroupLabels), part: x.Part, startMS: x.StartMS}
		if x.TierMS == w.tiers[0] {
			samples[k] += int(x.Count)
		}
		if x.TierMS == w.tiers[len(w.tiers)-1] {
			all[k]++
		}
		if x.TierMS == w.tiers[len(w.tiers)-1] && !isOverflow(x.Series) {
			series[k]++
			k.metric = x.Series.Metric
			series[k]++
		}
	}
	for k, n := range series {
		if most := w.windowsCfg.MaxSeries; k.metric == "" && n > most && !w.turned[k.group] {
			w.violate("limits: %s has windows of %d series at %d, max_series is %d", k.group, n, k.startMS-epochMS, most)
		}
		if most := w.windowsCfg.MaxSeriesPerMetric; k.metric != "" && n > most && !w.turned[k.group] {
			w.violate("limits: %s has windows of %d series of %s at %d, max_series_per_metric is %d", k.group, n, k.metric, k.startMS-epochMS, most)
		}
	}
	for k, n := range all {
		shards := w.generations.List[k.part>>40].Shards
		if most := (w.windowsCfg.MaxSeriesTotal + int(shards) - 1) / int(shards); n > most && !w.turned[k.group] {
			w.violate("limits: %s has windows of %d series at %d, max_series_total allows %d", k.group, n, k.startMS-epochMS, most)
		}
	}
	for k, n := range samples {
		if most := w.windowsCfg.MaxRate * int(w.tiers[0]/1000); n > most && !w.turned[k.group] {
			w.violate("limits: %s has %d samples in a window at %d, max_rate allows %d", k.group, n, k.startMS-epochMS, most)
		}
	}
}

// turnedBy notes the groups of which a reference refused series because of max_series_total.
func (w *World) turnedBy(letters []*kgo.Record) {
	for _, r := range letters {
		if headerOf(r, "weir.reason") == string(windows.TotalLimit) {
			w.turned[string(r.Key)] = true
		}
	}
	w.stats.Turned = len(w.turned)
}

// ofUnturned leaves out the records of groups that met max_series_total.
func (w *World) ofUnturned(rs []*kgo.Record) []*kgo.Record {
	if len(w.turned) == 0 {
		return rs
	}
	return slices.DeleteFunc(slices.Clone(rs), func(r *kgo.Record) bool {
		if r.Topic != topics.Conditions {
			return w.turned[string(r.Key)]
		}
		c, err := schemas.DecodeDoc[schemas.Condition](r.Value)
		return err == nil && w.turned[c.Group]
	})
}

// unturned leaves out the windows of groups that met max_series_total.
func (w *World) unturned(ws []schemas.Window) []schemas.Window {
	return slices.DeleteFunc(slices.Clone(ws), func(x schemas.Window) bool {
		return w.turned[schemas.GroupOf(x.Series, schemas.GroupLabels)]
	})
}
