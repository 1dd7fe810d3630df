package schemas

// Sample is one measured value of a series. Its time is kept as it was sent: two samples a
// nanosecond apart are two, though windows distinguish times by the ms.
type Sample struct {
	Series Series
	TimeMS int64 // event time, ms, rounded down
	Value  float64
	SubNS  uint32 // ns within that ms: 0 to 999,999
}

// nsPerMS is how many nanoseconds a millisecond has.
const nsPerMS = 1_000_000

// SplitNS splits a time in ns since the Unix epoch into Sample's TimeMS and SubNS.
func SplitNS(ns int64) (ms int64, sub uint32) {
	ms, rest := ns/nsPerMS, ns%nsPerMS
	if rest < 0 { // before 1970, too, the ms is the one that contains the time
		ms, rest = ms-1, rest+nsPerMS
	}
	return ms, uint32(rest)
}

// Origin is where a sample was first recorded: a record of the metrics topic. By it a group's state
// recognizes a sample that route handed on twice (docs/exactness.md).
type Origin struct {
	Epoch     uint64 // first 8 bytes of the topic's id: a topic that was deleted and made again is no replay
	Partition int32
	Offset    int64
}

// GroupLabels are the labels whose value names a series group, first match wins.
// It is the default of the config's route.group_labels.
var GroupLabels = []string{"instance", "host", "hostname", "service.instance.id"}

// GroupOf returns the key of the series group that s belongs to: the value of the first of these
// labels that s has, or the text of s, so that a series with no such label is a group of its own.
// The key is the source in the tables.
func GroupOf(s Series, labels []string) string {
	for _, name := range labels {
		if v := s.Labels.Get(name); v != "" {
			return v
		}
	}
	return s.String()
}
