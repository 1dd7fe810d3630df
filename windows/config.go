package windows

import (
	"strconv"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// Tier is one window length.
type Tier struct {
	Size  conf.Duration `yaml:"size"`  // a multiple of the tier before
	Grace conf.Duration `yaml:"grace"` // how long after its end a window waits for late samples
	TTL   conf.Duration `yaml:"ttl"`   // how long rows are kept, from the window's end
}

// Config is the windows section of the config.
type Config struct {
	Tiers     []Tier        `yaml:"tiers"`
	MaxAge    conf.Duration `yaml:"max_age"`    // samples older than the group's clock, or than the group, by more are refused
	MaxFuture conf.Duration `yaml:"max_future"` // samples newer than the wall clock by more are refused
	// MaxLead is how far samples that are ahead of their arrival may move their group's clock.
	// Default 0: not at all, as one sender with a fast clock would make the others of its host
	// late. It is for recordings that are sent ahead of their time, by tests that cannot wait for
	// an hour to end. At most MaxFuture.
	MaxLead conf.Duration `yaml:"max_lead"`

	// Series beyond the first two limits are collapsed (see limits.go), beyond the third refused.
	MaxSeries          int `yaml:"max_series"`            // series of one group
	MaxSeriesPerMetric int `yaml:"max_series_per_metric"` // of those, series of one metric
	MaxSeriesTotal     int `yaml:"max_series_total"`      // series of all groups of a Shard: of a partition
	MaxGroups          int `yaml:"max_groups"`            // groups of a Shard that have state: further ones are refused
	// MaxGroupBytes bounds the encoded state of one group; the names of its series may take a
	// quarter of it, each label pair counted once. Series beyond are collapsed, samples refused.
	MaxGroupBytes int `yaml:"max_group_bytes"`
	// MaxRate is samples per second of one group, in event time: one window of the smallest tier
	// counts MaxRate times its length, and the rest is refused. Each of several senders has a share
	// of its own, whatever the others use; see room.
	MaxRate int `yaml:"max_rate"`
	// GroupLabels are the labels that name a group, as route is configured: an overflow series
	// keeps the value of the first one that it has.
	GroupLabels []string `yaml:"-"`
}

// Default is three tiers of 10s, 1m and 1h, kept 7, 30 and 365 days.
func Default() Config {
	const day = 24 * time.Hour
	return Config{
		Tiers: []Tier{
			{Size: conf.Duration(10 * time.Second), Grace: conf.Duration(2 * time.Second), TTL: conf.Duration(7 * day)},
			{Size: conf.Duration(time.Minute), Grace: conf.Duration(10 * time.Second), TTL: conf.Duration(30 * day)},
			{Size: conf.Duration(time.Hour), Grace: conf.Duration(time.Minute), TTL: conf.Duration(365 * day)},
		},
		MaxAge:             conf.Duration(day),
		MaxFuture:          conf.Duration(time.Minute),
		MaxSeries:          5000,
		MaxSeriesPerMetric: 2000,
		MaxSeriesTotal:     10_000_000,
		MaxGroups:          1_000_000,
		MaxGroupBytes:      8 << 20,
		MaxRate:            20_000,
		GroupLabels:        schemas.GroupLabels,
	}
}

// Bounds of the config.
const (
	maxTiers     = 8
	maxSmallTier = time.Hour      // the smallest tier: a sample's offset is kept in 22 bits of ms
	maxLargeTier = 24 * time.Hour // a window's offsets and counts are kept in 32 bits
	minTier      = time.Second    //
	maxSeriesCap = 1<<16 - 1      // a series' index plus one is kept in 16 bits
	maxTTL       = 3650 * 24 * time.Hour
	maxTotal     = 1_000_000_000
	minBytes     = 256 << 10
	maxBytes     = 12 << 20       // a value of the group table, including what is kept beside the windows, is at most 16 MiB
	maxAhead     = 24 * time.Hour // windows that open ahead of the clock cost memory
	maxRate      = 1_000_000      // times an hour is less than 2^32
)

// Validate reports every fault of the section, which stands at the path at.
func (c *Config) Validate(at string, d *conf.Doc) {
	if n := len(c.Tiers); n < 1 || n > maxTiers {
		d.Fail(at+".tiers", n, "must be 1 to 8 tiers")
	}
	var before Tier
	for i, t := range c.Tiers {
		field := at + ".tiers[" + strconv.Itoa(i) + "]"
		size := t.Size.Std()
		switch {
		case size < minTier || size%time.Second != 0:
			d.Fail(field+".size", t.Size, "must be a whole number of seconds, at least 1s")
		case i == 0 && size > maxSmallTier:
			d.Fail(field+".size", t.Size, "must be at most 1h for the smallest tier")
		case size > maxLargeTier:
			d.Fail(field+".size", t.Size, "must be at most 1d")
		case i > 0 && before.Size > 0 && (size <= before.Size.Std() || size%before.Size.Std() != 0):
			d.Fail(field+".size", t.Size, "must be a multiple of the tier before, "+before.Size.String())
		}
		switch {
		case t.Grace < 0 || t.Grace.Std() > size:
			d.Fail(field+".grace", t.Grace, "must be at least 0s and at most the tier's size")
		case t.Grace < before.Grace:
			d.Fail(field+".grace", t.Grace, "must be at least that of the tier before, "+before.Grace.String())
		}
		if t.TTL <= t.Size || t.TTL.Std() > maxTTL {
			d.Fail(field+".ttl", t.TTL, "must be more than the tier's size and at most 3650d")
		}
		before = t
	}
	if c.MaxAge.Std() < time.Minute {
		d.Fail(at+".max_age", c.MaxAge, "must be at least 1m")
	}
	if c.MaxFuture < 0 || c.MaxFuture.Std() > maxAhead {
		d.Fail(at+".max_future", c.MaxFuture, "must be at least 0s and at most 1d")
	}
	if c.MaxLead < 0 || c.MaxLead > c.MaxFuture {
		d.Fail(at+".max_lead", c.MaxLead, "must be at least 0s and at most max_future, "+c.MaxFuture.String())
	}
	if c.MaxSeries < 1 || c.MaxSeries > maxSeriesCap {
		d.Fail(at+".max_series", c.MaxSeries, "must be 1 to 65535")
	}
	if c.MaxSeriesPerMetric < 1 || c.MaxSeriesPerMetric > maxSeriesCap {
		d.Fail(at+".max_series_per_metric", c.MaxSeriesPerMetric, "must be 1 to 65535")
	}
	if c.MaxSeriesTotal < 1 || c.MaxSeriesTotal > maxTotal {
		d.Fail(at+".max_series_total", c.MaxSeriesTotal, "must be 1 to 1000000000")
	}
	if c.MaxGroups < 1 || c.MaxGroups > maxTotal {
		d.Fail(at+".max_groups", c.MaxGroups, "must be 1 to 1000000000")
	}
	if c.MaxGroupBytes < minBytes || c.MaxGroupBytes > maxBytes {
		d.Fail(at+".max_group_bytes", c.MaxGroupBytes, "must be 262144 to 12582912 bytes")
	}
	if c.MaxRate < 1 || c.MaxRate > maxRate {
		d.Fail(at+".max_rate", c.MaxRate, "must be 1 to 1000000 samples a second")
	}
}

// clockSkew is how far the clocks of weir's machines may differ.
const clockSkew = time.Hour

// KeepMS is how long, ms of wall time, a group is remembered after its clock: as long as a sample
// may come that belongs in one of its windows.
func (c *Config) KeepMS() int64 {
	largest := c.Tiers[len(c.Tiers)-1]
	return c.MaxAge.MS() + largest.Size.MS() + largest.Grace.MS() + clockSkew.Milliseconds()
}

// TiersMS are the tiers' lengths in ms, smallest first.
func (c *Config) TiersMS() []int64 {
	ms := make([]int64, len(c.Tiers))
	for i, t := range c.Tiers {
		ms[i] = t.Size.MS()
	}
	return ms
}

// LeastGrace is the smallest grace of a tier.
func (c *Config) LeastGrace() time.Duration {
	least := c.Tiers[0].Grace
	for _, t := range c.Tiers {
		least = min(least, t.Grace)
	}
	return least.Std()
}

// Reason tells why a sample was not counted. Its text is a metric's label and a dead letter's
// header.
type Reason string

// Why Apply refused a sample, which goes to the dead letters …
const (
	TooOld      Reason = "too_old"      // beyond max_age
	TooNew      Reason = "future"       // beyond max_future
	SeriesLimit Reason = "series_limit" // beyond max_series, and cannot be collapsed
	MetricLimit Reason = "metric_limit" // beyond max_series_per_metric, and cannot be collapsed
	TotalLimit  Reason = "total_limit"  // beyond max_series_total
	GroupLimit  Reason = "group_limit"  // of a group beyond max_groups
	BytesLimit  Reason = "bytes_limit"  // beyond max_group_bytes, and cannot be collapsed
	RateLimit   Reason = "rate_limit"   // beyond max_rate
	BadSeries   Reason = "bad_series"   // its definition does not decode
)

// … or dropped it, because it had been counted before.
const (
	Replayed  Reason = "replayed"  // the section's origin had been applied
	Duplicate Reason = "duplicate" // the same series, time and value
)

// Reasons lists all the reasons for which Apply refuses samples.
var Reasons = []Reason{TooOld, TooNew, SeriesLimit, MetricLimit, TotalLimit, GroupLimit, BytesLimit, RateLimit, BadSeries}

// Refused is one sample that Apply refused.
type Refused struct {
	Series schemas.Series // zero for BadSeries
	TimeMS int64
	SubNS  uint32 // see schemas.Sample
	Value  float64
	Reason Reason
	Err    error // for BadSeries
}
