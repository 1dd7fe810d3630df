package formats_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas/formats"
)

// BenchmarkDecode decodes bodies as they come from Kafka: an array of 64 objects of one host, one object, lines with one field,
// and lines of Telegraf and TSBS.
func BenchmarkDecode(b *testing.B) {
	object := func(i int) string {
		return fmt.Sprintf(`{"metricName":"cpu.usage%d","tags":{"host":"web%05d","region":"us-west"},"timestamp":%d,"value":%d.25}`, i%100, i%100_000/100, 1700000000000+i, i%100)
	}
	var objects []string
	var lines bytes.Buffer
	for i := range 64 {
		objects = append(objects, object(i))
		fmt.Fprintf(&lines, "cpu,host=web%05d,region=us-west usage%d=%d.25 %d\n", i/100, i, i, 1700000000000000000+i)
	}
	array := "[" + strings.Join(objects, ",") + "]"
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"format=json/array=64", []byte(array)},
		{"format=json/array=1", []byte(object(1))},
		{"format=line/lines=64", lines.Bytes()},
		{"format=line/telegraf", read(b, "testdata/telegraf_kafka.lp")},
		{"format=line/tsbs", read(b, "testdata/tsbs_devops.lp")},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := formats.NewDecoder()
			samples := 0
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				d.ResetBy("", c.body, now)
				for e := d.Next(); e != nil; e = d.Next() {
					if e.Fault != nil {
						b.Fatal(e.Fault)
					}
					samples += len(e.Samples)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(samples), "ns/sample")
		})
	}
}

func read(b *testing.B, name string) []byte {
	body, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	return body
}
