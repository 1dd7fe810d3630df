package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestDeniedGroupEndsRun: if Kafka's ACLs deny a member its group, Run ends with an error that names the group, instead of
// retrying silently.
func TestDeniedGroupEndsRun(t *testing.T) {
	b := newBed(t, 1)
	for _, key := range []kmsg.Key{kmsg.FindCoordinator, kmsg.JoinGroup} { // Kafka denies the first of them
		b.cluster.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
			b.cluster.KeepControl()
			switch resp := r.ResponseKind().(type) {
			case *kmsg.FindCoordinatorResponse:
				for _, name := range r.(*kmsg.FindCoordinatorRequest).CoordinatorKeys {
					c := kmsg.NewFindCoordinatorResponseCoordinator()
					c.Key, c.ErrorCode = name, kerr.GroupAuthorizationFailed.Code
					resp.Coordinators = append(resp.Coordinators, c)
				}
				resp.ErrorCode = kerr.GroupAuthorizationFailed.Code
				return resp, nil, true
			case *kmsg.JoinGroupResponse:
				resp.ErrorCode = kerr.GroupAuthorizationFailed.Code
				return resp, nil, true
			}
			return nil, nil, false
		})
	}
	r := b.start(Default(), drainTime)
	if err := b.ended(r); !errors.Is(err, kerr.GroupAuthorizationFailed) || !strings.Contains(err.Error(), "group "+ConsumerGroup) {
		t.Errorf("Run: %v, want one that names the group", err)
	}
}
