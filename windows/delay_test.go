package windows

import "testing"

// TestDelay: the usual delay is the largest of the last batches. Batches that had queued count only while there are no
// others, and then the smallest of them counts.
func TestDelay(t *testing.T) {
	var d delay
	check := func(when string, want int64) {
		t.Helper()
		if got := d.usual(); got != want {
			t.Errorf("%s: %d ms, want %d", when, got, want)
		}
	}
	check("nothing is known", 0)
	d.estimate(90_000)
	d.estimate(30_000)
	d.estimate(60_000)
	check("all had waited", 30_000)
	d.learn(2_000)
	check("one came in time", 2_000)
	d.estimate(50_000)
	check("one waited again", 2_000)
	d.learn(5_000)
	for range delaysKept - 1 {
		d.learn(1_000)
	}
	check("the late one is among the last", 5_000)
	d.learn(1_000)
	check("it no longer is", 1_000)
	for range delaysKept {
		d.learn(-3_000)
	}
	if check("all are ahead", 0); d.largest() != -3_000 {
		t.Errorf("all batches are 3 s ahead: %d ms", d.largest())
	}
	d.learn(7_000_000)
	d.forget(-60_000, 1_000_000)
	check("what cannot be is forgotten", 0)
	d.inherit(4_000)
	check("inherited", 4_000)

	r := &reader{b: d.appendTo(nil), version: stateVersion}
	again := delay{next: d.next, learned: d.learned, estimated: d.estimated}
	if again.decode(r); again != d || r.bad || len(r.b) > 0 {
		t.Errorf("decoded: %+v, want %+v", again, d)
	}
}
