package console

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas/plain"
	"github.com/weir-metrics/weir/sinks"
)

// Config is a receiver's settings: there are none, so console: {} is complete.
type Config struct{}

// Default is the empty config.
func Default() Config { return Config{} }

// Validate records nothing: nothing can be wrong.
func (c *Config) Validate(string, *conf.Doc) {}

// Build implements receivers.Kind.
func (c *Config) Build(out io.Writer) []sinks.Target { return []sinks.Target{{Notifier: New(out)}} }

// Notifier writes to one writer. Use New.
type Notifier struct {
	mu sync.Mutex
	w  io.Writer
}

// New returns a notifier that writes blocks to w.
func New(w io.Writer) *Notifier { return &Notifier{w: w} }

// Notify implements sinks.Notifier.
func (c *Notifier) Notify(ctx context.Context, n *sinks.Notification) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", &sinks.DeliveryError{Retryable: true, Err: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := io.WriteString(c.w, Text(n)); err != nil {
		return "", &sinks.DeliveryError{Err: fmt.Errorf("console: %w", err)}
	}
	return "written", nil
}

// Text is the block of a notification:
//
//	*** FIRING  HighCPU  2026-11-21 08:26:06 UTC
//	    cpu 97 % on web01
//	    value 97 · hosts/HighCPU · {alertname="HighCPU", host="web01"}
//	    http://127.0.0.1:7070/#alert-54f6a9ae5cbb11f9
//
// A resolved alert keeps the value that last made it fire: "value was 97". One whose series fell
// silent says since when.
func Text(n *sinks.Notification) string {
	lines := []string{
		fmt.Sprintf("*** %s  %s  %s", plain.Text(n.State()), plain.Text(n.Name()),
			time.UnixMilli(n.AtMS).UTC().Format("2006-01-02 15:04:05 UTC")),
		plain.Text(n.Summary()),
		fmt.Sprintf("%s · %s · %s", n.ValueText(), plain.Text(n.Alert.Rule), plain.Text(sinks.LabelText(n.Alert.Labels))),
	}
	if u := n.AlertURL(); u != "" {
		lines = append(lines, plain.Text(u))
	}
	return strings.Join(lines, "\n    ") + "\n"
}
