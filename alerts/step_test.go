package alerts

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// cond reads a condition: "30 true", "30r1 false", "30 false:no data". The time is in s.
func cond(t testing.TB, text string, forMS, keepMS int64) *schemas.Condition {
	c := &schemas.Condition{Rule: "g/a", Fingerprint: "f", Group: "h", Labels: map[string]string{"host": "h"},
		Value: 7, ForMS: forMS, KeepMS: keepMS, TierMS: 10_000}
	when, what, _ := strings.Cut(text, " ")
	if at, rev, ok := strings.Cut(when, "r"); ok {
		when = at
		if _, err := fmt.Sscan(rev, &c.Revision); err != nil {
			t.Fatal(text, err)
		}
	}
	if _, err := fmt.Sscan(when, &c.EndMS); err != nil {
		t.Fatal(text, err)
	}
	c.EndMS *= 1000
	truth, reason, _ := strings.Cut(what, ":")
	if c.True = truth == "true"; !c.True {
		c.Reason = reason
	}
	return c
}

// TestStep is the table of transitions: conditions, and after each one that changes anything, the alert's
// state and the transition, if there is one.
func TestStep(t *testing.T) {
	const s = int64(1000)
	for _, c := range []struct {
		name      string
		forMS     int64
		keepMS    int64
		condition string // "; " between them; "at 50" lets the timer run at 50s
		want      string
	}{
		{"fires at once", 0, 0, "10 true", "inactive>firing@10"},
		{"fires at for, not before", 20 * s, 0, "10 true; 20 true; 30 true; 40 true", "inactive>pending@10; pending; pending>firing@30; firing"},
		{"for passes in a gap", 20 * s, 0, "10 true; 90 true", "inactive>pending@10; pending>firing@90"},
		{"false while pending", 20 * s, 0, "10 true; 20 false:false; 30 true", "inactive>pending@10; pending>inactive@20; inactive>pending@30"},
		{"resolves at once", 0, 0, "10 true; 20 false:no data; 30 true", "inactive>firing@10; firing>resolved@20; resolved>firing@30"},
		{"a new life waits again", 10 * s, 0, "10 true; 20 true; 30 false:false; 40 true; 50 true",
			"inactive>pending@10; pending>firing@20; firing>resolved@30; resolved>pending@40; pending>firing@50"},
		{"false of what never was", 0, 0, "10 false:false", "-"},
		{"false of what is over", 0, 0, "10 true; 20 false:false; 30 false:no data", "inactive>firing@10; firing>resolved@20; -"},
		{"replays", 0, 0, "10 true; 10 true; 20 false:false; 10 true; 20 false:false; 20 true",
			"inactive>firing@10; -; firing>resolved@20; -; -; -"},
		{"kept, then due", 0, 30 * s, "10 true; 20 false:false; at 49; at 50; at 60", "inactive>firing@10; firing; -; firing>resolved@50; -"},
		{"kept, true again", 0, 30 * s, "10 true; 20 false:false; 30 true; at 90; 40 false:false; at 70",
			"inactive>firing@10; firing; firing; -; firing; firing>resolved@70"},
		{"kept, a second false does not move the deadline", 0, 30 * s, "10 true; 20 false:false; 40 false:no data; at 50",
			"inactive>firing@10; firing; -; firing>resolved@50"},
		{"true before the timer ran keeps it firing", 0, 30 * s, "10 true; 20 false:false; 60 true; at 90", "inactive>firing@10; firing; firing; -"},
		{"keep does not hold pending", 20 * s, 30 * s, "10 true; 20 false:false", "inactive>pending@10; pending>inactive@20"},
		{"retracted while pending", 20 * s, 0, "10 true; 10r1 false:false; 10r2 true; 30 true",
			"inactive>pending@10; pending>inactive@10; inactive>pending@10+1; pending>firing@30"},
		{"retracted at the end that fired", 10 * s, 30 * s, "10 true; 20 true; 20r1 false:false",
			"inactive>pending@10; pending>firing@20; firing>resolved@20"},
		{"retracted later than it fired is kept", 0, 30 * s, "10 true; 20 true; 20r1 false:false; at 50",
			"inactive>firing@10; firing; firing; firing>resolved@50"},
		{"false was wrong: the life goes on", 20 * s, 0, "10 true; 20 true; 30 true; 40 false:false; 40r1 true",
			"inactive>pending@10; pending; pending>firing@30; firing>resolved@40; resolved>firing@40"},
		{"a confirmed end counts for for", 20 * s, 0, "10 true; 30 false:false; 30r1 true", "inactive>pending@10; pending>inactive@30; pending>firing@30"},
		{"an older revision of a newer end", 0, 0, "10 true; 20r3 true; 20r2 false:false; 30 false:false", "inactive>firing@10; firing; -; firing>resolved@30"},
		{"a removed rule is not kept", 0, 0, "10 true; 10r1 false:rule removed", "inactive>firing@10; firing>resolved@10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a *schemas.Alert
			var got []string
			for _, text := range strings.Split(c.condition, "; ") {
				var next *schemas.Alert
				var changed bool
				if at, isTimer := strings.CutPrefix(text, "at "); isTimer {
					next, changed = Expire(a, cond(t, at+" true", 0, 0).EndMS)
				} else {
					before := clone(a)
					next, changed = Step(a, cond(t, text, c.forMS, c.keepMS))
					if !reflect.DeepEqual(before, a) {
						t.Fatalf("%s: changed its argument from %+v to %+v", text, before, a)
					}
				}
				got = append(got, describe(a, next, changed))
				a = next
			}
			if g := strings.Join(got, "; "); g != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.condition, g, c.want)
			}
		})
	}
}

