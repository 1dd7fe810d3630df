package query

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"weir/schemas"
)

const (
	defaultTop = 20
	maxTop     = 1000
)

type topBody struct {
	Sources []schemas.Source `json:"sources"`
	Total   int              `json:"total"` // more than len(sources) when the limit cut the list
}

// Top answers GET /api/v1/top: the sources that sources knows, in the order that was
// asked for; by=named leaves out those that nothing is wrong with.
func Top(sources func(nowMS int64) []schemas.Source, now func() time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := top(r, sources(now().UnixMilli()))
		var f *fault
		if errors.As(err, &f) {
			writeJSON(w, http.StatusBadRequest, faultBody{errorBody{Status: "error", ErrorType: "bad_data", Message: f.Error()}, *f})
			return
		}
		writeJSON(w, http.StatusOK, body)
	})
}

func top(r *http.Request, all []schemas.Source) (any, error) {
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
	all = schemas.Top(all, by)
	return topBody{Sources: append([]schemas.Source{}, all[:min(limit, len(all))]...), Total: len(all)}, nil
}
