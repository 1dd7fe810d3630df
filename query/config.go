package query

import (
	"fmt"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

// Config is the section query of the config file: what queries may cost, in total and for one
// client (an address, or a /64 of IPv6).
type Config struct {
	// MaxScans bounds the queries that the store works on at once, and MaxScansPerClient those of
	// one client. Further queries wait.
	MaxScans          int `yaml:"max_scans"`
	MaxScansPerClient int `yaml:"max_scans_per_client"`
	// QueueTimeout is how long a query waits for its turn before it gets 503.
	QueueTimeout conf.Duration `yaml:"queue_timeout"`
	// Timeout is how long the store may take before a query gets 504.
	Timeout conf.Duration `yaml:"timeout"`
	// MaxAnswerBytes bounds one answer: a list ends there, and tells where it continues.
	MaxAnswerBytes int `yaml:"max_answer_bytes"`
	// MaxHeldBytes bounds the answers being sent, in total.
	MaxHeldBytes int `yaml:"max_held_bytes"`
	// WriteTimeout is how long a client may take for the next 64 KiB of an answer, or
	// for the next events of a stream, before it is cut off.
	WriteTimeout conf.Duration `yaml:"write_timeout"`
	// MaxStreams bounds the open live streams, and MaxStreamsPerClient those of one client.
	MaxStreams          int `yaml:"max_streams"`
	MaxStreamsPerClient int `yaml:"max_streams_per_client"`
	// LiveBufferBytes bounds the events, shared by all readers, that some reader has not taken yet.
	LiveBufferBytes int `yaml:"live_buffer_bytes"`
}

// Default suits a few dozen people and some Grafanas.
func Default() Config {
	return Config{
		MaxScans: 8, MaxScansPerClient: 6,
		QueueTimeout: conf.Duration(5 * time.Second), Timeout: conf.Duration(30 * time.Second),
		MaxAnswerBytes: 8 << 20, MaxHeldBytes: 64 << 20,
		WriteTimeout: conf.Duration(10 * time.Second),
		MaxStreams:   1024, MaxStreamsPerClient: 512, LiveBufferBytes: 16 << 20,
	}
}

// Validate reports every setting that is out of bounds.
func (c *Config) Validate(at string, d *conf.Doc) {
	number := func(name string, n, least, most int) {
		if n < least || n > most {
			d.Fail(at+"."+name, n, fmt.Sprintf("must be %d to %d", least, most))
		}
	}
	wait := func(name string, is conf.Duration) {
		const least, most = conf.Duration(100 * time.Millisecond), conf.Duration(10 * time.Minute)
		if is < least || is > most {
			d.Fail(at+"."+name, is, fmt.Sprintf("must be %v to %v", least, most))
		}
	}
	number("max_scans", c.MaxScans, 1, 1024)
	number("max_scans_per_client", c.MaxScansPerClient, 1, max(1, c.MaxScans))
	wait("queue_timeout", c.QueueTimeout)
	wait("timeout", c.Timeout)
	number("max_answer_bytes", c.MaxAnswerBytes, 64<<10, 1<<30)
	number("max_held_bytes", c.MaxHeldBytes, max(64<<10, c.MaxAnswerBytes), 16<<30)
	wait("write_timeout", c.WriteTimeout)
	number("max_streams", c.MaxStreams, 1, 1<<20)
	number("max_streams_per_client", c.MaxStreamsPerClient, 1, max(1, c.MaxStreams))
	number("live_buffer_bytes", c.LiveBufferBytes, 1<<20, 1<<30)
}
