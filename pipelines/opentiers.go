package pipelines

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/sinks"
)

// OpenTiers opens the tier store that the config names, to read from it: the nodes of cql, or the embedded store in the
// folder data, which must be there, and which a running weir has to itself. The caller closes it.
func OpenTiers(c *Config, log *slog.Logger) (sinks.TierStore, error) {
	if dir := filepath.Join(c.Data, "tiers"); len(c.CQL.Hosts) == 0 {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("tiers: no store in %s, and no cql is named", c.Data)
		}
	}
	store, err := newTiers(c, prometheus.NewRegistry(), log).open()
	if err != nil && len(c.CQL.Hosts) == 0 {
		err = fmt.Errorf("%w; one process at a time can have it open: does weir run?", err)
	}
	return store, err
}
