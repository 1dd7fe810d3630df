package canary

import (
	"slices"
	"strconv"

	"github.com/weir-metrics/weir/schemas"
)

// flights are the canaries of all shards and the samples that are on their way. It has no clock: all
// times are passed in, wall clock, ms.
type flights struct {
	everyMS, withinMS, tierMS int64

	birds   []*bird
	byGroup map[string]*bird
	madeMS  int64 // when the birds were made
}

// bird is the series of one shard.
type bird struct {
	shard  int32
	series schemas.Series
	up     bool  // what the newest sample in out, or the last one that came through, says
	asked  int64 // ms, when its newest sample was made; 0: never
	proven bool  // one has come through since the bird was made
	out    []flight
}

// flight is a sample that has not come through.
type flight struct {
	sentMS int64
	up     bool
	first  bool // of its bird: the alert may have been in that state already
	unsure bool // Kafka did not acknowledge it; the next sample says the same
	again  bool // it was sent more than once: nobody knows which sample came through

	seen      bool // its alert was read, from
	partition int32
	offset    int64
}

// maxOut bounds the flights of a bird: of those of a longer outage, the oldest and the newest are kept.
const maxOut = 16

// maxTries bounds the search for a key that hashes to a shard.
const maxTries = 1 << 22

// newFlights returns one bird for each shard. owner tells the series of several processes apart.
// Series have the first of groupLabels, by which route finds their shard.
func newFlights(owner string, groupLabels []string, shards int32, cfg Config, tierMS, nowMS int64) *flights {
	f := &flights{everyMS: cfg.Every.MS(), withinMS: cfg.Within.MS(), tierMS: tierMS, byGroup: map[string]*bird{}, madeMS: nowMS}
	label := "canary"
	if len(groupLabels) > 0 {
		label = groupLabels[0]
	}
	taken := make([]bool, shards)
	for n := 0; len(f.birds) < int(shards) && n < maxTries; n++ {
		series := schemas.Series{Metric: Metric, Labels: schemas.Labels{{Name: label, Value: "weir-canary-" + owner + "-" + strconv.Itoa(n)}}}
		group := schemas.GroupOf(series, groupLabels)
		shard := schemas.Shard([]byte(group), shards)
		if taken[shard] {
			continue
		}
		taken[shard] = true
		b := &bird{shard: shard, series: series}
		f.birds = append(f.birds, b)
		f.byGroup[group] = b
	}
	slices.SortFunc(f.birds, func(a, b *bird) int { return int(a.shard - b.shard) })
	return f
}

// send makes the next sample of the bird, and takes it for sent.
func (b *bird) send(nowMS int64) schemas.Sample {
	last := len(b.out) - 1
	if last >= 0 && b.out[last].unsure {
		// The lost sample may have arrived, or not: the same once more brings about its state for certain.
		b.out[last].unsure, b.out[last].again = false, true
	} else {
		if b.asked != 0 {
			b.up = !b.up
		} else {
			b.up = true
		}
		if len(b.out) == maxOut {
			b.out = slices.Delete(b.out, 1, 2)
		}
		b.out = append(b.out, flight{sentMS: nowMS, up: b.up, first: b.asked == 0})
	}
	b.asked = nowMS
	value := 0.0
	if b.up {
		value = 1
	}
	return schemas.Sample{TimeMS: nowMS, Value: value, Series: b.series}
}

// lost notes that Kafka did not acknowledge the newest sample of every bird.
func (f *flights) lost() {
	for _, b := range f.birds {
		if n := len(b.out); n > 0 {
			b.out[n-1].unsure = true
		}
	}
}

// landing is a flight whose alert was read for the first time.
type landing struct {
	sentMS, endMS int64 // of the sample; of its window
}

// read takes a record of alerts, and returns the flight that it ends, if that was sent once and
// nothing is uncertain about it.
func (f *flights) read(a *schemas.Alert, partition int32, offset int64) (landing, bool) {
	b := f.byGroup[a.Group]
	if a.Rule != schemas.CanaryRule || b == nil {
		return landing{}, false
	}
	ended := 0
	for ended < len(b.out) && f.endMS(&b.out[ended]) <= a.Last.AtMS {
		ended++
	}
	if ended == 0 || b.out[ended-1].up != (a.State == schemas.Firing) || a.Last.Reason == schemas.ReasonNoData {
		return landing{}, false // the state of another life of this process, or one that silence brought about
	}
	newest := &b.out[ended-1]
	exact := !newest.seen && f.endMS(newest) == a.Last.AtMS && !newest.again && !newest.unsure
	for i := range b.out[:ended] { // those before it are past, too: the samples of a series stay in order
		if o := &b.out[i]; !o.seen {
			o.seen, o.partition, o.offset = true, partition, offset
		}
	}
	return landing{newest.sentMS, f.endMS(newest)}, exact
}

// endMS is the end of the window that the flight's sample is in.
func (f *flights) endMS(o *flight) int64 { return o.sentMS/f.tierMS*f.tierMS + f.tierMS }

// waiting returns the partitions of alerts that hold a record which notify is not known to have
// passed.
func (f *flights) waiting() (partitions []int32) {
	for _, b := range f.birds {
		for _, o := range b.out {
			if o.seen && !slices.Contains(partitions, o.partition) {
				partitions = append(partitions, o.partition)
			}
		}
	}
	return partitions
}

// passed notes the offsets that the group of notify has committed, by partition of alerts.
func (f *flights) passed(committed map[int32]int64) {
	for _, b := range f.birds {
		b.out = slices.DeleteFunc(b.out, func(o flight) bool {
			at, ok := committed[o.partition]
			through := o.seen && ok && at > o.offset
			b.proven = b.proven || through
			return through
		})
	}
}

// standing is how the canaries are at a moment.
type standing struct {
	shards   int
	late     []int32 // shards, ascending
	oldestMS int64   // how long ago the oldest flight was sent that is not a bird's first; 0: there is none
	unproven int     // shards of which none has come through
	idle     bool    // no sample was made for two periods
}

// fine reports whether there is nothing wrong and nothing unknown.
func (s *standing) fine() bool {
	return s.shards > 0 && len(s.late) == 0 && s.unproven == 0 && !s.idle
}

func (f *flights) standing(nowMS int64) standing {
	s := standing{shards: len(f.birds)}
	asked := f.madeMS
	for _, b := range f.birds {
		if !b.proven {
			s.unproven++
		}
		asked = max(asked, b.asked)
		for _, o := range b.out {
			if o.first {
				continue
			}
			s.oldestMS = max(s.oldestMS, nowMS-o.sentMS)
			if nowMS-o.sentMS > f.withinMS {
				s.late = append(s.late, b.shard)
			}
			break
		}
	}
	s.idle = nowMS-asked > 2*f.everyMS
	return s
}
