package promrules

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weir-metrics/weir/deploy/conf"
)

// IsTests reports whether a file holds tests, not rules.
func IsTests(data []byte) bool {
	var n yaml.Node
	return yaml.Unmarshal(data, &n) == nil && len(n.Content) == 1 && entry(n.Content[0], "tests") != nil
}

// Tests translates a file of promtool's tests. alertNames are those of the rules that were translated with it: what is
// expected of others is left out. Times at which something is expected become laterMS later. The error is conf.Faults, of
// a file that is none.
func Tests(name string, data []byte, alertNames []string, laterMS int64) (*Result, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, conf.Faults{{File: name, Bound: err.Error()}}
	}
	t := &testTranslation{name: name, names: alertNames, laterMS: laterMS, result: &Result{}}
	if len(root.Content) != 1 || entry(root.Content[0], "tests") == nil || entry(root.Content[0], "tests").Kind != yaml.SequenceNode {
		return nil, conf.Faults{{File: name, Bound: "must be a file of promtool's tests, with a list tests"}}
	}
	top := root.Content[0]
	remove(top, "fuzzy_compare") // without effect on alerts
	tests := entry(top, "tests")
	var err error
	tests.Content = slices.DeleteFunc(tests.Content, func(n *yaml.Node) bool {
		kept, e := t.test(n)
		err = errors.Join(err, e)
		return !kept
	})
	if err != nil {
		return nil, conf.Faults{{File: name, Bound: err.Error()}}
	}
	if t.result.Tests = len(tests.Content); t.result.Tests == 0 {
		return t.result, nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Translated from promtool's tests (weir import prometheus): times are %s later, as windows close then.\n", conf.Duration(laterMS*1e6))
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&root); err != nil {
		return nil, conf.Faults{{File: name, Bound: err.Error()}}
	}
	t.result.File = b.Bytes()
	return t.result, nil
}

type testTranslation struct {
	name    string
	names   []string
	laterMS int64
	result  *Result
}

func (t *testTranslation) left(n *yaml.Node, what, reason string) {
	t.result.Left = append(t.result.Left, conf.Fault{File: t.name, Line: n.Line, Field: what, Bound: reason})
}

// test translates a test, and reports whether it still expects something.
func (t *testTranslation) test(n *yaml.Node) (bool, error) {
	if n.Kind != yaml.MappingNode {
		return false, fmt.Errorf("line %d: a test must be a mapping", n.Line)
	}
	what := "test"
	if name := entry(n, "name"); name != nil {
		what = name.Value
	}
	for _, f := range []struct{ field, reason string }{
		{"promql_expr_test", "weir has no PromQL: windows can be expected instead (window_test)"},
		{"external_labels", "weir has no external labels"},
		{"external_url", "weir's templates have no external URL"},
	} {
		if x := entry(n, f.field); x != nil {
			t.left(x, what, f.field+": "+f.reason)
			remove(n, f.field)
		}
	}
	if series := entry(n, "input_series"); series != nil {
		series.Content = slices.DeleteFunc(series.Content, func(s *yaml.Node) bool {
			v := entry(s, "values")
			histogram := v != nil && strings.Contains(v.Value, "{{")
			if histogram {
				t.left(s, what, "input_series: weir has no native histograms")
			}
			return histogram
		})
		if len(series.Content) == 0 {
			remove(n, "input_series")
		}
	}
	checks := entry(n, "alert_rule_test")
	if checks == nil {
		t.left(n, what, "expects no alerts")
		return false, nil
	}
	var err error
	checks.Content = slices.DeleteFunc(checks.Content, func(c *yaml.Node) bool {
		alert := entry(c, "alertname")
		if alert == nil || !slices.Contains(t.names, alert.Value) {
			name := ""
			if alert != nil {
				name = alert.Value
			}
			t.left(c, what, fmt.Sprintf("alert_rule_test: the alert %q was not translated", name))
			return true
		}
		err = errors.Join(err, t.later(c))
		return false
	})
	if len(checks.Content) == 0 {
		t.left(n, what, "expects nothing any more")
	}
	return len(checks.Content) > 0, err
}

// later moves an expectation.
func (t *testTranslation) later(check *yaml.Node) error {
	at := entry(check, "eval_time")
	if at == nil {
		return fmt.Errorf("line %d: eval_time must be given", check.Line)
	}
	d, err := duration(at.Value)
	if err != nil {
		return fmt.Errorf("line %d: eval_time: %w", at.Line, err)
	}
	var ms conf.Duration
	if d != "" {
		if ms, err = conf.ParseDuration(d); err != nil {
			return fmt.Errorf("line %d: eval_time: %w", at.Line, err)
		}
	}
	*at = *scalar((ms + conf.Duration(t.laterMS*1e6)).String())
	return nil
}

// entry is the value of a mapping's key, or nil.
func entry(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// remove takes a key out of a mapping.
func remove(n *yaml.Node, key string) {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}
