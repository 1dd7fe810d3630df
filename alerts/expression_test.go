package alerts

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr"

	"github.com/weir-metrics/weir/deploy/conf"
)

// randomExpr writes an expression of a truth (or a number) over a, b.c and net.in.
func randomExpr(rng *rand.Rand, truth bool, depth int) string {
	sub := func(truth bool) string { return randomExpr(rng, truth, depth-1) }
	if truth {
		if depth <= 0 {
			return sub(false) + " > " + sub(false)
		}
		switch rng.IntN(6) {
		case 0:
			return "(" + sub(true) + []string{" and ", " && ", " or ", " || "}[rng.IntN(4)] + sub(true) + ")"
		case 1:
			return []string{"not (", "!("}[rng.IntN(2)] + sub(true) + ")"
		case 2:
			return "(" + sub(true) + " ? " + sub(true) + " : " + sub(true) + ")"
		case 3:
			return sub(false) + " <= " + sub(false) + " < " + sub(false)
		}
		return sub(false) + []string{" < ", " <= ", " > ", " >= ", " == ", " != "}[rng.IntN(6)] + sub(false)
	}
	if depth <= 0 {
		return []string{"a", "b.c", "net.in", "1.5", "2.0", "0.0", `metric("a")`}[rng.IntN(7)]
	}
	switch rng.IntN(8) {
	case 0:
		return "-(" + sub(false) + ")"
	case 1:
		return []string{"abs", "floor", "ceil", "round"}[rng.IntN(4)] + "(" + sub(false) + ")"
	case 2:
		return []string{"min", "max"}[rng.IntN(2)] + "(" + sub(false) + ", " + sub(false) + ")"
	case 3:
		return "(" + sub(true) + " ? " + sub(false) + " : " + sub(false) + ")"
	case 4:
		return "(let v = " + sub(false) + "; v * v)"
	}
	return "(" + sub(false) + []string{" + ", " - ", " * ", " / ", " ** "}[rng.IntN(5)] + sub(false) + ")"
}

// TestAgreesWithExprVM: as long as all intermediate numbers are finite, our nodes give the result of
// expr-lang's own VM.
func TestAgreesWithExprVM(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	compared := 0
	for range 3000 {
		text := randomExpr(rng, true, 3)
		var inputs []input
		n, err := compileExpr(text, &inputs)
		if err != nil {
			if strings.Contains(err.Error(), "reads no metric") || strings.Contains(err.Error(), "is declared twice") {
				continue
			}
			t.Fatalf("%s: %v", text, err)
		}
		env := map[string]any{"metric": func(name string) float64 { return 0 }}
		in := make([]float64, len(inputs))
		for i := range inputs {
			in[i] = math.Round(rng.NormFloat64()*4) / 2
			env[strings.ReplaceAll(inputs[i].metric, ".", string(fusedDot))] = in[i]
			if inputs[i].metric == "a" {
				env["metric"] = func(string) float64 { return in[i] }
			}
		}
		program, err := expr.Compile(fuseNames(text), expr.Env(env), expr.AsBool(), expr.Optimize(false))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		want, err := expr.Run(program, env)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got, _ := n.truth(in)
		if got == unknown || !allFinite(n, in) {
			continue // somewhere there was a division by zero
		}
		compared++
		if got != truthOf(want.(bool)) {
			t.Fatalf("%s with %v, %v is %v, expr-lang says %v", text, inputs, in, got == yes, want)
		}
	}
	if compared < 500 {
		t.Errorf("only %d expressions were compared", compared)
	}
}

func allFinite(n *node, in []float64) bool {
	if n == nil {
		return true
	}
	if !n.bool && !finite(n.number(in)) {
		return false
	}
	return allFinite(n.cond, in) && allFinite(n.a, in) && allFinite(n.b, in)
}

