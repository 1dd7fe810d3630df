package simulation

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
)

// A group recognizes repeats of its last rememberedSections sections. Of rememberedPartly
// more, of which it refused some samples, it recognizes the samples that it accepted
// (windows/doc.go).
const (
	rememberedSections = 32
	rememberedPartly   = 8
)

// remembered is a section that was applied.
type remembered struct {
	samples []schemas.Sample
	refused map[point]bool // those of samples that were refused
}

// delivery sums up the samples topic: which samples must be counted, in the order of arrival,
// and which may be.
type delivery struct {
	accepted  []schemas.Sample
	has       map[occurrence]int        // how often each was delivered
	series    map[string]schemas.Series // by its text
	uncertain map[point]schemas.Series  // samples that came again when weir may have forgotten them
	total     int                       // samples delivered, with repeats
	ofHarmed  int                       // the part of total that belongs to groups in harmed
}

// occurrence is a sample in a record.
type occurrence struct {
	point
	record record
}

// fresh holds the samples of one record that are neither a replay of a section nor repeats
// of samples that one of the last sections had.
type fresh struct {
	record  *kgo.Record
	gen     int
	group   string
	samples []schemas.Sample
}

// freshOf lists the fresh samples, in the order of each partition, and notes every sample in d.
func (w *World) freshOf(d *delivery, refused map[letter]int) (out []fresh) {
	type group struct {
		gen int
		key string
	}
	seen := map[group]map[int32]sectionID{} // the last section from each partition of metrics
	recent, partly, unsure := map[group][]remembered{}, map[group][]remembered{}, map[group][]remembered{}
	counting := map[group]bool{} // a sample of the group was counted, so the group is kept
	in, perhaps := map[group]*kgo.Record{}, map[group]map[int32]sectionID{}
	last := func(list []remembered, m remembered, most int) []remembered {
		list = append(list, m)
		return list[max(0, len(list)-most):]
	}
	w.eachSection(func(id sectionID, r *kgo.Record, samples []schemas.Sample) {
		d.total += len(samples)
		if w.harmed[id.group] {
			d.ofHarmed += len(samples)
		}
		for i := range samples {
			d.has[occurrence{pointOf(&samples[i]), recordOf(r)}]++
		}
		g := group{id.gen, id.group}
		if in[g] != r && !counting[g] {
			// A group of which nothing was counted is forgotten after each record, unless it
			// inherited its usual delay from the previous generation.
			if perhaps[g] == nil {
				perhaps[g] = map[int32]sectionID{}
			}
			for p, last := range seen[g] {
				if old, ok := perhaps[g][p]; id.gen > 0 && (!ok || old.before(last)) {
					perhaps[g][p] = last
				}
			}
			seen[g] = map[int32]sectionID{}
		}
		in[g] = r
		if last, ok := seen[g][id.partition]; ok && !last.before(id) {
			return
		}
		seen[g][id.partition] = id
		same := func(old remembered) bool {
			return slices.EqualFunc(old.samples, samples, func(a, b schemas.Sample) bool { return pointOf(&a) == pointOf(&b) })
		}
		if last, ok := perhaps[g][id.partition]; ok && !last.before(id) || slices.ContainsFunc(unsure[g], same) {
			for i := range samples {
				d.uncertain[pointOf(&samples[i])] = samples[i].Series
			}
			unsure[g] = append(unsure[g], remembered{samples: samples}) // nobody can know whether the next one like it is a repeat, either
			return
		}
		all := remembered{samples: samples, refused: map[point]bool{}}
		if i := slices.IndexFunc(partly[g], same); i >= 0 {
			before := partly[g][i].refused
			partly[g] = slices.Delete(partly[g], i, i+1)
			samples = slices.DeleteFunc(slices.Clone(samples), func(s schemas.Sample) bool { return !before[pointOf(&s)] })
		} else if slices.ContainsFunc(recent[g], same) {
			return
		}
		for i := range samples {
			for _, reason := range reasons {
				if p := pointOf(&samples[i]); refused[letter{p, string(reason), recordOf(r)}] > 0 {
					all.refused[p] = true
				}
			}
		}
		left := slices.ContainsFunc(all.samples, func(s schemas.Sample) bool { return !all.refused[pointOf(&s)] })
		counting[g] = counting[g] || left
		switch {
		case len(all.refused) == 0:
			recent[g] = last(recent[g], all, rememberedSections)
		case left:
			partly[g] = last(partly[g], all, rememberedPartly)
		}
		if n := len(out); n == 0 || out[n-1].record != r {
			out = append(out, fresh{record: r, gen: id.gen, group: id.group})
		}
		f := &out[len(out)-1]
		f.samples = append(f.samples, samples...)
	})
	return out
}

