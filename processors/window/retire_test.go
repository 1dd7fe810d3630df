package window

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// TestRetired: what is true of retired series ends, whatever of theirs is still open is not judged when
// it closes, also after a crash, and series that send again are judged again. Other hosts, and the
// windows that are stored, are not concerned.
func TestRetired(t *testing.T) {
	s := &rulesStage{stage: newStage(t, `groups:
- name: g
  rules:
  - {alert: high, expr: 'm0 > 50'}
  - {alert: minute, expr: 'm0 > 50', tier: 1m}
`), told: map[string][]*schemas.Condition{}}
	now := time.Now().UnixMilli()
	s.fromMS = now - now%3600_000 - 3600_000
	s.flush = time.Hour
	retire := func(host string, atMS int64) {
		t.Helper()
		value := (&schemas.Retire{Labels: schemas.Labels{{Name: "host", Value: host}}}).AppendTo(nil)
		r := &kgo.Record{Topic: topics.Samples, Key: []byte(host), Value: value, Partition: schemas.Shard([]byte(host), s.topics.Shards), Timestamp: time.UnixMilli(atMS)}
		if err := s.client.ProduceSync(context.Background(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	stop := s.start(t.TempDir(), nil)
	s.next("old", "web")
	s.next("old", "web")
	s.next("old", "web")
	for _, host := range []string{"old", "web"} {
		s.until("the rule is true of "+host, func() bool { return s.last("high", host) == "window 1 true " })
	}
	retire("old", s.fromMS+25_000)
	s.until("it ends", func() bool { return s.last("high", "old") == "window 2 false retired" })

	stop(errCrash)
	stop = s.start(t.TempDir(), nil)
	s.window = 7
	s.next("old", "web") // closes all that was open
	s.next("old", "web")
	s.until("it is judged again", func() bool { return s.last("high", "old") == "window 7 true " })
	s.until("the minute is judged of the other", func() bool { return s.last("minute", "web") == "window 5 true " })
	if got := s.last("minute", "old"); got != "nothing" {
		t.Errorf("a minute that was open when its series was retired: %s", got)
	}
	if all := s.told["high old"]; len(all) != 4 {
		t.Errorf("%d conditions of the retired host, want those of windows 0, 1, the end, and 7: %+v", len(all), all)
	}
	stop(nil)
	clear(s.seen)
	s.readWindows()
	counts := map[string]int64{}
	for _, w := range s.merged.Windows() {
		if w.TierMS == 10_000 {
			counts[w.Series.Labels.Get("host")] += int64(w.Count)
		}
	}
	if counts["old"] == 0 || counts["old"] != counts["web"] {
		t.Errorf("samples in stored windows by host: %v", counts)
	}
}
