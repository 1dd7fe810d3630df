package alerts

import (
	"bytes"
	"fmt"
	"testing"
)

// manyRules are n rules, of the kinds that people write, each on metrics of its own, 100 in a file.
// Rule changed has another threshold.
func manyRules(n, changed int) (files []File) {
	for first := 0; first < n; first += 100 {
		var b bytes.Buffer
		fmt.Fprintf(&b, "groups:\n- name: service%03d\n  rules:\n", first/100)
		for i := first; i < first+100; i++ {
			threshold := 80
			if i == changed {
				threshold = 85
			}
			expr := [...]string{"m%[1]d.usage > %[2]d", `avg(m%[1]d.usage, "5m") > %[2]d`, "m%[1]d.used / m%[1]d.total > 0.%[2]d", `rate(m%[1]d.errors_total, "5m") > %[2]d and m%[1]d.up == 1`}[i%4]
			fmt.Fprintf(&b, "  - alert: rule%d\n    expr: '%s'\n    for: 5m\n    labels: {severity: page, service: s%d}\n    annotations: {summary: '{{ .Labels.host }} is at {{ .Value | humanize }}'}\n",
				i, fmt.Sprintf(expr, i, threshold), i/100)
		}
		files = append(files, File{Name: fmt.Sprint(first, ".yaml"), Data: b.Bytes()})
	}
	return files
}

// BenchmarkLoad loads 10,000 rules in 100 files: at the start, and again after one rule was changed.
func BenchmarkLoad(b *testing.B) {
	const n = 10_000
	cfg := LoadConfig{TiersMS: tiersMS}
	first, changed := manyRules(n, -1), manyRules(n, n/2)
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			if rs, err := Load(cfg, first...); err != nil || rs.Len() != n {
				b.Fatal(err)
			}
		}
	})
	b.Run("changed=1", func(b *testing.B) {
		var sets [2]*RuleSet
		for i, files := range [][]File{first, changed} {
			var err error
			if sets[i], err = Load(cfg, files...); err != nil {
				b.Fatal(err)
			}
		}
		for i := 0; b.Loop(); i++ {
			again := cfg
			again.Before = sets[i%2]
			if rs, err := Load(again, [][]File{changed, first}[i%2]...); err != nil || rs.Len() != n || rs.Hash() == again.Before.Hash() {
				b.Fatal(err)
			}
		}
	})
}
