package pipelines

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/embedded"
	"github.com/weir-metrics/weir/sinks/scylla"
)

// tiers is the tier store of the process, shared by the roles store and query: the first that needs
// it opens it. While it cannot be opened, only those two wait.
type tiers struct {
	config *Config
	reg    prometheus.Registerer
	log    *slog.Logger

	mu    sync.Mutex
	store sinks.TierStore // nil until it is open
}

// openWithin bounds one attempt to reach the nodes.
const openWithin = 30 * time.Second

func newTiers(c *Config, reg prometheus.Registerer, log *slog.Logger) *tiers {
	return &tiers{config: c, reg: reg, log: log}
}

// open returns the store, or why it cannot be opened.
func (t *tiers) open() (sinks.TierStore, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.store != nil {
		return t.store, nil
	}
	var sizes []cql.Tier
	for _, tier := range t.config.Windows.Tiers {
		sizes = append(sizes, cql.Tier{SizeMS: tier.Size.MS(), TTL: tier.TTL.Std()})
	}
	reg := &scope{Registerer: t.reg}
	store, err := t.connect(sizes, reg)
	if err != nil {
		reg.close()
		return nil, err
	}
	t.store = store
	return store, nil
}

func (t *tiers) connect(sizes []cql.Tier, reg prometheus.Registerer) (sinks.TierStore, error) {
	if len(t.config.CQL.Hosts) == 0 {
		return embedded.Open(filepath.Join(t.config.Data, "tiers"), sizes, time.Now, reg, t.log)
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	return scylla.Open(ctx, t.config.CQL, sizes, reg, t.log)
}

func (t *tiers) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.store == nil {
		return
	}
	if err := t.store.Close(); err != nil {
		t.log.Error("tier store not closed", "err", err)
	}
}
