package sinktest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
	"github.com/weir-metrics/weir/sinks"
)

// Tiers are those that a store must have for Run.
var Tiers = []cql.Tier{
	{SizeMS: s10, TTL: 7 * 24 * time.Hour},
	{SizeMS: m1, TTL: 30 * 24 * time.Hour},
	{SizeMS: h1, TTL: 365 * 24 * time.Hour},
}

const (
	s10 = 10_000
	m1  = 60_000
	h1  = 3_600_000
	day = 24 * h1
)

// Store is a store under test.
type Store struct {
	sinks.TierStore
	// NowMS is the clock by which rows expire, ms.
	NowMS func() int64
	// Tick lets a little time pass on that clock, at least 10 ms.
	Tick func()
	// Registry is where the store's metrics are registered.
	Registry *prometheus.Registry
}

// Run tests the store that open makes, which must have the tiers Tiers. It may hold rows of earlier
// runs, and is not closed.
func Run(t *testing.T, open func(t *testing.T) Store) {
	store := open(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, test := range map[string]func(*kit){
		"every field comes back":               everyField,
		"writing twice changes nothing":        twice,
		"higher revision wins":                 revisions,
		"higher revision wins in any order":    revisionsAnyOrder,
		"parts are merged":                     parts,
		"expired rows are skipped and counted": expired,
		"a row vanishes at its time":           vanishes,
		"ranges are half-open":                 halfOpen,
		"pages":                                pages,
		"ranges across buckets":                buckets,
		"series are listed":                    listing,
		"series are paged":                     listingPages,
		"a series keeps its first time":        firstAndLast,
		"nothing is found where nothing is":    empty,
		"concurrent use":                       concurrent,
		"a thousand windows in a batch":        thousand,
		"ugly names":                           ugly,
		"refused windows":                      refused,
		"an ended context":                     endedContext,
	} {
		t.Run(name, func(t *testing.T) {
			run := fmt.Sprintf("%x-%s", seed, strings.ReplaceAll(name, " ", "-"))
			test(&kit{T: t, Store: store, ctx: t.Context(), run: run, rand: rand.New(rand.NewPCG(seed, 1))})
		})
	}
}

// kit is what one test works with: its own source, and series labelled with its run.
type kit struct {
	*testing.T
	Store
	ctx  context.Context
	run  string
	rand *rand.Rand
}

// count is how many windows the store has counted as written, expired or refused.
func (k *kit) count(result string) float64 {
	return Counter(k.T, k.Registry, "weir_tierstore_windows_total", result)
}

func (k *kit) series(metric string, labels ...string) schemas.Series {
	m := map[string]string{"run": k.run}
	for i := 0; i < len(labels); i += 2 {
		m[labels[i]] = labels[i+1]
	}
	return schemas.Series{Metric: metric, Labels: schemas.NewLabels(m)}
}

// window makes a window with a value in every field, different for different windows.
func (k *kit) window(s schemas.Series, tierMS, startMS int64) schemas.Window {
	n := float64(k.rand.IntN(1000))
	return schemas.Window{Series: s, TierMS: tierMS, StartMS: startMS, Aggregate: schemas.Aggregate{Count: 3 + uint32(n),
		Sum: n * 1.1, Min: n / 3, Max: n * 7, First: n / 2, Last: -n, FirstOff: 1, LastOff: uint32(tierMS - 1)}}
}

// past is a start of a window ago before now, aligned to the tier.
func (k *kit) past(tierMS int64, ago time.Duration) int64 {
	t := k.NowMS() - ago.Milliseconds()
	return t - t%tierMS
}

func (k *kit) write(ws ...schemas.Window) {
	k.Helper()
	if err := k.WriteWindows(k.ctx, &schemas.WindowBatch{Group: k.run, Windows: ws}); err != nil {
		k.Fatal(err)
	}
}

func (k *kit) read(s schemas.Series, tierMS, fromMS, toMS int64, limit int) []schemas.Window {
	k.Helper()
	ws, err := k.ReadWindows(k.ctx, k.run, s, tierMS, fromMS, toMS, limit)
	if err != nil {
		k.Fatal(err)
	}
	return ws
}

// readAll reads a series' whole tier.
func (k *kit) readAll(s schemas.Series, tierMS int64) []schemas.Window {
	k.Helper()
	return k.read(s, tierMS, 0, 1<<60, 1_000_000)
}

func (k *kit) wantWindows(got []schemas.Window, want ...schemas.Window) {
	k.Helper()
	if len(got) != len(want) {
		k.Fatalf("%d windows, want %d:\n%+v", len(got), len(want), got)
	}
	for i := range got {
		if fmt.Sprintf("%+v", got[i]) != fmt.Sprintf("%+v", want[i]) {
			k.Fatalf("window %d:\ngot  %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

func everyField(k *kit) {
	s := k.series("cpu.usage", "host", "web01")
	for _, tier := range Tiers {
		w := k.window(s, tier.SizeMS, k.past(tier.SizeMS, 2*time.Hour))
		w.Revision = 7
		k.write(w)
		k.wantWindows(k.readAll(s, tier.SizeMS), w)
	}
}

func twice(k *kit) {
	s := k.series("m")
	w := k.window(s, s10, k.past(s10, time.Minute))
	k.write(w)
	k.write(w)
	k.write(w, w)
	k.wantWindows(k.readAll(s, s10), w)
}

func revisions(k *kit) {
	s := k.series("m")
	old := k.window(s, s10, k.past(s10, time.Minute))
	k.write(old)
	// Every column of the new one is smaller, so that a store which lets the greater
	// value of a column win is found out.
	revised := old
	revised.Revision = 1
	revised.Count, revised.Sum, revised.Min, revised.Max, revised.First, revised.Last = 1, old.Sum-1, old.Min-1, old.Max-1, old.First-1, old.Last-1
	k.write(revised)
	k.wantWindows(k.readAll(s, s10), revised)
	k.write(old)
	k.wantWindows(k.readAll(s, s10), revised)
}

func revisionsAnyOrder(k *kit) {
	s := k.series("m")
	start := k.past(s10, time.Minute)
	var all []schemas.Window
	for rev := range uint32(20) {
		w := k.window(s, s10, start)
		w.Revision = rev
		all = append(all, w)
	}
	newest := all[len(all)-1]
	k.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	k.write(all[:10]...)
	for _, w := range all[10:] {
		k.write(w)
	}
	k.wantWindows(k.readAll(s, s10), newest)
}

func parts(k *kit) {
	s := k.series("m")
	start := k.past(m1, time.Hour)
	whole := schemas.Window{Series: s, TierMS: m1, StartMS: start, Revision: 2, Aggregate: schemas.Aggregate{
		Count: 10, Sum: 100, Min: 5, Max: 20, First: 6, Last: 19, FirstOff: 1000, LastOff: 50_000}}
	late := schemas.Window{Series: s, TierMS: m1, StartMS: start, Part: schemas.NewPart(0, 41), Aggregate: schemas.Aggregate{
		Count: 2, Sum: 3, Min: 1, Max: 2, First: 1, Last: 2, FirstOff: 0, LastOff: 55_000}}
	generation := schemas.Window{Series: s, TierMS: m1, StartMS: start, Part: schemas.NewPart(1, 0), Aggregate: schemas.Aggregate{
		Count: 1, Sum: 50, Min: 50, Max: 50, First: 50, Last: 50, FirstOff: 55_000, LastOff: 55_000}}
	next := k.window(s, m1, start+m1)
	k.write(generation)
	k.write(late, next)
	k.write(whole)
	want := schemas.Window{Series: s, TierMS: m1, StartMS: start, Revision: 2, Aggregate: schemas.Aggregate{
		Count: 13, Sum: 153, Min: 1, Max: 50, First: 1, Last: 50, FirstOff: 0, LastOff: 55_000}}
	k.wantWindows(k.readAll(s, m1), want, next)
	k.wantWindows(k.read(s, m1, start, start+2*m1, 1), want)

	k.write(late) // a replay
	generation.Revision, generation.Max = 3, 60
	k.write(generation)
	want.Revision, want.Max = 3, 60
	k.wantWindows(k.readAll(s, m1), want, next)
}

func expired(k *kit) {
	s := k.series("m")
	for _, tier := range Tiers {
		before, written := k.count("expired"), k.count("written")
		k.write(k.window(s, tier.SizeMS, k.past(tier.SizeMS, tier.TTL)-tier.SizeMS))
		if n := k.count("expired") - before; n != 1 {
			k.Errorf("%s: %v counted as expired, want 1", tier.Table(), n)
		}
		if n := k.count("written") - written; n != 0 {
			k.Errorf("%s: %v counted as written, want 0", tier.Table(), n)
		}
		k.wantWindows(k.readAll(s, tier.SizeMS))
	}
	k.write(k.window(s, s10, s10)) // of 1970
	k.wantWindows(k.readAll(s, s10))
	if all, err := k.ListSeries(k.ctx, "m", map[string]string{"run": k.run}, "", 10); err != nil || len(all) != 0 {
		k.Errorf("a series that has no window kept is listed: %+v, %v", all, err)
	}
}

func vanishes(k *kit) {
	s := k.series("m")
	tier := Tiers[0]
	start := k.NowMS() - tier.TTL.Milliseconds() - s10 + 2500 // not aligned: any time will do
	young := k.window(s, s10, k.past(s10, time.Minute))
	old := k.window(s, s10, start)
	k.write(old, young)
	k.wantWindows(k.readAll(s, s10), old, young)
	for deadline := time.Now().Add(20 * time.Second); k.NowMS() < tier.ExpiresMS(start)+1000; k.Tick() {
		if time.Now().After(deadline) {
			k.Fatal("the clock does not move")
		}
	}
	k.wantWindows(k.readAll(s, s10), young)
	k.write(old)
	k.wantWindows(k.readAll(s, s10), young)
}

// row writes n windows in a row, the first starting at startMS.
func (k *kit) row(s schemas.Series, tierMS, startMS int64, n int) []schemas.Window {
	k.Helper()
	ws := make([]schemas.Window, n)
	for i := range ws {
		ws[i] = k.window(s, tierMS, startMS+int64(i)*tierMS)
	}
	k.write(ws...)
	return ws
}

func halfOpen(k *kit) {
	s := k.series("m")
	start := k.past(s10, time.Hour)
	ws := k.row(s, s10, start, 5)
	k.wantWindows(k.read(s, s10, start+s10, start+3*s10, 100), ws[1:3]...)
	k.wantWindows(k.read(s, s10, start+s10+1, start+3*s10+1, 100), ws[2:4]...)
	k.wantWindows(k.read(s, s10, start, start+1, 100), ws[0])
	k.wantWindows(k.read(s, s10, start, start, 100))
	k.wantWindows(k.read(s, s10, start+s10, start, 100))
}

func pages(k *kit) {
	s := k.series("m")
	start := k.past(s10, 2*time.Hour)
	ws := k.row(s, s10, start, 250)
	for i := range ws { // every third has a late part, so that rows and windows differ
		if i%3 == 0 {
			late := ws[i]
			late.Part, late.Count, late.Sum = 9, 1, 0
			k.write(late)
			ws[i].Count++
		}
	}
	var got []schemas.Window
	for from := start; ; {
		page := k.read(s, s10, from, start+250*s10, 100)
		if len(page) > 100 {
			k.Fatalf("a page of %d windows, want at most 100", len(page))
		}
		got = append(got, page...)
		if len(page) < 100 {
			break
		}
		from = page[99].StartMS + 1
	}
	for i := range got {
		ws[i].Last = got[i].Last // the later part's, which is the same value
	}
	k.wantWindows(got, ws...)
	k.wantWindows(k.read(s, s10, start, start+250*s10, 0))
}

func buckets(k *kit) {
	s := k.series("m")
	for _, tier := range Tiers {
		edge := k.NowMS() - k.NowMS()%tier.BucketMS()
		for edge+2*tier.SizeMS > k.NowMS() {
			edge -= tier.BucketMS()
		}
		ws := k.row(s, tier.SizeMS, edge-3*tier.SizeMS, 5)
		if a, b := tier.Bucket(ws[2].StartMS), tier.Bucket(ws[3].StartMS); b != a+1 {
			k.Fatalf("%s: buckets %d and %d, want neighbours", tier.Table(), a, b)
		}
		k.wantWindows(k.readAll(s, tier.SizeMS), ws...)
		k.wantWindows(k.read(s, tier.SizeMS, edge-tier.SizeMS, edge+tier.SizeMS, 10), ws[2:4]...)
		k.wantWindows(k.read(s, tier.SizeMS, edge-3*tier.SizeMS, edge+5*tier.SizeMS, 4), ws[:4]...)
	}
}

func (k *kit) list(metric string, match map[string]string, after string, limit int) []string {
	k.Helper()
	match = maps.Clone(match)
	if match == nil {
		match = map[string]string{}
	}
	match["run"] = k.run
	infos, err := k.ListSeries(k.ctx, metric, match, after, limit)
	if err != nil {
		k.Fatal(err)
	}
	var names []string
	for _, i := range infos {
		if i.Source != k.run {
			k.Errorf("%s: source %q, want %q", i.Series, i.Source, k.run)
		}
		names = append(names, i.Series.String())
	}
	return names
}

func (k *kit) wantNames(got []string, want ...schemas.Series) {
	k.Helper()
	var names []string
	for _, s := range want {
		names = append(names, s.String())
	}
	slices.Sort(names)
	if !slices.Equal(got, names) {
		k.Errorf("got  %q\nwant %q", got, names)
	}
}

func listing(k *kit) {
	// cpu.x sorts between cpu and cpu{…}; cpuz after both.
	a, b := k.series("cpu", "host", "a", "core", "0"), k.series("cpu", "host", "b", "core", "0")
	c, d := k.series("cpu.x", "host", "a"), k.series("cpuz", "host", "b")
	bare := schemas.Series{Metric: strings.ReplaceAll(k.run, "-", ".") + ".bare"}
	named := k.series("n", cql.MetricLabel, "cpu")
	start := k.past(s10, time.Minute)
	for _, s := range []schemas.Series{d, a, c, b, bare, named} {
		k.write(k.window(s, s10, start), k.window(s, m1, k.past(m1, 2*time.Minute)))
	}
	k.wantNames(k.list("cpu", nil, "", 10), a, b)
	k.wantNames(k.list("cpu.x", nil, "", 10), c)
	k.wantNames(k.list("", nil, "", 10), a, b, c, d, named)
	k.wantNames(k.list("", map[string]string{"host": "b"}, "", 10), b, d)
	k.wantNames(k.list("cpu", map[string]string{"host": "b", "core": "0"}, "", 10), b)
	k.wantNames(k.list("cpu", map[string]string{"host": "nobody"}, "", 10))
	k.wantNames(k.list("cp", nil, "", 10))
	k.wantNames(k.list("", nil, "", 0))
	found, err := k.ListSeries(k.ctx, bare.Metric, nil, "", 10)
	if err != nil || len(found) != 1 || found[0].Series.Metric != bare.Metric {
		k.Errorf("series without labels: %+v, %v", found, err)
	}
	all, err := k.ListSeries(k.ctx, "", nil, k.run, 1)
	if err != nil || len(all) != 1 || all[0].Series.String() <= k.run {
		k.Errorf("any series after %q: %+v, %v", k.run, all, err)
	}
}

func listingPages(k *kit) {
	var all []schemas.Series
	var ws []schemas.Window
	start := k.past(s10, time.Minute)
	for i := range 100 {
		s := k.series(fmt.Sprintf("metric.%d", i%3), "i", fmt.Sprint(i))
		all = append(all, s)
		ws = append(ws, k.window(s, s10, start))
	}
	k.write(ws...)
	for _, metric := range []string{"", "metric.1"} {
		var want []schemas.Series
		for _, s := range all {
			if metric == "" || s.Metric == metric {
				want = append(want, s)
			}
		}
		var got []string
		for after := ""; ; {
			page := k.list(metric, nil, after, 7)
			if len(page) > 7 {
				k.Fatalf("a page of %d, want at most 7", len(page))
			}
			got = append(got, page...)
			if len(page) < 7 || len(got) > 200 {
				break
			}
			after = page[6]
		}
		k.wantNames(got, want...)
	}
}

func firstAndLast(k *kit) {
	s := k.series("m")
	start := k.past(s10, time.Hour)
	k.row(s, s10, start, 3)
	k.row(s, s10, start+30*s10, 2)
	infos, err := k.ListSeries(k.ctx, "m", map[string]string{"run": k.run}, "", 10)
	if err != nil || len(infos) != 1 {
		k.Fatalf("%+v, %v", infos, err)
	}
	if infos[0].FirstMS != start {
		k.Errorf("first %d, want %d", infos[0].FirstMS, start)
	}
	if last := infos[0].LastMS; last < start+3*s10 || last > start+32*s10 {
		k.Errorf("last %d, want within %d and %d", last, start+3*s10, start+32*s10)
	}
}

func empty(k *kit) {
	s := k.series("m")
	k.row(s, s10, k.past(s10, time.Hour), 2)
	k.wantWindows(k.readAll(s, m1))
	k.wantWindows(k.readAll(k.series("m", "other", "x"), s10))
	k.wantWindows(k.readAll(k.series("n"), s10))
	k.wantWindows(k.read(s, s10, k.past(s10, 2*time.Hour), k.past(s10, 90*time.Minute), 10))
	if ws, err := k.ReadWindows(k.ctx, "nobody", s, s10, 0, 1<<60, 10); err != nil || len(ws) != 0 {
		k.Errorf("another source: %+v, %v", ws, err)
	}
	if ws, err := k.ReadWindows(k.ctx, "", s, s10, 0, 1<<60, 10); err != nil || len(ws) != 0 {
		k.Errorf("no source: %+v, %v", ws, err)
	}
	k.wantNames(k.list("no.such.metric", nil, "", 10))
	if err := k.WriteWindows(k.ctx, &schemas.WindowBatch{Group: k.run}); err != nil {
		k.Errorf("a batch of no windows: %v", err)
	}
}

// Counter reads the counter of that name whose first label has that value ("": it has no label)
// from the registry that was given to what is tested.
func Counter(t *testing.T, reg prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			first := ""
			if len(m.GetLabel()) > 0 {
				first = m.GetLabel()[0].GetValue()
			}
			if family.GetName() == name && first == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no counter %s with label %q", name, label)
	return 0
}
