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

// wrap returns a builder of gated consumer groups; ready is called when the partitions
// of a session have been set up.
func (g *gate) wrap(build goka.ConsumerGroupBuilder, ready func()) goka.ConsumerGroupBuilder {
	return func(brokers []string, group, clientID string) (sarama.ConsumerGroup, error) {
		cg, err := build(brokers, group, clientID)
		if err != nil {
			return nil, err
		}
		return &gatedGroup{cg, g, ready}, nil
	}
}

type gatedGroup struct {
	sarama.ConsumerGroup
	gate  *gate
	ready func()
}

// Consume joins again after each rebalance until ctx ends or joining fails.
func (c *gatedGroup) Consume(ctx context.Context, topics []string, h sarama.ConsumerGroupHandler) error {
	for {
		err := c.ConsumerGroup.Consume(ctx, topics, &gatedHandler{ConsumerGroupHandler: h, gate: c.gate, ready: c.ready})
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

type gatedHandler struct {
	sarama.ConsumerGroupHandler
	gate  *gate
	ready func()
	s     *session
}

func (h *gatedHandler) Setup(s sarama.ConsumerGroupSession) error {
	h.s = &session{s}
	err := h.ConsumerGroupHandler.Setup(h.s)
	if err == nil {
		h.gate.session.Store(h.s)
		h.ready()
	}
	return err
}

func (h *gatedHandler) Cleanup(sarama.ConsumerGroupSession) error {
	h.gate.session.Store(nil)
	return h.ConsumerGroupHandler.Cleanup(h.s)
}

func (h *gatedHandler) ConsumeClaim(_ sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	return h.ConsumerGroupHandler.ConsumeClaim(h.s, c)
}
