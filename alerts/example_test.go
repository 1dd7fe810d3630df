package alerts_test

import (
	"fmt"

	"github.com/weir-metrics/weir/alerts"
	"github.com/weir-metrics/weir/schemas"
)

// Rules are loaded for tiers, judged when windows close, and what they say moves an alert.
func Example() {
	rules, err := alerts.Load(alerts.LoadConfig{TiersMS: []int64{10_000}}, alerts.File{Name: "rules.yaml", Data: []byte(`
groups:
- name: host
  rules:
  - alert: busy
    expr: avg(cpu.usage, "20s") > 80
    for: 10s
    labels: {severity: page}
`)})
	if err != nil {
		fmt.Println(err)
		return
	}
	evaluator, state := rules.NewEvaluator(), &alerts.State{}
	cpu := schemas.Series{Metric: "cpu.usage", Labels: schemas.Labels{{Name: "host", Value: "web01"}}}
	var alert *schemas.Alert
	for i, usage := range []float64{70, 95, 99, 97, 20} {
		w := schemas.Window{Series: cpu, TierMS: 10_000, StartMS: int64(i) * 10_000}
		w.Add(0, usage)
		for _, c := range evaluator.Closed(state, "web01", w.TierMS, w.EndMS(), []schemas.Window{w}, nil) {
			next, changed := alerts.Step(alert, &c)
			if changed && (alert == nil || alert.State != next.State) {
				fmt.Printf("%2d s: %s, value %v\n", c.EndMS/1000, next.State, c.Value)
			}
			alert = next
		}
	}
	// Output:
	// 20 s: pending, value 82.5
	// 30 s: firing, value 97
	// 50 s: resolved, value 58.5
}
