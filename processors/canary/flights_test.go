package canary

import (
	"slices"
	"testing"

	"github.com/weir-metrics/weir/deploy/conf"
	"github.com/weir-metrics/weir/schemas"
)

const (
	testTier   = 10_000
	testEvery  = 60_000
	testWithin = 45_000
	testShards = 3
)

// bed tests flights. Its alerts follow the samples as weir's would.
type bed struct {
	*testing.T
	f      *flights
	now    int64
	offset int64
	firing map[int32]bool // by shard
}

func newBed(t *testing.T) *bed {
	b := &bed{T: t, now: 1_700_000_003_000, firing: map[int32]bool{}}
	b.restart()
	return b
}

// restart forgets what was sent, as a new process does.
func (b *bed) restart() {
	cfg := Config{Every: conf.Duration(testEvery * 1e6), Within: conf.Duration(testWithin * 1e6)}
	b.f = newFlights("me", []string{"host"}, testShards, cfg, testTier, b.now)
}

// send sends a sample of each bird. Samples that arrive become alerts.
func (b *bed) send(arrives func(shard int32) bool) (records []*schemas.Alert) {
	for _, bird := range b.f.birds {
		s := bird.send(b.now)
		if up := s.Value == 1; arrives(bird.shard) && up != b.firing[bird.shard] {
			b.firing[bird.shard] = up
			state := schemas.Resolved
			if up {
				state = schemas.Firing
			}
			endMS := b.now/testTier*testTier + testTier
			records = append(records, &schemas.Alert{Rule: schemas.CanaryRule, Group: s.Series.Labels.Get("host"), State: state,
				Last: schemas.Transition{To: state, AtMS: endMS, Reason: "whatever"}})
		}
	}
	return records
}

// read reads records, each from a partition of its own, and returns the number of exact measurements.
func (b *bed) read(records []*schemas.Alert) (exact int) {
	for i, a := range records {
		b.offset++
		if _, ok := b.f.read(a, int32(i), b.offset); ok {
			exact++
		}
	}
	return exact
}

// pass makes notify commit everything that was read.
func (b *bed) pass() {
	b.f.passed(map[int32]int64{0: b.offset + 1, 1: b.offset + 1, 2: b.offset + 1})
}

func (b *bed) late(want ...int32) {
	b.Helper()
	if s := b.f.standing(b.now); !slices.Equal(s.late, want) {
		b.Fatalf("late are %v, want %v: %+v", s.late, want, s)
	}
}

func (b *bed) fine(want bool) {
	b.Helper()
	if s := b.f.standing(b.now); s.fine() != want {
		b.Fatalf("fine is not %v: %+v", want, s)
	}
}

func every(int32) bool { return true }

func TestEachShardHasABird(t *testing.T) {
	for _, labels := range [][]string{nil, {"host"}, {"instance", "host"}} {
		for _, shards := range []int32{1, 8, 96, 1000} {
			f := newFlights("me", labels, shards, Config{}, testTier, 0)
			if len(f.birds) != int(shards) {
				t.Fatalf("%d birds of %d shards", len(f.birds), shards)
			}
			for i, b := range f.birds {
				group := schemas.GroupOf(b.series, labels)
				if got := schemas.Shard([]byte(group), shards); got != int32(i) || b.shard != got || f.byGroup[group] != b {
					t.Errorf("labels %v: bird %d of %q is for shard %d, its group goes to %d", labels, i, group, b.shard, got)
				}
			}
		}
	}
}

func TestFlightsComeThrough(t *testing.T) {
	b := newBed(t)
	b.fine(false) // nothing is known yet
	for i := range 5 {
		records := b.send(every)
		if len(records) != testShards {
			t.Fatalf("period %d: %d transitions", i, len(records))
		}
		b.now += 13_000
		if exact := b.read(records); exact != testShards {
			t.Errorf("period %d: %d flights were measured", i, exact)
		}
		b.fine(i > 0) // notify has not passed the first
		b.pass()
		b.fine(true)
		if n := len(b.f.waiting()); n != 0 {
			t.Errorf("period %d: %d partitions are waited for", i, n)
		}
		b.now += testEvery - 13_000
	}
	b.now += testEvery + 1
	b.fine(false) // idle
}

