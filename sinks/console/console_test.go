package console_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/sinks/console"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

// blocks is a writer that keeps the text of each Write.
type blocks struct {
	mu  sync.Mutex
	all []string
}

func (b *blocks) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, string(p))
	return len(p), nil
}

func TestConformance(t *testing.T) {
	sinktest.RunNotifier(t, func(t *testing.T) sinktest.NotifierUnderTest {
		var out blocks
		return sinktest.NotifierUnderTest{
			Notifier: console.New(&out),
			Texts:    func() []string { return out.all },
		}
	})
}

func TestBlock(t *testing.T) {
	n := sinktest.NotificationOf(sinktest.FiringAlert("54f6a9ae5cbb11f9", 1_795_249_566_123))
	n.Alert.Annotations["summary"] += "\x1b[31m\nred"
	want := "*** FIRING  HighCPU  2026-11-21 08:26:06 UTC\n" +
		"    cpu 97% — Grüße\\x1b[31m red\n" +
		"    value 97.25 · hosts/HighCPU · {alertname=\"HighCPU\", host=\"web01\", severity=\"critical\"}\n" +
		"    http://127.0.0.1:7070/#alert-54f6a9ae5cbb11f9\n"
	var out bytes.Buffer
	if _, err := console.New(&out).Notify(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("block\n%s\nwant\n%s", out.String(), want)
	}
	n.To = schemas.Resolved
	if text := console.Text(n); !strings.HasPrefix(text, "*** RESOLVED  HighCPU") || !strings.Contains(text, "\n    value was 97.25 · ") {
		t.Errorf("resolved:\n%s", text)
	}
}

func TestBrokenWriterIsNotRetried(t *testing.T) {
	r, w := io.Pipe()
	_ = r.Close()
	_, err := console.New(w).Notify(t.Context(), sinktest.NotificationOf(sinktest.FiringAlert("54f6a9ae5cbb11f9", 1)))
	var de *sinks.DeliveryError
	if !errors.As(err, &de) || de.Retryable || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v, want one that is not retryable and wraps %v", err, io.ErrClosedPipe)
	}
}
