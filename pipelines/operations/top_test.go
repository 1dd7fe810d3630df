package operations

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/pipelines/pipelinetest"
	"github.com/weir-metrics/weir/query"
	"github.com/weir-metrics/weir/schemas"
)

// half is a process that owns 4 of 8 shards, and knows the sources.
type half []schemas.Source

func (h half) Sources(int64) []schemas.Source { return h }
func (half) Shards() (owned, all int)         { return 4, 8 }

// knows serves what a process knows of its sources, which are of half of the shards.
func knows(t *testing.T, sources ...schemas.Source) string {
	t.Helper()
	return knowsLate(t, nil, sources...)
}

// knowsLate is knows of a process that sees partitions of metrics stand still.
func knowsLate(t *testing.T, late []schemas.Late, sources ...schemas.Source) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("GET /api/v1/top", query.Top(half(sources), func() []schemas.Late { return late }, time.Now))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// TestTopMergesProcesses: the sources of two processes are merged into one list, which is cut to --rows. A name with control
// characters is quoted.
func TestTopMergesProcesses(t *testing.T) {
	one := knows(t,
		schemas.Source{Source: "web01", SamplesPerSecond: 20, Series: 100, LargestMetric: "cpu.usage", LargestSeries: 17, DelayMS: 1500},
		schemas.Source{Source: "web02", SamplesPerSecond: 1, Series: 3, LargestMetric: "up", LargestSeries: 1},
		schemas.Source{Source: "evil\x1b[2J", Refused: map[string]int64{"rate_limit": 12, "future": 3}, AheadMS: 301_500, Clock: schemas.FastClock, LastMS: 1_800_000_000_000})
	two := knows(t,
		schemas.Source{Source: "db01", SamplesPerSecond: 300.25, Series: 2310, LargestMetric: "q", LargestSeries: 2001,
			Collapsed: map[string]int64{"metric_limit": 7}, LastMS: 1_800_000_001_000},
		schemas.Source{Source: "mail", SamplesPerSecond: 0.5, Series: 1, LargestMetric: "up", LargestSeries: 1, DelayMS: 300_000, Clock: schemas.SlowClock, LastMS: 1_799_999_999_000},
		schemas.Source{Source: "ahead", Series: 1, DelayMS: -20_000, Clock: schemas.FastClock, LastMS: 1_799_999_998_000})
	var out strings.Builder
	if err := (Top{URLs: []string{one, two + "/"}, By: "rate", Rows: 4}).Run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `SOURCE  SAMPLES/S  SERIES  LARGEST METRIC  LATE BY  COLLAPSED       REFUSED
db01    300.2      2310    q (2001)        0s       metric_limit=7  -
web01   20.0       100     cpu.usage (17)  1.5s     -               -
web02   1.0        3       up (1)          0s       -               -
mail    0.5        1       up (1)          5m0s     -               -
and at least 2 more: see --rows

Over a limit, or with a wrong clock:
db01          collapsed metric_limit=7, most series in q (2001)        last at 2027-01-15T08:00:01Z
evil\x1b[2J    refused future=3,rate_limit=12; clock fast by 5m1.5s     last at 2027-01-15T08:00:00Z
mail          clock slow, or samples held up, by 5m0s                  last at 2027-01-15T07:59:59Z
ahead         clock fast by 20s                                        last at 2027-01-15T07:59:58Z
`
	spaces := regexp.MustCompile(` +`)
	if got := spaces.ReplaceAllString(out.String(), " "); got != spaces.ReplaceAllString(want, " ") {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	out.Reset()
	if err := (Top{URLs: []string{one, two}, By: "series", Rows: 1}).Run(t.Context(), &out); err != nil || !strings.Contains(out.String(), "\ndb01 ") ||
		!strings.HasSuffix(out.String(), "and at least 3 more: see --rows\n") { // of the named
		t.Errorf("by series: %v\n%s", err, out.String())
	}
	out.Reset()
	nobody := "http://" + pipelinetest.FreeAddress(t)
	err := Top{URLs: []string{nobody, one}, By: "rate", Rows: 9}.Run(t.Context(), &out)
	if err == nil || !strings.Contains(err.Error(), nobody+" does not answer") || !strings.Contains(out.String(), "\nweb01 ") ||
		!strings.Contains(out.String(), "These are 4 of 8 shards.") {
		t.Errorf("one of two processes: %v\n%s", err, out.String())
	}
	out.Reset()
	if err := (Top{URLs: []string{knows(t)}, By: "rate", Rows: 1}).Run(t.Context(), &out); err != nil || !strings.Contains(out.String(), "No source is over a limit") {
		t.Errorf("of nothing: %v\n%s", err, out.String())
	}
}

// TestTopSaysThatThePipelineIsLate: weir top also names the partitions that stand still, each once, however many processes report
// them.
func TestTopSaysThatThePipelineIsLate(t *testing.T) {
	minute := time.Now().Add(-time.Minute).UnixMilli()
	one := knowsLate(t, []schemas.Late{{Partition: 3, LevelMS: minute, Waiting: 1200, Owner: "rack7\x1b[2J"}, {Partition: 5}})
	two := knowsLate(t, []schemas.Late{{Partition: 1, LevelMS: minute}, {Partition: 3}})
	var out strings.Builder
	if err := (Top{URLs: []string{one, two}, By: "rate", Rows: 4}).Run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`1m[0-9]s ago`).ReplaceAllString(out.String(), "1m0s ago")
	const want = "pipeline is late: partitions of metrics that route was level with last: 1 (1m0s ago), " +
		`3 (1m0s ago, 1200 records wait, owner rack7\x1b[2J), 5 (never); windows that get samples from them wait.` + "\n\nSOURCE"
	if !strings.HasPrefix(text, want) {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

func TestTopSaysWhoDoesNotAnswer(t *testing.T) {
	nobody := "http://" + pipelinetest.FreeAddress(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "by=rate") {
			http.Error(w, "the role window does not run in this process", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "<html>")
	}))
	defer s.Close()
	for _, tc := range []struct {
		top  Top
		want string
	}{
		{Top{URLs: []string{nobody}, By: "rate", Rows: 1}, nobody + " does not answer: dial tcp"},
		{Top{URLs: []string{s.URL}, By: "rate", Rows: 1}, s.URL + " answers 503 Service Unavailable: the role window does not run"},
		{Top{URLs: []string{s.URL}, By: "series", Rows: 1}, s.URL + ": the answer is not JSON"},
		{Top{URLs: []string{"http://a b"}, By: "rate", Rows: 1}, "a b"},
	} {
		if err := tc.top.Run(t.Context(), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}

// TestLimitsEndToEnd: weir as a whole collapses or refuses samples beyond its limits, counts them, serves the overflow series, and
// names the source.
func TestLimitsEndToEnd(t *testing.T) {
	p := pipelinetest.Process(t)
	p.Config.Windows.MaxSeriesPerMetric, p.Config.Windows.MaxRate = 5, 2
	p.Roles = []string{"route", "window", "store", "query", "gateway"}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	pipelinetest.Await(t, p, pipelinetest.Ready)

	now := time.Now()
	start := now.Add(-30 * time.Second).Truncate(10 * time.Second)
	var lines strings.Builder
	for i := range 12 { // 5 series and 7 that are collapsed
		fmt.Fprintf(&lines, "http.requests,host=web07,path=/p%d value=%d %d\n", i, i, start.UnixNano())
	}
	for i := range 30 { // 20 in a window of 10s
		fmt.Fprintf(&lines, "queue,host=db01 depth=%d %d\n", i, start.UnixNano())
	}
	fmt.Fprintf(&lines, "load,host=clock9 v=1 %d\n", now.Add(5*time.Minute).UnixNano())
	for _, host := range []string{"web07", "db01"} { // closes the windows
		fmt.Fprintf(&lines, "up,host=%s v=1 %d\n", host, start.Add(20*time.Second).UnixNano())
	}
	pipelinetest.Post(t, p, lines.String())

	var out strings.Builder
	wanted := []*regexp.Regexp{
		regexp.MustCompile(`web07 +collapsed metric_limit=7, most series in http.requests \(6\)`),
		regexp.MustCompile(`db01 +refused rate_limit=10 `),
		regexp.MustCompile(`clock9 +refused future=1; clock fast by (5m0|4m59)`),
	}
	missing := func() string {
		out.Reset()
		if err := (Top{URLs: []string{"http://" + p.Config.HTTP}, By: "rate", Rows: 20}).Run(t.Context(), &out); err != nil {
			return err.Error()
		}
		for _, w := range wanted {
			if !w.MatchString(out.String()) {
				return w.String()
			}
		}
		return ""
	}
	windows := func() string {
		var got []struct {
			Count         int
			Sum, Min, Max float64
		}
		path := "/api/v1/windows?tier=10s&series=http.requests%7Bhost=%22web07%22,path=%22__overflow__%22%7D"
		if err := (Top{}).getJSON(t.Context(), http.DefaultClient, "http://"+p.Config.HTTP, path, &got); err != nil {
			return err.Error()
		}
		if len(got) != 1 || got[0].Count != 7 || got[0].Sum != 5+6+7+8+9+10+11 || got[0].Min != 5 || got[0].Max != 11 {
			return fmt.Sprintf("overflow windows %+v", got)
		}
		return ""
	}
	for _, check := range []func() string{missing, windows} {
		last := ""
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
			if last = check(); last == "" {
				break
			}
		}
		if last != "" {
			t.Fatalf("never: %s\n%s", last, out.String())
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