func TestLateFlights(t *testing.T) {
	b := newBed(t)
	but1 := func(shard int32) bool { return shard != 1 }
	b.read(b.send(every))
	b.pass()
	b.now += testEvery
	b.read(b.send(but1))
	b.pass()
	b.now += testWithin
	b.late()
	b.now++
	b.late(1)
	b.fine(false)
	b.now += testEvery
	b.read(b.send(every)) // shard 1 fired and fires: nothing changes there
	b.pass()
	b.late(1)
	b.now += testEvery
	b.read(b.send(every))
	b.pass()
	b.late()
	b.fine(true)
}

// An alert has passed notify only when its group has committed a later offset.
func TestNotifyIsPartOfTheWay(t *testing.T) {
	b := newBed(t)
	b.read(b.send(every))
	b.pass()
	b.now += testEvery
	b.read(b.send(every))
	b.f.passed(map[int32]int64{0: b.offset + 1, 1: 1})
	b.now += testWithin + 1
	b.late(1, 2)
	b.pass()
	b.late()
}

// The first canary after a start finds the alert in the state in which the last one left it.
func TestRestart(t *testing.T) {
	b := newBed(t)
	b.read(b.send(every)) // up
	b.pass()
	b.now += testEvery
	b.restart()
	if records := b.send(every); len(records) != 0 {
		t.Fatalf("%d transitions from firing to firing", len(records))
	}
	b.now += testWithin + 1
	b.late()
	b.fine(false)
	b.now += testEvery
	b.read(b.send(every))
	b.pass()
	b.late()
	b.fine(true)
}

// A sample that Kafka did not acknowledge may or may not have arrived; the next one repeats its value.
func TestUnacknowledged(t *testing.T) {
	for _, arrived := range []bool{false, true} {
		b := newBed(t)
		b.read(b.send(every))
		b.pass()
		b.now += testEvery
		records := b.send(func(int32) bool { return arrived })
		b.f.lost()
		if exact := b.read(records); exact != 0 {
			t.Errorf("arrived %v: %d flights were measured", arrived, exact)
		}
		b.pass()
		b.now += testEvery
		want := 0 // flights that were sent twice are not measured
		if arrived {
			want = testShards // the earlier ones have come through, so these are the first with their value
		}
		if exact := b.read(b.send(every)); exact != want {
			t.Errorf("arrived %v: then %d flights were measured, want %d", arrived, exact, want)
		}
		b.pass()
		b.late()
		b.now += testEvery
		if exact := b.read(b.send(every)); exact != testShards {
			t.Errorf("arrived %v: %d flights were measured after it", arrived, exact)
		}
		b.pass()
		b.fine(true)
	}
}

// A transition because of silence does not end a flight.
func TestSilenceIsNoLanding(t *testing.T) {
	b := newBed(t)
	b.read(b.send(every)) // up
	b.pass()
	b.now += testEvery
	b.send(func(int32) bool { return false })
	end := &schemas.Alert{Rule: schemas.CanaryRule, Group: b.f.birds[0].series.Labels.Get("host"), State: schemas.Resolved,
		Last: schemas.Transition{To: schemas.Resolved, AtMS: b.now + 100_000, Reason: schemas.ReasonNoData}}
	b.now += 2 * testWithin
	b.read([]*schemas.Alert{end})
	b.pass()
	b.late(0, 1, 2)
}

// In a long outage a bounded number of flights is kept; the oldest tells how long the outage lasts.
func TestOutage(t *testing.T) {
	b := newBed(t)
	b.read(b.send(every))
	b.pass()
	b.now += testEvery
	began := b.now
	for range 10 * maxOut {
		b.send(func(int32) bool { return false })
		b.now += testEvery
	}
	if n := len(b.f.birds[0].out); n > maxOut {
		t.Errorf("%d flights are kept", n)
	}
	if s := b.f.standing(b.now); s.oldestMS != b.now-began {
		t.Errorf("the oldest flight is %d ms old, want %d", s.oldestMS, b.now-began)
	}
	b.late(0, 1, 2)
}
