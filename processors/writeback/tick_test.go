package writeback

import (
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// tick makes the process read a tick whose record was written at stampMS (0: the record has no time).
func (p *process) tick(offset int64, tick schemas.Tick, stampMS int64) {
	r := &kgo.Record{Offset: offset, Value: tick.AppendTo(nil)}
	if stampMS != 0 {
		r.Timestamp = time.UnixMilli(stampMS)
	}
	p.Record(0, r)
}

// TestTicksAreBelievedNoFurtherThanTheirRecords: a tick that is an hour ahead, or at the end of time, has the effect of a tick at
// its record's time. An impossible time is refused.
func TestTicksAreBelievedNoFurtherThanTheirRecords(t *testing.T) {
	p := newProcess(t, newDisk())
	p.open()
	p.apply(0, "a", 1) // due at 50
	p.ticks = 0
	p.tick(1, schemas.Tick{NowMS: 3600_000}, 49)
	p.tick(2, schemas.Tick{NowMS: math.MaxInt64}, 49)
	p.tick(3, schemas.Tick{NowMS: math.MaxInt64}, 0)
	p.tick(4, schemas.Tick{NowMS: schemas.NoTime}, 60)
	p.tick(5, schemas.Tick{NowMS: -1}, 60)
	if p.ticks != 0 {
		t.Fatalf("%d timers fired before their time", p.ticks)
	}
	p.tick(6, schemas.Tick{NowMS: 3600_000}, 50)
	if p.ticks != 1 {
		t.Errorf("%d timers fired at the record's time, want 1", p.ticks)
	}
}

// TestHeldBack: a value that gets samples from a lagging partition of metrics waits for it. Ticks that do not move the value do
// not write it back, and no tick is wanted for it until route has advanced. Its neighbour does not wait.
func TestHeldBack(t *testing.T) {
	p := newProcess(t, newDisk())
	p.logic.from = map[uint64]int32{2: 5} // values of which the sum is 2 get something from partition 5
	p.open()
	p.apply(0, "a", 1) // due at 50
	p.apply(1, "b", 2) // due at 1050
	p.checkpoint()
	for _, ack := range p.sent {
		ack(int64(len(p.sent)))
	}
	p.Marked(0, 2)
	p.sent, p.ticks = nil, 0
	behind := func(nowMS, handedMS int64) schemas.Tick {
		return schemas.Tick{NowMS: nowMS, Behind: []schemas.Behind{{Partition: 5, HandedMS: handedMS}}}
	}
	part := p.opened[0]
	wanted := func(tick schemas.Tick, want bool) {
		t.Helper()
		if part.wants(&tick) != want {
			t.Errorf("a tick is wanted: %v", !want)
		}
	}
	p.tick(2, behind(2000, 900), 2000)
	if p.ticks != 1 {
		t.Errorf("%d timers fired, want the neighbour's", p.ticks)
	}
	wanted(behind(2500, 900), false)
	wanted(behind(2500, 1000), true)
	wanted(schemas.Tick{NowMS: 2500}, true)
	p.tick(3, behind(2500, 1000), 2500)
	p.tick(4, schemas.Tick{NowMS: schemas.NoTime}, 2600) // of a checkpoint: it changes nothing
	wanted(behind(3000, 1000), false)
	if p.checkpoint(); len(p.sent) != 1 {
		t.Errorf("%d values written back, want the neighbour's", len(p.sent))
	}
	p.tick(5, behind(3000, 1050), 3000)
	if p.ticks != 2 {
		t.Errorf("%d timers fired, want both", p.ticks)
	}
	wanted(behind(4000, 1060), false)
}
