package query

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/windows"
)

// fakeStore keeps windows in memory and behaves as the interface documents.
type fakeStore struct {
	mu      sync.Mutex
	kept    map[string]map[int64][]schemas.Window // by series text and tier, ascending
	sources map[string]string
	fail    error // if set, every call returns it
	lists   int   // calls of ListSeries
	reads   int   // calls of ReadWindows
}

var _ sinks.TierStore = (*fakeStore)(nil)

func newFakeStore() *fakeStore {
	return &fakeStore{kept: map[string]map[int64][]schemas.Window{}, sources: map[string]string{}}
}

func (f *fakeStore) add(ws ...schemas.Window) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range ws {
		text := w.Series.String()
		if f.kept[text] == nil {
			f.kept[text] = map[int64][]schemas.Window{}
		}
		f.kept[text][w.TierMS] = append(f.kept[text][w.TierMS], w)
		f.sources[text] = schemas.GroupOf(w.Series, schemas.GroupLabels)
	}
}

func (f *fakeStore) WriteWindows(context.Context, *schemas.WindowBatch) error {
	return errors.New("query must not write")
}

func (f *fakeStore) Close() error { return nil }

func (f *fakeStore) ReadWindows(_ context.Context, source string, s schemas.Series, tierMS, fromMS, toMS int64, limit int) ([]schemas.Window, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.fail != nil {
		return nil, f.fail
	}
	var out []schemas.Window
	if f.sources[s.String()] != source {
		return nil, nil
	}
	for _, w := range f.kept[s.String()][tierMS] {
		if fromMS <= w.StartMS && w.StartMS < toMS && len(out) < limit {
			out = append(out, w)
		}
	}
	return out, nil
}

func (f *fakeStore) ListSeries(_ context.Context, metric string, match map[string]string, after string, limit int) ([]sinks.SeriesInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	if f.fail != nil {
		return nil, f.fail
	}
	var out []sinks.SeriesInfo
	for _, text := range slices.Sorted(maps.Keys(f.kept)) {
		s, err := schemas.ParseSeries(text)
		if err != nil {
			return nil, err
		}
		if text > after && (metric == "" || s.Metric == metric) && sinks.Matches(s, match) && len(out) < limit {
			out = append(out, sinks.SeriesInfo{Series: s, Source: f.sources[text], FirstMS: 1, LastMS: 2})
		}
	}
	return out, nil
}

// The time in the tests: a fixed now, at a full hour.
const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
	nowMS  = int64(1_800_000_000_000)
)

func testTiers() []windows.Tier {
	return []windows.Tier{
		{Size: conf.Duration(10 * time.Second), TTL: conf.Duration(7 * 24 * time.Hour)},
		{Size: conf.Duration(time.Minute), TTL: conf.Duration(30 * 24 * time.Hour)},
		{Size: conf.Duration(time.Hour), TTL: conf.Duration(365 * 24 * time.Hour)},
	}
}

func mkSeries(t testing.TB, text string) schemas.Series {
	t.Helper()
	s, err := schemas.ParseSeries(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mkWindow returns a window of two samples, v-1 and v+1.
func mkWindow(s schemas.Series, tierMS, startMS int64, v float64) schemas.Window {
	return schemas.Window{
		Series: s, TierMS: tierMS, StartMS: startMS, Aggregate: schemas.Aggregate{Count: 2, Sum: 2 * v, Min: v - 1, Max: v + 1,
			First: v - 1, Last: v + 1, LastOff: uint32(tierMS - 1)},
	}
}

type fixture struct {
	store *fakeStore
	live  *Live
	reg   *prometheus.Registry
	mux   http.Handler
	api   *api
}

// newFixture serves a fake store at nowMS, with a Live that does not run.
func newFixture(t testing.TB) *fixture {
	t.Helper()
	reg := prometheus.NewRegistry()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	f := &fixture{store: newFakeStore(), live: NewLive(Default(), nil, reg, log), reg: reg}
	f.api = newAPI(Deps{
		Config: Default(), Store: f.store, Live: f.live, Tiers: testTiers(), GroupLabels: schemas.GroupLabels, Host: "web01",
		Registry: reg, Log: log,
	}, func() time.Time { return time.UnixMilli(nowMS) })
	f.mux = f.api.handler()
	return f
}

func (f *fixture) get(t testing.TB, url string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	f.mux.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, url, nil))
	if ct := rec.Header().Get("Content-Type"); rec.Code != http.StatusNotFound && !strings.HasPrefix(ct, "application/json") {
		t.Errorf("GET %s: content type %q", url, ct)
	}
	return rec
}
