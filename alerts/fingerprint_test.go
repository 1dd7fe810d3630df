package alerts

import (
	"slices"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// TestFingerprint: different alerts have different fingerprints, wherever their names and values end.
func TestFingerprint(t *testing.T) {
	ls := schemas.NewLabels(map[string]string{"a": "b", "c": "d"})
	fp := fingerprint("g/a", "web01", ls)
	if len(fp) != 32 || strings.Trim(fp, "0123456789abcdef") != "" {
		t.Errorf("%q is not 32 hex digits", fp)
	}
	seen := map[string]string{}
	for what, other := range map[string]string{
		"all": fp, "rule": fingerprint("g/b", "web01", ls), "group": fingerprint("g/a", "web02", ls), "a label less": fingerprint("g/a", "web01", ls[:1]),
		"rule and group": fingerprint("g/aw", "eb01", ls), "no group": fingerprint("g/aweb01", "", ls), "no rule": fingerprint("", "g/aweb01", ls),
		"name and value":   fingerprint("g/a", "web01", schemas.NewLabels(map[string]string{"ab": "", "c": "d"})),
		"value and name":   fingerprint("g/a", "web01", schemas.NewLabels(map[string]string{"a": "bc", "d": "d"})),
		"separators":       fingerprint("g/a", "web01", schemas.NewLabels(map[string]string{"a": "b\xffc\xffd"})),
		"length and value": fingerprint("g/a", "web01", schemas.NewLabels(map[string]string{"a": "b\x01c\x01d"})),
	} {
		if first, twice := seen[other]; twice {
			t.Errorf("%s and %s have the fingerprint %s", what, first, other)
		}
		seen[other] = what
	}
}

// TestSameHashOtherLabels: a label set is looked up by a 64-bit hash, for which collisions can be made in
// minutes. Its labels distinguish it from others with the same hash, even after some were forgotten or
// stored.
func TestSameHashOtherLabels(t *testing.T) {
	one, two, three := schemas.NewLabels(map[string]string{"host": "one"}), schemas.NewLabels(map[string]string{"host": "two"}), schemas.NewLabels(map[string]string{"host": "three"})
	hash := schemas.Series{Labels: one}.Hash()
	var st State
	crafted := &labelSet{hash: hash, labels: two}
	st.add(crafted)
	own := st.find(one)
	if own == crafted || !slices.Equal(own.labels, one) {
		t.Fatalf("labels %v are found as %v", one, own.labels)
	}
	last := &labelSet{hash: hash, labels: three}
	st.add(last)
	for _, set := range []*labelSet{crafted, own, last} {
		if st.lookup(hash, set.labels) != set {
			t.Errorf("%v is not found", set.labels)
		}
	}
	for i, order := range [][]*labelSet{{own, crafted, last}, {last, crafted, own}, {crafted, last, own}} {
		st := State{}
		for _, set := range []*labelSet{crafted, own, last} {
			set.same = nil
			st.add(set)
		}
		for k, set := range order {
			st.unlink(set)
			for j, other := range order {
				if got := st.lookup(hash, other.labels); (got != nil) != (j > k) {
					t.Errorf("order %d: after %d are forgotten, %v is %v", i, k+1, other.labels, got)
				}
			}
		}
		if len(st.byHash) != 0 {
			t.Error("a label set is left")
		}
	}
}

// TestFiringAcrossNewFingerprints: an alert that fired under a state of version 1 ends under the fingerprint under
// which it was told, whatever ends it; an alert that begins later has a new fingerprint.
func TestFiringAcrossNewFingerprints(t *testing.T) {
	rs := load(t, `{alert: a, expr: x > 1}`)
	labels := schemas.NewLabels(map[string]string{"host": "h"})
	old, next := oldFingerprint("g/a", labels), fingerprint("g/a", "h", labels)
	at := func(st *State, endMS int64, v float64, revision uint32) []schemas.Condition {
		w := window(t, `x{host="h"}`, endMS, v)
		w.Revision = revision
		return rs.NewEvaluator().Closed(st, "h", 10_000, endMS, []schemas.Window{w}, nil)
	}
	// stored returns a state of an older weir, in which the rule is true at 20s.
	stored := func() *State {
		st := &State{}
		at(st, 20_000, 5, 0)
		b := st.Append(nil)
		b[0] = oldStateVersion
		st, err := DecodeState(b)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	again := func(st *State) *State { // through a restart
		st, err := DecodeState(st.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	want := func(what string, cs []schemas.Condition, isTrue bool, fp string) {
		t.Helper()
		if len(cs) != 1 || cs[0].True != isTrue || cs[0].Fingerprint != fp {
			t.Errorf("%s: %+v, want %v under %s", what, cs, isTrue, fp)
		}
	}
	st := stored()
	want("goes on", at(st, 30_000, 6, 0), true, old)
	st = again(st)
	want("is false", at(st, 40_000, 0, 0), false, old)
	want("revised to true", at(again(st), 40_000, 7, 1), true, old)
	st = again(st)
	want("fires again", at(st, 50_000, 9, 0), true, next)
	want("and is over", at(again(st), 60_000, 0, 0), false, next)
	st = stored()
	want("a replay", at(st, 20_000, 5, 0), true, old)
	want("silent", rs.NewEvaluator().Advance(st, "h", 1_000_000, nil), false, old)
	want("fires after the silence", at(st, 1_010_000, 9, 0), true, next)
	want("its rule is gone", load(t, `{alert: b, expr: x > 1}`).NewEvaluator().Advance(stored(), "h", 30_000, nil), false, old)
	st = &State{}
	if err := rs.NewEvaluator().Inherit(st, stored().Append(nil)); err != nil {
		t.Fatal(err)
	}
	want("in the next generation", at(st, 30_000, 0, 0), false, old)
	want("never true before", at(&State{}, 30_000, 6, 0), true, next)
}

// BenchmarkFingerprint measures what the fingerprint of a condition costs.
func BenchmarkFingerprint(b *testing.B) {
	ls := schemas.NewLabels(map[string]string{"host": "web01", "region": "eu-north-1", "cpu": "total", "env": "prod"})
	for b.Loop() {
		fingerprint("hosts/HighCPU", "web01", ls)
	}
}
