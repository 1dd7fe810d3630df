package canary

import (
	"fmt"
	"strings"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

// Metric is the metric of all canaries.
const Metric = "weir.canary"

// RuleFile is the name of the built-in rules file in faults.
const RuleFile = "the built-in rules"

// Rule is the text of the rules file that judges the canaries, for a config that has them. An alert
// stays firing between two samples; it ends when the process that sends them is gone for three
// periods.
func Rule(cfg Config) []byte {
	group, alert, _ := strings.Cut(schemas.CanaryRule, "/")
	noData := max(3*cfg.Every.Std(), 5*time.Minute)
	return fmt.Appendf(nil, `groups:
- name: %s
  rules:
  - alert: %s
    expr: %s == 1
    no_data: %v
    shadow: true
`, group, alert, Metric, conf.Duration(noData))
}
