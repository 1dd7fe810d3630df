package store

import (
	"fmt"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Config is the section store of the config file.
type Config struct {
	// InFlight is how many records may be read but not yet acknowledged.
	InFlight int `yaml:"in_flight"`
	// Commit is how often offsets are committed; after a crash that much is read again.
	Commit conf.Duration `yaml:"commit"`
}

// Default has 128 records in flight and commits every second.
func Default() Config { return Config{InFlight: 128, Commit: conf.Duration(time.Second)} }

// The bounds of a Config.
const (
	maxInFlight          = 10_000
	minCommit, maxCommit = conf.Duration(100 * time.Millisecond), conf.Duration(time.Minute)
)

// Validate reports what is out of bounds.
func (c *Config) Validate(at string, d *conf.Doc) {
	if c.InFlight < 1 || c.InFlight > maxInFlight {
		d.Fail(at+".in_flight", c.InFlight, fmt.Sprintf("must be 1 to %d", maxInFlight))
	}
	if c.Commit < minCommit || c.Commit > maxCommit {
		d.Fail(at+".commit", c.Commit, fmt.Sprintf("must be %s to %s", minCommit, maxCommit))
	}
}
