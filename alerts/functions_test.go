package alerts

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// ringOf returns a ring with a window of 10s for each value, the newest ending at end. NaN leaves a window out.
func ringOf(end int64, values ...float64) *ring {
	r := &ring{cols: allColumns, span: int64(len(values)) * 10_000}
	for i, v := range values {
		if v == v {
			start := end - int64(len(values)-i)*10_000
			r.put(&schemas.Window{TierMS: 10_000, StartMS: start, Aggregate: schemas.Aggregate{Count: 1, Sum: v, Min: v, Max: v, First: v, Last: v}})
		}
	}
	return r
}

// evaluated returns the result of a call on a metric x.
func evaluated(t *testing.T, call string, end int64, r *ring) float64 {
	t.Helper()
	var inputs []input
	n, err := compileExpr("x < 1 or "+call+" > 0", &inputs)
	if err != nil {
		t.Fatalf("%s: %v", call, err)
	}
	in := make([]float64, len(inputs))
	for i := range inputs {
		if inputs[i].tierMS = 10_000; inputs[i].zone != nil {
			in[i] = inputs[i].fn.at(time.UnixMilli(end).In(inputs[i].zone))
			continue
		}
		back := inputs[i].rangeMS
		if back == 0 {
			back = 300_000
		}
		in[i] = r.over(&inputs[i], end, back)
	}
	return n.b.a.number(in)
}

// TestExamples: each function gives the result of its example.
func TestExamples(t *testing.T) {
	end := time.Date(2023, 11, 14, 22, 13, 0, 0, time.UTC).UnixMilli()
	for _, f := range functions {
		if f.says == "" || f.example.call == "" || f.args == "" {
			t.Errorf("%s lacks a sentence, arguments or an example", f.name)
		}
		if !strings.HasPrefix(f.example.call, f.name+"(") {
			t.Errorf("%s: the example is %s", f.name, f.example.call)
		}
		if got := evaluated(t, f.example.call, end, ringOf(end, f.example.x...)); math.Abs(got-f.example.gives) > 1e-9 {
			t.Errorf("%s of %v is %v, want %v", f.example.call, f.example.x, got, f.example.gives)
		}
	}
}

// TestCounters: increase and rate over counters that reset, even within a window, are those of the samples, whatever the windows.
func TestCounters(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		r := &ring{cols: allColumns, span: 600_000}
		total, value, before, began := 0.0, float64(rng.IntN(50)), math.NaN(), false
		firstEnd, lastEnd, rest := int64(0), int64(0), 0.0
		n := 2 + rng.IntN(8)
		for i := range n {
			w := schemas.Window{TierMS: 10_000, StartMS: int64(i) * 10_000}
			anew := rng.IntN(4) == 0
			at := rng.IntN(3)
			for k := range 3 {
				if anew && k == at && before >= 1 {
					value = float64(rng.IntN(int(before))) // and stays below its old value within the window
				} else if !anew {
					value += float64(rng.IntN(9))
				}
				w.Add(uint32(k)*1000, value)
				if began {
					g := value - before
					if value < before {
						g = value
					}
					total += g
					if i > 0 {
						rest += g
					}
				}
				before, began = value, true
			}
			if i == 0 {
				firstEnd = w.EndMS()
			}
			lastEnd = w.EndMS()
			r.put(&w)
		}
		end := lastEnd
		in := input{fn: byName["increase"], rangeMS: 600_000, tierMS: 10_000}
		if got := r.over(&in, end, in.rangeMS); math.Abs(got-total) > 1e-9 {
			t.Fatalf("seed %d: increase %v, the samples grew by %v", seed, got, total)
		}
		in.fn = byName["rate"]
		if got, want := r.over(&in, end, in.rangeMS), rest*1000/float64(lastEnd-firstEnd); math.Abs(got-want) > 1e-9 {
			t.Fatalf("seed %d: rate %v, want %v", seed, got, want)
		}
	}
}

// TestOffsetsAndPeriods: an offset moves the range; a period picks the windows that zscore compares with.
func TestOffsetsAndPeriods(t *testing.T) {
	end := int64(1_700_000_000_000)
	r := ringOf(end, 1, 2, 3, 4, 5, 6)
	for call, want := range map[string]float64{
		`avg(x, "20s")`: 5.5, `avg(x, "20s", "20s")`: 3.5, `max(x, "10s", "50s")`: 1, `avg(x, "20s", "10m")`: math.NaN(),
		`change(x, "30s", "30s")`: 3, `percent_change(x, "30s", "30s")`: 150, `count(x, "1m")`: 6,
		`stddev(x, "1m")`: math.Sqrt(35.0 / 12), `deriv(x, "1m")`: 0.1, `predict_linear(x, "1m", "10s")`: 7.5,
	} {
		if got := evaluated(t, call, end, r); math.Abs(got-want) > 1e-9 || (got != got) != (want != want) {
			t.Errorf("%s is %v, want %v", call, got, want)
		}
	}
	odd := ringOf(end, 10, 100, 12, 100, 10, 100, 12, 100, 10, 100, 14)
	if got := evaluated(t, `zscore(x, "110s", "20s")`, end, odd); math.Abs(got-(14-10.8)/math.Sqrt(0.96)) > 1e-9 {
		t.Errorf("of every second window: %v", got)
	}
	if got := evaluated(t, `zscore(x, "50s")`, end, odd); got == got {
		t.Errorf("of four: %v", got)
	}
	gap := ringOf(end, 1, 2, 3, 4, 5, 6, math.NaN())
	if got := evaluated(t, `zscore(x, "70s")`, end, gap); got == got {
		t.Errorf("without the newest window: %v", got)
	}
}

// TestFunctionsPage: docs/rules.md has the table of functions.
func TestFunctionsPage(t *testing.T) {
	const file, begin, end = "../docs/rules.md", "<!-- functions: go test ./alerts -run TestFunctionsPage -rewrite -->\n", "<!-- end of functions -->\n"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for the table", file)
	}
	var table strings.Builder
	table.WriteString("| function | what it is | example | x, oldest first | gives |\n|---|---|---|---|---|\n")
	for _, f := range functions {
		fmt.Fprintf(&table, "| `%s` | %s | `%s` | %s | %.6g |\n", f.signature(), f.says, f.example.call, strings.Trim(fmt.Sprint(f.example.x), "[]"), f.example.gives)
	}
	want := before + begin + table.String() + end + after
	if *rewrite {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(page) {
		t.Errorf("%s is stale: go test ./alerts -run TestFunctionsPage -rewrite", file)
	}
}

// TestRulesOfThePage: the rules that docs/rules.md gives as examples load, without a warning.
func TestRulesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Ten rules that people ask for\n")
	section, _, _ = strings.Cut(section, "\n## ")
	n := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || !strings.Contains(cells[2], "`") {
			continue
		}
		n++
		expr := strings.Trim(cells[2], " `")
		hour, minute := int64(3_600_000), int64(60_000)
		cfg := LoadConfig{TiersMS: []int64{10_000, minute, hour}, GracesMS: []int64{2000, 5000, 30_000}, TTLsMS: []int64{48 * hour, 15 * 24 * hour, 400 * 24 * hour}}
		rs, err := Load(cfg, File{Name: "rules.yaml", Data: []byte("groups:\n- name: g\n  rules:\n  - alert: a\n    expr: '" + expr + "'\n")})
		if err != nil {
			t.Errorf("%s: %v", expr, err)
		} else if w := rs.Warnings(); len(w) > 0 {
			t.Errorf("%s: %v", expr, w)
		}
	}
	if n != 10 {
		t.Errorf("%d rules", n)
	}
}
