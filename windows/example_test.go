package windows_test

import (
	"fmt"
	"time"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/windows"
)

// Fold computes the windows of recorded samples as weir would have: late samples revise them.
func ExampleFold() {
	load := schemas.Series{Metric: "load", Labels: schemas.Labels{{Name: "host", Value: "web01"}}}
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC).UnixMilli()
	fold := windows.NewFold(windows.Default(), []string{"host"})
	for _, s := range []struct {
		second int64
		value  float64
	}{{1, 2}, {6, 4}, {12, 8}, {9, 6}} { // the last comes late
		if err := fold.Add(schemas.Sample{Series: load, TimeMS: noon + s.second*1000, Value: s.value}); err != nil {
			fmt.Println(err)
		}
	}
	closed, err := fold.Windows()
	if err != nil {
		fmt.Println(err)
	}
	for _, w := range closed {
		fmt.Printf("%v from %s: %d samples, avg %v, max %v\n", time.Duration(w.TierMS)*time.Millisecond,
			time.UnixMilli(w.StartMS).UTC().Format(time.TimeOnly), w.Count, w.Sum/float64(w.Count), w.Max)
	}
	// Output:
	// 10s from 12:00:00: 3 samples, avg 4, max 6
	// 10s from 12:00:10: 1 samples, avg 8, max 8
	// 1m0s from 12:00:00: 4 samples, avg 5, max 8
	// 1h0m0s from 12:00:00: 4 samples, avg 5, max 8
}
