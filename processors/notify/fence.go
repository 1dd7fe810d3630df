package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// fenceFor is how long it is taken for certain that this process is a member of the group: much
	// shorter than it takes others to get its partitions.
	fenceFor = time.Second
	// fenceWithin bounds one question to the group's coordinator.
	fenceWithin = 5 * time.Second
	// fenceAgain is the pause after a question that got no answer.
	fenceAgain = 200 * time.Millisecond
)

// fence keeps a process from making calls after others have taken over its partitions. A process
// that is suspended for a while (SIGSTOP, a frozen virtual machine) continues in the middle of
// whatever it was doing. Without a fence it told a receiver again that an alert was firing which
// its successor had meanwhile resolved (seen in TestTakeover), and nobody would have resolved that.
//
// Before a call, the coordinator must have confirmed within the last second that this process is a
// member of the group; while the request is written, within the last three (recent). What remains
// is the time between the last byte of a request and its way into the kernel.
type fence struct {
	ask func(ctx context.Context) error // whether this process is a member
	now func() time.Time                // monotonic, and runs while the process is suspended

	mu   sync.Mutex
	sure atomic.Pointer[time.Time] // when the last question with a good answer was asked
}

// recentFor is how old the last good answer may be while a request is written: less than the
// silence after which a process is taken for dead (package members).
const recentFor = 3 * fenceFor

// recent reports whether this process was a member a moment ago. It asks nobody.
func (f *fence) recent() bool {
	sure := f.sure.Load()
	return sure != nil && f.now().Sub(*sure) < recentFor
}

// newFence returns the fence of the group that the client in group belongs to; nothing passes while
// that is nil.
func newFence(group *atomic.Pointer[kgo.Client]) *fence {
	return &fence{now: time.Now, ask: func(ctx context.Context) error {
		if client := group.Load(); client != nil {
			return isMember(ctx, client)
		}
		return errNoMember
	}}
}

// pass waits until it is sure that this process is a member. It returns false if stop comes first.
func (f *fence) pass(stop <-chan struct{}) bool {
	for !f.check() {
		if !wait(fenceAgain, stop) {
			return false
		}
	}
	select {
	case <-stop:
		return false
	default:
		return true
	}
}

// check reports whether this process is certainly a member, and asks if need be.
func (f *fence) check() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	began := f.now()
	if sure := f.sure.Load(); sure != nil && began.Sub(*sure) < fenceFor {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), fenceWithin)
	defer cancel()
	if f.ask(ctx) != nil {
		return false
	}
	f.sure.Store(&began)
	return f.now().Sub(began) < fenceFor // a slow answer is about a time that has passed
}

// errNoMember tells that the client has not joined its group.
var errNoMember = errors.New("not a member of the group")

// isMember sends a heartbeat of its own to the group's coordinator. During a rebalance the
// partitions are still this member's: the others wait until it has joined again.
func isMember(ctx context.Context, group *kgo.Client) error {
	id, generation := group.GroupMetadata()
	if id == "" || generation < 0 {
		return errNoMember
	}
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = ConsumerGroup, id, generation
	if instance, ok := group.OptValue(kgo.InstanceID).(string); ok && instance != "" {
		req.InstanceID = &instance
	}
	resp, err := req.RequestWith(ctx, group)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil && !errors.Is(err, kerr.RebalanceInProgress) {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}