func clone(a *schemas.Alert) *schemas.Alert {
	if a == nil {
		return nil
	}
	b := *a
	b.History = append([]schemas.Transition(nil), a.History...)
	return &b
}

func describe(before, after *schemas.Alert, changed bool) string {
	switch {
	case !changed:
		return "-"
	case before != nil && before.Last == after.Last:
		return string(after.State)
	}
	at := fmt.Sprint(after.Last.AtMS / 1000)
	if ms := after.Last.AtMS % 1000; ms > 0 {
		at += fmt.Sprintf("+%d", ms)
	}
	return fmt.Sprintf("%s>%s@%s", after.Last.From, after.State, at)
}

func TestStepFields(t *testing.T) {
	c := cond(t, "10 true", 10_000, 5_000)
	c.Annotations = map[string]string{"summary": "first"}
	a, _ := Step(nil, c)
	c = cond(t, "20 true", 10_000, 5_000)
	c.Annotations, c.Value, c.Labels = map[string]string{"summary": "second"}, 9, map[string]string{"host": "h", "severity": "page"}
	a, _ = Step(a, c)
	want := &schemas.Alert{Fingerprint: "f", Rule: "g/a", Group: "h", Labels: c.Labels, Annotations: c.Annotations,
		State: schemas.Firing, ActiveMS: 10_000, FiredMS: 20_000, LastMS: 20_000, LastTrueMS: 20_000, Value: 9,
		ForMS: 10_000, KeepMS: 5_000, TierMS: 10_000,
		Last: schemas.Transition{From: schemas.Pending, To: schemas.Firing, AtMS: 20_000, Reason: reasonFor},
		History: []schemas.Transition{
			{From: schemas.Inactive, To: schemas.Pending, AtMS: 10_000, Reason: reasonTrue},
			{From: schemas.Pending, To: schemas.Firing, AtMS: 20_000, Reason: reasonFor}}}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got\n%+v\nwant\n%+v", a, want)
	}
	c = cond(t, "30 false:no data", 10_000, 0)
	c.Value, c.Labels, c.Annotations = 0, nil, nil
	a, _ = Step(a, c)
	if a.Value != 9 || a.Labels["severity"] != "page" || a.Annotations["summary"] != "second" {
		t.Errorf("a false condition changed the texts of the alert: %+v", a)
	}
	if a.ResolvedMS != 30_000 || a.Last.Reason != "no data" || a.NoDataSinceMS() != 20_000 {
		t.Errorf("%+v", a)
	}
	before := *a // as stored by a weir that did not keep Reason
	if before.Reason = ""; before.NoDataSinceMS() != 20_000 {
		t.Errorf("stored before: no data since %d", before.NoDataSinceMS())
	}
	c = cond(t, "40 true", 10_000, 0)
	c.Value = math.NaN()
	if a, _ = Step(a, c); a.Value != 9 || a.ActiveMS != 40_000 || a.FiredMS != 0 || a.ResolvedMS != 0 || a.NoDataSinceMS() != 0 {
		t.Errorf("%+v", a)
	}
}

func TestHistoryKeepsTheLast16(t *testing.T) {
	var a *schemas.Alert
	for i := range 40 {
		text := fmt.Sprintf("%d true", i+1)
		if i%2 == 1 {
			text = fmt.Sprintf("%d false:false", i+1)
		}
		a, _ = Step(a, cond(t, text, 0, 0))
	}
	if len(a.History) != 16 || a.History[0].AtMS != 25_000 || a.History[15] != a.Last || a.Last.AtMS != 40_000 {
		t.Errorf("%d: %+v", len(a.History), a.History)
	}
}

// TestStepReplays: however often a prefix of the conditions is repeated, the alert is the same as when each
// comes once.
func TestStepReplays(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 500 {
		forMS, keepMS := rng.Int64N(4)*10_000, rng.Int64N(3)*10_000
		var cs []*schemas.Condition
		for end, rev := int64(0), 0; len(cs) < 30; {
			if rev++; rng.IntN(4) > 0 {
				end, rev = end+10*(1+rng.Int64N(2)), 0
			}
			cs = append(cs, cond(t, fmt.Sprintf("%dr%d %v:false", end, rev, rng.IntN(2) == 0), forMS, keepMS))
		}
		var once, again *schemas.Alert
		done := 0 // number of conditions that the replaying side has seen
		for i, c := range cs {
			once, _ = Step(once, c)
			again, _ = Step(again, c)
			done = i + 1
			if rng.IntN(3) == 0 {
				for _, c := range cs[rng.IntN(done):done] {
					var changed bool
					if again, changed = Step(again, c); changed && (c.EndMS < again.LastMS || again.State != once.State) {
						t.Fatalf("replay of %+v changed %+v", c, again)
					}
				}
			}
			if !reflect.DeepEqual(once, again) {
				t.Fatalf("after %d conditions\nonce  %+v\nagain %+v", done, once, again)
			}
			if once == nil {
				continue
			}
			if once.State == schemas.Firing && once.ActiveMS+once.ForMS > once.FiredMS {
				t.Fatalf("fired before for: %+v", once)
			}
			if len(once.History) > 16 || once.History[len(once.History)-1] != once.Last || once.Last.To != once.State {
				t.Fatalf("history does not end in the state: %+v", once)
			}
		}
	}
}
