package query

import (
	"net/http"

	"weir/schemas"
)

// windowBody is a window in JSON, in /api/v1/windows and in the live stream.
type windowBody struct {
	Series   string `json:"series"`
	Tier     string `json:"tier"`
	StartMS  int64  `json:"start"`
	EndMS    int64  `json:"end"`
	Count    int64  `json:"count"`
	Sum      number `json:"sum"`
	Min      number `json:"min"`
	Max      number `json:"max"`
	First    number `json:"first"`
	Last     number `json:"last"`
	Revision uint32 `json:"revision"`
	// Part is not 0 in the live stream alone: the window is one of several that the
	// store merges.
	Part int64 `json:"part,omitempty"`
}

func newWindowBody(series string, w *schemas.Window) windowBody {
	return windowBody{
		Series: series, Tier: schemas.TierName(w.TierMS), StartMS: w.StartMS, EndMS: w.EndMS(), Count: w.Count,
		Sum: number(w.Sum), Min: number(w.Min), Max: number(w.Max), First: number(w.First), Last: number(w.Last),
		Revision: w.Revision, Part: w.Part,
	}
}

func (a *api) windowsOf(r *http.Request) (any, error) {
	p := parseParams(r.URL.RawQuery, "series", "tier", "from", "to", "limit")
	s := p.series("series")
	now := a.now().UnixMilli()
	from, to := p.timeRange("from", "to", now)
	tier := p.tier("tier", a.Tiers)
	limit := p.limit("limit", defaultLimit, maxLimit)
	if p.fault != nil {
		return nil, p.fault
	}
	if tier == 0 {
		tier = chooseTier(a.Tiers, from, to, now)
	}
	ws, err := a.Store.ReadWindows(r.Context(), schemas.GroupOf(s, a.GroupLabels), s, tier, from, to, limit)
	if err != nil {
		return nil, err
	}
	text := s.String()
	body := make([]windowBody, len(ws))
	for i := range ws {
		body[i] = newWindowBody(text, &ws[i])
	}
	return body, nil
}

type seriesBody struct {
	Series  string            `json:"series"`
	Metric  string            `json:"metric"`
	Labels  map[string]string `json:"labels"`
	Source  string            `json:"source"` // key of its series group
	FirstMS int64             `json:"first"`
	LastMS  int64             `json:"last"`
}

type seriesPage struct {
	Series []seriesBody `json:"series"`
	After  string       `json:"after,omitempty"` // ask with after= this for the next; "" at the end
}

func (a *api) series(r *http.Request) (any, error) {
	p := parseParams(r.URL.RawQuery, "metric", "match", "after", "limit")
	metric, match, after := p.text("metric"), p.matchers("match"), p.text("after")
	limit := p.limit("limit", defaultLimit, maxLimit)
	if len(metric) > schemas.MaxNameBytes {
		p.fail("metric", metric, "is longer than a metric name may be")
	}
	if p.fault != nil {
		return nil, p.fault
	}
	// One more than asked for tells whether a page follows.
	infos, err := a.Store.ListSeries(r.Context(), metric, match, after, limit+1)
	if err != nil {
		return nil, err
	}
	page := seriesPage{Series: make([]seriesBody, 0, min(limit, len(infos)))}
	for i, info := range infos {
		if i == limit {
			page.After = page.Series[limit-1].Series
			break
		}
		page.Series = append(page.Series, seriesBody{
			Series: info.Series.String(), Metric: info.Series.Metric, Labels: info.Series.Labels.Map(),
			Source: info.Source, FirstMS: info.FirstMS, LastMS: info.LastMS,
		})
	}
	return page, nil
}
