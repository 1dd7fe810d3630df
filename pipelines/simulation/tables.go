package simulation

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"weir/schemas"
	"weir/schemas/topics"
	"weir/windows"
	"weir/windows/windowtest"
)

// point is a sample's identity.
type point struct {
	series string
	timeMS int64
	value  float64
}

func pointOf(s *schemas.Sample) point { return point{s.Series.String(), s.TimeMS, s.Value} }

// letter is a refused sample, and the record of samples that it stood in.
type letter struct {
	point
	reason string
	record record
}

// record names a record of a series group.
type record struct{ topic, offset string }

func recordOf(r *kgo.Record) record { return record{r.Topic, strconv.FormatInt(r.Offset, 10)} }

// lettersOf reads dead letters.
func (w *World) lettersOf(rs []*kgo.Record) map[letter]int {
	out := map[letter]int{}
	for _, r := range rs {
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
			i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == name })
			if i < 0 {
				w.violate("deadletter %s: without %s", r.Value, name)
				return ""
			}
			return string(r.Headers[i].Value)
		}
		for _, s := range samples {
			series := schemas.Series{Metric: s.MetricName, Labels: schemas.NewLabels(s.Tags)}
			out[letter{point{series.String(), s.Timestamp, s.Value}, header("weir.reason"), record{header("weir.topic"), header("weir.offset")}}]++
		}
	}
	return out
}

// checkLetters: what is refused is in deadletter, at least once.
func (w *World) checkLetters(want []*kgo.Record) {
	var all []*kgo.Record
	for _, log := range w.topics[topics.DeadLetter].parts {
		all = append(all, log...)
	}
	got, wanted := w.lettersOf(all), w.lettersOf(want)
	for l := range wanted {
		if got[l] == 0 {
			w.violate("deadletter: %s %d=%v was refused (%s) and is not there", l.series, l.timeMS-epochMS, l.value, l.reason)
		}
	}
	for l := range got {
		if wanted[l] == 0 {
			w.violate("deadletter: %s %d=%v (%s) was not refused without faults", l.series, l.timeMS-epochMS, l.value, l.reason)
		}
	}
}

// sectionID is where a section comes from.
type sectionID struct {
	gen       int
	group     string
	partition int32
	offset    int64
	chunk     uint32
}

// checkRouted: every section of metrics has come to samples.
func (w *World) checkRouted() {
	there := map[sectionID]bool{}
	w.eachSection(func(id sectionID, _ *kgo.Record, _ []schemas.Sample) { there[id] = true })
	for p, log := range w.metrics {
		for off, r := range log {
			for _, s := range w.sectionsOf(r.samples) {
				if id := (sectionID{s.gen, s.group, int32(p), int64(off), s.chunk}); !there[id] {
					w.violate("samples: %+v is not there", id)
				}
			}
		}
	}
}

// eachSection calls f for every section of samples, by partition in order.
func (w *World) eachSection(f func(id sectionID, r *kgo.Record, samples []schemas.Sample)) {
	var all []*kgo.Record
	for gen := range w.generations.List {
		for _, log := range w.topics[topics.SamplesOf(gen)].parts {
			all = append(all, log...)
		}
	}
	for _, r := range all {
		if len(r.Key) == 0 || isHandover(r) {
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
		series := make([]schemas.Series, len(b.Fingerprints))
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
				samples = append(samples, schemas.Sample{Series: series[p.Series], TimeMS: p.TimeMS, Value: p.Value})
			}
			f(sectionID{gen, string(r.Key), s.Origin.Partition, s.Origin.Offset, s.Chunk}, r, samples)
		}
	}
}

// isHandover says that a record of samples is not a batch, but what a generation hands
// over to the next (processors/window/handover.go).
func isHandover(r *kgo.Record) bool { return len(r.Value) > 0 && r.Value[0] == 'H' }

// rememberedSections is how many sections of a group are known when they are repeated
// (windows/doc.go).
const rememberedSections = 32

// delivery is what the samples topic holds, seen without any state: which samples are to be
// counted, in the order of arrival, and how many are not.
type delivery struct {
	accepted  []schemas.Sample
	future    map[letter]int
	repeated  int              // samples in sections that came before, or repeat one of the last
	firstAt   map[point]record // that brought it first
	uncertain map[point]int    // samples that came again after their section was forgotten
	total     int
}

