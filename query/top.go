package query

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

const (
	defaultTop = 20
	maxTop     = 1000
)

type topBody struct {
	Sources []schemas.Source `json:"sources"`
	Total   int              `json:"total"`          // more than len(sources) if the limit cut the list
	Owned   int              `json:"owned"`          // how many shards these sources are from
	Shards  int              `json:"shards"`         // how many shards there are
	Late    []schemas.Late   `json:"late,omitempty"` // partitions of metrics that are not being read
}

// Watcher knows the sources of the shards that a process owns.
type Watcher interface {
	// Sources returns those that send the most and those with something wrong, in no order. nowMS
	// is the wall clock.
	Sources(nowMS int64) []schemas.Source
	// Shards returns how many shards the process owns, and how many there are.
	Shards() (owned, all int)
}

// Top answers GET /api/v1/top: the sources that watch knows, in the requested order; by=named
// leaves out those that nothing is wrong with. The answer also has the partitions that late
// returns, which are not being read.
func Top(watch Watcher, late func() []schemas.Late, now func() time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := top(r, watch, late, now().UnixMilli())
		var f *fault
		if errors.As(err, &f) {
			writeJSON(w, http.StatusBadRequest, faultBody{errorBody{Status: "error", ErrorType: "bad_data", Message: f.Error()}, *f})
			return
		}
		writeJSON(w, http.StatusOK, body)
	})
}

func top(r *http.Request, watch Watcher, late func() []schemas.Late, nowMS int64) (any, error) {
	p := parseParams(r.URL.RawQuery, "by", "limit")
	limit := p.limit("limit", defaultTop, maxTop)
	by := p.text("by")
	if by == "" {
		by = schemas.TopOrders[0]
	}
	if !slices.Contains(schemas.TopOrders, by) {
		p.fail("by", by, "must be one of "+strings.Join(schemas.TopOrders, ", "))
	}
	if p.fault != nil {
		return nil, p.fault
	}
	all := schemas.Top(watch.Sources(nowMS), by)
	body := topBody{Sources: append([]schemas.Source{}, all[:min(limit, len(all))]...), Total: len(all), Late: late()}
	body.Owned, body.Shards = watch.Shards()
	return body, nil
}
