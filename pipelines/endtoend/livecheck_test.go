package endtoend

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// liveCheck is a host that sends all the time, and a reader of its windows in the live stream.
type liveCheck struct {
	stop  context.CancelFunc
	delay chan []time.Duration // from the end of each window to its event; sent once, after stop
}

// liveWithin is the longest time from a window's end to its event, grace included. It allows for the
// race detector and a busy machine; without these it takes less than a second.
const liveWithin = 10 * time.Second

func startLive(t *testing.T, base string) *liveCheck {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/live?metric=live&tier=1s", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	c := &liveCheck{stop: stop, delay: make(chan []time.Duration, 1)}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			resp, err := http.Post(base+"/write", "", strings.NewReader("live,host=live value=1"))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		}
	}()
	go func() {
		defer resp.Body.Close()
		var delays []time.Duration
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			var w struct{ End, Revision int64 }
			data, isData := strings.CutPrefix(lines.Text(), "data: ")
			if !isData || json.Unmarshal([]byte(data), &w) != nil || w.Revision > 0 {
				continue
			}
			delays = append(delays, time.Since(time.UnixMilli(w.End)))
		}
		<-sent
		c.delay <- delays
	}()
	return c
}

func (c *liveCheck) check(t *testing.T) {
	t.Helper()
	c.stop()
	delays := <-c.delay
	worst := time.Duration(0)
	for _, d := range delays {
		worst = max(worst, d)
	}
	t.Logf("%d live windows, the slowest %v after its end", len(delays), worst)
	if len(delays) == 0 || worst > liveWithin {
		t.Errorf("%d live windows, the slowest %v after its end, want at most %v", len(delays), worst, liveWithin)
	}
}
