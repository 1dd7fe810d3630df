//go:build engines

package query

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-metrics/weir/query/webtest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/kafkatest"
)

// site serves a page with some series and alerts, and a flood of limited sources.
type site struct {
	url     string
	cluster *kfake.Cluster
	reg     *prometheus.Registry
	series  []schemas.Series
}

// nasty is what labels may hold to break a page: 4 KiB, direction overrides, control
// characters, markup, stacks of accents.
var nasty = map[string]string{
	"long": strings.Repeat("long", 1000), "rtl": "\u202egnp.exe\u202c \u2067abc", "control": "a\x00b\x1b[31mc\nd\te\u200b\ufeff",
	"markup": hostile, "accents": "e" + strings.Repeat("\u0301\u0300\u0302", 60), "wide": strings.Repeat("W", 400), "tags": "x\U000E0041y",
}

func newSite(t *testing.T, sources int) *site {
	t.Helper()
	now := time.Now().UnixMilli()
	store := newFakeStore()
	s := &site{cluster: newCluster(t), reg: prometheus.NewRegistry()}
	for i := range 8 {
		s.series = append(s.series, mkSeries(t, fmt.Sprintf(`load%d{host="web01"}`, i)))
	}
	s.series = append(s.series, schemas.Series{Metric: "nasty", Labels: schemas.NewLabels(nasty)})
	for _, series := range s.series {
		for k := int64(30); k > 0; k-- {
			store.add(mkWindow(series, 10*second, now-now%(10*second)-k*10*second, float64(k%7)))
		}
	}
	for i := range 3 {
		a := pageAlert(fmt.Sprintf("alert_%d", i), schemas.Firing, now-minute, 91, map[string]string{"host": "web01"})
		if i == 2 {
			a = pageAlert("nasty_alert", schemas.Firing, now-2*minute, 1, nasty)
			a.Annotations = map[string]string{"summary": nasty["long"] + nasty["rtl"] + nasty["control"]}
		}
		produce(t, s.cluster, alertRecord(a))
	}
	live := startLive(t, s.cluster, s.reg)
	mux := http.NewServeMux()
	mux.Handle("/", New(Deps{Config: Default(), Store: store, Live: live, Tiers: testTiers(), GroupLabels: schemas.GroupLabels, Host: "web01",
		Registry: s.reg, Log: slog.New(slog.DiscardHandler)}))
	watch := &fakeWatcher{owned: 8}
	for i := range sources {
		watch.sources = append(watch.sources, schemas.Source{Source: fmt.Sprintf("web%02d %s", i, nasty["rtl"]), Refused: map[string]int64{"rate_limit": int64(i)}, LastMS: now})
	}
	mux.Handle("GET /api/v1/top", Top(watch, func() []schemas.Late { return manyLate }, time.Now))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(live.hub.close)
	s.url = server.URL
	return s
}

func startBrowser(t *testing.T) *webtest.Browser {
	t.Helper()
	browser, err := webtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := browser.Close(); err != nil {
			t.Errorf("close browser: %v", err)
		}
	})
	return browser
}

// TestTabsShareOneStream: eight tabs, each with a series of its own, are live over one stream, with a shared worker and without one.
// They stay live when the tab that holds the stream is closed.
func TestTabsShareOneStream(t *testing.T) {
	for name, script := range map[string]string{"worker": "", "channel": "delete window.SharedWorker"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 0)
			browser := startBrowser(t)
			ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
			defer cancel()
			var tabs []*webtest.Page
			for i := range 8 {
				p, err := browser.OpenWith(ctx, fmt.Sprintf("%s/#series=load%d%%7Bhost%%3D%%22web01%%22%%7D", s.url, i), "light", 390, 844, script)
				if err != nil {
					t.Fatal(err)
				}
				tabs = append(tabs, p)
			}
			arrives := func(i int, at int64) {
				t.Helper()
				produce(t, s.cluster, windowRecord(mkWindow(s.series[i], 10*second, at, 5)))
				// A window of the future is nothing that the API returns: it came by the stream.
				if err := tabs[i].Await(ctx, fmt.Sprintf("document.querySelector('figure[data-tier=\"10s\"]').dataset.windows == %d", 30+(at-s.next())/(10*second)+1)); err != nil {
					t.Fatalf("tab %d: %v", i, err)
				}
			}
			for i, p := range tabs {
				if err := p.Await(ctx, "document.querySelector('#connection').dataset.state === 'live' && document.querySelector('figure[data-tier=\"10s\"]').dataset.windows >= 30"); err != nil {
					t.Fatalf("tab %d: %v", i, err)
				}
			}
			kafkatest.Eventually(t, "one stream for eight tabs", func() bool { return metric(t, s.reg, "weir_query_live_streams", "") == 1 })
			first := s.next()
			for i := range tabs {
				arrives(i, first)
			}
			if err := tabs[0].Close(ctx); err != nil {
				t.Fatal(err)
			}
			if err := tabs[1].Close(ctx); err != nil {
				t.Fatal(err)
			}
			// Whichever tab held the stream, another one takes over within seconds.
			for deadline := time.Now().Add(60 * time.Second); ; {
				a := pageAlert("later", schemas.Firing, time.Now().UnixMilli(), 1, map[string]string{"host": "web02"})
				a.Last.AtMS = time.Now().UnixMilli()
				produce(t, s.cluster, alertRecord(a))
				short, end := context.WithTimeout(ctx, 2*time.Second)
				err := tabs[7].Await(short, "[...document.querySelectorAll('.alert-head b')].some((b) => b.textContent === 'later')")
				end()
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			kafkatest.Eventually(t, "one stream for six tabs", func() bool { return metric(t, s.reg, "weir_query_live_streams", "") == 1 })
			for i, p := range tabs[2:] {
				if faults := p.Faults(); len(faults) > 0 {
					t.Errorf("console of tab %d: %q", i+2, faults)
				}
			}
		})
	}
}

