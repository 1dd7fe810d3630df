package alert

import (
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Config is the alert section of the config.
type Config struct {
	Tick   conf.Duration `yaml:"tick"`   // how often to check for alerts that time resolves
	Flush  conf.Duration `yaml:"flush"`  // time between checkpoints: after a crash, a successor applies the records since the last one again
	Forget conf.Duration `yaml:"forget"` // how long an alert stays in the alert store after its end
}

// Default checks every second, checkpoints every 5 s, and forgets after a day.
func Default() Config {
	return Config{Tick: conf.Duration(time.Second), Flush: conf.Duration(5 * time.Second), Forget: conf.Day}
}

// Validate reports every fault of the section, which stands at the path at.
func (c *Config) Validate(at string, d *conf.Doc) {
	if c.Tick.Std() < 10*time.Millisecond || c.Tick.Std() > 10*time.Second {
		d.Fail(at+".tick", c.Tick, "must be 10ms to 10s")
	}
	if c.Flush.Std() < 100*time.Millisecond || c.Flush.Std() > 10*time.Minute {
		d.Fail(at+".flush", c.Flush, "must be 100ms to 10m")
	}
	if c.Forget.Std() < time.Minute || c.Forget > 365*conf.Day {
		d.Fail(at+".forget", c.Forget, "must be 1m to 365d")
	}
}
