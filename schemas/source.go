package schemas

import (
	"cmp"
	"slices"
)

// Source is what weir knows about a source, which is a series group, at one moment: what it sends,
// and what is wrong with it.
type Source struct {
	Source           string  `json:"source"` // the series group's key
	SamplesPerSecond float64 `json:"samplesPerSecond"`
	Series           int     `json:"series"`
	// LargestMetric has the most series of the source, LargestSeries of them.
	LargestMetric string `json:"largestMetric"`
	LargestSeries int    `json:"largestSeries"`
	// DelayMS is how late its samples usually are, ms; negative if they are ahead of weir's clock.
	DelayMS int64 `json:"delay"`
	// AheadMS is how far ahead of weir's clock the furthest sample was that was refused for being
	// in the future, ms.
	AheadMS int64 `json:"ahead,omitempty"`
	// Collapsed counts samples that were counted in overflow series, by the limit that they
	// exceeded; Refused counts samples that were not counted, by reason. Both count since weir
	// started, or since the source was last quiet for an hour.
	Collapsed map[string]int64 `json:"collapsed,omitempty"`
	Refused   map[string]int64 `json:"refused,omitempty"`
	FirstMS   int64            `json:"first,omitempty"` // when that was first the case, and last, ms
	LastMS    int64            `json:"last,omitempty"`
	// Clock is FastClock or SlowClock if the source's clock seems to be wrong, or "".
	Clock string `json:"clock,omitempty"`
}

// What may be wrong with a source's clock.
const (
	FastClock = "fast"
	SlowClock = "slow" // or its samples are delayed on their way
)

// Named reports whether something is wrong with the source.
func (s *Source) Named() bool { return len(s.Collapsed) > 0 || len(s.Refused) > 0 || s.Clock != "" }

// TopOrders are the orders of Top, by name.
var TopOrders = []string{"rate", "series", "named"}

// Top sorts sources by samples a second, by series, or by when something was last wrong, the
// largest or newest first; "named" keeps only those that something is wrong with. order is one of
// TopOrders.
func Top(sources []Source, order string) []Source {
	rank := map[string]func(a, b *Source) int{
		"rate":   func(a, b *Source) int { return cmp.Compare(b.SamplesPerSecond, a.SamplesPerSecond) },
		"series": func(a, b *Source) int { return cmp.Compare(b.Series, a.Series) },
		"named":  func(a, b *Source) int { return cmp.Compare(b.LastMS, a.LastMS) },
	}[order]
	sources = slices.Clone(sources)
	if order == "named" {
		sources = slices.DeleteFunc(sources, func(s Source) bool { return !s.Named() })
	}
	slices.SortFunc(sources, func(a, b Source) int { return cmp.Or(rank(&a, &b), cmp.Compare(a.Source, b.Source)) })
	return sources
}