// TestThreeTruths: a result is unknown if it depends on an unknown part.
func TestThreeTruths(t *testing.T) {
	const missing = "m > 1"
	for text, want := range map[string]truth{
		missing: unknown, "not (m > 1)": unknown, "m != m": unknown, "m == m": unknown,
		"m > 1 and a > 0": unknown, "m > 1 and a < 0": no, "a < 0 and m > 1": no, "a > 0 and m > 1": unknown,
		"m > 1 or a > 0": yes, "m > 1 or a < 0": unknown, "a > 0 or m > 1": yes, "a < 0 or m > 1": unknown,
		"m > 1 ? a > 0 : a > 0": unknown, "(m > 1 ? a : a) > 0": unknown, "a > 0 ? a > 0 : m > 1": yes,
		"a / 0 > 1": unknown, "-a / 0 < 1": unknown, "0 / (a - a) == 0": unknown, "1 / (1 / (a - a)) == 0": unknown,
		"min(m, a) < 9": unknown, "max(a, m) > 0": unknown, "m ** 0 == 1": unknown, "1 ** m == 1": unknown,
		"a ** 1e9 > 1": unknown, "abs(m) >= 0": unknown, "m * 0 == 0": unknown,
	} {
		var inputs []input
		n, err := compileExpr(text, &inputs)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		in := make([]float64, len(inputs))
		for i := range inputs {
			in[i] = map[string]float64{"a": 3, "m": math.NaN()}[inputs[i].metric]
		}
		if got, _ := n.truth(in); got != want {
			t.Errorf("%s is %d, want %d", text, got, want)
		}
	}
}

