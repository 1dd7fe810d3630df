package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weir-metrics/weir/pipelines"
)

// BenchmarkNotification measures the time from the newest sample of a window to the arrival of
// its notification at a webhook, with all of weir in one process at 10,000 samples a second.
// The windows are 10s with a grace of 2s; 1,000 hosts send 10 metrics a second, and in each
// window other hosts exceed a threshold. It reports the median, the 99th percentile and the
// maximum; all three include the grace, which it reports as grace-s.
func BenchmarkNotification(b *testing.B) {
	const hosts, metrics, windows, perWindow = 1000, 10, 6, 30
	var took []time.Duration
	for b.Loop() {
		var mu sync.Mutex
		first := map[string]time.Time{} // when the first firing of each host arrived
		hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var m struct {
				Status string
				Alerts []struct{ Labels map[string]string }
			}
			if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
				b.Errorf("notification: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if host := m.Alerts[0].Labels["host"]; m.Status == "firing" && first[host].IsZero() {
				first[host] = time.Now()
			}
		}))
		dir := b.TempDir()
		file := writeConfig(b, dir, fmt.Sprintf(`
rules: [rules.yaml]
notify:
  receivers:
  - name: hook
    webhook: {url: %q}
`, hook.URL))
		if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(`
groups:
- name: bench
  rules:
  - alert: spike
    expr: m0 > 50
`), 0o600); err != nil {
			b.Fatal(err)
		}
		var config pipelines.Config
		p := start(b, file, &config)
		post := func(body []byte) {
			resp, err := http.Post(p.url+"/write?precision=ms", "text/plain", bytes.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusNoContent {
				b.Fatalf("write: %s", resp.Status)
			}
		}
		// One tenth of the hosts every 100 ms.
		began := time.Now().Truncate(10 * time.Second).Add(10 * time.Second)
		newest := map[string]time.Time{}
		tick := time.NewTicker(100 * time.Millisecond)
		for n := 0; ; n++ {
			now := <-tick.C
			w := int(now.Sub(began) / (10 * time.Second))
			if w > windows {
				break
			}
			var body bytes.Buffer
			for h := n % 10; h < hosts; h += 10 {
				v := 1
				if now.After(began) && h/perWindow == w && w < windows {
					v = 100
					newest[fmt.Sprintf("h%d", h)] = now
				}
				for m := range metrics {
					fmt.Fprintf(&body, "m%d,host=h%d value=%d %d\n", m, h, v, now.UnixMilli())
				}
			}
			post(body.Bytes())
		}
		tick.Stop()
		took = took[:0]
		mu.Lock()
		for host, sent := range newest {
			if got := first[host]; !got.IsZero() {
				took = append(took, got.Sub(sent))
			} else {
				b.Errorf("%s: no notification", host)
			}
		}
		mu.Unlock()
		p.stop()
		hook.Close()
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds(), "p50-s")
	b.ReportMetric(took[len(took)*99/100].Seconds(), "p99-s")
	b.ReportMetric(took[len(took)-1].Seconds(), "max-s")
	b.ReportMetric(2, "grace-s")
}
