package deadletter

import (
	"fmt"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/topics"
)

// Config is the section deadletter of the config file: how much a process writes to the topic. A
// source may write a burst at once, which then refills by this many bytes a second.
type Config struct {
	// SourceBurst and SourceRate are for each source, bytes and bytes/s.
	SourceBurst int `yaml:"source_burst_bytes"`
	SourceRate  int `yaml:"source_bytes_per_second"`
	// Burst and Rate are for all sources together, bytes and bytes/s.
	Burst int `yaml:"burst_bytes"`
	Rate  int `yaml:"bytes_per_second"`
}

// Default lets a source write 4 MiB at once and 1 KiB/s, which is 0.6 GB in a week, and all sources
// together 32 MiB and 64 KiB/s.
func Default() Config {
	return Config{SourceBurst: 4 << 20, SourceRate: 1 << 10, Burst: 32 << 20, Rate: 64 << 10}
}

// The bounds of a Config. A burst, and half of the burst for all, has room for one letter of any
// size.
const (
	minBurst, maxBurst = topics.MaxLetterBytes + 1<<16, 1 << 30
	minRate, maxRate   = 1, 1 << 30
)

// Validate reports bursts outside 1 MB (2 MB for all) to 1 GiB, rates outside 1 byte/s (2
// for all) to 1 GiB/s, and less for all sources than for one.
func (c *Config) Validate(at string, d *conf.Doc) {
	bound := func(field string, value, least, most int, unit string) {
		if value < least || value > most {
			d.Fail(at+"."+field, value, fmt.Sprintf("must be %d to %d %s", least, most, unit))
		}
	}
	bound("source_burst_bytes", c.SourceBurst, minBurst, maxBurst, "bytes")
	bound("source_bytes_per_second", c.SourceRate, minRate, maxRate, "bytes/s")
	bound("burst_bytes", c.Burst, max(2*minBurst, min(c.SourceBurst, maxBurst)), maxBurst, "bytes, and at least source_burst_bytes")
	bound("bytes_per_second", c.Rate, max(2*minRate, min(c.SourceRate, maxRate)), maxRate, "bytes/s, and at least source_bytes_per_second")
}
