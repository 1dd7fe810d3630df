package consume

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Denied reports whether err means that Kafka's ACLs deny something: trying again does not help
// until somebody grants it.
func Denied(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.GroupAuthorizationFailed) ||
		errors.Is(err, kerr.ClusterAuthorizationFailed)
}

// Failed returns nil if a member of a group recovers by itself from an error of a fetch: the
// group's session ended, or retention was quicker. Otherwise it returns the error, which names the
// partition, or the group that the member may not join.
func Failed(group string, f kgo.FetchError) error {
	var loss *kgo.ErrDataLoss
	var session *kgo.ErrGroupSession
	switch {
	case errors.As(f.Err, &session) && Denied(f.Err):
		return fmt.Errorf("group %s: %w", group, f.Err)
	case errors.As(f.Err, &loss), errors.As(f.Err, &session):
		return nil
	default:
		return fmt.Errorf("fetch %s/%d: %w", f.Topic, f.Partition, f.Err)
	}
}
