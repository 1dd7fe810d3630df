package writeback

import (
	"context"
	"sync/atomic"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
)

// gate wraps sarama's consumer group: Goka's marks are swallowed, only checkpoints
// mark offsets; and Consume loops over rebalances by itself, because Goka waits five
// seconds between two calls of it (TRAPS 2, 3).
type gate struct {
	session atomic.Pointer[session]
}

type session struct {
	sarama.ConsumerGroupSession
}

// MarkOffset does nothing: see checkpoint.
func (*session) MarkOffset(string, int32, int64, string) {}

// MarkMessage does nothing: see checkpoint.
func (*session) MarkMessage(*sarama.ConsumerMessage, string) {}

// hooks are what the engine does around the setup of a session: ends returns where the
// table's partitions end before it, ready is called after it, while the session lives, and
// over when the session has ended, whatever came of it.
type hooks struct {
	ends  func() (map[int32]int64, error)
	ready func(ends map[int32]int64) error
	over  func()
	lost  func(claims []int32) // partitions of the input that a session has
}

// wrap returns a builder of gated consumer groups.
func (g *gate) wrap(build goka.ConsumerGroupBuilder, h hooks) goka.ConsumerGroupBuilder {
	return func(brokers []string, group, clientID string) (sarama.ConsumerGroup, error) {
		cg, err := build(brokers, group, clientID)
		if err != nil {
			return nil, err
		}
		return &gatedGroup{cg, g, h}, nil
	}
}

type gatedGroup struct {
	sarama.ConsumerGroup
	gate *gate
	hooks
}

// Consume joins again after each rebalance until ctx ends or joining fails.
func (c *gatedGroup) Consume(ctx context.Context, topics []string, h sarama.ConsumerGroupHandler) error {
	for {
		err := c.ConsumerGroup.Consume(ctx, topics, &gatedHandler{ConsumerGroupHandler: h, gate: c.gate, hooks: c.hooks})
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

type gatedHandler struct {
	sarama.ConsumerGroupHandler
	hooks
	gate *gate
	s    *session
}

func (h *gatedHandler) Setup(s sarama.ConsumerGroupSession) error {
	h.s = &session{s}
	ends, err := h.ends()
	if err != nil {
		return err
	}
	if err := h.ConsumerGroupHandler.Setup(h.s); err != nil {
		return err
	}
	if s.Context().Err() != nil {
		return nil // the next session recovers
	}
	for _, claims := range s.Claims() {
		h.lost(claims)
	}
	if err := h.ready(ends); err != nil {
		return err
	}
	h.gate.session.Store(h.s)
	return nil
}

func (h *gatedHandler) Cleanup(sarama.ConsumerGroupSession) error {
	h.gate.session.Store(nil)
	defer h.over()
	return h.ConsumerGroupHandler.Cleanup(h.s)
}

func (h *gatedHandler) ConsumeClaim(_ sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	return h.ConsumerGroupHandler.ConsumeClaim(h.s, c)
}
