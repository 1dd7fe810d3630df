package alerts

import (
	"bytes"
	"encoding/hex"
	"os"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// missState returns a state with what version 4 added, a loss and a missing series, and, with shadow, what
// version 5 added.
func missState(t testing.TB, more string) *State {
	rs := load(t, `{alert: down, expr: up == 0, no_data: 1m, on_no_data: firing`+more+`}`, `{alert: hot, expr: x > 5, for: 1m, recover: x < 3}`)
	e, st := rs.NewEvaluator(), &State{}
	st.Lost(1_700_000_000_000)
	for i := range 3 {
		end := int64(1_700_000_000_000 + 10_000*i)
		e.Closed(st, "web01", 10_000, end, []schemas.Window{window(t, `up{host="web01"}`, end, 1), window(t, `x{host="web01"}`, end, float64(4*i))}, nil)
	}
	e.Advance(st, "web01", 1_700_000_100_000, nil)
	return st
}

// TestGoldenOfLaterVersions: states of version 4 decode for ever, and are still written where that version suffices.
func TestGoldenOfLaterVersions(t *testing.T) {
	for _, c := range []struct {
		file, more string
		shadow     bool
	}{{"testdata/state.v4.hex", "", false}, {"testdata/state.v5.hex", ", shadow: true", true}} {
		now := missState(t, c.more).Append(nil)
		if *rewrite && c.shadow {
			if err := os.WriteFile(c.file, []byte(hex.EncodeToString(now)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden := readHex(t, c.file)
		if !bytes.Equal(now, golden) {
			t.Errorf("%s: Append wrote\n%x\nbefore\n%x", c.file, now, golden)
		}
		st, err := DecodeState(golden)
		if err != nil {
			t.Fatal(err)
		}
		if again := st.Append(nil); !bytes.Equal(again, golden) {
			t.Errorf("%s: decoded and encoded\n%x\nwant\n%x", c.file, again, golden)
		}
		said := st.sets[0].saved
		if len(said) != 2 || said[0].rule != "g/down" || !said[0].last.missing || said[0].last.shadow != c.shadow || said[1].last.shadow || st.lostMS == 0 {
			t.Errorf("%s: %+v", c.file, said)
		}
		for i := range golden {
			if bad := bytes.Clone(golden); c.shadow {
				bad[0] = missingVersion // a version without that flag
				if _, err := DecodeState(bad); err == nil {
					t.Fatalf("%s: a shadow in version 4 is accepted", c.file)
				}
				break
			} else if _, err := DecodeState(golden[:i]); err == nil {
				t.Errorf("%s: %d of %d bytes are accepted", c.file, i, len(golden))
			}
		}
	}
}

// TestShadowIsSaidAtOnce: when a rule becomes a shadow, or is promoted, its true conditions are given again, once, in its new
// role, as soon as the rules are in use, even after a restart; its false conditions are not.
func TestShadowIsSaidAtOnce(t *testing.T) {
	const loud, quiet = `{alert: down, expr: up == 0, no_data: 1m, on_no_data: firing}`, `{alert: down, expr: up == 0, no_data: 1m, on_no_data: firing, shadow: true}`
	for _, restarted := range []bool{false, true} {
		for _, begins := range []string{loud, quiet} {
			st := &State{}
			now := begins
			eval := load(t, now).NewEvaluator()
			flip := func() {
				t.Helper()
				if now == loud {
					now = quiet
				} else {
					now = loud
				}
				eval = load(t, now).NewEvaluator()
				if !restarted {
					return
				}
				var err error
				if st, err = DecodeState(st.Append(nil)); err != nil {
					t.Fatal(err)
				}
			}
			eval.Closed(st, "a", 10_000, 100_000, []schemas.Window{window(t, `up{host="a"}`, 100_000, 1)}, nil)
			flip()
			if cs := eval.Advance(st, "a", 0, nil); len(cs) != 0 {
				t.Errorf("healthy, and told %+v", cs)
			}
			flip()
			cs := eval.Advance(st, "a", 200_000, nil)
			if len(cs) != 1 || cs[0].EndMS != 160_000 || cs[0].Shadow != (now == quiet) {
				t.Fatalf("missed: %+v", cs)
			}
			a, _ := Step(nil, &cs[0])
			for i := range 3 {
				flip()
				cs = eval.Advance(st, "a", 0, nil)
				if len(cs) != 1 || cs[0].EndMS != 160_000 || cs[0].Revision != uint32(i+1) || cs[0].Shadow != (now == quiet) || !cs[0].True || cs[0].Reason != reasonNoData {
					t.Fatalf("flipped: %+v", cs)
				}
				next, changed := Step(a, &cs[0])
				if !changed || next.State != schemas.Firing || next.Shadow != cs[0].Shadow || next.ActiveMS != a.ActiveMS || next.Last.Shadow != cs[0].Shadow {
					t.Fatalf("%+v became %+v", a, next)
				}
				if again, changed := Step(next, &cs[0]); changed || again != next {
					t.Errorf("given twice: %+v", again)
				}
				if cs := eval.Advance(st, "a", 0, nil); len(cs) != 0 {
					t.Errorf("given again: %+v", cs)
				}
				a = next
			}
			cs = eval.Closed(st, "a", 10_000, 210_000, []schemas.Window{window(t, `up{host="a"}`, 210_000, 1)}, nil)
			if len(cs) != 1 || cs[0].True {
				t.Fatalf("back: %+v", cs)
			}
			if a, _ = Step(a, &cs[0]); a.State != schemas.Resolved || a.Last.Shadow != (now == quiet) {
				t.Errorf("ended: %+v", a)
			}
		}
	}
}
