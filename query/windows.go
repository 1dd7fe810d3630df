package query

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
)

// windowBody is a window in JSON, in /api/v1/windows and in the live stream.
type windowBody struct {
	Series  string `json:"series"`
	Tier    string `json:"tier"`
	StartMS int64  `json:"start"`
	EndMS   int64  `json:"end"`
	aggregateBody
	Revision uint32 `json:"revision"`
	// Part is not 0 only in the live stream: the window is one of several that the store merges.
	Part int64 `json:"part,omitempty"`
}

func newWindowBody(series string, w *schemas.Window) windowBody {
	return windowBody{
		Series: series, Tier: schemas.TierName(w.TierMS), StartMS: w.StartMS, EndMS: w.EndMS(),
		aggregateBody: newAggregateBody(&w.Aggregate), Revision: w.Revision, Part: w.Part,
	}
}

// aggregateBody is schemas.Aggregate in JSON, wherever a window is: a test compares it with schemas.Columns.
type aggregateBody struct {
	Count uint32 `json:"count"`
	Sum   number `json:"sum"`
	Min   number `json:"min"`
	Max   number `json:"max"`
	First number `json:"first"`
	Last  number `json:"last"`
}

func newAggregateBody(a *schemas.Aggregate) aggregateBody {
	return aggregateBody{Count: a.Count, Sum: number(a.Sum), Min: number(a.Min), Max: number(a.Max), First: number(a.First), Last: number(a.Last)}
}

// windowBytes is roughly the most that a window's JSON takes, without its series.
const windowBytes = 360

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
	if fit := a.Config.MaxAnswerBytes / (len(encode(text)) + windowBytes); len(ws) > fit {
		return nil, newFault("limit", strconv.Itoa(limit), fmt.Sprintf("%d windows of this series do not fit an answer of %d bytes (query.max_answer_bytes): ask for at most %d, or for a shorter range",
			len(ws), a.Config.MaxAnswerBytes, fit))
	}
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
	p := parseParams(r.URL.RawQuery, "metric", "match*", "after", "limit")
	metric, match, after := p.text("metric"), p.matchers("match"), p.text("after")
	limit := p.limit("limit", defaultLimit, maxLimit)
	if len(metric) > schemas.MaxNameBytes {
		p.fail("metric", metric, "is too long for a metric name")
	}
	if p.fault != nil {
		return nil, p.fault
	}
	page := seriesPage{Series: make([]seriesBody, 0, min(limit, seriesChunk))}
	for room := a.Config.MaxAnswerBytes; ; {
		want := min(limit-len(page.Series), seriesChunk)
		// One more than wanted tells whether a page follows.
		infos, err := a.Store.ListSeries(r.Context(), metric, match, after, want+1)
		if err != nil {
			return nil, err
		}
		for i := range infos[:min(want, len(infos))] {
			b := newSeriesBody(&infos[i])
			if room -= len(encode(b)); room < 0 && len(page.Series) > 0 {
				page.After = after
				return page, nil
			}
			page.Series, after = append(page.Series, b), b.Series
		}
		if len(infos) <= want {
			return page, nil
		}
		if len(page.Series) == limit {
			page.After = after
			return page, nil
		}
	}
}

func newSeriesBody(info *sinks.SeriesInfo) seriesBody {
	return seriesBody{
		Series: info.Series.String(), Metric: info.Series.Metric, Labels: info.Series.Labels.Map(),
		Source: info.Source, FirstMS: info.FirstMS, LastMS: info.LastMS,
	}
}
