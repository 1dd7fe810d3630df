package writeback

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrKilled is wrapped by the cause of a context that ends Run as a kill of the process would. Other
// causes stop it cleanly: signal.NotifyContext has one, too.
var ErrKilled = errors.New("killed")

// stopTime bounds the last checkpoint of a clean stop.
const stopTime = 15 * time.Second

// killedBy is ctx's cause if it wraps ErrKilled.
func killedBy(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrKilled) {
		return cause
	}
	return nil
}

// killed ends the run if ctx ended with ErrKilled.
func (e *Engine[T, L]) killed(ctx context.Context) bool {
	cause := killedBy(ctx)
	if cause != nil {
		e.fail(cause)
	}
	return cause != nil
}

// leave takes this member out of the group, so that the others need not wait until its session
// ends: a static member does not leave by itself.
func (e *Engine[T, L]) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	adm, err := kadm.NewOptClient(append(e.opts.Kafka.Access(), kgo.SeedBrokers(e.opts.Brokers...), kgo.ClientID(e.opts.ConsumerGroup))...)
	if err == nil {
		defer adm.Close()
		_, err = adm.LeaveGroup(ctx, kadm.LeaveGroup(e.opts.ConsumerGroup).InstanceIDs(e.opts.Instance).Reason("clean stop"))
	}
	if err != nil {
		e.log.Warn("cannot leave the group: the partitions wait until the session ends", "err", err)
	}
}