// TestNothingButRules: features of expr-lang that rules do not need are refused, with their place, at
// next to no cost.
func TestNothingButRules(t *testing.T) {
	lets := "let v0 = labels.a; "
	for i := range 60 {
		lets += fmt.Sprintf("let v%d = v%d + v%d; ", i+1, i, i)
	}
	both := []string{"$env", `$env["a"] > 1`, "$env.a > 1", `len($env) > 1`, "# > 1", "#acc > 1", ".a > 1", "len(1..1000000000) > 1", "1 in 1..1000000000",
		"all(1..1000000000, # > 0)", "map(1..1000000000, {#})[0] > 1", "reduce(1..1000000000, #acc + #) > 1", `repeat("a", 1000000000) == "b"`,
		"(1..1000000000)[0] > 1", "sum(1..1000000000) > 1", `toJSON(labels) == ""`, `fromJSON("1") > 1`, "now() > 1", "date() > 1",
		`{"a": 1}.a > 1`, "[1, 2][0] > 1", "labels ?? 1", "labels?.a > 1", "a?.b > 1", "a ?? b > 1", "1; 2", "a = 1", `b"abc" == "a"`,
		"let $env = 1; $env > 0", `get(labels, "a") > 1`, "::len(labels) > 1", strings.Repeat("[", 2000), strings.Repeat("{", 2000), strings.Repeat("a(", 2000),
		"if $env { 1 > 0 } else { 2 > 1 }", "nil", "true", "a in labels", "labels", "9" + strings.Repeat("9", 400) + " > 1"}
	for _, text := range append(both, `metric("a", 1) > 1`, `avg($env, "5m") > 1`, "a matches '(a+)+$'", "a | $env", `a ** "b" > 1`) {
		var err error
		bytes, took := cost(func() { _, err = compileExpr(text, &[]input{}) })
		var ee *exprError
		if !errors.As(err, &ee) || ee.at < 0 || ee.at > len([]rune(text)) {
			t.Errorf("expr %.60s: %v", text, err)
		}
		if bytes > 8<<20 || took > 5*time.Second {
			t.Errorf("expr %.60s: %d bytes, %v", text, bytes, took)
		}
	}
	for _, text := range append(both[:len(both):len(both)], lets+`v60 == ""`, `labels.a matches "(a{1000}){1000}"`, `labels.a matches "((a{100}){100}){100}"`,
		`labels.a matches "`+strings.Repeat("(", 500)+strings.Repeat("){9}", 500)+`"`, `labels.a matches "`+strings.Repeat("a", 2000)+`"`, `labels.a matches "("`,
		`labels.a matches "(x{2}){501}"`, `labels.a matches labels.b`, `labels[labels.a] == ""`, `labels.a in [labels.b]`, `labels.a[1:2] == ""`, "labels.a % 2 == 1",
		`labels.a * 1000000 == ""`, `2 ** 1000000000 > len(labels.a)`, `len(labels) > 1`, `lower(labels.a, labels.b) == ""`, `split(labels.a, "") == []`,
		"labels > 1", `labels.a not in 1..1000000000`, `labels.a ?: labels.b`, `"a" in labels.b`) {
		if text == "true" {
			continue // all series
		}
		var err error
		bytes, took := cost(func() { _, err = compileWhere(text) })
		var ee *exprError
		if !errors.As(err, &ee) || ee.at < 0 || ee.at > len([]rune(text)) {
			t.Errorf("where %.60s: %v", text, err)
		}
		if bytes > 8<<20 || took > 5*time.Second {
			t.Errorf("where %.60s: %d bytes, %v", text, bytes, took)
		}
	}
	for text, want := range map[string]bool{
		`labels.env in ["prod", "test"]`: true, `"env" in labels`: true, `"nosuch" in labels`: false, `labels.env not in ["test"]`: true,
		`labels["env"] matches "^p(r|o){2}d$" and not (labels.nosuch != "")`: true, `labels.env + "-1" == "prod-1"`: true, `lower(labels.env) startsWith "p"`: true,
		`len(labels.env) > 3 ? labels.env contains "ro" : false`: true, `labels.env endsWith "x" or upper(labels.env) == "PROD"`: true, "true": true,
	} {
		p, err := compileWhere(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		e := Evaluator{}
		if got, err := runWhere(&e.machine, p, map[string]string{"env": "prod"}); got != want || err != nil {
			t.Errorf("%s: %v %v, want %v", text, got, err, want)
		}
	}
}

// FuzzCompile: no text makes the compiler, or a compiled expression, panic, and each fault has a place inside
// the text.
func FuzzCompile(f *testing.F) {
	for _, text := range []string{"up == 0", `avg(cpu.usage, "5m") > 80`, "mem.used / mem.total > 0.9", "let x = a; x > 1 and x < 3",
		"a ? b : c", "not (a in [1])", `metric("a b") > .5e3 // c`, "/* a.b */ x.1 > 0x1F", "'a.b' matches `c.d`", "a ?? b.c?.d > 1",
		"if a > 1 { b > 2 } else { c > 3 }", "count(a, # > 1) > 1", "a | abs() > 1", "::x(1)", "$env.a > 1", `labels["a"] == "b"`,
		strings.Repeat("(", 2000) + "a" + strings.Repeat(")", 2000) + " > 1", strings.Repeat("-", 3000) + "a > 1", "ꓸ.a", "\xff.a > 1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, compile := range []func() error{
			func() error {
				var inputs []input
				n, err := compileExpr(text, &inputs)
				if err != nil {
					return err
				}
				in := make([]float64, len(inputs))
				for _, v := range []float64{0, 1, -3.5, math.NaN(), math.Inf(1), math.MaxFloat64} {
					for i := range in {
						in[i] = v
					}
					if truth, value := n.truth(in); truth == yes && value-value != 0 && value == value {
						t.Errorf("%s is true of %v", text, value)
					}
				}
				return nil
			},
			func() error {
				p, err := compileWhere(text)
				if err != nil {
					return err
				}
				e := Evaluator{}
				for _, v := range []string{"", "b", strings.Repeat("\x00é\xff", 300)} {
					if bytes, took := cost(func() { _, err = runWhere(&e.machine, p, map[string]string{"a": v}) }); err != nil || bytes > 64<<20 || took > 10*time.Second {
						t.Errorf("where %q: %v, %d bytes, %v", text, err, bytes, took)
					}
				}
				return nil
			},
		} {
			var ee *exprError
			if err := compile(); err != nil && (!errors.As(err, &ee) || ee.at < 0 || ee.at > len([]rune(text)) || ee.msg == "") {
				t.Errorf("%q: %#v", text, err)
			}
		}
	})
}

