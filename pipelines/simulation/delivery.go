package simulation

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas"
	"weir/schemas/topics"
	"weir/windows"
)

// rememberedSections is how many sections of a group are known when they are repeated
// (windows/doc.go).
const rememberedSections = 32

// delivery is what the samples topic holds, seen without any state: which samples are to be
// counted, in the order of arrival, and how many are not.
type delivery struct {
	accepted  []schemas.Sample
	has       map[occurrence]int        // how often
	series    map[string]schemas.Series // by text
	uncertain map[point]schemas.Series  // samples that came again after they were forgotten
	total     int
}

// occurrence is a sample in a record.
type occurrence struct {
	point
	record record
}

// fresh are the samples of one record that are not in a section that came before, or
// repeats one of the last.
type fresh struct {
	record  *kgo.Record
	gen     int
	group   string
	samples []schemas.Sample
}

// freshOf lists them, in the order of each partition, and notes all samples in d.
func (w *World) freshOf(d *delivery) (out []fresh) {
	type group struct {
		gen int
		key string
	}
	seen, recent := map[sectionID]bool{}, map[group][][]schemas.Sample{}
	w.eachSection(func(id sectionID, r *kgo.Record, samples []schemas.Sample) {
		d.total += len(samples)
		for i := range samples {
			d.has[occurrence{pointOf(&samples[i]), recordOf(r)}]++
		}
		if seen[id] {
			return
		}
		seen[id] = true
		g := group{id.gen, id.group}
		if slices.ContainsFunc(recent[g], func(old []schemas.Sample) bool {
			return slices.EqualFunc(old, samples, func(a, b schemas.Sample) bool { return pointOf(&a) == pointOf(&b) })
		}) {
			return
		}
		recent[g] = append(recent[g], samples)
		if n := len(recent[g]); n > rememberedSections {
			recent[g] = recent[g][n-rememberedSections:]
		}
		if n := len(out); n == 0 || out[n-1].record != r {
			out = append(out, fresh{record: r, gen: id.gen, group: id.group})
		}
		last := &out[len(out)-1]
		last.samples = append(last.samples, samples...)
	})
	return out
}

// delivered takes what was refused as given; checkRows and checkLimits look at the
// reasons.
func (w *World) delivered(refused map[letter]int, had places) *delivery {
	d := &delivery{has: map[occurrence]int{}, series: map[string]schemas.Series{}, uncertain: map[point]schemas.Series{}}
	records := w.freshOf(d)
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
			future := s.TimeMS > at+w.windowsCfg.MaxFuture.MS()
			switch {
			case n > 0 && future, !future && refused[letter{p, string(windows.TooNew), rec}] > 0:
				w.violate("%s %d=%v: came %d times at %d in one record, and all but %d were refused",
					p.series, p.timeMS-epochMS, p.value, times[p], at-epochMS, n)
			case n <= 0: // less, if a section came again after its group was forgotten
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

// reasons are why samples may be refused.
var reasons = []windows.Reason{windows.TooOld, windows.TooNew, windows.SeriesLimit, windows.MetricLimit, windows.TotalLimit, windows.RateLimit}

// known says that a repeat of a sample is known as one, whatever else came: its window
// of the smallest tier was open or the last to close when the group's clock was at most
// at clockMS.
func (w *World) known(s *schemas.Sample, clockMS int64) bool {
	tier := w.windowsCfg.Tiers[0]
	end := s.TimeMS - s.TimeMS%tier.Size.MS() + tier.Size.MS()
	return end+tier.Size.MS()+tier.Grace.MS() > clockMS
}

// tickedBefore is the newest tick, wall time, ms, that stands before each record of
// samples in its partition.
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
