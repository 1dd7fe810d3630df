//go:build engines

package query

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/query/webtest"
)

// TestRulesPage opens the rules page in chromium: rules are ordered by cost, or by a click; hostile texts are shown as text; and
// there are notes where nothing is known. Run it with -artifacts to keep the screenshots.
func TestRulesPage(t *testing.T) {
	watch := newFakeRules(t)
	more := fmt.Sprintf("groups:\n- name: %q\n  rules:\n  - {alert: %s, expr: 'avg(cpu.usage, \"5m\") > 80 and max(disk.used_percent, \"10m\") > 95 and avg(mem.used_percent, \"5m\") > 90 and load1 > 8', coverage: 0}\n",
		hostile, strings.Repeat("long", 50))
	set, err := alerts.Load(alerts.LoadConfig{TiersMS: []int64{10_000, 60_000}}, alerts.File{Name: "a.yaml", Data: []byte(ruleFileA)},
		alerts.File{Name: "b.yaml", Data: []byte(ruleFileB)}, alerts.File{Name: "c.yaml", Data: []byte(more)})
	if err != nil {
		t.Fatal(err)
	}
	now := int64(nowMS) // the clock of the fixture
	watch.set, watch.uses = set, append(watch.uses, alerts.RuleUse{Evaluations: 25_000_000, TimedNS: 64_000, Timed: 64, Sets: 120_000, Bytes: 84 << 20, Shards: 8, EndMS: now - 4000, Value: 71.25})
	for i := range watch.uses[:4] {
		if watch.uses[i].EndMS > 0 {
			watch.uses[i].EndMS = now - int64(i)*70_000
		}
	}
	watch.uses[2].LastError = hostile
	fixture := newFixture(t)
	t.Cleanup(fixture.live.hub.close)
	mux := http.NewServeMux()
	mux.Handle("/", fixture.mux)
	mux.Handle("GET /api/v1/rules", Rules(Default(), watch, func() AlertSource { return someAlerts() }, time.Now))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	without := http.NewServeMux()
	without.Handle("/", fixture.mux)
	without.HandleFunc("GET /api/v1/rules", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the role window does not run in this process", http.StatusServiceUnavailable)
	})
	unowned := httptest.NewServer(without)
	t.Cleanup(unowned.Close)

	browser := startBrowser(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	open := func(url, scheme, name string, width int, until string) *webtest.Page {
		t.Helper()
		p, err := browser.Open(ctx, url+"/rules", scheme, width, 800)
		if err == nil {
			err = p.Await(ctx, until)
		}
		if err == nil {
			err = p.Screenshot(ctx, filepath.Join(t.ArtifactDir(), name+".png"))
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return p
	}
	page := open(server.URL, "light", "rules", 1440, "document.querySelectorAll('tbody tr').length === 5")
	names := func() (all []string) {
		t.Helper()
		if err := page.Eval(ctx, "[...document.querySelectorAll('tbody tr')].map((r) => r.querySelector('.state').textContent + ' ' + r.querySelector('b').textContent.slice(0, 8))", &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got, want := names(), []string{"inactive longlong", "inactive busy", "firing high_cpu", "pending down", "inactive full"}; !slices.Equal(got, want) {
		t.Errorf("rules %q, want %q", got, want)
	}
	if err := page.Eval(ctx, "document.querySelector('th[data-by=state] button').click()", nil); err != nil {
		t.Fatal(err)
	}
	if got := names(); got[0] != "firing high_cpu" || got[1] != "pending down" {
		t.Errorf("by state: %q", got)
	}
	var seen struct {
		Title  string
		Images int
		Row    string
		Wide   bool
	}
	if err := page.Eval(ctx, `({Title: document.title, Images: document.images.length, Wide: document.documentElement.scrollWidth > innerWidth,
		Row: [...document.querySelectorAll('tbody tr')].find((r) => r.textContent.includes('longlong')).innerText.replace(/\s+/g, ' ')})`, &seen); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"120K", "71.25", "s ago", "25 s", "1 µs", "84 MiB"} {
		if !strings.Contains(seen.Row, want) {
			t.Errorf("no %q in %q", want, seen.Row)
		}
	}
	if seen.Title != "Rules · weir" || seen.Images != 0 || seen.Wide {
		t.Errorf("the page: %+v", seen)
	}
	open(server.URL, "dark", "rules-dark", 1440, "document.querySelectorAll('tbody tr').length === 5")
	open(server.URL, "light", "rules-small", 420, "document.querySelectorAll('tbody tr').length === 5")
	open(unowned.URL, "light", "rules-unowned", 1440, "document.querySelector('#rules-notes').textContent.startsWith('This process evaluates no rules')")
	watch.set, watch.uses, watch.owned = &alerts.RuleSet{}, nil, 3
	open(server.URL, "light", "rules-none", 1440, "document.querySelector('#rules-notes').textContent.includes('No rules are loaded') && document.querySelector('#rules-notes').textContent.includes('3 of 8 shards')")
}
