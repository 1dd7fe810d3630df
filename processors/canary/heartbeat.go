package canary

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/weir-metrics/weir/sinks"
)

// heart sends heartbeats.
type heart struct {
	cfg  Heartbeat
	http *http.Client

	mu   sync.Mutex
	last error // of the newest attempt
}

// beatTimeout bounds one heartbeat.
const beatTimeout = 10 * time.Second

// newHeart returns nil if there is nobody to send to.
func newHeart(cfg Heartbeat) *heart {
	if cfg.URL.IsZero() {
		return nil
	}
	return &heart{cfg: cfg, http: sinks.NewHTTPClient(beatTimeout)}
}

// beat sends one, and returns an error without secrets.
func (h *heart) beat(ctx context.Context) error {
	err := h.call(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = err
	return err
}

func (h *heart) call(ctx context.Context) error {
	url, err := h.cfg.URL.Reveal()
	if err != nil {
		return sinks.SecretError("url", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, http.NoBody)
	if err != nil {
		return errors.New("url: not an http or https URL")
	}
	req.Header.Set("User-Agent", "weir")
	_, err = sinks.Exchange(h.http, req, url)
	return err
}

// fault is why the newest heartbeat failed, or "".
func (h *heart) fault() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil {
		return ""
	}
	return h.last.Error()
}

// beatAll sends a heartbeat as soon as all is fine, and then one each period as long as it is.
func (c *Canary) beatAll(ctx context.Context) {
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	var last time.Time
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			s := c.standing(now)
			if !s.fine() || now.Sub(last) < c.cfg.Heartbeat.Every.Std() {
				continue
			}
			last = now
			err := c.beat.beat(ctx)
			if ctx.Err() != nil {
				return
			}
			result := "ok"
			if err != nil {
				result = "failed"
			}
			c.count.beats.WithLabelValues(result).Inc()
			if err != nil && !failing {
				c.log.Warn("heartbeat not taken, trying again", "err", err, "after", c.cfg.Heartbeat.Every)
			}
			failing = err != nil
		}
	}
}
