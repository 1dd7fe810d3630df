//go:build engines

package query

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/query/webtest"
	"github.com/weir-metrics/weir/schemas"
)

// hostile is a label value that would run as a script if the page ever turned it into HTML.
const hostile = `<img src=x onerror="document.title='owned'">"&{}`

// TestPage opens the page in chromium, with made-up windows in a store and topics on kfake. Charts are drawn, alerts are listed,
// windows and alerts arrive live, and hostile labels are shown as text. Run it with -artifacts to keep the screenshots.
func TestPage(t *testing.T) {
	now := time.Now().UnixMilli()
	store := newFakeStore()
	cpu := mkSeries(t, `cpu.usage{cpu="total",host="web01",region="eu-north"}`)
	others := []schemas.Series{mkSeries(t, `up{instance="db-2:9100",job="postgres"}`)}
	for _, m := range []string{"disk.used_percent", "load1", "mem.used", "mem.used_percent", "net.bytes_recv", "net.bytes_sent"} {
		others = append(others, mkSeries(t, m+`{host="web01",region="eu-north"}`))
	}
	fresh := mkSeries(t, `fresh.start{host="web01"}`)
	for k := int64(3); k > 0; k-- {
		store.add(mkWindow(fresh, 10*second, now-now%(10*second)-k*10*second, 20+float64(k)))
	}
	others = append(others, schemas.Series{Metric: "probe.duration", Labels: schemas.NewLabels(map[string]string{"host": "web01", "path": hostile})})
	for i, s := range append(others, cpu) {
		for _, tier := range []struct{ size, count int64 }{{10 * second, 240}, {minute, 200}, {hour, 90}} {
			if s.Metric == "up" && tier.size == hour {
				continue
			}
			for k := tier.count; k > 0; k-- {
				if k > 70 && k < 82 {
					continue // a gap
				}
				start := now - now%tier.size - k*tier.size
				x := float64(start) / float64(40*tier.size)
				v := 38 + 22*math.Sin(x+float64(i)) + 9*math.Sin(3.7*x) + 3*math.Sin(17*x)
				w := mkWindow(s, tier.size, start, v)
				spread := 5 + 4*math.Abs(math.Sin(2.3*x))
				w.Min, w.Max, w.Count, w.Sum = v-spread, v+1.4*spread, uint32(tier.size/second), v*float64(tier.size/second)
				store.add(w)
			}
		}
	}

	cluster := newCluster(t)
	produce(t, cluster, pageAlerts(now)...)
	reg := prometheus.NewRegistry()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	live := startLive(t, cluster, reg)
	handler := New(Deps{
		Config: Default(), Store: store, Live: live, Tiers: testTiers(), GroupLabels: schemas.GroupLabels, Host: "web01", Registry: reg, Log: log,
	})
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	watch := &fakeWatcher{sources: pageSources(now), owned: 3}
	mux.Handle("GET /api/v1/top", Top(watch, noneLate, time.Now))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(live.hub.close) // before the server, which waits for its streams

	browser, err := webtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := browser.Close(); err != nil {
			t.Errorf("close browser: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	shot := func(p *webtest.Page, name string) {
		t.Helper()
		path := filepath.Join(t.ArtifactDir(), name+".png")
		if err := p.Screenshot(ctx, path); err != nil {
			t.Fatal(err)
		}
		t.Log("screenshot", path)
	}

	page, err := browser.Open(ctx, server.URL+"/", "light", 1440, 900)
	if err != nil {
		t.Fatal(err)
	}
	view, err := page.AwaitDrawn(ctx, "10s", "1m", "1h")
	if err != nil {
		t.Fatalf("%v\n%+v", err, view)
	}
	shot(page, "light")
	if view.Selected != "cpu.usage" || !slices.Contains(view.Labels, "host=web01") {
		t.Errorf("selected %q %q, want this machine's cpu.usage", view.Selected, view.Labels)
	}
	var address string
	if err := page.Eval(ctx, "decodeURIComponent(location.hash)", &address); err != nil || address != "#series="+cpu.String() {
		t.Errorf("address %q (%v) does not name the series", address, err)
	}
	if want := len(others) + 2; view.Series != want {
		t.Errorf("%d series listed, want %d", view.Series, want)
	}
	var states []string
	for _, a := range view.Alerts {
		states = append(states, a.Name+" "+a.State)
	}
	if want := []string{"high_cpu firing", "probe_slow firing", "instance_down pending", "disk_full resolved"}; !slices.Equal(states, want) {
		t.Errorf("alerts %q, want %q", states, want)
	}
	if got := view.Alerts[0].Value; got != "91.25" {
		t.Errorf("value of high_cpu %q, want 91.25", got)
	}
	if got := view.Alerts[3].Value; got != "no data" {
		t.Errorf("value %q of disk_full, whose series fell silent, want no data", got)
	}

	// Only sources beyond a limit are named, in a box that is collapsed at first.
	var named []string
	if err := page.Eval(ctx, "document.querySelector('#limits-box').open ? Promise.reject('open') : document.querySelector('#limits-box > summary').click()", nil); err != nil {
		t.Fatal(err)
	}
	if err := page.Eval(ctx, "[...document.querySelectorAll('#limits:not([hidden]) .source')].map((s) => s.innerText)", &named); err != nil {
		t.Fatal(err)
	}
	if len(named) != 4 || !strings.HasPrefix(named[1], "web07") || !strings.Contains(named[1], "7 samples beyond max_series_per_metric: counted as __overflow__") ||
		!strings.Contains(named[1], "2,001 of its 2,310 series are of http.requests") {
		t.Errorf("limits: %q", named)
	}
	if all := strings.Join(named, "\n"); !strings.Contains(all, "Its clock is 5 min 1 s fast") || !strings.Contains(all, "Its clock is 4 min 59 s slow") {
		t.Errorf("clocks: %q", named)
	}
	limitsNote := func(p *webtest.Page) (note string) {
		t.Helper()
		if err := p.Eval(ctx, "document.querySelector('#limits:not([hidden]) #limits-note')?.textContent ?? 'hidden'", &note); err != nil {
			t.Fatal(err)
		}
		return note
	}
	if note := limitsNote(page); !strings.Contains(note, "its own 3 of 8 shards") {
		t.Errorf("with 3 of 8 shards, the page shows %q", note)
	}

	// A window that closes now appears in the chart without a reload.
	before := view.Charts[0].Windows
	w := mkWindow(cpu, 10*second, now-now%(10*second), 77)
	produce(t, cluster, windowRecord(w))
	if err := page.Await(ctx, fmt.Sprintf("document.querySelector('figure[data-tier=\"10s\"]').dataset.windows == %d", before+1)); err != nil {
		t.Errorf("live window: %v", err)
	}
	// Its late partial is read from the store, which merges both.
	whole, late := w, w
	whole.Count, whole.Sum = 5, 5*50
	late.Part, late.Count, late.Sum = schemas.NewPart(0, 7), 3, whole.Sum-w.Sum
	store.add(whole)
	produce(t, cluster, windowRecord(late))
	if err := page.Await(ctx, "document.querySelector('figure[data-tier=\"10s\"]').innerText.replaceAll('\\n', ' ').match(/avg\\s*50\\s.*5 samples/)"); err != nil {
		t.Errorf("late partial: %v", err)
	}
	// So is an alert that resolves.
	resolved := pageAlert("high_cpu", schemas.Resolved, now, 12, map[string]string{"host": "web01"})
	produce(t, cluster, alertRecord(resolved))
	if err := page.Await(ctx, "document.querySelectorAll('.alert.firing').length === 1 && document.querySelectorAll('.alert.resolved').length === 2"); err != nil {
		t.Errorf("live alert: %v", err)
	}

	dark, err := browser.Open(ctx, server.URL+"/#series="+"up%7Binstance%3D%22db-2%3A9100%22%2Cjob%3D%22postgres%22%7D", "dark", 1440, 900)
	if err != nil {
		t.Fatal(err)
	}
	if view, err = dark.AwaitDrawn(ctx, "10s", "1m"); err != nil {
		t.Fatalf("%v\n%+v", err, view)
	}
	shot(dark, "dark")
	if view.Selected != "up" {
		t.Errorf("selected %q, want the series of the address", view.Selected)
	}
	if c := view.Charts[2]; c.Windows != 0 || c.Note == "" {
		t.Errorf("chart without windows: %+v, want a note", c)
	}

	// Minutes after the first sample there is little to draw, and a note for the rest.
	if err := dark.Eval(ctx, "document.querySelector('#series a[title^=\"fresh.start\"]').click()", nil); err != nil {
		t.Fatal(err)
	}
	if err := dark.Await(ctx, "document.querySelector('figure').dataset.windows == 3"); err != nil {
		t.Fatal(err)
	}
	shot(dark, "fresh")

	// The hostile series, selected by hand, is shown as text everywhere.
	if err := dark.Eval(ctx, "document.querySelector('#series a[title^=\"probe.duration\"]').click()", nil); err != nil {
		t.Fatal(err)
	}
	if view, err = dark.AwaitDrawn(ctx, "10s", "1m", "1h"); err != nil {
		t.Fatalf("%v\n%+v", err, view)
	}
	var injected struct {
		Title  string
		Images int
	}
	if err := dark.Eval(ctx, "({Title: document.title, Images: document.images.length})", &injected); err != nil {
		t.Fatal(err)
	}
	if injected.Title == "owned" || injected.Images != 0 || view.Selected != "probe.duration" {
		t.Errorf("hostile labels became markup: %+v, selected %q", injected, view.Selected)
	}

	small, err := browser.Open(ctx, server.URL+"/", "dark", 420, 900)
	if err != nil {
		t.Fatal(err)
	}
	if view, err = small.AwaitDrawn(ctx, "10s"); err != nil {
		t.Fatalf("%v\n%+v", err, view)
	}
	shot(small, "small")

	// Without series, and without weir, the page shows a note.
	nothing := newFixture(t)
	empty := httptest.NewServer(nothing.mux)
	t.Cleanup(empty.Close)
	t.Cleanup(nothing.live.hub.close)
	bare, err := browser.Open(ctx, empty.URL+"/", "light", 1440, 900)
	if err != nil {
		t.Fatal(err)
	}
	if err := bare.Await(ctx, "document.querySelector('#series-note').textContent.startsWith('No series yet')"); err != nil {
		t.Error(err)
	}
	if note := limitsNote(bare); note != "hidden" {
		t.Errorf("limits are shown without sources, with %q", note)
	}
	shot(bare, "empty")

	// A process that keeps no windows does not claim that no source is beyond a limit.
	without := http.NewServeMux()
	without.Handle("/", nothing.mux)
	without.HandleFunc("GET /api/v1/top", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the role window does not run in this process", http.StatusServiceUnavailable)
	})
	queryOnly := httptest.NewServer(without)
	t.Cleanup(queryOnly.Close)
	t.Cleanup(nothing.live.hub.close)
	if bare, err = browser.Open(ctx, queryOnly.URL+"/", "light", 1440, 900); err != nil {
		t.Fatal(err)
	}
	if err := bare.Await(ctx, "document.querySelector('#limits:not([hidden]) #limits-note')?.textContent.startsWith('This process keeps no windows')"); err != nil {
		t.Error(err)
	}
	shot(bare, "unowned")
	live.hub.close()
	server.CloseClientConnections()
	server.Close()
	if err := page.Await(ctx, "document.querySelector('#connection').dataset.state === 'lost'"); err != nil {
		t.Error(err)
	}
	shot(page, "lost")
}

