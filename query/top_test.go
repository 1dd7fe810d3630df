package query

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// fakeWatcher has sources, on some of 8 shards.
type fakeWatcher struct {
	sources []schemas.Source
	owned   int
	askedMS int64
}

func (f *fakeWatcher) Sources(nowMS int64) []schemas.Source {
	f.askedMS = nowMS
	return f.sources
}

func (f *fakeWatcher) Shards() (owned, all int) { return f.owned, 8 }

func noneLate() []schemas.Late { return nil }

// TestTop: the sources in each order, and the partitions that stand still.
func TestTop(t *testing.T) {
	late := []schemas.Late{{Partition: 3, LevelMS: nowMS - 60_000, Waiting: 12, Owner: "rack7"}, {Partition: 4}}
	watch := &fakeWatcher{owned: 3, sources: []schemas.Source{
		{Source: "b", SamplesPerSecond: 1, Series: 5, Refused: map[string]int64{"rate_limit": 3}, LastMS: 10},
		{Source: "a", SamplesPerSecond: 1, Series: 7},
		{Source: "c", SamplesPerSecond: 9, Series: 1, Clock: schemas.SlowClock, LastMS: 20, DelayMS: 300_000},
		{Source: "d", Collapsed: map[string]int64{"metric_limit": 2}, LastMS: 15},
	}}
	h := Top(watch, func() []schemas.Late { return late }, func() time.Time { return time.UnixMilli(nowMS) })
	get := func(url string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, url, nil))
		return rec
	}
	for _, tc := range []struct {
		query string
		want  []string
		total int
	}{
		{"", []string{"c", "a", "b", "d"}, 4},
		{"?by=rate&limit=2", []string{"c", "a"}, 4},
		{"?by=series", []string{"a", "b", "c", "d"}, 4},
		{"?by=named", []string{"c", "d", "b"}, 3},
	} {
		got := decode[topBody](t, get("/api/v1/top"+tc.query))
		var names []string
		for _, s := range got.Sources {
			names = append(names, s.Source)
		}
		if !slices.Equal(names, tc.want) || got.Total != tc.total || got.Owned != 3 || got.Shards != 8 || !slices.Equal(got.Late, late) {
			t.Errorf("%s: %v of %d, %d of %d shards", tc.query, names, got.Total, got.Owned, got.Shards)
		}
	}
	if watch.askedMS != nowMS {
		t.Errorf("asked at %d", watch.askedMS)
	}
	if s := decode[topBody](t, get("/api/v1/top?by=named&limit=1")).Sources[0]; s.Clock != schemas.SlowClock || s.DelayMS != 300_000 {
		t.Errorf("%+v", s)
	}
	for _, tc := range [][3]string{
		{"?by=size", "by", "size"}, {"?limit=0", "limit", "0"}, {"?limit=1001", "limit", "1001"}, {"?x=1", "x", "1"},
	} {
		wantFault(t, get("/api/v1/top"+tc[0]), tc[1], tc[2])
	}
	empty := Top(&fakeWatcher{}, noneLate, time.Now)
	rec := httptest.NewRecorder()
	empty.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/v1/top", nil))
	if body := rec.Body.String(); body != "{\"sources\":[],\"total\":0,\"owned\":0,\"shards\":8}\n" {
		t.Errorf("without sources: %s", body)
	}
}
