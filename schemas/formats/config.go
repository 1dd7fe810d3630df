package formats

import (
	"fmt"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// Config is the section samples of the config file: what a sample may look like, at the gateway and
// in route. Anything longer is refused as TooLong.
type Config struct {
	// MaxMetric, MaxLabelName and MaxLabelValue bound a name or a value, bytes.
	MaxMetric     int `yaml:"max_metric_bytes"`
	MaxLabelName  int `yaml:"max_label_name_bytes"`
	MaxLabelValue int `yaml:"max_label_value_bytes"`
	// MaxSeries bounds the names and values of a series together, bytes: they are part of a row's
	// key in CQL, and may be the key of a record.
	MaxSeries int `yaml:"max_series_bytes"`
	// IgnoreUnknownFields counts and ignores JSON fields that weir does not know, instead of
	// refusing them.
	IgnoreUnknownFields bool `yaml:"ignore_unknown_fields"`
}

// Default allows 256 bytes for metrics, 128 for names of labels, 1 KiB for values, and 4 KiB for a
// whole series. Unknown fields are refused.
func Default() Config {
	return Config{MaxMetric: 256, MaxLabelName: 128, MaxLabelValue: 1 << 10, MaxSeries: 4 << 10}
}

// The bounds of a Config, bytes: what the codecs and tables can take.
const (
	leastNameBytes  = 16
	mostNameBytes   = schemas.MaxNameBytes
	leastSeries     = 64
	mostSeriesBytes = 16 << 10
)

// Validate reports names outside 16 bytes to 4 KiB, and series outside 64 bytes to 16 KiB.
func (c *Config) Validate(at string, d *conf.Doc) {
	for _, n := range []struct {
		field              string
		value, least, most int
	}{
		{"max_metric_bytes", c.MaxMetric, leastNameBytes, mostNameBytes},
		{"max_label_name_bytes", c.MaxLabelName, leastNameBytes, mostNameBytes},
		{"max_label_value_bytes", c.MaxLabelValue, leastNameBytes, mostNameBytes},
		{"max_series_bytes", c.MaxSeries, leastSeries, mostSeriesBytes},
	} {
		if n.value < n.least || n.value > n.most {
			d.Fail(at+"."+n.field, n.value, fmt.Sprintf("must be %d to %d bytes", n.least, n.most))
		}
	}
}

// checkSeries returns an error if a series' metric and labels are too long together.
func (c *Config) checkSeries(metric, labels int) error {
	if metric+labels <= c.MaxSeries {
		return nil
	}
	return fmt.Errorf("series: %w: %d bytes of names and values, at most %d", schemas.ErrTooLong, metric+labels, c.MaxSeries)
}