// pageSources returns one source of each kind, and one without any fault.
func pageSources(nowMS int64) []schemas.Source {
	return []schemas.Source{
		{Source: "web01", SamplesPerSecond: 20, Series: 100, LargestMetric: "cpu.usage", LargestSeries: 17},
		{Source: "db-2:9100", Series: 80, Refused: map[string]int64{"rate_limit": 1_204_113}, LastMS: nowMS - 2000},
		{Source: "web07", Series: 2310, LargestMetric: "http.requests", LargestSeries: 2001, Collapsed: map[string]int64{"metric_limit": 7}, LastMS: nowMS - 1000},
		{Source: hostile, Refused: map[string]int64{"future": 3}, Clock: schemas.FastClock, AheadMS: 301_500, LastMS: nowMS - 3000},
		{Source: "mail", Series: 40, Clock: schemas.SlowClock, DelayMS: 299_000, LastMS: nowMS},
	}
}

func pageAlert(name string, state schemas.AlertState, at int64, value float64, labels map[string]string) *schemas.Alert {
	a := &schemas.Alert{
		Fingerprint: name, Rule: "hosts/" + name, Labels: map[string]string{"alertname": name}, State: state,
		ActiveMS: at - 5*minute, LastMS: at, Value: value, TierMS: minute,
		Last:    schemas.Transition{From: schemas.Inactive, To: schemas.Pending, AtMS: at - 5*minute, Reason: "true"},
		History: []schemas.Transition{{From: schemas.Inactive, To: schemas.Pending, AtMS: at - 5*minute, Reason: "true"}},
	}
	for n, v := range labels {
		a.Labels[n] = v
	}
	if state != schemas.Pending {
		a.FiredMS = at
		a.Last = schemas.Transition{From: schemas.Pending, To: schemas.Firing, AtMS: at, Reason: "true for 5m"}
		a.History = append(a.History, a.Last)
	}
	if state == schemas.Resolved {
		a.ResolvedMS = at + second
		a.Last = schemas.Transition{From: schemas.Firing, To: schemas.Resolved, AtMS: at + second, Reason: "recovered"}
		a.History = append(a.History, a.Last)
	}
	return a
}

