package simulation

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// This file is about process clocks that are very wrong: the op clock sets one, and strange writes the
// tick of one that nobody corrected.

// wrongTicks makes ticks of wrong clocks, by the number in the op strange.
var wrongTicks = []func(nowMS int64) schemas.Tick{
	func(now int64) schemas.Tick { return schemas.Tick{NowMS: now + 3600_000} },
	func(now int64) schemas.Tick { return schemas.Tick{NowMS: now - 3600_000} },
	func(int64) schemas.Tick { return schemas.Tick{NowMS: math.MaxInt64} },
	func(int64) schemas.Tick { return schemas.Tick{NowMS: math.MinInt64 + 1} },
	func(int64) schemas.Tick { return schemas.Tick{NowMS: schemas.NoTime} },
	func(int64) schemas.Tick { return schemas.Tick{NowMS: -1} },
	func(int64) schemas.Tick { return schemas.Tick{} },
	func(int64) schemas.Tick { return schemas.Tick{NowMS: 253_402_300_799_999} }, // the last ms that a time may have
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

// strange writes the tick of a process whose wrong clock went unnoticed into a partition. The
// record has the right time, and readers believe a tick only up to the time of its record.
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

// setClock makes the clock of a machine so wrong that its processes notice: they write their
// ticks by the median of three clocks (pipelines/routelag/routelag.go). For everything else they
// use their own clock.
func (w *World) setClock(machine, ms int) bool {
	if !in(machine, len(w.machines)) || w.machines[machine].clockMS == int64(ms) {
		return false
	}
	w.machines[machine].clockMS = int64(ms)
	w.stats.WrongClocks++
	return true
}

// tick writes the ticks that are due by the process's own clock.
func (m *member) tick() {
	m.w.ticking = m.w.machines[m.id]
	m.proc.Ticks(m.w.now + m.skewMS())
	m.w.ticking = nil
}

// middle corrects a tick to the median clock.
func (w *World) middle(t *schemas.Tick) {
	if w.ticking != nil {
		t.NowMS -= w.ticking.clockMS
	}
}

// wrongClocks lists the errors of clocks, ms.
var wrongClocks = []int{3600_000, -3600_000, 40_000, -40_000, 365 * 24 * 3600_000, -20 * 365 * 24 * 3600_000, 0}

// breakStore breaks the local stores of a machine. Its processes carry on for a while; then they
// are restarted, whether they have noticed or not.
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

// wrongClock sets a clock wrong, or writes the tick of a wrong one.
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
