package consume

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestFailed(t *testing.T) {
	at := func(err error) kgo.FetchError { return kgo.FetchError{Topic: "t", Partition: 3, Err: err} }
	for _, c := range []struct {
		err  error
		want string // in Failed's error; "": it reads on
	}{
		{&kgo.ErrGroupSession{Err: errors.New("the session is over")}, ""},
		{&kgo.ErrGroupSession{Err: kerr.GroupAuthorizationFailed}, "group g: "},
		{&kgo.ErrGroupSession{Err: fmt.Errorf("join: %w", kerr.TopicAuthorizationFailed)}, "group g: "},
		{&kgo.ErrDataLoss{Topic: "t", Partition: 3}, ""},
		{kerr.TopicAuthorizationFailed, "fetch t/3: "},
		{errors.New("anything else"), "fetch t/3: "},
	} {
		err := Failed("g", at(c.err))
		if (err == nil) != (c.want == "") || err != nil && (!strings.HasPrefix(err.Error(), c.want) || !errors.Is(err, c.err)) {
			t.Errorf("%v: %v, want %q", c.err, err, c.want)
		}
	}
}
