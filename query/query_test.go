package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

func decode[T any](t testing.TB, rec *httptest.ResponseRecorder) T {
	t.Helper()
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	var v T
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v: %s", err, rec.Body)
	}
	return v
}

// fill adds five series of cpu.usage, one of them on another host and one with a hostile label, with an hour of 10s windows each,
// and returns the number of windows.
func fill(t testing.TB, f *fixture) map[string]int {
	t.Helper()
	want := map[string]int{}
	series := []schemas.Series{mkSeries(t, "load1")}
	for cpu := range 3 {
		series = append(series, mkSeries(t, fmt.Sprintf(`cpu.usage{cpu="%d",host="web01"}`, cpu)))
	}
	series = append(series,
		mkSeries(t, `cpu.usage{cpu="0",host="web02"}`),
		schemas.Series{Metric: "cpu.usage", Labels: schemas.NewLabels(map[string]string{"host": "web01", "cpu": "a,b:\"c\"}\n</script>é"})},
	)
	for i, s := range series {
		for k := range hour / (10 * second) {
			start := nowMS - hour + k*10*second
			f.store.add(mkWindow(s, 10*second, start, float64(i)+float64(k)/100))
			want[fmt.Sprint(s, start)]++
		}
		f.store.add(mkWindow(s, minute, nowMS-minute, 7))
	}
	return want
}

// walk reads a query page by page and counts the windows by series and start.
func walk(t testing.TB, f *fixture, path string, limit int) (got map[string]int, pages int) {
	t.Helper()
	got = map[string]int{}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for cursor := ""; ; {
		page := decode[metricsPage](t, f.get(t, fmt.Sprintf("%s%slimit=%d&nextCursor=%s", path, sep, limit, cursor)))
		pages++
		if len(page.Metrics) > limit {
			t.Fatalf("page %d has %d windows, limit %d", pages, len(page.Metrics), limit)
		}
		for _, m := range page.Metrics {
			got[fmt.Sprint(schemas.Series{Metric: m.MetricName, Labels: schemas.NewLabels(m.Tags)}, m.Timestamp)]++
		}
		if cursor = page.NextCursor; cursor == "" {
			return got, pages
		}
		if pages > 5000 {
			t.Fatal("the pages do not end")
		}
	}
}

func TestMetricsPagesGiveEachWindowOnce(t *testing.T) {
	for _, limit := range []int{1, 7, 359, 360, 361, 1000, 10000} {
		f := newFixture(t)
		want := fill(t, f)
		for key := range want {
			if strings.HasPrefix(key, "load1") {
				delete(want, key)
			}
		}
		got, pages := walk(t, f, "/metrics/cpu.usage", limit)
		if len(got) != len(want) {
			t.Errorf("limit %d: %d windows, want %d", limit, len(got), len(want))
		}
		for key, n := range got {
			if n != 1 || want[key] != 1 {
				t.Errorf("limit %d: %s came %d times", limit, key, n)
			}
		}
		if least := (len(want) + limit - 1) / limit; pages != least {
			t.Errorf("limit %d: %d pages for %d windows, want %d", limit, pages, len(want), least)
		}
	}
}

func TestMetricsSelects(t *testing.T) {
	f := newFixture(t)
	fill(t, f)
	hostile := schemas.Series{Metric: "cpu.usage", Labels: schemas.NewLabels(map[string]string{"host": "web01", "cpu": "a,b:\"c\"}\n</script>é"})}
	for _, c := range []struct {
		path string
		want int
	}{
		{"/metrics/cpu.usage?tags=host:web01,cpu:0", 360},
		{"/metrics/cpu.usage?tags=host:web01&tags=cpu:0", 360},
		{"/metrics/cpu.usage?tags=host:web02", 360},
		{"/metrics/cpu.usage?tags=host:web03", 0},
		{"/metrics/cpu%2Eusage?tags=host:web01", 4 * 360},
		{"/metrics/cpu.usage?tags=" + url.QueryEscape(`cpu:"a,b:\"c\"}\n</script>é"`), 360},
		{"/metrics/" + url.PathEscape(hostile.String()), 360},
		{"/metrics/" + url.PathEscape(`cpu.usage{host="web01",cpu="1"}`), 360},
		{"/metrics/" + url.PathEscape(`cpu.usage{host="web01"}`), 0},
		{"/metrics/load1", 360},
		{"/metrics/load1%7B%7D", 360},
		{"/metrics/nothing", 0},
		{"/metrics/load1?tier=1m", 1},
		{"/metrics/load1?tier=1h", 0},
		{fmt.Sprintf("/metrics/load1?startTimestamp=%d&endTimestamp=%d", nowMS-minute, nowMS-30*second), 3},
		{fmt.Sprintf("/metrics/load1?startTimestamp=%d", nowMS-24*hour), 1}, // a day: 1m windows
	} {
		if got, _ := walk(t, f, c.path, 100); len(got) != c.want {
			t.Errorf("%s: %d windows, want %d", c.path, len(got), c.want)
		}
	}
	page := decode[metricsPage](t, f.get(t, "/metrics/load1?limit=1"))
	m := page.Metrics[0]
	if m.Value != 0 || m.Count != 2 || m.Min != -1 || m.Max != 1 || m.First != -1 || m.Last != 1 || m.Tier != "10s" || m.EndMS != m.Timestamp+10*second {
		t.Errorf("first window %+v", m)
	}
}