func pageAlerts(now int64) []*kgo.Record {
	cpu := pageAlert("high_cpu", schemas.Firing, now-2*minute, 91.25, map[string]string{"host": "web01", "region": "eu-north", "severity": "page"})
	cpu.Annotations = map[string]string{"summary": "CPU of web01 at 91.3 %, above 80 % for 5 minutes"}
	probe := pageAlert("probe_slow", schemas.Firing, now-37*minute, 2.4e6, map[string]string{"host": "web01", "path": hostile})
	probe.Annotations = map[string]string{"summary": hostile}
	down := pageAlert("instance_down", schemas.Pending, now-minute, 0, map[string]string{"instance": "db-2:9100", "job": "postgres", "severity": "page"})
	down.Annotations = map[string]string{"summary": "db-2:9100 does not answer"}
	disk := pageAlert("disk_full", schemas.Resolved, now-20*minute, 71.5, map[string]string{"host": "web01", "device": "/dev/sda1"})
	disk.Reason, disk.LastTrueMS = schemas.ReasonNoData, now-25*minute
	gone := pageAlert("long_gone", schemas.Inactive, now-20*minute, 0, nil)
	var records []*kgo.Record
	for _, a := range []*schemas.Alert{cpu, probe, down, disk, gone} {
		records = append(records, alertRecord(a))
	}
	return records
}
