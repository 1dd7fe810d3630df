package alerts

import (
	"bytes"
	"encoding/hex"
	"os"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

const diskRule = `{alert: disk, levels: [{severity: warning, expr: used > 80, for: 20s}, {severity: critical, expr: used > 95, recover: used < 90}]}`

// usedState is the state after windows of these values; the conditions said are those of all of them.
func usedState(t testing.TB, values ...float64) (*State, []schemas.Condition) {
	e, st := load(t, diskRule).NewEvaluator(), &State{}
	var out []schemas.Condition
	for i, v := range values {
		end := int64(1_700_000_000_000 + 10_000*i)
		out = e.Closed(st, "a", 10_000, end, []schemas.Window{window(t, `used{host="a"}`, end, v)}, out)
	}
	return st, out
}

// TestGoldenOfLevels: a state with levels is of version 6, and decodes for ever.
func TestGoldenOfLevels(t *testing.T) {
	const file = "testdata/state.v6.hex"
	st, _ := usedState(t, 85, 97, 91)
	now := st.Append(nil)
	if *rewrite {
		if err := os.WriteFile(file, []byte(hex.EncodeToString(now)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden := readHex(t, file)
	back, err := DecodeState(golden)
	if err != nil || golden[0] != levelVersion || !bytes.Equal(now, golden) || !bytes.Equal(back.Append(nil), golden) {
		t.Fatalf("%v: Append wrote\n%x\nbefore\n%x", err, now, golden)
	}
	if said := back.sets[0].saved; len(said) != 1 || said[0].last.level != 2 || said[0].last.wasLevel != 2 || said[0].last.truth != yes {
		t.Errorf("%+v", said)
	}
	for n := range golden {
		if _, err := DecodeState(golden[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken", n, len(golden))
		}
	}
	older := bytes.Clone(golden)
	older[0] = shadowVersion
	if _, err := DecodeState(older); err == nil {
		t.Error("levels in version 5 are taken")
	}
}

// TestLevelsShown: what the API and weir check tell of a rule with levels.
func TestLevelsShown(t *testing.T) {
	rs := load(t, diskRule)
	if got, want := rs.Info()[0].Expr, "warning: used > 80 for 20s; critical: used > 95 until used < 90"; got != want {
		t.Errorf("expr %q, want %q", got, want)
	}
	if got, want := rs.Describe()[0], "rules.yaml:3: g/disk is judged when windows of 10s close; warning after 20s; critical after 0s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	st, _ := usedState(t, 85, 97, 91)
	e := rs.NewEvaluator()
	e.Advance(st, "a", 0, nil)
	if x := e.Explain(st, "a", "g/disk"); len(x) != 1 || len(x[0].Expr) != 4 || x[0].Expr[0].Text != "used > 80" || x[0].Expr[2].Text != "used > 95" || len(x[0].Recover) != 2 || x[0].Recover[0].Value != "false" {
		t.Errorf("explained as %+v", x)
	}
	slow := load(t, `{alert: disk, levels: [{severity: warning, expr: used > 80, for: 20s}, {severity: critical, expr: used > 95, for: 10m}]}`)
	if got := slow.Reads()[0].HistoryMS; got != 300_000+600_000 {
		t.Errorf("it looks back by %s", msText(got))
	}
	if c := rs.Claims()[0]; !c.Filled["severity"] {
		t.Errorf("%+v: its severity is taken for fixed", c)
	}
}

// TestLevelsOverARestart: the level is held by its recover, and its for runs on, if the process is restarted at any window.
func TestLevelsOverARestart(t *testing.T) {
	values := []float64{70, 85, 97, 91, 92, 89, 96, 91, 70, 99, 85, 85, 70}
	st, want := &State{}, []schemas.Condition(nil)
	_, want = usedState(t, values...)
	var got []schemas.Condition
	for i, v := range values {
		end := int64(1_700_000_000_000 + 10_000*i)
		got = load(t, diskRule).NewEvaluator().Closed(st, "a", 10_000, end, []schemas.Window{window(t, `used{host="a"}`, end, v)}, got)
		var err error
		if st, err = DecodeState(st.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d conditions, want %d", len(got), len(want))
	}
	levels := []int{0, 1, 1, 1, 0, 1, 1, -1, 1, 0, 0, -1}
	severities := []string{"", "critical", "critical", "critical", "warning", "critical", "critical", "", "critical", "warning", "warning", ""}
	var a *schemas.Alert
	for i := range got {
		level := got[i].Level
		if !got[i].True {
			level = -1
		}
		if got[i].EndMS != want[i].EndMS || got[i].Level != want[i].Level || level != levels[i] {
			t.Errorf("%d: level %d, want %d: %+v", i, level, levels[i], got[i])
		}
		saved := schemas.EncodeDoc(&got[i]) // over the topic
		c, err := schemas.DecodeDoc[schemas.Condition](saved)
		if err != nil {
			t.Fatal(err)
		}
		if a != nil {
			if a, err = schemas.DecodeDoc[schemas.Alert](schemas.EncodeDoc(a)); err != nil {
				t.Fatal(err)
			}
		}
		if a, _ = Step(a, c); a.State == schemas.Firing && (a.Severity != severities[i] || a.Labels["severity"] != severities[i]) {
			t.Errorf("%d: severity %s, want %s", i, a.Severity, severities[i])
		}
		if fires := a.State == schemas.Firing; fires != (severities[i] != "") {
			t.Errorf("%d: %s, want severity %q", i, a.State, severities[i])
		}
	}
}
