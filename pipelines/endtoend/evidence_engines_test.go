//go:build engines

package endtoend

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

// evidence keeps what explains a failure of the test: the contents of all topics between a sample and a page, and the
// requests that the pager received, with their times.
func evidence(t testing.TB, pager *sinktest.PagerDuty) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() && os.Getenv("WEIR_TEST_KEEP") == "" {
			return
		}
		var told bytes.Buffer
		for _, r := range pager.Requests() {
			fmt.Fprintf(&told, "%s taken=%v %s\n", r.At.UTC().Format(time.RFC3339Nano), r.Taken, r.Body)
		}
		enginetest.Keep(t, "pager", told.Bytes())
		for _, topic := range []string{topics.Metrics, topics.Samples, topics.Windows, topics.Conditions, topics.Alerts, topics.NotificationLog, topics.Progress, topics.Members} {
			var all bytes.Buffer
			records, err := recordsOf(context.Background(), enginetest.Kafka(t).Addr, topic)
			if err != nil {
				t.Log(err)
				continue
			}
			slices.SortStableFunc(records, func(a, b *kgo.Record) int { return a.Timestamp.Compare(b.Timestamp) })
			for _, r := range records {
				fmt.Fprintf(&all, "%s %d@%d %q %s\n", r.Timestamp.UTC().Format("15:04:05.000"), r.Partition, r.Offset, r.Key, inWords(topic, r.Value))
			}
			enginetest.Keep(t, topic, all.Bytes())
		}
	})
}

// inWords formats a value of a topic for people.
func inWords(topic string, value []byte) string {
	switch {
	case len(value) == 0:
		return "-"
	case topic == topics.Samples:
		var b schemas.SampleBatch
		if tick, err := schemas.DecodeTick(value); err == nil {
			return fmt.Sprintf("tick %+v", tick)
		}
		if err := b.Decode(value); err != nil {
			return err.Error()
		}
		text := ""
		for _, s := range b.Sections {
			text += fmt.Sprintf(" %+v", s)
			for _, p := range b.Points[s.From:s.To] {
				text += fmt.Sprintf(" %d=%v", p.TimeMS, p.Value)
			}
		}
		return text
	case topic == topics.Windows:
		b, err := schemas.DecodeWindowBatch(value)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%+v", *b)
	}
	if tick, err := schemas.DecodeTick(value); err == nil {
		return fmt.Sprintf("tick %+v", tick)
	}
	return string(value)
}
