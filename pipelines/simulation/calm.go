package simulation

// calm plays the calm part: a silence in which everything closes, a time with values on which no
// rule fires, the reset, and then arbitrary values.
func (p *planner) calm() {
	w := p.w
	for range 20_000 { // finish what is in progress, without new faults
		if !p.progress() && w.drained() {
			break
		}
	}
	p.do("calm")
	stepMS, n := 1000, 60+p.n(120)
	if largest := int(w.tiers[len(w.tiers)-1]); largest > 600_000 && p.oneIn(3) { // long enough for rules on the largest tier
		stepMS, n = 20_000, 5*largest/2/20_000+p.n(120)
		p.do("wait", 6*largest)
	}
	p.do("wait", 600_000+w.params.Future*1000)
	for h := range w.hosts {
		p.do("mood", h, 1)
	}
	p.seconds(45, 15, stepMS)
	p.do("reset")
	for h := range w.hosts {
		p.do("mood", h, 0)
	}
	p.seconds(n, 15, stepMS)
}

// seconds plays n steps of stepMS each. In every step the hosts that are not pausing send, about
// half of them at a time, and everything that is in progress is finished. drain plays faults, one
// in every 10*faultIn of its steps.
func (p *planner) seconds(n, faultIn, stepMS int) {
	w := p.w
	pause := make([]int, len(w.hosts)) // s
	for i := 0; i < n && w.fault == nil; i++ {
		// With only one tick in two windows, a generation would lag more than a window behind the
		// next one, and docs/scaling.md promises nothing for that.
		if w.reset > 0 && p.oneIn(100) && int64(stepMS) < w.tiers[0] {
			p.do("reshard")
		}
		for h := range w.hosts {
			if pause[h]--; pause[h] > 0 {
				continue
			}
			if w.reset > 0 && p.oneIn(80) {
				pause[h] = 100 + p.n(60)
			}
			if (i+h)%2 == 0 {
				p.do("send", h, p.n(len(w.metrics)), -p.n(400), 1)
				if p.repeats && p.oneIn(15) {
					p.do("again", h, p.n(len(w.metrics)))
				}
			}
		}
		p.drain(faultIn)
		for id := range w.machines {
			for r := range int(roles) {
				p.do("tick", r, id)
			}
		}
		p.drain(faultIn)
		p.do("wait", stepMS)
	}
}

// drain takes steps until nothing is in progress; one step in 10*faultIn is a fault.
func (p *planner) drain(faultIn int) {
	for range 5_000 {
		if p.w.fault != nil || p.w.drained() && !p.oneIn(20) {
			return
		}
		if p.oneIn(faultIn * 10) {
			p.fault()
		} else {
			p.progress()
		}
	}
	p.w.violate("the world does not come to rest")
}