// TestMetricsManySilentSeries: a page reads a bounded number of series, and the next page continues where it stopped.
func TestMetricsManySilentSeries(t *testing.T) {
	f := newFixture(t)
	const silent = 2*maxSeriesPerPage + 50
	for i := range silent {
		f.store.add(mkWindow(mkSeries(t, fmt.Sprintf(`m{host="h%05d"}`, i)), 10*second, nowMS-2*hour, 1))
	}
	f.store.add(mkWindow(mkSeries(t, `m{host="z"}`), 10*second, nowMS-minute, 1))
	first := decode[metricsPage](t, f.get(t, "/metrics/m"))
	if f.store.reads != maxSeriesPerPage || len(first.Metrics) != 0 || first.NextCursor == "" {
		t.Errorf("first page: %d reads, %d windows, cursor %q", f.store.reads, len(first.Metrics), first.NextCursor)
	}
	if got, pages := walk(t, f, "/metrics/m", 10); len(got) != 1 || pages != 3 {
		t.Errorf("%d windows on %d pages, want 1 on 3", len(got), pages)
	}
}

func TestCursorIsRefusedWhenChanged(t *testing.T) {
	f := newFixture(t)
	fill(t, f)
	text := decode[metricsPage](t, f.get(t, "/metrics/cpu.usage?limit=5")).NextCursor
	for i := range text {
		for _, c := range []byte{'A', '~'} {
			b := []byte(text)
			if b[i] == c {
				continue
			}
			b[i] = c
			wantFault(t, f.get(t, "/metrics/cpu.usage?limit=5&nextCursor="+string(b)), "nextCursor", string(b))
		}
	}
	for _, other := range []string{
		"/metrics/load1?nextCursor=", "/metrics/cpu.usage?tags=cpu:0&nextCursor=", "/metrics/cpu.usage?tier=10s&nextCursor=",
		fmt.Sprintf("/metrics/cpu.usage?endTimestamp=%d&nextCursor=", nowMS),
	} {
		wantFault(t, f.get(t, other+text), "nextCursor", text)
	}
	// A forged cursor must satisfy the bounds of a parameter.
	c, err := decodeCursor(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, forge := range map[string]func(*cursor){
		"tier":   func(c *cursor) { c.TierMS = 5 },
		"start":  func(c *cursor) { c.StartMS = c.ToMS },
		"before": func(c *cursor) { c.StartMS = c.FromMS - 1 },
		"metric": func(c *cursor) { c.Series.Metric = "other" },
	} {
		forged := *c
		forge(&forged)
		if rec := f.get(t, "/metrics/cpu.usage?nextCursor="+forged.encode()); rec.Code != http.StatusBadRequest {
			t.Errorf("forged %s: status %d", name, rec.Code)
		}
	}
}

func wantFault(t testing.TB, rec *httptest.ResponseRecorder, parameter, value string) {
	t.Helper()
	var body faultBody
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil || rec.Code != http.StatusBadRequest {
		t.Fatalf("status %d, %s (%v), want 400 for %s", rec.Code, rec.Body, err, parameter)
	}
	if want := newFault(parameter, value, "").Value; body.Parameter != parameter || body.Value != want || body.Bound == "" || body.ErrorType != "bad_data" {
		t.Errorf("fault %+v, want parameter %q, value %q and a bound", body, parameter, want)
	}
	if !strings.Contains(body.Message, parameter) || !strings.Contains(body.Message, body.Bound) {
		t.Errorf("error %q does not name %q and %q", body.Message, parameter, body.Bound)
	}
}

func TestFaultsNameTheParameter(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("x", schemas.MaxNameBytes+1)
	for _, c := range []struct{ url, parameter, value string }{
		{"/metrics/m?limit=0", "limit", "0"},
		{"/metrics/m?limit=10001", "limit", "10001"},
		{"/metrics/m?limit=many", "limit", "many"},
		{"/metrics/m?limit=1&limit=2", "limit", "2"},
		{"/metrics/m?lmit=1", "lmit", "1"},
		{"/metrics/m?tier=5m", "tier", "5m"},
		{"/metrics/m?startTimestamp=-1", "startTimestamp", "-1"},
		{"/metrics/m?endTimestamp=253402300800000", "endTimestamp", "253402300800000"},
		{"/metrics/m?endTimestamp=yesterday", "endTimestamp", "yesterday"},
		{"/metrics/m?startTimestamp=5&endTimestamp=5", "startTimestamp", "5"},
		{"/metrics/m?tags=host", "tags", "host"},
		{"/metrics/m?tags=host:", "tags", "host:"},
		{"/metrics/m?tags=a,b:c", "tags", "a,b:c"},
		{"/metrics/m?tags=host:a,host:b", "tags", "host:a,host:b"},
		{"/metrics/m?tags=host:%22a%22b", "tags", `host:"a"b`},
		{"/metrics/m?tags=host:" + long, "tags", "host:" + long},
		{"/metrics/m?tags=host:%FF", "tags", "host:\xff"},
		{"/metrics/" + long, "id", long},
		{"/metrics/m%7Bhost=1%7D", "id", "m{host=1}"},
		{"/metrics/m%7B%7D?tags=a:b", "tags", "a:b"},
		{"/metrics/m?nextCursor=AAAA", "nextCursor", "AAAA"},
		{"/metrics/m?a=%zz", "query", "a=%zz"},
		{"/metrics/m?=1", "query", "=1"},
		{"/api/v1/windows", "series", ""},
		{"/api/v1/windows?series=m&tier=2h", "tier", "2h"},
		{"/api/v1/windows?series=m&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from", "2026-01-02T00:00:00Z"},
		{"/api/v1/windows?series=m&limit=99999", "limit", "99999"},
		{"/api/v1/windows?series=m%7B", "series", "m{"},
		{"/api/v1/series?match=x", "match", "x"},
		{"/api/v1/series?metric=" + long, "metric", long},
		{"/api/v1/series?limit=-1", "limit", "-1"},
		{"/api/v1/alerts?limit=0", "limit", "0"},
		{"/api/v1/alerts?state=firing", "state", "firing"},
		{"/api/v1/status?x=1", "x", "1"},
		{"/live?series=%7B%7D", "series", "{}"},
		{"/live?tier=9s", "tier", "9s"},
		{"/live?from=1", "from", "1"},
	} {
		wantFault(t, f.get(t, c.url), c.parameter, c.value)
	}
	if f.store.reads+f.store.lists != 0 {
		t.Errorf("bad requests reached the store %d times", f.store.reads+f.store.lists)
	}
	many := make([]string, maxMatchers+1)
	for i := range many {
		many[i] = fmt.Sprintf("l%d:v", i)
	}
	tags := strings.Join(many, ",")
	wantFault(t, f.get(t, "/metrics/m?tags="+tags), "tags", tags)
	if rec := f.get(t, "/metrics/m?tags="+strings.Join(many[:maxMatchers], ",")); rec.Code != http.StatusOK {
		t.Errorf("%d matchers: status %d, want 200", maxMatchers, rec.Code)
	}
}

func TestWindows(t *testing.T) {
	f := newFixture(t)
	fill(t, f)
	q := url.Values{"series": {`cpu.usage{host="web01",cpu="1"}`}, "tier": {"10s"}, "from": {"2027-01-15T07:59:00Z"}, "to": {fmt.Sprint(nowMS)}}
	got := decode[[]windowBody](t, f.get(t, "/api/v1/windows?"+q.Encode()))
	if len(got) != 6 {
		t.Fatalf("%d windows, want 6: %+v", len(got), got)
	}
	want := windowBody{
		Series: `cpu.usage{cpu="1",host="web01"}`, Tier: "10s", StartMS: nowMS - minute, EndMS: nowMS - 50*second,
		aggregateBody: aggregateBody{Count: 2, Sum: 11.08, Min: 4.54, Max: 6.54, First: 4.54, Last: 6.54},
	}
	if got[0] != want {
		t.Errorf("got  %+v\nwant %+v", got[0], want)
	}
	q.Set("limit", "2")
	if got := decode[[]windowBody](t, f.get(t, "/api/v1/windows?"+q.Encode())); len(got) != 2 || got[0] != want {
		t.Errorf("limit 2: %+v", got)
	}
	if body := f.get(t, "/api/v1/windows?series=unknown").Body.String(); body != "[]\n" {
		t.Errorf("unknown series: %q, want an empty array", body)
	}
}

// TestInfinityIsNull: a sum of finite samples can overflow, but JSON has no infinity.
func TestInfinityIsNull(t *testing.T) {
	f := newFixture(t)
	w := mkWindow(mkSeries(t, "big"), 10*second, nowMS-minute, 0)
	w.Sum, w.Max = math.Inf(1), math.MaxFloat64
	f.store.add(w)
	for _, u := range []string{"/api/v1/windows?series=big", "/metrics/big"} {
		rec := f.get(t, u)
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"sum":null`) || !strings.Contains(rec.Body.String(), `"max":1.7976931348623157e+308`) {
			t.Errorf("%s: %d %s", u, rec.Code, rec.Body)
		}
	}
}

func TestSeriesPages(t *testing.T) {
	f := newFixture(t)
	fill(t, f)
	var got []string
	for after, pages := "", 0; ; pages++ {
		page := decode[seriesPage](t, f.get(t, "/api/v1/series?metric=cpu.usage&match=host:web01&limit=3&after="+url.QueryEscape(after)))
		for _, s := range page.Series {
			got = append(got, s.Series)
			if s.Source != "web01" || s.Metric != "cpu.usage" || s.Labels["host"] != "web01" {
				t.Errorf("series %+v", s)
			}
		}
		if after = page.After; after == "" {
			if pages != 1 {
				t.Errorf("%d more pages, want 1", pages)
			}
			break
		}
	}
	if len(got) != 4 || !slices.IsSorted(got) {
		t.Errorf("series %q, want 4 sorted", got)
	}
	if all := decode[seriesPage](t, f.get(t, "/api/v1/series?limit=6")); len(all.Series) != 6 || all.After != "" {
		t.Errorf("%d series, after %q; want all 6 and no further page", len(all.Series), all.After)
	}
}

func TestStatus(t *testing.T) {
	f := newFixture(t)
	got := decode[statusBody](t, f.get(t, "/api/v1/status"))
	if got.Host != "web01" || got.NowMS != nowMS || got.Ready || len(got.Tiers) != 3 || got.Tiers[2] != (tierStatus{"1h", hour, 365 * 24 * hour}) {
		t.Errorf("status %+v", got)
	}
}

func TestStoreFailureIsToldWithoutItsText(t *testing.T) {
	f := newFixture(t)
	f.store.fail = errors.New("dial 10.0.0.7:9042 as user weir: refused")
	for _, u := range []string{"/metrics/m", "/api/v1/windows?series=m", "/api/v1/series"} {
		rec := f.get(t, u)
		if rec.Code != http.StatusServiceUnavailable || strings.Contains(rec.Body.String(), "10.0.0.7") || !strings.Contains(rec.Body.String(), "unavailable") {
			t.Errorf("%s: %d %s", u, rec.Code, rec.Body)
		}
	}
}

func TestChooseTier(t *testing.T) {
	for _, c := range []struct{ from, to, want int64 }{
		{nowMS - hour, nowMS, 10 * second},
		{nowMS - maxPoints*10*second, nowMS, 10 * second},
		{nowMS - (maxPoints+1)*10*second, nowMS, minute},
		{nowMS - maxPoints*minute, nowMS, minute},
		{nowMS - 30*24*hour, nowMS, hour},
		{nowMS - 7*24*hour, nowMS - 7*24*hour + hour, 10 * second},
		{nowMS - 7*24*hour - 1, nowMS - 7*24*hour + hour, minute}, // 10s rows have expired
		{0, nowMS, hour},
	} {
		if got := chooseTier(testTiers(), c.from, c.to, nowMS); got != c.want {
			t.Errorf("range %d to %d before now: tier %d, want %d", nowMS-c.from, nowMS-c.to, got, c.want)
		}
	}
}

// alertsAnswer is an alertsBody as its readers decode it.
type alertsAnswer struct {
	Status string
	Data   struct {
		Alerts []alertBody
		Total  int
	}
}

func TestAlertsList(t *testing.T) {
	f := newFixture(t)
	put := func(name string, state schemas.AlertState, atMS, publishedMS int64) {
		f.live.apply(&schemas.Alert{
			Fingerprint: name, Rule: "g/" + name, State: state, ActiveMS: atMS, LastMS: atMS, Value: 91.5, TierMS: minute,
			Labels: map[string]string{"alertname": name, "x": "<b>\u2028"}, Last: schemas.Transition{To: state, AtMS: atMS},
			History: []schemas.Transition{{From: schemas.Inactive, To: schemas.Pending, AtMS: atMS, Reason: "true"}},
		}, publishedMS)
	}
	put("old", schemas.Resolved, nowMS-hour, nowMS-hour)
	put("resolved", schemas.Resolved, nowMS-hour, nowMS-hour+1)
	put("pending", schemas.Pending, nowMS, nowMS)
	put("firing", schemas.Firing, nowMS-minute, nowMS)
	put("newer", schemas.Firing, nowMS-second, nowMS)
	put("silent", schemas.Resolved, nowMS-hour+3, nowMS)
	f.live.view["silent"].alert.Reason, f.live.view["silent"].alert.LastTrueMS = schemas.ReasonNoData, nowMS-2*hour
	put("gone", schemas.Firing, nowMS, nowMS)
	put("gone", schemas.Inactive, nowMS, nowMS)
	body := decode[alertsAnswer](t, f.get(t, "/api/v1/alerts"))
	var got []string
	for _, a := range body.Data.Alerts {
		got = append(got, a.Fingerprint)
	}
	if want := []string{"newer", "firing", "pending", "silent", "resolved"}; !slices.Equal(got, want) || body.Status != "success" || body.Data.Total != 5 {
		t.Errorf("%s: alerts %q of %d, want %q", body.Status, got, body.Data.Total, want)
	}
	for i, a := range body.Data.Alerts {
		if silent := a.NoDataSince != nil; silent != (i == 3) || silent && (a.NoDataSince.UnixMilli() != nowMS-2*hour || a.Reason != "no data") {
			t.Errorf("alert %s: no data since %v, reason %q", a.Fingerprint, a.NoDataSince, a.Reason)
		}
	}
	a := body.Data.Alerts[1]
	if a.Value != "9.15e+01" || a.ActiveAt.UnixMilli() != nowMS-minute || a.Labels["x"] != "<b>\u2028" || a.Annotations == nil ||
		a.Tier != "1m" || len(a.History) != 1 || a.History[0].At.UnixMilli() != nowMS-minute {
		t.Errorf("alert %+v", a)
	}
	if few := decode[alertsAnswer](t, f.get(t, "/api/v1/alerts?limit=1")); len(few.Data.Alerts) != 1 || few.Data.Total != 5 {
		t.Errorf("limit 1: %d of %d", len(few.Data.Alerts), few.Data.Total)
	}
}

func TestPageIsServedWithItsPolicy(t *testing.T) {
	f := newFixture(t)
	server := httptest.NewServer(f.mux)
	defer server.Close()
	for path, contentType := range map[string]string{
		"/": "text/html", "/rules": "text/html", "/rules.js": "text/javascript", "/ask.js": "text/javascript", "/app.js": "text/javascript", "/chart.js": "text/javascript", "/format.js": "text/javascript", "/stream.js": "text/javascript", "/feed.js": "text/javascript",
		"/style.css": "text/css", "/uplot/uPlot.iife.min.js": "text/javascript", "/uplot/uPlot.min.css": "text/css", "/uplot/LICENSE": "text/plain",
	} {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		csp := resp.Header.Get("Content-Security-Policy")
		if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), contentType) || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s, %q, policy %q", path, resp.Status, resp.Header.Get("Content-Type"), csp)
		}
		req, err := http.NewRequest(http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", resp.Header.Get("ETag"))
		if resp, err = http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %v, %v, want 304", path, resp, err)
		} else {
			resp.Body.Close()
		}
	}
	for _, path := range []string{"/nothing", "/web.go", "/uplot/", "/metrics", "/metrics/"} {
		if rec := f.get(t, path); rec.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, rec.Code)
		}
	}
}
