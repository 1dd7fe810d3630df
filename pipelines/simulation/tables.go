package simulation

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/windows"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// point identifies a sample.
type point struct {
	series string
	timeMS int64
	value  float64
}

func pointOf(s *schemas.Sample) point { return point{s.Series.String(), s.TimeMS, s.Value} }

// letter is a refused sample, the reason, and the record of samples that held it.
type letter struct {
	point
	reason string
	record record
}

// record identifies a record of samples.
type record struct{ topic, offset string }

func recordOf(r *kgo.Record) record { return record{r.Topic, strconv.FormatInt(r.Offset, 10)} }

// lettersOf counts the refused samples in records of deadletter.
func (w *World) lettersOf(rs []*kgo.Record) map[letter]int {
	out := map[letter]int{}
	for _, r := range rs {
		if reason := headerOf(r, "weir.reason"); reason == "undecodable_state" || undecodable[reason] { // written because of the ops poison and rubbish
			continue
		}
		var samples []struct {
			MetricName string
			Tags       map[string]string
			Timestamp  int64
			Value      float64
		}
		if err := json.Unmarshal(r.Value, &samples); err != nil {
			w.violate("deadletter %s: %w", r.Value, err)
			continue
		}
		header := func(name string) string {
			v := headerOf(r, name)
			if v == "" {
				w.violate("deadletter %s: header %s is missing", r.Value, name)
			}
			return v
		}
		for _, s := range samples {
			series := schemas.Series{Metric: s.MetricName, Labels: schemas.NewLabels(s.Tags)}
			out[letter{point{series.String(), s.Timestamp, s.Value}, header("weir.reason"), record{header("weir.topic"), header("weir.offset")}}]++
		}
	}
	return out
}

