package window

import (
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Config is the window section of the config.
type Config struct {
	Tick  conf.Duration `yaml:"tick"`  // how often to check for windows that are due
	Flush conf.Duration `yaml:"flush"` // time between checkpoints: after a crash, a successor applies the records since the last one again
}

// Default checks every 100 ms and checkpoints every 10 s.
func Default() Config {
	return Config{Tick: conf.Duration(100 * time.Millisecond), Flush: conf.Duration(10 * time.Second)}
}

// Validate reports every fault of the section, which stands at the path at.
func (c *Config) Validate(at string, d *conf.Doc) {
	if c.Tick.Std() < 10*time.Millisecond || c.Tick.Std() > 10*time.Second {
		d.Fail(at+".tick", c.Tick, "must be 10ms to 10s")
	}
	if c.Flush.Std() < 100*time.Millisecond || c.Flush.Std() > 10*time.Minute {
		d.Fail(at+".flush", c.Flush, "must be 100ms to 10m")
	}
}
