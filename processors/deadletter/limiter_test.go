package deadletter

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/topics"
)

// letterOf returns a letter of 100 kB that names its sender.
func letterOf(sender string) *kgo.Record {
	return Of(&kgo.Record{Value: make([]byte, 100_000), Headers: []kgo.RecordHeader{{Key: topics.HeaderSender, Value: []byte(sender)}}}, "route", "undecodable", nil)
}

// flood makes the source write letters of 100 kB until one is dropped, and returns their bytes.
func flood(l *Limiter, source string, now time.Time) (bytes int) {
	letter := letterOf(source)
	for l.Admit(letter, now) {
		bytes += size(letter)
	}
	return bytes
}

// dropped returns how many letters were counted as dropped.
func dropped(t *testing.T, l *Limiter) float64 {
	var m dto.Metric
	if err := l.dropped.WithLabelValues("route", "undecodable").Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// TestSourceThatFloodsIsBounded: a source may write its burst and its rate; other sources still have theirs.
func TestSourceThatFloodsIsBounded(t *testing.T) {
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	cfg := Config{SourceBurst: 1 << 20, SourceRate: 1 << 10, Burst: 4 << 20, Rate: 4 << 10}
	l := NewLimiter(cfg, reg, slog.New(slog.NewTextHandler(&log, nil)))
	now := time.Unix(1_700_000_000, 0)
	if n := flood(l, "a", now); n > 1<<20 || n < 1<<20-200_000 {
		t.Errorf("a wrote %d bytes at once", n)
	}
	if n := flood(l, "b", now); n < 1<<20-200_000 {
		t.Errorf("b wrote %d bytes after a's flood", n)
	}
	hour := now.Add(time.Hour)
	if n := flood(l, "a", hour); n > 1<<20 || n < 1<<20-200_000 {
		t.Errorf("a wrote %d bytes an hour later", n)
	}
	if n := flood(l, "a", hour.Add(100*time.Second)); n > 220_000 {
		t.Errorf("a wrote %d bytes 100 s after its burst", n)
	}
	if n := flood(l, "a", now); n != 0 {
		t.Errorf("a clock that goes back gave a %d bytes", n)
	}
	if n := dropped(t, l); n != 5 {
		t.Errorf("%v dropped letters counted, want 5", n)
	}
	if n := strings.Count(log.String(), "letters="); n != 4 {
		t.Errorf("logged %d times, want at first, twice later, and when the clock goes back:\n%s", n, log.String())
	}
}

// TestFloodsLeaveRoomForTheQuiet: many sources that flood use up three quarters of the total; a source that writes little
// still gets its letter through.
func TestFloodsLeaveRoomForTheQuiet(t *testing.T) {
	cfg := Config{SourceBurst: 1 << 20, SourceRate: 1 << 10, Burst: 8 << 20, Rate: 4 << 10}
	l := NewLimiter(cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	now := time.Unix(1_700_000_000, 0)
	all := 0
	for round := range 100 {
		for s := range 8 {
			all += flood(l, fmt.Sprint("flood", s), now.Add(time.Duration(round)*time.Second))
		}
	}
	if all > 8<<20+400<<10 {
		t.Errorf("%d bytes in total, with a burst of 8 MiB and 400 KiB", all)
	}
	if !l.Admit(letterOf("quiet"), now.Add(100*time.Second)) {
		t.Error("the letter of a quiet source is dropped")
	}
}

// TestNewKeysDoNotPushOutSenders: letters with ever new keys get half of the total; known senders get the rest.
func TestNewKeysDoNotPushOutSenders(t *testing.T) {
	l := NewLimiter(Config{SourceBurst: 1 << 20, SourceRate: 1 << 10, Burst: 8 << 20, Rate: 4 << 10}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	now := time.Unix(1_700_000_000, 0)
	all := 0
	for i := range 1000 {
		if letter := Of(&kgo.Record{Key: []byte(fmt.Sprint(i)), Value: make([]byte, 100_000)}, "route", "undecodable", nil); l.Admit(letter, now) {
			all += size(letter)
		}
	}
	if all > 4<<20 || all < 4<<20-200_000 {
		t.Errorf("%d bytes of new keys, want half of 8 MiB", all)
	}
	if n := flood(l, "a", now); n < 1<<20-200_000 {
		t.Errorf("a sender wrote %d bytes after that", n)
	}
}

// TestSourcesAreBounded: beyond a number of sources, new ones share a bucket; sources are forgotten after they have been
// quiet.
func TestSourcesAreBounded(t *testing.T) {
	l := NewLimiter(Config{SourceBurst: 1 << 20, SourceRate: 1 << 20, Burst: 1 << 31, Rate: 1 << 31}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	now := time.Unix(1_700_000_000, 0)
	for i := range 20_000 {
		l.Admit(letterOf(fmt.Sprint("source", i)+strings.Repeat("x", 10_000)), now)
	}
	if len(l.sources) != maxSources || dropped(t, l) == 0 {
		t.Errorf("%d sources, at most %d", len(l.sources), maxSources)
	}
	l.Admit(letterOf("new"), now.Add(time.Minute))
	if len(l.sources) != 1 {
		t.Errorf("%d sources a minute later, want the new one", len(l.sources))
	}
	if !(*Limiter)(nil).Admit(letterOf(""), now) {
		t.Error("a nil limiter drops")
	}
}

func TestConfigBounds(t *testing.T) {
	check := func(c Config) string {
		d := conf.Parse("f", nil, &struct{}{})
		if c.Validate("deadletter", d); d.Err() != nil {
			return d.Err().Error()
		}
		return ""
	}
	if got := check(Default()); got != "" {
		t.Errorf("the default has faults: %s", got)
	}
	for field, c := range map[string]Config{
		"deadletter.source_burst_bytes":      {minBurst - 1, 1, 1 << 30, 2},
		"deadletter.source_bytes_per_second": {minBurst, 0, 2 * minBurst, 2},
		"deadletter.burst_bytes":             {3 * minBurst, 1, 2 * minBurst, 2},
		"deadletter.bytes_per_second":        {minBurst, 3, 2 * minBurst, 2},
	} {
		if got := check(c); !strings.Contains(got, field) {
			t.Errorf("%+v: %q, want a fault in %s", c, got, field)
		}
	}
	if got := check(Config{minBurst, 1, 2 * minBurst, 2}); got != "" {
		t.Errorf("the lower bounds have faults: %s", got)
	}
}
