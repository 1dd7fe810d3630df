package writeback

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/IBM/sarama"
)

// gate wraps sarama's consumer group. Goka's marks are swallowed, and only checkpoints mark
// offsets. Consume loops over rebalances by itself, because Goka waits five seconds between two
// calls of it, during which no partition is processed. Goka's own marks leave a hole: a message
// whose acknowledgement failed is skipped when a later one is committed, as sarama keeps only the
// highest mark.
type gate struct {
	session atomic.Pointer[session]
	once    sync.Once
	first   chan struct{} // closed when the first session has begun
}

func newGate() *gate { return &gate{first: make(chan struct{})} }

// begin lets a session through once its partitions have recovered.
func (g *gate) begin(s *session) {
	g.session.Store(s)
	g.once.Do(func() { close(g.first) })
}

type session struct {
	sarama.ConsumerGroupSession
}

// MarkOffset does nothing: see checkpoint.
func (*session) MarkOffset(string, int32, int64, string) {}

// MarkMessage does nothing: see checkpoint.
func (*session) MarkMessage(*sarama.ConsumerMessage, string) {}

// hooks are what the engine does around the setup of a session: ends, called before it, returns
// where the table's partitions end; ready is called after it, while the session lives; and over
// when the session has ended, for whatever reason.
type hooks struct {
	ends  func() (map[int32]int64, error)
	ready func(ends map[int32]int64) error
	over  func()
	lost  func(claims []int32) // called with the partitions of the input that a session has
	fail  func(error)          // called with errors after which the group cannot continue
}

// groupBuilder makes a consumer group.
type groupBuilder = func(brokers []string, group, clientID string) (sarama.ConsumerGroup, error)

// wrap returns a builder of gated consumer groups.
func (g *gate) wrap(build groupBuilder, h hooks) groupBuilder {
	return func(brokers []string, group, clientID string) (sarama.ConsumerGroup, error) {
		cg, err := build(brokers, group, clientID)
		if err != nil {
			return nil, err
		}
		gated := &gatedGroup{cg, g, h, make(chan error, 64)}
		go gated.passErrors()
		return gated, nil
	}
}

type gatedGroup struct {
	sarama.ConsumerGroup
	gate *gate
	hooks
	errors chan error // for Goka, which logs them
}

// Errors implements sarama.ConsumerGroup.
func (c *gatedGroup) Errors() <-chan error { return c.errors }

// passErrors fails the engine at a permanent error: sarama keeps asking for what Kafka's ACLs deny,
// and Goka waits.
func (c *gatedGroup) passErrors() {
	defer close(c.errors)
	for err := range c.ConsumerGroup.Errors() {
		if errors.Is(err, sarama.ErrTopicAuthorizationFailed) || errors.Is(err, sarama.ErrGroupAuthorizationFailed) {
			c.fail(err)
		}
		select {
		case c.errors <- err:
		default: // do not wait for a reader
		}
	}
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
	h.gate.begin(h.s)
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
