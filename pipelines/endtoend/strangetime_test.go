package endtoend

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/pipelines"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
	"github.com/weir-metrics/weir/windows/windowtest"
)

// startSmall runs weir with small windows, of 1 s and more, and a rule on temp.
func startSmall(t *testing.T) *process {
	t.Helper()
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(rules, []byte("- name: g\n  rules:\n  - {alert: hot, expr: temp > 80, tier: 1s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var config pipelines.Config
	return start(t, writeConfig(t, dir, fmt.Sprintf(`
metrics_partitions: 1
shards: 2
alert_shards: 1
windows:
  tiers:
  - {size: 1s, grace: 200ms, ttl: 1d}
  - {size: 10s, grace: 1s, ttl: 1d}
  - {size: 1m, grace: 2s, ttl: 1d}
rules: [%q]
`, rules)), &config)
}

var smallTiersMS = []int64{1000, 10_000, 60_000}

// Counters of windows that were revised, and of late partials, as /metrics has them.
const (
	revisedCounter     = `weir_window_windows_total{kind="revised"}`
	latePartialCounter = `weir_window_windows_total{kind="late_partial"}`
)

// toldLive holds the events of a live stream, in order: the windows of a series, of the smallest tier, and
// alerts.
type toldLive struct {
	t               *testing.T
	windows, alerts chan string
}

// follow opens a live stream. In the events, times are relative to fromMS.
func follow(t *testing.T, base string, series schemas.Series, fromMS int64) *toldLive {
	t.Helper()
	resp, err := http.Get(base + "/live?tier=1s&series=" + url.QueryEscape(series.String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	live := &toldLive{t, make(chan string, 1000), make(chan string, 1000)}
	go func() {
		kind := ""
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if k, is := strings.CutPrefix(lines.Text(), "event: "); is {
				kind = k
			}
			data, is := strings.CutPrefix(lines.Text(), "data: ")
			switch {
			case !is:
			case kind == "window":
				live.windows <- windowText(data, fromMS)
			case kind == "alert":
				live.alerts <- alertText(data, fromMS)
			}
		}
	}()
	return live
}

func windowText(data string, fromMS int64) string {
	var w struct {
		Start, Part, Revision, Count int64
		Last                         float64
	}
	if err := json.Unmarshal([]byte(data), &w); err != nil {
		return err.Error()
	}
	late := ""
	if w.Part != 0 {
		late = " late"
	}
	return fmt.Sprintf("%d: %d samples, last %v, r%d%s", w.Start-fromMS, w.Count, w.Last, w.Revision, late)
}

func alertText(data string, fromMS int64) string {
	var a struct {
		State   string
		History []struct {
			At     time.Time
			Reason string
		}
	}
	if err := json.Unmarshal([]byte(data), &a); err != nil || len(a.History) == 0 {
		return fmt.Sprintf("%s: %v", data, err)
	}
	last := a.History[len(a.History)-1]
	return fmt.Sprintf("%s at %d: %s", a.State, last.At.UnixMilli()-fromMS, last.Reason)
}

// next waits for the next events, and fails the test if they are others. Either list may be empty.
func (l *toldLive) next(windows, alerts []string) {
	l.t.Helper()
	for _, kind := range []struct {
		want []string
		from chan string
	}{{windows, l.windows}, {alerts, l.alerts}} {
		for _, want := range kind.want {
			select {
			case got := <-kind.from:
				if got != want {
					l.t.Fatalf("live: %q, want %q", got, want)
				}
			case <-time.After(30 * time.Second):
				l.t.Fatalf("live: %q did not come", want)
			}
		}
	}
}

// metricsWindows reads the windows of a series and tier from GET /metrics/{id}.
func metricsWindows(base string, series schemas.Series, tierMS, fromMS, toMS int64) (ws []schemas.Window, err error) {
	var answer struct {
		Metrics []struct {
			Timestamp, Count           int64
			Sum, Min, Max, First, Last float64
		}
	}
	err = getJSON(fmt.Sprintf("%s/metrics/%s?tier=%s&startTimestamp=%d&endTimestamp=%d&limit=10000", base,
		url.PathEscape(series.String()), schemas.TierName(tierMS), fromMS, toMS), &answer)
	for _, m := range answer.Metrics {
		ws = append(ws, schemas.Window{Series: series, TierMS: tierMS, StartMS: m.Timestamp, Aggregate: schemas.Aggregate{
			Count: uint32(m.Count), Sum: m.Sum, Min: m.Min, Max: m.Max, First: m.First, Last: m.Last}})
	}
	return ws, err
}

// checkReaders compares the windows of some tiers that both addresses of the API return with the oracle, up
// to toMS.
func checkReaders(base string, samples []schemas.Sample, fromMS, toMS int64, tiersMS ...int64) error {
	want := slices.DeleteFunc(windowtest.Oracle(samples, tiersMS...), func(w schemas.Window) bool { return w.EndMS() > toMS })
	for i := range want {
		want[i].FirstOff, want[i].LastOff = 0, 0 // the API does not return them
	}
	for name, read := range map[string]func(string, schemas.Series, int64, int64, int64) ([]schemas.Window, error){
		"/api/v1/windows": apiWindows, "/metrics/{id}": metricsWindows} {
		var got []schemas.Window
		for _, tier := range tiersMS {
			ws, err := read(base, samples[0].Series, tier, fromMS, toMS)
			if err != nil {
				return err
			}
			got = append(got, ws...)
		}
		if err := windowtest.Compare(got, want); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// TestRevisionsReachEveryReader: late samples revise a window, and the live stream, the alert and the
// readers of the table get each revision, in order. A still later sample makes a late partial, which
// readers merge and the alert ignores.
func TestRevisionsReachEveryReader(t *testing.T) {
	p := startSmall(t)
	fromMS := time.Now().Add(-5*time.Minute).UnixMilli() / 60_000 * 60_000
	temp := schemas.Series{Metric: "temp", Labels: schemas.NewLabels(map[string]string{"host": "r1"})}
	live := follow(t, p.url, temp, fromMS)
	var sent []schemas.Sample
	for _, step := range []struct {
		samples         map[int64]float64 // by ms
		windows, alerts []string
	}{
		{map[int64]float64{100: 90, 1200: 95}, []string{"0: 1 samples, last 90, r0"}, []string{"firing at 1000: true"}},
		{map[int64]float64{900: 20}, []string{"0: 2 samples, last 20, r1"}, []string{"resolved at 1000: retracted"}},
		{map[int64]float64{950: 99}, []string{"0: 3 samples, last 99, r2"}, []string{"firing at 1001: confirmed"}}, // a transition needs a time of its own
		{map[int64]float64{940: 98}, []string{"0: 4 samples, last 99, r3"}, nil},
		{map[int64]float64{1500: 10, 2200: 50}, []string{"1000: 2 samples, last 10, r0"}, []string{"resolved at 2000: false"}},
		{map[int64]float64{1900: 91}, []string{"1000: 3 samples, last 91, r1"}, []string{"firing at 2000: confirmed"}},
		{map[int64]float64{500: 1, 960: 2}, []string{"0: 2 samples, last 2, r0 late"}, nil}, // the alert does not change
		{map[int64]float64{75_000: 1}, []string{"2000: 1 samples, last 50, r0"}, []string{"resolved at 3000: false"}},
		{map[int64]float64{30_500: 100}, []string{"30000: 1 samples, last 100, r0 late"}, nil}, // its 1m window is revised
		{map[int64]float64{150_000: 1}, []string{"75000: 1 samples, last 1, r0"}, nil},
	} {
		var samples []schemas.Sample
		for at, v := range step.samples {
			samples = append(samples, schemas.Sample{Series: temp, TimeMS: fromMS + at, Value: v})
		}
		slices.SortFunc(samples, func(a, b schemas.Sample) int { return int(a.TimeMS - b.TimeMS) })
		postOne(t, p.url, samples)
		sent = append(sent, samples...)
		live.next(step.windows, step.alerts)
	}
	kafkatest.Until(t, 30*time.Second, func() error { return checkReaders(p.url, sent, fromMS, fromMS+140_000, smallTiersMS...) })
	for _, counter := range []string{revisedCounter, latePartialCounter} {
		if counterOf(t, p.url, counter) == 0 {
			t.Errorf("%s is 0", counter)
		}
	}

	var view struct {
		Data struct {
			Alerts []struct {
				History []struct{ From, To, Reason string }
			}
		}
	}
	if err := getJSON(p.url+"/api/v1/alerts", &view); err != nil || len(view.Data.Alerts) != 1 {
		t.Fatalf("alerts: %v %+v", err, view)
	}
	var reasons []string
	for _, h := range view.Data.Alerts[0].History {
		reasons = append(reasons, h.Reason)
	}
	if got := strings.Join(reasons, ", "); got != "true, retracted, confirmed, false, confirmed, false" {
		t.Errorf("the alert's history: %s", got)
	}
}

// counterOf reads a counter of /metrics, or returns 0 if the counter is not there (yet).
func counterOf(t *testing.T, base, key string) int {
	t.Helper()
	resp, err := http.Get(base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), " "); name == key {
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			return n
		}
	}
	return 0
}

// TestRepeatedBatchCountsOnce: a sender that got no answer sends the same body again, as remote write does:
// at once, and again long after its windows have closed.
func TestRepeatedBatchCountsOnce(t *testing.T) {
	p := startSmall(t)
	fromMS := time.Now().Add(-5*time.Minute).UnixMilli() / 60_000 * 60_000
	load := schemas.Series{Metric: "load", Labels: schemas.NewLabels(map[string]string{"host": "r1"})}
	var batch []schemas.Sample
	for i := range int64(40) {
		batch = append(batch, schemas.Sample{Series: load, TimeMS: fromMS + i*500, Value: float64(i % 7)})
	}
	postOne(t, p.url, batch)
	postOne(t, p.url, batch)
	postOne(t, p.url, []schemas.Sample{{Series: load, TimeMS: fromMS + 120_000, Value: 3}}) // closes all windows of batch
	kafkatest.Until(t, 30*time.Second, func() error { return checkReaders(p.url, batch, fromMS, fromMS+60_000, smallTiersMS...) })
	postOne(t, p.url, batch)
	kafkatest.Until(t, 30*time.Second, func() error {
		if n := counterOf(t, p.url, `weir_window_samples_total{result="duplicate"}`); n != 2*len(batch) {
			return fmt.Errorf("%d samples were dropped as duplicates, want %d", n, 2*len(batch))
		}
		return nil
	})
	if n := counterOf(t, p.url, revisedCounter) + counterOf(t, p.url, latePartialCounter); n != 0 {
		t.Errorf("%d windows were revised or have late partials", n)
	}
	if err := checkReaders(p.url, batch, fromMS, fromMS+60_000, smallTiersMS...); err != nil {
		t.Errorf("after the second repeat: %v", err)
	}
}

// TestIdleHostsLastWindowCloses: a host falls silent, and the clock closes its last windows, without a
// sample from any other host.
func TestIdleHostsLastWindowCloses(t *testing.T) {
	p := startSmall(t)
	nowMS := time.Now().UnixMilli()
	load := schemas.Series{Metric: "load", Labels: schemas.NewLabels(map[string]string{"host": "idle"})}
	samples := []schemas.Sample{{Series: load, TimeMS: nowMS - 1, Value: 2}, {Series: load, TimeMS: nowMS, Value: 3}}
	postOne(t, p.url, samples)
	// The 10s window ends within 10 s, and its grace is 1 s.
	kafkatest.Until(t, 30*time.Second, func() error { return checkReaders(p.url, samples, nowMS-60_000, nowMS+11_000, smallTiersMS[:2]...) })
}
