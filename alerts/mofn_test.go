package alerts

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// TestMOfN: a rule with M of N is true exactly when its expression, evaluated at each of the newest N ends at which a window
// closed, was true at M of them: with gaps, late windows, revisions, replays, and restarts at any point.
func TestMOfN(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 7))
	const tier = 10_000
	yes, changes := 0, 0
	for run := range 60 {
		most := 1 + rng.IntN(4)
		of := most + rng.IntN(4)
		hold := fmt.Sprintf("for: %d of %d windows", most, of)
		rs := load(t, `{alert: bare, expr: x > 5, `+hold+`}`, `{alert: joined, expr: x > y, `+hold+`}`, `{alert: ranged, coverage: 0, expr: 'max(x, "30s") > 8', `+hold+`}`)
		e, st := rs.NewEvaluator(), &State{}
		all := map[string]map[int64]schemas.Window{"x": {}, "y": {}}
		value := func(metric string, end, back int64) (v float64, ok bool) { // of the newest window
			for at := end; at > end-back; at -= tier {
				if w, is := all[metric][at]; is {
					return w.Last, true
				}
			}
			return 0, false
		}
		isTrue := map[string]func(end int64) bool{
			"bare": func(end int64) bool { v, ok := value("x", end, 300_000); return ok && v > 5 },
			"joined": func(end int64) bool {
				x, ok := value("x", end, 300_000)
				y, also := value("y", end, 300_000)
				return ok && also && x > y
			},
			"ranged": func(end int64) bool {
				for at := end; at > end-30_000; at -= tier {
					if w, is := all["x"][at]; is && w.Max > 8 {
						return true
					}
				}
				return false
			},
		}
		said := map[string]bool{}
		newest := int64(1_700_000_000_000)
		for step := range 60 {
			if rng.IntN(6) == 0 {
				var err error
				if st, err = DecodeState(st.Append(nil)); err != nil {
					t.Fatal(err)
				}
				e = rs.NewEvaluator()
			}
			end := newest + tier*int64(1+rng.IntN(12)/10*rng.IntN(4))
			if step > 0 && rng.IntN(4) == 0 {
				end = newest - tier*int64(rng.IntN(of+3)) // a late window, or a revision
			}
			newest = max(newest, end)
			var ws []schemas.Window
			for _, metric := range []string{"x", "y"} {
				if metric == "y" && rng.IntN(3) == 0 {
					continue
				}
				w := window(t, metric+`{host="a"}`, end, float64(rng.IntN(10)))
				if old, is := all[metric][end]; is {
					w.Revision = old.Revision + 1
				}
				all[metric][end] = w
				ws = append(ws, w)
			}
			out := e.Closed(st, "a", tier, end, ws, nil)
			for _, c := range out {
				said[strings.TrimPrefix(c.Rule, "g/")] = c.True
				changes++
			}
			again := e.Closed(st, "a", tier, end, ws, nil) // a replay gives the same, and may repeat the conditions of other rules at this end
			for _, c := range out {
				if !slices.ContainsFunc(again, func(a schemas.Condition) bool {
					return a.Rule == c.Rule && a.True == c.True && a.EndMS == c.EndMS && a.Revision == c.Revision
				}) {
					t.Fatalf("run %d step %d: %+v, again %+v", run, step, out, again)
				}
			}
			for name, is := range isTrue {
				n := 0
				for at := newest - int64(of-1)*tier; at <= newest; at += tier {
					_, x := all["x"][at]
					_, y := all["y"][at]
					if (x || y && name == "joined") && is(at) {
						n++
					}
				}
				last, _ := value("x", newest, tier)
				if _, isNew := all["x"][newest]; !isNew && name != "joined" {
					continue // they do not read y alone
				}
				if (n >= most) != said[name] {
					t.Fatalf("seed %d, run %d step %d: %s with %s is reported as %v, but its expression is true at %d ends; x is %v", seed, run, step, name, hold, said[name], n, last)
				}
				if n >= most {
					yes++
				}
			}
		}
	}
	if yes < 500 || changes < 500 {
		t.Errorf("true %d times, %d conditions", yes, changes)
	}
}

// TestMOfNIsRead: the forms of for, and their bounds.
func TestMOfNIsRead(t *testing.T) {
	for text, want := range map[string]string{
		"3 of 5 windows": "", "1 of 1 window": "", "60 of 60 windows": "", " 2  of 3 windows ": "", "5m": "", "0s": "",
		"6 of 5 windows": "M from 1 to N", "0 of 5 windows": "M from 1 to N", "3 of 61 windows": "N at most 60", "3 of 5": "as in 3 of 5 windows",
		"3/5": "as in 3 of 5 windows", "-1 of 5 windows": "as in 3 of 5 windows", "99999 of 99999 windows": "as in 3 of 5 windows", "5": "a duration with its unit",
	} {
		refused, warned := faultsAndWarnings(LoadConfig{TiersMS: tiersMS}, "- name: g\n  rules:\n  - {alert: a, expr: x > 1, for: '"+text+"'}\n")
		if (want == "") != (refused == nil) || want != "" && !strings.Contains(refused.Error(), want) || len(warned) > 0 {
			t.Errorf("%s: refused for %v, warned of %v, want %q", text, refused, warned, want)
		}
	}
	for text, want := range map[string]string{ // 370 windows and 30 more are 400
		"for: 31 of 31 windows": "", "for: 32 of 32 windows": "needs 401 windows of 10s of x",
	} {
		refused, _ := faultsAndWarnings(LoadConfig{TiersMS: tiersMS}, "- name: g\n  rules:\n  - {alert: a, tier: 10s, expr: 'avg(x, \"3700s\") > 1', "+text+"}\n")
		if (want == "") != (refused == nil) || want != "" && !strings.Contains(refused.Error(), want) {
			t.Errorf("%s: %v, want %q", text, refused, want)
		}
	}
}
