package simulation

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// This file is about clocks of processes that are very wrong: the op clock sets one, and strange writes
// the tick of one that was not corrected.

// wrongTicks are ticks of wrong clocks, by the number in the op strange.
var wrongTicks = []func(nowMS int64) schemas.Tick{
	func(now int64) schemas.Tick { return schemas.Tick{NowMS: now + 3600_000} },
	func(now int64) schemas.Tick { return schemas.Tick{NowMS: now - 3600_000} },
	func(int64) schemas.Tick { return schemas.Tick{NowMS: math.MaxInt64} },
	func(int64) schemas.Tick { return schemas.Tick{NowMS: math.MinInt64 + 1} },
	func(int64) schemas.Tick { return schemas.Tick{NowMS: schemas.NoTime} },
	func(int64) schemas.Tick { return schemas.Tick{NowMS: -1} },
	func(int64) schemas.Tick { return schemas.Tick{} },
	func(int64) schemas.Tick { return schemas.Tick{NowMS: 253_402_300_799_999} }, // the last that there is
	func(now int64) schemas.Tick {
		return schemas.Tick{NowMS: now + 3600_000, Epoch: origins, Behind: []schemas.Behind{{Partition: 0, HandedMS: math.MaxInt64}}}
	},
	func(now int64) schemas.Tick {
		return schemas.Tick{NowMS: math.MaxInt64, Epoch: origins, Behind: []schemas.Behind{{Partition: 0, HandedMS: schemas.NoTime}}}
	},
	func(now int64) schemas.Tick {
		return schemas.Tick{NowMS: now, Epoch: origins, Behind: []schemas.Behind{{Partition: 0, HandedMS: now - 20_000}, {Partition: 1, HandedMS: math.MinInt64 + 5}}}
	},
	func(now int64) schemas.Tick { return schemas.Tick{NowMS: now + 3600_000, Unknown: true} },
}

// strange writes the tick of a process whose clock is wrong, and nobody's knows, into a
// partition. Its record has the right time: it is believed no further than that.
func (w *World) strange(a [5]int) bool {
	if !in(a[0], int(roles)) || !in(a[1], len(w.groups[a[0]].owner)) || !in(a[2], len(wrongTicks)) {
		return false
	}
	t := wrongTicks[a[2]](w.now)
	input := w.groups[a[0]].input
	value := t.AppendTo(nil)
	if _, err := schemas.DecodeTick(value); err != nil {
		w.spoilt[recordName(input.name, int32(a[1]), int64(len(input.parts[a[1]])))] = true
	}
	input.append(&kgo.Record{Topic: input.name, Partition: int32(a[1]), Value: value, Timestamp: time.UnixMilli(w.now)})
	w.stats.WrongClocks++
	return true
}

// setClock makes the clock of a machine wrong by so much that its processes notice: they
// write ticks by the median of three clocks (pipelines/routelag/routelag.go). All else that they
// do is by their own.
func (w *World) setClock(machine, ms int) bool {
	if !in(machine, len(w.machines)) || w.machines[machine].clockMS == int64(ms) {
		return false
	}
	w.machines[machine].clockMS = int64(ms)
	w.stats.WrongClocks++
	return true
}

// tick writes the ticks that are due by the process's clock.
func (m *member) tick() {
	m.w.ticking = m.w.machines[m.id]
	m.proc.Ticks(m.w.now + m.skewMS())
	m.w.ticking = nil
}

// middle sets a tick to the median clock.
func (w *World) middle(t *schemas.Tick) {
	if w.ticking != nil {
		t.NowMS -= w.ticking.clockMS
	}
}

// wrongClocks are how wrong clocks are, ms.
var wrongClocks = []int{3600_000, -3600_000, 40_000, -40_000, 365 * 24 * 3600_000, -20 * 365 * 24 * 3600_000, 0}

// breakStore breaks the local stores of a machine; its processes go on for a while, and are
// started again if they have noticed, or before.
func (p *planner) breakStore(machine int) {
	p.do("break", machine)
	for n := p.n(8); n > 0; n-- {
		p.progress()
		if p.oneIn(3) {
			p.checkpoint()
		}
	}
	if !p.do("restart", machine) {
		p.do("kill", machine, p.n(4), 0, 0)
	}
}

// wrongClock lets a clock be wrong, or a tick of one be written.
func (p *planner) wrongClock(r int) {
	w := p.w
	if p.oneIn(3) {
		p.do("clock", p.n(len(w.machines)), wrongClocks[p.n(len(wrongClocks))])
		return
	}
	if n := len(w.groups[r].owner); n > 0 {
		p.do("strange", r, p.n(n), p.n(len(wrongTicks)))
	}
}