// headerOf returns a header of a record, or "".
func headerOf(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// checkLetters checks that deadletter holds every refused sample at least once, and no
// sample that a run without faults would not refuse.
func (w *World) checkLetters(want []*kgo.Record) {
	var all []*kgo.Record
	for _, log := range w.topics[topics.DeadLetter].parts {
		all = append(all, log...)
	}
	got, wanted := w.lettersOf(w.ofUnturned(all)), w.lettersOf(w.ofUnturned(want))
	for l := range wanted {
		if got[l] == 0 {
			w.violate("deadletter: %s %d=%v was refused (%s) but is missing", l.series, l.timeMS-epochMS, l.value, l.reason)
		}
	}
	for l := range got {
		if wanted[l] == 0 {
			w.violate("deadletter: %s %d=%v (%s): without faults it is not refused", l.series, l.timeMS-epochMS, l.value, l.reason)
		}
	}
}

// sectionID names the group of a section and its place in metrics.
type sectionID struct {
	gen       int
	group     string
	partition int32
	offset    int64
	chunk     uint32
}

// before reports whether o is a later section of the same partition.
func (id sectionID) before(o sectionID) bool {
	return id.offset < o.offset || id.offset == o.offset && id.chunk < o.chunk
}

// checkRouted checks that every section of metrics has reached samples.
func (w *World) checkRouted() {
	there := map[sectionID]bool{}
	w.eachSection(func(id sectionID, _ *kgo.Record, _ []schemas.Sample) { there[id] = true })
	for p, log := range w.metrics {
		for off, r := range log {
			if r.aborted {
				continue
			}
			for _, s := range w.sectionsOf(r.samples) {
				if id := (sectionID{s.gen, s.group, int32(p), int64(off), s.chunk}); !there[id] {
					w.violate("samples: %+v is missing", id)
				}
			}
		}
	}
}

// eachSection calls f for every section of samples, partition by partition, in the order of offsets.
func (w *World) eachSection(f func(id sectionID, r *kgo.Record, samples []schemas.Sample)) {
	var all []*kgo.Record
	for gen := range w.generations.List {
		for _, log := range w.topics[topics.SamplesOf(gen)].parts {
			all = append(all, log...)
		}
	}
	for _, r := range all {
		if len(r.Key) == 0 || w.isSpoilt(r) || isHandover(r) {
			continue
		}
		gen := 0
		if r.Topic == topics.SamplesOf(1) {
			gen = 1
		}
		var b schemas.SampleBatch
		if err := b.Decode(r.Value); err != nil {
			w.violate("samples: %w", err)
			return
		}
		series := make([]schemas.Series, len(b.IDs))
		for i := range series {
			var err error
			if series[i], err = b.Series(i); err != nil {
				w.violate("samples: %w", err)
				return
			}
		}
		for _, s := range b.Sections {
			samples := make([]schemas.Sample, 0, s.To-s.From)
			for _, p := range b.Points[s.From:s.To] {
				samples = append(samples, schemas.Sample{Series: series[p.Series], TimeMS: p.TimeMS, Value: p.Value, SubNS: p.SubNS})
			}
			f(sectionID{gen, string(r.Key), s.Origin.Partition, s.Origin.Offset, s.Chunk}, r, samples)
		}
	}
}

// isHandover reports whether a record of samples is no batch, but the state that a generation
// hands over to the next (processors/window/handover.go).
func isHandover(r *kgo.Record) bool { return len(r.Value) > 0 && r.Value[0] == 'H' }

// checkRows compares the tables with the oracle, and the counters with the samples that were
// delivered. It returns the windows on which to evaluate rules: those of the oracle, or, if
// series were collapsed, those of the tables.
func (w *World) checkRows(letters []*kgo.Record, counts map[string]int) []schemas.Window {
	refused := w.lettersOf(letters)
	want, got := []schemas.Window(nil), w.store.merged()
	d := w.delivered(refused, placesOf(got))
	for l, n := range refused {
		if came := d.has[occurrence{l.point, l.record}]; n > came {
			w.violate("%s %d=%v: refused (%s) %d times, but delivered %d times", l.series, l.timeMS-epochMS, l.value, l.reason, n, came)
		}
		if l.reason == string(windows.TooOld) && l.timeMS >= w.now-w.windowsCfg.MaxAge.MS() {
			w.violate("%s %d=%v: refused as too old, within max_age", l.series, l.timeMS-epochMS, l.value)
		}
	}
	w.checkLimits(refused, d)
	want = windowtest.Oracle(d.accepted, w.tiers...)
	truth := want
	collapsed := overflowSeries(got)
	if len(collapsed) > 0 {
		truth = got
		w.checkCollapsed(got, counts[overflowCounter])
		want, got = w.collapse(want, collapsed), w.collapse(got, collapsed)
	}
	if len(d.uncertain) > 0 { // weir recognizes a repeat only for so long (windows/doc.go)
		w.stats.Uncertain += len(d.uncertain)
		got, want = w.without(got, d.uncertain, collapsed), w.without(want, d.uncertain, collapsed)
	}
	got, want = w.unturned(got), w.unturned(want)
	w.stats.Windows += len(want)
	if err := windowtest.Compare(got, want); err != nil {
		w.violate("tables: %w", err)
	}
	applied, refusedN := counts["applied"]+counts["late"], 0
	for _, reason := range reasons {
		refusedN += counts[string(reason)]
	}
	w.stats.Applied, w.stats.Late, w.stats.Refused = applied, counts["late"], refusedN
	w.stats.Limited = refusedN - counts[string(windows.TooOld)] - counts[string(windows.TooNew)]
	w.stats.Dropped = counts[string(windows.Replayed)] + counts[string(windows.Duplicate)]
	if sum := applied + refusedN + w.stats.Dropped; sum != d.total {
		w.violate("%d samples delivered, but %d applied + %d refused + %d dropped", d.total, applied, refusedN, w.stats.Dropped)
	}
	// A sample that was refused because of max_series_total may be accepted when its record is
	// delivered again: a group of which nothing was counted is not kept, so the repeat is unknown.
	turned := 0
	for l, n := range refused {
		if l.reason == string(windows.TotalLimit) {
			turned += n
		}
	}
	again := d.ofHarmed // nor is a repeat known after the group lost its value
	for i := range d.accepted {
		if again > 0 && w.harmed[schemas.GroupOf(d.accepted[i].Series, schemas.GroupLabels)] {
			again--
		}
	}
	if len(d.uncertain) == 0 && (applied < len(d.accepted) || applied > len(d.accepted)+turned+again) {
		w.violate("%d samples applied, want %d, plus at most %d refused because of max_series_total and %d of groups that lost a value", applied, len(d.accepted), turned, again)
	}
	return truth
}

// without leaves out the windows that uncertain samples belong to. Their series have the
// names that collapse gives them.
func (w *World) without(ws []schemas.Window, uncertain map[point]schemas.Series, collapsed map[string]bool) []schemas.Window {
	type slot struct {
		series  string
		tierMS  int64
		startMS int64
	}
	drop := map[slot]bool{}
	for p, s := range uncertain {
		for _, tier := range w.tiers {
			drop[slot{collapsedName(s, collapsed).String(), tier, p.timeMS - p.timeMS%tier}] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ws), func(x schemas.Window) bool {
		return drop[slot{x.Series.String(), x.TierMS, x.StartMS}]
	})
}

// overflowCounter stands for weir_window_overflow_samples_total in counted.
const overflowCounter = "overflow"

// counted returns weir_window_samples_total by result, and the count of overflowCounter.
func (w *World) counted() map[string]int {
	families, err := w.registry.Gather()
	w.must(err)
	out := map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "weir_window_samples_total":
				out[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
			case "weir_window_overflow_samples_total":
				out[overflowCounter] += int(m.GetCounter().GetValue())
			}
		}
	}
	return out
}