func (w *World) delivered() *delivery {
	d := &delivery{future: map[letter]int{}, firstAt: map[point]record{}, uncertain: map[point]int{}}
	seen, counted := map[sectionID]bool{}, map[point]bool{}
	type group struct {
		gen int
		key string
	}
	recent := map[group][][]schemas.Sample{}
	w.eachSection(func(id sectionID, r *kgo.Record, samples []schemas.Sample) {
		d.total += len(samples)
		if seen[id] {
			d.repeated += len(samples)
			return
		}
		seen[id] = true
		g := group{id.gen, id.group}
		if slices.ContainsFunc(recent[g], func(old []schemas.Sample) bool {
			return slices.EqualFunc(old, samples, func(a, b schemas.Sample) bool { return pointOf(&a) == pointOf(&b) })
		}) {
			d.repeated += len(samples)
			return
		}
		recent[g] = append(recent[g], samples)
		if n := len(recent[g]); n > rememberedSections {
			recent[g] = recent[g][n-rememberedSections:]
		}
		for _, s := range samples {
			p := pointOf(&s)
			switch {
			case s.TimeMS > r.Timestamp.UnixMilli()+w.windowsCfg.MaxFuture.MS():
				d.future[letter{p, string(windows.TooNew), recordOf(r)}]++
			case counted[p]:
				d.uncertain[p]++
			default:
				counted[p] = true
				d.firstAt[p] = recordOf(r)
				d.accepted = append(d.accepted, s)
			}
		}
	})
	return d
}

// checkRows compares the tables with the oracle, and the counters with what was
// delivered. It returns the oracle's windows.
func (w *World) checkRows(letters []*kgo.Record, counts map[string]int) []schemas.Window {
	d := w.delivered()
	refused := w.lettersOf(letters)
	old := map[point]bool{}
	for l, n := range refused {
		switch l.reason {
		case string(windows.TooNew):
			if d.future[l] != n {
				w.violate("%s %d=%v: refused %d times as too new, want %d", l.series, l.timeMS-epochMS, l.value, n, d.future[l])
			}
		case string(windows.TooOld):
			// One that comes again when its group is long forgotten is refused, and counts.
			if l.record == d.firstAt[l.point] {
				old[l.point] = true
			}
			if l.timeMS >= w.now-w.windowsCfg.MaxAge.MS() {
				w.violate("%s %d=%v: refused as too old", l.series, l.timeMS-epochMS, l.value)
			}
		default:
			w.violate("%s %d=%v: refused: %s", l.series, l.timeMS-epochMS, l.value, l.reason)
		}
	}
	for l, n := range d.future {
		if refused[l] != n {
			w.violate("%s %d=%v: too new, and refused %d times, want %d", l.series, l.timeMS-epochMS, l.value, refused[l], n)
		}
	}
	accepted := slices.DeleteFunc(slices.Clone(d.accepted), func(s schemas.Sample) bool { return old[pointOf(&s)] })
	want := windowtest.Oracle(accepted, w.tiers...)
	got := w.store.merged()
	if len(d.uncertain) > 0 { // README: a repeat counts once only so long
		w.stats.Uncertain += len(d.uncertain)
		got, want = w.without(got, d.uncertain), w.without(want, d.uncertain)
	}
	w.stats.Windows += len(want)
	if err := windowtest.Compare(got, want); err != nil {
		w.violate("tables: %w", err)
	}
	applied, refusedN := counts["applied"]+counts["late"], counts[string(windows.TooOld)]+counts[string(windows.TooNew)]
	w.stats.Applied, w.stats.Late, w.stats.Refused = applied, counts["late"], refusedN
	w.stats.Dropped = counts[string(windows.Replayed)] + counts[string(windows.Duplicate)]
	if sum := applied + refusedN + w.stats.Dropped; sum != d.total {
		w.violate("%d samples delivered, but %d applied + %d refused + %d dropped", d.total, applied, refusedN, w.stats.Dropped)
	}
	if len(d.uncertain) == 0 && applied != len(accepted) {
		w.violate("%d samples applied, want %d", applied, len(accepted))
	}
	return windowtest.Oracle(accepted, w.tiers...)
}

// without leaves out the windows that uncertain samples belong to.
func (w *World) without(ws []schemas.Window, uncertain map[point]int) []schemas.Window {
	type slot struct {
		series  string
		tierMS  int64
		startMS int64
	}
	drop := map[slot]bool{}
	for p := range uncertain {
		for _, tier := range w.tiers {
			drop[slot{p.series, tier, p.timeMS - p.timeMS%tier}] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ws), func(x schemas.Window) bool {
		return drop[slot{x.Series.String(), x.TierMS, x.StartMS}]
	})
}

// counted are weir_window_samples_total by result.
func (w *World) counted() map[string]int {
	families, err := w.registry.Gather()
	w.must(err)
	out := map[string]int{}
	for _, f := range families {
		if f.GetName() == "weir_window_samples_total" {
			for _, m := range f.GetMetric() {
				out[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
			}
		}
	}
	return out
}