// delivered works out which samples must be counted. It takes the refusals as given;
// checkRows and checkLimits check their reasons.
func (w *World) delivered(refused map[letter]int, had places) *delivery {
	d := &delivery{has: map[occurrence]int{}, series: map[string]schemas.Series{}, uncertain: map[point]schemas.Series{}}
	records := w.freshOf(d, refused)
	ticked := w.tickedBefore()
	counted := map[point]bool{}
	newest := map[int]map[string]int64{0: {}, 1: {}} // event time by generation and group, ms
	for _, f := range records {
		rec, at := recordOf(f.record), f.record.Timestamp.UnixMilli()
		times := map[point]int{}
		var order []schemas.Sample
		for _, s := range f.samples {
			p := pointOf(&s)
			if times[p]++; times[p] == 1 {
				order = append(order, s)
			}
			d.series[p.series] = s.Series
			if s.TimeMS <= at+w.windowsCfg.MaxFuture.MS() {
				newest[f.gen][f.group] = max(newest[f.gen][f.group], s.TimeMS)
			}
		}
		for _, s := range order {
			p := pointOf(&s)
			n := times[p]
			for _, reason := range reasons {
				n -= refused[letter{p, string(reason), rec}]
			}
			// A sample that was counted when route's clock was ahead is a repeat, however far in the future
			// it is by a later record.
			future := s.TimeMS > at+w.windowsCfg.MaxFuture.MS()
			switch {
			case n > 0 && future && !counted[p], !future && refused[letter{p, string(windows.TooNew), rec}] > 0:
				w.violate("%s %d=%v: %d times in one record at %d, and all but %d were refused",
					p.series, p.timeMS-epochMS, p.value, times[p], at-epochMS, n)
			case n <= 0: // below 0 if a section came again after its group was forgotten
			case !counted[p]:
				counted[p] = true
				d.accepted = append(d.accepted, s)
			case w.turned[f.group], had.both(s.Series), !w.known(&s, max(newest[f.gen][f.group], ticked[f.record]+w.windowsCfg.MaxFuture.MS())):
				d.uncertain[p] = s.Series
			}
		}
	}
	return d
}

// reasons lists why samples are refused.
var reasons = []windows.Reason{windows.TooOld, windows.TooNew, windows.SeriesLimit, windows.MetricLimit, windows.TotalLimit, windows.GroupLimit, windows.BytesLimit, windows.RateLimit}

// known reports whether a repeat of a sample is certain to be recognized, whatever else came:
// with the group's clock at clockMS or before, the sample's window of the smallest tier is
// open or was the last to close.
func (w *World) known(s *schemas.Sample, clockMS int64) bool {
	tier := w.windowsCfg.Tiers[0]
	end := s.TimeMS - s.TimeMS%tier.Size.MS() + tier.Size.MS()
	return end+tier.Size.MS()+tier.Grace.MS() > clockMS
}

// tickedBefore returns, for each record of samples, the newest tick before it in its
// partition, wall time, ms.
func (w *World) tickedBefore() map[*kgo.Record]int64 {
	out := map[*kgo.Record]int64{}
	for gen := range w.generations.List {
		for _, log := range w.topics[topics.SamplesOf(gen)].parts {
			newest := int64(0)
			for _, r := range log {
				if len(r.Key) == 0 {
					if t, err := schemas.DecodeTick(r.Value); err == nil {
						newest = max(newest, min(t.NowMS, r.Timestamp.UnixMilli()))
					}
				}
				out[r] = newest
			}
		}
	}
	return out
}
