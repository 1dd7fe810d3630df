package alerts

import (
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// TestMissed: a rule with on_no_data: firing becomes true for a series at the end at which the series is missed, also after its state was
// encoded. A late window before that end changes nothing; a window after it ends the condition. After a week the series counts as retired
// and is forgotten.
func TestMissed(t *testing.T) {
	const start = 1_700_000_000_000
	rs, err := Load(LoadConfig{TiersMS: []int64{10_000}, GracesMS: []int64{2000}}, File{Name: "r.yaml", Data: []byte("- name: g\n  rules:\n" +
		"  - {alert: down, expr: up == 0, for: 1m, no_data: 30s, on_no_data: firing}\n")})
	if err != nil {
		t.Fatal(err)
	}
	ev, st := rs.NewEvaluator(), &State{}
	window := func(i int64, v float64) []schemas.Condition {
		w := schemas.Window{Series: schemas.Series{Metric: "up", Labels: schemas.Labels{{Name: "host", Value: "a"}}}, TierMS: 10_000, StartMS: start + 10_000*i}
		w.Add(0, v)
		return ev.Closed(st, "a", w.TierMS, w.EndMS(), []schemas.Window{w}, nil)
	}
	recode := func() {
		t.Helper()
		var err error
		if st, err = DecodeState(st.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, cs []schemas.Condition, truth bool, endMS int64, reason string) {
		t.Helper()
		if len(cs) != 1 || cs[0].True != truth || cs[0].EndMS != endMS || cs[0].Reason != reason {
			t.Fatalf("%s: %+v", what, cs)
		}
	}
	nothing := func(what string, cs []schemas.Condition) {
		t.Helper()
		if len(cs) != 0 {
			t.Fatalf("%s: %+v", what, cs)
		}
	}
	nothing("it is well", window(0, 1))
	if want := int64(start + 42_000); st.DueMS() != want {
		t.Errorf("due at %d, want %d", st.DueMS()-start, want-start)
	}
	recode()
	nothing("a window may still close", ev.Advance(st, "a", start+41_999, nil))
	cs := ev.Advance(st, "a", start+42_000, nil)
	expect("it is missed", cs, true, start+40_000, schemas.ReasonNoData)
	if a, changed := Step(nil, &cs[0]); !changed || a.State != schemas.Firing || a.Last.Reason != schemas.ReasonNoData || a.NoDataSinceMS() != 0 {
		t.Errorf("the alert: %+v", a)
	}
	recode()
	nothing("it is missed still", ev.Advance(st, "a", start+600_000, nil))
	nothing("a late window", window(1, 1))
	expect("it is back", window(60, 1), false, start+610_000, reasonFalse)
	recode()
	expect("it is missed again", ev.Advance(st, "a", start+700_000, nil), true, start+640_000, schemas.ReasonNoData)
	end := int64(start + 610_000 + retireMS)
	nothing("a week is not over", ev.Advance(st, "a", end-1, nil))
	recode()
	expect("it is taken for retired", ev.Advance(st, "a", end, nil), false, end, reasonRetired)
	if len(st.sets) != 0 {
		t.Errorf("%d label sets are left", len(st.sets))
	}
}

// TestRetire: series that are retired end what is true of them, are missed no more, and are new if a window comes; others stay.
func TestRetire(t *testing.T) {
	rs := load(t, `{alert: down, expr: up == 0, no_data: 30s, on_no_data: firing}`, `{alert: full, expr: disk > 90}`)
	ev, st := rs.NewEvaluator(), &State{}
	closed := func(end int64, disk string, v float64) []schemas.Condition {
		return ev.Closed(st, "a", 10_000, end, []schemas.Window{window(t, `up{host="a"}`, end, 1), window(t, disk, end, v)}, nil)
	}
	if cs := closed(10_000, `disk{host="a",path="/old"}`, 95); len(cs) != 1 || !cs[0].True {
		t.Fatalf("%+v", cs)
	}
	if cs := ev.Advance(st, "a", 60_000, nil); len(cs) != 1 || cs[0].Rule != "g/down" || !cs[0].True {
		t.Fatalf("%+v", cs)
	}
	old := schemas.Retire{Labels: schemas.Labels{{Name: "path", Value: "/old"}}}
	cs := ev.Retire(st, "a", 64_000, old.Of, nil)
	if len(cs) != 1 || cs[0].Rule != "g/full" || cs[0].True || cs[0].Reason != "retired" || cs[0].EndMS != 60_000 || cs[0].Revision != 0 {
		t.Fatalf("of one path: %+v", cs)
	}
	if a, changed := Step(&schemas.Alert{Fingerprint: cs[0].Fingerprint, State: schemas.Firing, LastMS: 10_000, LastTrueMS: 10_000}, &cs[0]); !changed || a.State != schemas.Resolved || a.Last.Reason != "retired" {
		t.Errorf("its alert: %+v", a)
	}
	if cs := ev.Retire(st, "a", 64_000, old.Of, nil); len(cs) != 0 {
		t.Errorf("once more: %+v", cs)
	}
	cs = ev.Retire(st, "a", 65_000, (&schemas.Retire{}).Of, nil)
	if len(cs) != 1 || cs[0].Rule != "g/down" || cs[0].True || cs[0].Reason != "retired" {
		t.Fatalf("of the host: %+v", cs)
	}
	if cs := ev.Advance(st, "a", 10*retireMS, nil); len(cs) != 0 || st.DueMS() != 0 || st.Active() {
		t.Errorf("later: %+v, due %d", cs, st.DueMS())
	}
	if cs := closed(70_000, `disk{host="a",path="/old"}`, 95); len(cs) != 1 || !cs[0].True || cs[0].Rule != "g/full" {
		t.Errorf("it is back: %+v", cs)
	}
}
