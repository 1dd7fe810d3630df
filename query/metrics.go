package query

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks"
	"github.com/weir-metrics/weir/windows"
)

const (
	// seriesChunk is how many series are listed at a time, and maxSeriesPerPage how many a page
	// reads before it ends early, so that a page over a hundred thousand silent series costs no
	// more than any other.
	seriesChunk      = 100
	maxSeriesPerPage = 500
)

// metricPoint is a window in the words of the seed API.
type metricPoint struct {
	MetricName string            `json:"metricName"`
	Tags       map[string]string `json:"tags"`
	Timestamp  int64             `json:"timestamp"` // start of the window, ms
	Value      number            `json:"value"`     // its average
	Tier       string            `json:"tier"`
	EndMS      int64             `json:"end"`
	aggregateBody
	Revision uint32 `json:"revision"`
}

type metricsPage struct {
	Metrics    []metricPoint `json:"metrics"`
	NextCursor string        `json:"nextCursor,omitempty"` // "" on the last page
}

// selection is what a request of the seed API asks for, and from which page on.
type selection struct {
	metric string
	match  map[string]string
	// exact is the one series that the path names in full; its Metric is "" if the path is a metric
	// name.
	exact schemas.Series
	limit int
	at    cursor
}

func (a *api) metrics(r *http.Request) (any, error) {
	sel, f := a.selection(r)
	if f != nil {
		return nil, f
	}
	return a.page(r.Context(), sel)
}

func (a *api) selection(r *http.Request) (*selection, *fault) {
	p := parseParams(r.URL.RawQuery, "tags*", "startTimestamp", "endTimestamp", "nextCursor", "limit", "tier")
	sel := &selection{metric: r.PathValue("id"), match: p.matchers("tags"), limit: p.limit("limit", defaultLimit, maxLimit)}
	s, err := schemas.ParseSeries(sel.metric)
	if err != nil {
		p.fail("id", sel.metric, "must be a metric name or a series: "+err.Error())
	}
	if strings.Contains(sel.metric, "{") {
		if len(sel.match) > 0 {
			p.fail("tags", p.text("tags"), "cannot be combined with a path that names one series")
		}
		sel.metric, sel.exact, sel.match = s.Metric, s, s.Labels.Map()
	} else {
		sel.metric = s.Metric
	}
	now := a.now().UnixMilli()
	from, to := p.timeRange("startTimestamp", "endTimestamp", now)
	tier := p.tier("tier", a.Tiers)
	if p.fault != nil {
		return nil, p.fault
	}
	if tier == 0 {
		tier = chooseTier(a.Tiers, from, to, now)
	}
	sel.at = cursor{Query: sel.hash(p), TierMS: tier, FromMS: from, ToMS: to, StartMS: from}
	if text := p.text("nextCursor"); text != "" {
		if err := a.resume(sel, text); err != nil {
			return nil, newFault("nextCursor", text, err.Error())
		}
	}
	return sel, nil
}

// hash distinguishes queries: it covers all parameters but the cursor and the limit.
func (sel *selection) hash(p *params) uint64 {
	h := xxhash.New()
	put := func(parts ...string) {
		for _, s := range parts {
			fmt.Fprintf(h, "%d:%s", len(s), s)
		}
	}
	put(sel.metric, sel.exact.String(), p.text("startTimestamp"), p.text("endTimestamp"), p.text("tier"))
	for _, name := range slices.Sorted(maps.Keys(sel.match)) {
		put(name, sel.match[name])
	}
	return h.Sum64()
}

// resume moves the selection to where a cursor points, if the cursor belongs to this query.
func (a *api) resume(sel *selection, text string) error {
	c, err := decodeCursor(text)
	if err != nil {
		return err
	}
	if c.Query != sel.at.Query {
		return fmt.Errorf("belongs to a query with other parameters; %w", errCursor)
	}
	known := slices.ContainsFunc(a.Tiers, func(t windows.Tier) bool { return t.Size.MS() == c.TierMS })
	inRange := c.FromMS <= c.StartMS && c.StartMS < c.ToMS
	if !known || !inRange || !sel.selects(c.Series) {
		return errCursor
	}
	sel.at = *c
	return nil
}

func (sel *selection) selects(s schemas.Series) bool {
	return s.Metric == sel.metric && sinks.Matches(s, sel.match) &&
		(sel.exact.Metric == "" || len(s.Labels) == len(sel.exact.Labels))
}

// page reads the windows of the selection from its cursor on: series by series in the order of
// their text, each ascending in time. The next cursor points at the first window that did not fit,
// so every window is on exactly one page.
func (a *api) page(ctx context.Context, sel *selection) (*metricsPage, error) {
	at := sel.at
	page := &metricsPage{Metrics: []metricPoint{}}
	var todo []sinks.SeriesInfo
	switch {
	case at.Series.Metric != "":
		todo = []sinks.SeriesInfo{{Series: at.Series, Source: at.Source}}
	case sel.exact.Metric != "":
		todo = []sinks.SeriesInfo{{Series: sel.exact, Source: schemas.GroupOf(sel.exact, a.GroupLabels)}}
	}
	room := a.Config.MaxAnswerBytes
	for read, after := 0, ""; ; {
		for _, info := range todo {
			at.Series, at.Source = info.Series, info.Source
			after = info.Series.String()
			if read++; read > maxSeriesPerPage {
				page.NextCursor = at.encode()
				return page, nil
			}
			ws, err := a.Store.ReadWindows(ctx, at.Source, at.Series, at.TierMS, at.StartMS, at.ToMS, sel.limit-len(page.Metrics)+1)
			if err != nil {
				return nil, err
			}
			tags := at.Series.Labels.Map()
			size := windowBytes + len(encode(at.Series.Metric)) + len(encode(tags))
			for i := range ws {
				room -= size
				if len(page.Metrics) == sel.limit || room < 0 && len(page.Metrics) > 0 {
					at.StartMS = ws[i].StartMS
					page.NextCursor = at.encode()
					return page, nil
				}
				page.Metrics = append(page.Metrics, newMetricPoint(tags, &ws[i]))
			}
			at.StartMS = at.FromMS
		}
		if sel.exact.Metric != "" {
			return page, nil
		}
		var err error
		if todo, err = a.Store.ListSeries(ctx, sel.metric, sel.match, after, seriesChunk); err != nil {
			return nil, err
		}
		if len(todo) == 0 {
			return page, nil
		}
	}
}

func newMetricPoint(tags map[string]string, w *schemas.Window) metricPoint {
	return metricPoint{
		MetricName: w.Series.Metric, Tags: tags, Timestamp: w.StartMS, Value: number(w.Avg()),
		Tier: schemas.TierName(w.TierMS), EndMS: w.EndMS(), aggregateBody: newAggregateBody(&w.Aggregate), Revision: w.Revision,
	}
}
