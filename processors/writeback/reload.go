package writeback

// Renewer is a Logic whose settings may change while it runs.
type Renewer[T, L any] interface {
	// Renew switches a partition to the current settings. It is called by the goroutine of the
	// partition, after Engine.Renew, between two records, when everything that earlier records
	// changed has been written: a crash does not apply those again with the new settings, unless it
	// comes before the broker has what was written.
	Renew(p *Partition[T, L])
}

// Renew makes Logic, if it is a Renewer, renew every partition, including those that are
// recovering. It does not wait for that.
func (e *Engine[T, L]) Renew() {
	e.renewals.Add(1)
	select {
	case e.renewing <- struct{}{}:
	default: // it is about to wake
	}
}

// renew is called when the partition's values have been flushed.
func (p *Partition[T, L]) renew() {
	n := p.eng.renewals.Load()
	if p.renewed.Load() == n {
		return
	}
	p.renewed.Store(n)
	if l, ok := p.eng.logic.(Renewer[T, L]); ok {
		l.Renew(p)
		for _, e := range p.live {
			p.register(e)
		}
	}
}