// TestNestedWorkIsBounded: chained comparisons and let, which double their operands, are bounded.
func TestNestedWorkIsBounded(t *testing.T) {
	chain, array, lets := "a", "1", "let v0 = a; "
	for i := range 60 {
		chain = "(1 < " + chain + " < 2 ? a : a)"
		array = "len([1 < " + array + " < 2])"
		lets += fmt.Sprintf("let v%d = v%d + v%d; ", i+1, i, i)
	}
	for _, text := range []string{chain + " > 1", lets + "v60 > 1"} {
		if _, err := compileExpr(text, &[]input{}); err == nil || !strings.Contains(err.Error(), "operations") {
			t.Errorf("%v of %s", err, text)
		}
	}
	if _, err := compileWhere(array + " > 1"); err == nil || !strings.Contains(err.Error(), "not part of where") {
		t.Errorf("%v of %s", err, array)
	}
	for _, text := range []string{"1 < len(labels.a) < 3", "1 < len(labels.a) < 3 < 4"} {
		if _, err := compileWhere(text); err == nil || !strings.Contains(err.Error(), "chained") {
			t.Errorf("%v of %s", err, text)
		}
	}
	if _, err := compileExpr("1 < a < 3 < 4", &[]input{}); err != nil {
		t.Error(err)
	}
}

// FuzzLoad: no file makes Load panic, and each fault has a place in the file.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("groups:\n- name: g\n  rules:\n  - alert: a\n    expr: >-\n      up\n      ==\n    for: 5m\n    labels: {a: '{{ .Value | humanize }}'}\n"))
	f.Add([]byte("- name: g\n  rules:\n  - {alert: a, expr: &x 'it''s', recover: *x, where: \"\\u0041\\n\"}\n"))
	f.Add([]byte("- name: g\n  rules:\n  - alert: a\n    expr: |2\n        a >\n\n      b b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := Load(LoadConfig{TiersMS: tiersMS}, File{"f", data})
		if err == nil {
			return
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, fault := range err.(conf.Faults) {
			if fault.Bound == "" || fault.Line < 0 || fault.Line > lines || fault.Column < 0 {
				t.Errorf("%#v", fault)
			}
		}
	})
}

// TestPositions: a fault points at its rune, however the YAML around it is written.
func TestPositions(t *testing.T) {
	for i, c := range []struct{ yaml, want string }{
		{"    expr: up = 0", "4:14"},
		{"    expr:   'metric(''a'') = 0'", "4:28"},
		{`    expr: "metric(\"a\") = 0"`, "4:26"},
		{"    expr: up\n      and = 0", "5:11"},
		{"    expr: |\n      up\n        = 0", "6:9"},
		{"    expr: >-\n      up\n\n      = 0", "7:7"},
		{"    expr: !!str &a up = 0", "4:23"},
		{"    expr: ünïcode = 0", "4:19"},
		{"    expr: 'up ==\n\n      = 0'", "6:7"},
		{"    expr: up ==", "4:15"},
		{"    expr: \"up == \\\n      = 0\"", "5:7"},
	} {
		text := "- name: g\n  rules:\n  - alert: a\n" + c.yaml + "\n"
		_, err := Load(LoadConfig{TiersMS: tiersMS}, File{"f", []byte(text)})
		var fs conf.Faults
		if !errors.As(err, &fs) || len(fs) != 1 {
			t.Errorf("%d: %v", i, err)
		} else if got := fmt.Sprintf("%d:%d", fs[0].Line, fs[0].Column); got != c.want {
			t.Errorf("%s\nis at %s, want %s\n%v", c.yaml, got, c.want, err)
		}
	}
}
