package collect

import (
	"fmt"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/formats"
)

// Config is the section collect of the config file: the gateway, and how records are written to the
// topic metrics.
type Config struct {
	// MaxBodyBytes is the longest body that the gateway accepts, unzipped, bytes.
	MaxBodyBytes int `yaml:"max_body_bytes"`
	// MaxHeldBytes bounds the bodies that the gateway holds at once until Kafka has acknowledged
	// them, bytes.
	MaxHeldBytes int `yaml:"max_held_bytes"`
	// MaxHeldPerClient is each client's share of that, bytes; 0: a quarter, or one body if that is
	// longer.
	MaxHeldPerClient int `yaml:"max_held_per_client_bytes"`
	// BodyTimeout bounds how long a body may take to arrive, and MinBodyRate, bytes/s, how slowly:
	// a client that falls behind that rate by more than 5 s is cut off.
	BodyTimeout conf.Duration `yaml:"body_timeout"`
	MinBodyRate int           `yaml:"min_body_bytes_per_second"`
	// AckTimeout is how long a sender waits for Kafka before it is told 503.
	AckTimeout conf.Duration `yaml:"ack_timeout"`
	// Samples limits what samples may look like: it is a section of its own in the config.
	Samples formats.Config `yaml:"-"`
}

// Default accepts bodies of 10 MB, at 8 KiB/s and within a minute, holds 64 MB, a quarter of it for
// one client, and waits 10 s for Kafka.
func Default() Config {
	return Config{MaxBodyBytes: 10 << 20, MaxHeldBytes: 64 << 20,
		BodyTimeout: conf.Duration(time.Minute), MinBodyRate: 8 << 10, AckTimeout: conf.Duration(10 * time.Second),
		Samples: formats.Default()}
}

// The bounds of a Config.
const (
	minBodyBytes, maxBodyBytes = 1 << 10, 16 << 20
	maxHeldBytes               = 16 << 30
	minAck, maxAck             = conf.Duration(time.Second), conf.Duration(time.Minute)
	minBody, maxBody           = conf.Duration(time.Second), conf.Duration(10 * time.Minute)
	minRate, maxRate           = 1, 1 << 30
)

// share is how many bytes of bodies may be held for one client.
func (c *Config) share() int {
	if c.MaxHeldPerClient > 0 {
		return c.MaxHeldPerClient
	}
	return max(c.MaxHeldBytes/4, min(c.MaxBodyBytes+1, c.MaxHeldBytes))
}

// Validate reports numbers out of bounds: max_body_bytes 1 KiB to 16 MiB,
// max_held_bytes at least that, max_held_per_client_bytes 0 or between the two, body_timeout 1s
// to 10m, min_body_bytes_per_second 1 byte/s to 1 GiB/s, ack_timeout 1s to 1m.
func (c *Config) Validate(at string, d *conf.Doc) {
	if c.MaxBodyBytes < minBodyBytes || c.MaxBodyBytes > maxBodyBytes {
		d.Fail(at+".max_body_bytes", c.MaxBodyBytes, fmt.Sprintf("must be %d to %d bytes", minBodyBytes, maxBodyBytes))
	}
	if c.MaxHeldBytes < c.MaxBodyBytes || c.MaxHeldBytes > maxHeldBytes {
		d.Fail(at+".max_held_bytes", c.MaxHeldBytes, fmt.Sprintf("must be max_body_bytes (%d) to %d bytes", c.MaxBodyBytes, int64(maxHeldBytes)))
	}
	if n := c.MaxHeldPerClient; n != 0 && (n < c.MaxBodyBytes || n > c.MaxHeldBytes) {
		d.Fail(at+".max_held_per_client_bytes", n,
			fmt.Sprintf("must be max_body_bytes (%d) to max_held_bytes (%d), or 0 for a quarter of them", c.MaxBodyBytes, c.MaxHeldBytes))
	}
	if c.BodyTimeout < minBody || c.BodyTimeout > maxBody {
		d.Fail(at+".body_timeout", c.BodyTimeout, fmt.Sprintf("must be %s to %s", minBody, maxBody))
	}
	if c.MinBodyRate < minRate || c.MinBodyRate > maxRate {
		d.Fail(at+".min_body_bytes_per_second", c.MinBodyRate, fmt.Sprintf("must be %d to %d bytes/s", minRate, maxRate))
	}
	if c.AckTimeout < minAck || c.AckTimeout > maxAck {
		d.Fail(at+".ack_timeout", c.AckTimeout, fmt.Sprintf("must be %s to %s", minAck, maxAck))
	}
}

// AgentConfig is the section agent of the config file.
type AgentConfig struct {
	// Interval is how often the machine is read.
	Interval conf.Duration `yaml:"interval"`
	// BufferBytes bounds what is kept while nobody takes it, bytes; the oldest is dropped first.
	BufferBytes int `yaml:"buffer_bytes"`
	// Host is the value of the label host; empty: the machine's own name.
	Host string `yaml:"host"`
}

// DefaultAgent reads every 5 s and keeps 16 MiB, enough for some hours.
func DefaultAgent() AgentConfig {
	return AgentConfig{Interval: conf.Duration(5 * time.Second), BufferBytes: 16 << 20}
}

// The bounds of an AgentConfig.
const (
	minInterval, maxInterval       = conf.Duration(100 * time.Millisecond), conf.Duration(time.Hour)
	minBufferBytes, maxBufferBytes = 64 << 10, 1 << 30
	maxHostBytes                   = 255
)

// Validate reports an interval outside 100ms to 1h, a buffer outside 64 KiB to 1
// GiB, and a host name over 255 bytes.
func (c *AgentConfig) Validate(at string, d *conf.Doc) {
	if c.Interval < minInterval || c.Interval > maxInterval {
		d.Fail(at+".interval", c.Interval, fmt.Sprintf("must be %s to %s", minInterval, maxInterval))
	}
	if c.BufferBytes < minBufferBytes || c.BufferBytes > maxBufferBytes {
		d.Fail(at+".buffer_bytes", c.BufferBytes, fmt.Sprintf("must be %d to %d bytes", minBufferBytes, maxBufferBytes))
	}
	if len(c.Host) > maxHostBytes {
		d.Fail(at+".host", c.Host, fmt.Sprintf("must be at most %d bytes", maxHostBytes))
	}
}