// next returns the start of a window that no store has.
func (s *site) next() int64 {
	now := time.Now().UnixMilli()
	return now - now%hour + 2*hour
}

// TestFloodAndNastyLabels: with fifty limited sources and labels that try to break the page, the alerts stay in sight, nothing is
// wider than the screen, and no text runs as a script, is hidden or reversed.
func TestFloodAndNastyLabels(t *testing.T) {
	s := newSite(t, 50)
	browser := startBrowser(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for _, size := range [][2]int{{1400, 900}, {390, 844}} {
		p, err := browser.Open(ctx, s.url+"/#series="+url.QueryEscape(s.series[8].String()), "light", size[0], size[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Await(ctx, "document.querySelector('#connection').dataset.state === 'live' && document.querySelectorAll('.alert').length === 3 && document.querySelectorAll('.source').length === 50 && document.querySelector('figure canvas')"); err != nil {
			t.Fatal(err)
		}
		shot := func(name string) {
			path := filepath.Join(t.ArtifactDir(), fmt.Sprintf("%s-%d.png", name, size[0]))
			if err := p.Screenshot(ctx, path); err != nil {
				t.Fatal(err)
			}
			t.Log("screenshot", path)
		}
		shot("flood")
		var seen struct {
			Width, Scroll, Alert, Limits, LimitsHeight float64
			Count, Text, Title                         string
			Images                                     int
		}
		if err := p.Eval(ctx, `(() => {
			const box = (q) => document.querySelector(q).getBoundingClientRect();
			return {Width: innerWidth, Scroll: document.documentElement.scrollWidth, Alert: box('.alert').bottom, Limits: box('#limits').top - box('#alerts').bottom,
				LimitsHeight: box('#limits').height, Count: document.querySelector('#limits-count').textContent, Text: document.body.innerText + document.body.textContent,
				Title: document.title, Images: document.images.length};
		})()`, &seen); err != nil {
			t.Fatal(err)
		}
		if seen.Alert > float64(size[1]) || seen.Limits < 0 || seen.LimitsHeight > 80 || seen.Count != "50 sources" {
			t.Errorf("%d: the first alert ends at %v, the limits stand %v below the alerts, are %v high, and say %q", size[0], seen.Alert, seen.Limits, seen.LimitsHeight, seen.Count)
		}
		if !strings.Contains(seen.Text, `The pipeline is late: route does not hand on partitions 3 (since`) || !strings.Contains(seen.Text, `1,200 records wait, owner rack7 \u{202e}gnp), 4 (since when is not known), 5 `) || !strings.Contains(seen.Text, "and 8 more of metrics.") {
			t.Errorf("%d: the page does not say that the pipeline is late: %.300q", size[0], seen.Text)
		}
		if seen.Alert > float64(size[1])/2 {
			t.Errorf("%d: the first alert ends at %v", size[0], seen.Alert)
		}
		if seen.Scroll > seen.Width {
			t.Errorf("%d: the page is %v wide", size[0], seen.Scroll)
		}
		if strings.ContainsAny(seen.Text+seen.Title, "\x00\x1b\u202e\u2067\u200b\ufeff\U000E0041") || !strings.Contains(seen.Text, `\u{202e}gnp.exe`) || seen.Images != 0 || strings.Contains(seen.Title, "owned") {
			t.Errorf("%d: hostile text is shown as it is: %d images, title %q", size[0], seen.Images, seen.Title)
		}
		if strings.Contains(seen.Text, nasty["long"][:1000]) {
			t.Error("a label of 4 KiB is shown in full")
		}
		if err := p.Eval(ctx, "document.querySelector('#limits-box').open = true", nil); err != nil {
			t.Fatal(err)
		}
		var alert float64
		if err := p.Eval(ctx, "document.querySelector('.alert').getBoundingClientRect().bottom", &alert); err != nil || alert > float64(size[1]) {
			t.Errorf("%d: open limits push the first alert to %v (%v)", size[0], alert, err)
		}
		shot("flood-open")
		if faults := p.Faults(); len(faults) > 0 {
			t.Errorf("console: %q", faults)
		}
	}
}

// manyLate returns partitions that stand still.
var manyLate = []schemas.Late{{Partition: 3, LevelMS: time.Now().Add(-time.Minute).UnixMilli(), Waiting: 1200, Owner: "rack7 \u202egnp"},
	{Partition: 4}, {Partition: 5}, {Partition: 6}, {Partition: 7}, {Partition: 8}, {Partition: 9}, {Partition: 10}, {Partition: 11}, {Partition: 12}, {Partition: 13}, {Partition: 14}}
