package ruletest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/weir-metrics/weir/schemas"
)

// tolerance is how far a value of a window may be from the expected one, relative to it: the last bits of a sum depend on
// the order of addition, and nobody writes them down.
const tolerance = 1e-9

// checkWindows compares the windows that were written with the expected ones.
func (p *play) checkWindows() {
	if len(p.test.windows) == 0 {
		return
	}
	written := p.written.Windows()
	for i := range p.test.windows {
		c := &p.test.windows[i]
		got := &schemas.Window{}
		k := slices.IndexFunc(written, func(w schemas.Window) bool {
			return w.TierMS == c.tierMS && w.StartMS == c.startMS(p.test) && w.Series.String() == c.series.String()
		})
		if k >= 0 {
			got = &written[k]
		}
		if diff := c.diff(got); diff != "" {
			what := fmt.Sprintf("window of %s from %s of %s", schemas.TierName(c.tierMS), p.since(c.startMS(p.test)), c.series)
			p.fail(c.line, what, diff)
		}
	}
}

// diff describes what of a window is not as expected; "" if all is. A missing window has no samples.
func (c *windowCheck) diff(got *schemas.Window) string {
	var count *float64
	if c.want.Count != nil {
		n := float64(*c.want.Count)
		count = &n
	}
	var b strings.Builder
	differs := false
	for _, v := range []struct {
		name string
		want *float64
		got  float64
	}{{"count", count, float64(got.Count)}, {"sum", c.want.Sum, got.Sum}, {"min", c.want.Min, got.Min},
		{"max", c.want.Max, got.Max}, {"first", c.want.First, got.First}, {"last", c.want.Last, got.Last}} {
		switch {
		case v.want == nil:
		case got.Count == 0 && v.name != "count":
			differs = true
			fmt.Fprintf(&b, "  - %s: %v\n", v.name, *v.want)
		case math.Abs(v.got-*v.want) > tolerance*math.Abs(*v.want):
			differs = true
			fmt.Fprintf(&b, "  - %s: %v\n  + %s: %v\n", v.name, *v.want, v.name, v.got)
		default:
			fmt.Fprintf(&b, "    %s: %v\n", v.name, v.got)
		}
	}
	switch {
	case !differs:
		return ""
	case got.Count == 0:
		return "there is no such window:\n" + b.String()
	}
	return b.String()
}
