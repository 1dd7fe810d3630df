package canary

import (
	"fmt"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Config is the section canary.
type Config struct {
	// Every is the period; 0: no canaries.
	Every conf.Duration `yaml:"every"`
	// Within is how long a canary may take, from its sample until notify has dealt with its alert.
	Within conf.Duration `yaml:"within"`
	// Heartbeat is sent while all canaries come through.
	Heartbeat Heartbeat `yaml:"heartbeat"`
}

// Heartbeat is the service that is told that weir is alive.
type Heartbeat struct {
	// URL gets a POST. It is a secret, but may also be given as plain text.
	URL conf.Secret `yaml:"url"`
	// Every is the pause between two of them.
	Every conf.Duration `yaml:"every"`
}

// Bounds of Config.Every and Heartbeat.Every, and the least of Config.Within.
const (
	minEvery          = 2 * time.Second
	maxEvery          = 5 * time.Minute
	minWithin         = time.Second
	minHeartbeatEvery = 10 * time.Second
	maxHeartbeatEvery = time.Hour
)

// Default is no canaries; and, once there is a period, 45 s for each of them, and a heartbeat a
// minute if it has a URL.
func Default() Config {
	return Config{Within: conf.Duration(45 * time.Second), Heartbeat: Heartbeat{Every: conf.Duration(time.Minute)}}
}

// On reports whether there are canaries.
func (c *Config) On() bool { return c.Every > 0 }

// Validate records what is wrong. tier is the length of the smallest tier, and grace its grace, in
// ms; both are 0 if the tiers are invalid.
func (c *Config) Validate(at string, d *conf.Doc, tierMS, graceMS int64) {
	least := max(minEvery, time.Duration(2*tierMS)*time.Millisecond)
	most := max(maxEvery, 2*least)
	if every := c.Every.Std(); every != 0 && (every < least || every > most) {
		d.Fail(at+".every", c.Every, fmt.Sprintf("must be %v to %v, two windows of the smallest tier at least, or 0s: no canaries", conf.Duration(least), conf.Duration(most)))
	}
	if least := max(minWithin, time.Duration(tierMS+graceMS)*time.Millisecond); c.On() && c.Within.Std() <= least {
		d.Fail(at+".within", c.Within, fmt.Sprintf("must be more than %v, as a window of the smallest tier takes that long to close", conf.Duration(least)))
	}
	h := &c.Heartbeat
	if every := h.Every.Std(); every < minHeartbeatEvery || every > maxHeartbeatEvery {
		d.Fail(at+".heartbeat.every", h.Every, fmt.Sprintf("must be %v to %v", conf.Duration(minHeartbeatEvery), conf.Duration(maxHeartbeatEvery)))
	}
	if h.URL.IsZero() {
		return
	}
	if text, err := h.URL.Reveal(); err != nil {
		d.Fail(at+".heartbeat.url", nil, "must be readable: "+err.Error())
	} else {
		d.HTTPURL(at+".heartbeat.url", h.URL, text)
	}
	if !c.On() {
		d.Fail(at+".heartbeat.url", h.URL, "needs canaries, as it is sent when they come through: set "+at+".every")
	}
}
