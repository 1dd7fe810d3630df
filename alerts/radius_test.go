package alerts

import (
	"fmt"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// TestRadius: what is counted is what rules are bound to when the series send, and the bytes are about
// what they then take.
func TestRadius(t *testing.T) {
	rs := load(t, `{alert: a, expr: 'avg(x, "5m") > 5'}`, `{alert: b, expr: x / y > 2, where: labels.disk == "0"}`, `{alert: c, expr: z > 1}`, `{alert: d, expr: 'x > 1', tier: 1m}`)
	e, radii := rs.NewEvaluator(), rs.NewRadii()
	e.CountFrom()
	for h := range 3 {
		st, group := &State{}, fmt.Sprint("h", h)
		var ws []schemas.Window
		for d := range 2 {
			for _, metric := range []string{"x", "y", "other"} {
				ws = append(ws, window(t, fmt.Sprintf(`%s{disk="%d",host="%s"}`, metric, d, group), 10_000, 1))
				radii.Add(group, ws[len(ws)-1].Series)
				radii.Add(group, ws[len(ws)-1].Series) // twice is once
			}
		}
		for end := int64(10_000); end <= 900_000; end += 10_000 {
			for i := range ws {
				ws[i].StartMS = end - 10_000
			}
			e.Closed(st, group, 10_000, end, ws, nil)
		}
		e.Count(st)
	}
	used := map[string]RuleUse{}
	e.Uses(func(i int, u *RuleUse) { used[rs.Names()[i]] = *u })
	for i, want := range []Radius{{"g/a", 6, 6, 3, 0.6, 0}, {"g/b", 6, 3, 3, 0.3, 0}, {"g/c", 0, 0, 0, 0, 0}, {"g/d", 6, 6, 3, 0.1, 0}} {
		got := radii.Of()[i]
		bytes := got.Bytes
		if got.Bytes = 0; fmt.Sprintf("%.3v", got) != fmt.Sprintf("%.3v", want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if u, ok := used[want.Rule]; ok && (u.Sets != int64(got.Sets) || float64(bytes) < 0.8*float64(u.Bytes) || float64(bytes) > 1.25*float64(u.Bytes)) {
			t.Errorf("%s: %d sets, %d bytes; in use %+v", want.Rule, got.Sets, bytes, u)
		}
	}
}
