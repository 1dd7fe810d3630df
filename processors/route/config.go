package route

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/formats"
)

// Config is the section route of the config file.
type Config struct {
	// GroupLabels are the labels whose value names a series group; the first that a series has
	// counts. A series with none of them is a group of its own.
	GroupLabels []string `yaml:"group_labels"`
	// MaxRecordBytes is the length of the longest record that is decoded, bytes.
	MaxRecordBytes int `yaml:"max_record_bytes"`
	// MaxLabels is how many labels a series may have.
	MaxLabels int `yaml:"max_labels"`
	// Commit is how often offsets are committed; after a crash that much is read again.
	Commit conf.Duration `yaml:"commit"`
	// Samples limits what samples may look like: it is a section of its own in the config.
	Samples formats.Config `yaml:"-"`
}

// Default groups by instance or host, and accepts records of up to 8 MiB.
func Default() Config {
	return Config{
		GroupLabels:    slices.Clone(schemas.GroupLabels),
		MaxRecordBytes: 8 << 20,
		MaxLabels:      64,
		Commit:         conf.Duration(time.Second),
		Samples:        formats.Default(),
	}
}

// The bounds of a Config.
const (
	minRecordBytes, maxRecordBytes = 1 << 10, 64 << 20
	maxMaxLabels                   = 512
	minCommit, maxCommit           = conf.Duration(100 * time.Millisecond), conf.Duration(time.Minute)
)

// Validate reports empty and repeated group labels, and numbers out of bounds.
func (c *Config) Validate(at string, d *conf.Doc) {
	for i, name := range c.GroupLabels {
		field := fmt.Sprintf("%s.group_labels[%d]", at, i)
		if name == "" {
			d.Fail(field, name, "must not be empty")
		}
		if slices.Contains(c.GroupLabels[:i], name) {
			d.Fail(field, name, "must not appear twice")
		}
	}
	if c.MaxRecordBytes < minRecordBytes || c.MaxRecordBytes > maxRecordBytes {
		d.Fail(at+".max_record_bytes", c.MaxRecordBytes, fmt.Sprintf("must be %d to %d bytes", minRecordBytes, maxRecordBytes))
	}
	if c.MaxLabels < 1 || c.MaxLabels > maxMaxLabels {
		d.Fail(at+".max_labels", c.MaxLabels, fmt.Sprintf("must be 1 to %d", maxMaxLabels))
	}
	if c.Commit < minCommit || c.Commit > maxCommit {
		d.Fail(at+".commit", c.Commit, fmt.Sprintf("must be %s to %s", minCommit, maxCommit))
	}
}
