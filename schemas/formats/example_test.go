package formats_test

import (
	"fmt"

	"github.com/weir-metrics/weir/schemas/formats"
)

// A decoder reads one entry after the other. A bad entry does not affect the others.
func ExampleDecoder() {
	d := formats.NewDecoder()
	d.Reset([]byte("cpu,host=web01 usage=17.5 1700000000000000000\ncpu,host usage=1\nmem,host=web01 used=3i 1700000000000000000\n"),
		formats.Options{Format: formats.Line})
	for e := d.Next(); e != nil; e = d.Next() {
		for _, s := range e.Samples {
			fmt.Println(s.Series, s.TimeMS, s.Value)
		}
		if e.Fault != nil {
			fmt.Println(e.Fault)
		}
	}
	// Output:
	// cpu.usage{host="web01"} 1700000000000 17.5
	// line 2: undecodable: column 9: want = after a tag, found " usage=1"
	// mem.used{host="web01"} 1700000000000 3
}

// ResetBy detects the format.
func ExampleDecoder_ResetBy() {
	d := formats.NewDecoder()
	d.ResetBy("application/json", []byte(`{"metricName":"queue.depth","tags":{"host":"web01"},"timestamp":1700000000000,"value":17}`), 0)
	e := d.Next()
	fmt.Println(e.Samples[0].Series, e.Samples[0].Value)
	// Output:
	// queue.depth{host="web01"} 17
}
