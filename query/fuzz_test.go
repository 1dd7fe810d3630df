package query

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

func FuzzCursor(f *testing.F) {
	c := cursor{Query: 7, TierMS: 10000, FromMS: 1, ToMS: 1 << 40, StartMS: 20000, Source: "web01", Series: schemas.Series{
		Metric: "cpu.usage", Labels: schemas.NewLabels(map[string]string{"host": "web01", "p": "a\"\n,{}é"}),
	}}
	f.Add(c.encode())
	f.Add("")
	f.Add("AQAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := decodeCursor(text)
		if err != nil {
			return
		}
		again, err := decodeCursor(c.encode())
		if err != nil {
			t.Fatalf("%q decodes to %+v, which does not decode: %v", text, c, err)
		}
		if again.Series.String() != c.Series.String() || again.Source != c.Source || again.Query != c.Query ||
			again.TierMS != c.TierMS || again.FromMS != c.FromMS || again.ToMS != c.ToMS || again.StartMS != c.StartMS {
			t.Fatalf("%+v came back as %+v", c, again)
		}
	})
}

// FuzzQuery requests every address with arbitrary query strings. The answer is a 200 or a 400 that names a parameter, and never
// has more windows than the limit.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "limit=3", "tags=host:web01,cpu:0", `tags=a:"b,c"`, "startTimestamp=1&endTimestamp=2", "nextCursor=AQ",
		"series=m%7Ba%3D%22b%22%7D&tier=1m&from=2026-01-01T00:00:00Z", "metric=m&match=a:b&after=m", "a=%zz;b", "limit=-1",
	} {
		f.Add("cpu.usage", seed)
	}
	f.Add("m{a=\"b\"}", "")
	fix := newFixture(f)
	fix.store.add(mkWindow(mkSeries(f, `m{a="b"}`), 10*second, nowMS-minute, 1))
	f.Fuzz(func(t *testing.T, id, query string) {
		for _, path := range []string{"/metrics/" + url.PathEscape(id), "/api/v1/windows", "/api/v1/series", "/api/v1/alerts", "/api/v1/status"} {
			req := httptest.NewRequest("GET", "/", nil)
			u, err := url.Parse(path)
			if err != nil {
				return
			}
			u.RawQuery = query
			req.URL = u
			rec := httptest.NewRecorder()
			fix.mux.ServeHTTP(rec, req)
			switch rec.Code {
			case 200, 301, 307, 404: // found; or a path that is no {id}: "", "..", "//"
			case 400:
				wantParameter(t, rec)
			default:
				t.Fatalf("%s?%s: %d %s", path, query, rec.Code, rec.Body)
			}
		}
	})
}

func wantParameter(t *testing.T, rec *httptest.ResponseRecorder) {
	t.Helper()
	var body faultBody
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil || body.Parameter == "" || body.Bound == "" {
		t.Fatalf("400 without a parameter and its bound: %s (%v)", rec.Body, err)
	}
}
