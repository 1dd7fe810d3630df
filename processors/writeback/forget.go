package writeback

// Forgetter is a Logic that counts its values, and has some that need not be kept at all.
type Forgetter[T, L any] interface {
	// Forget is called when a value made by New or Decode is gone: it was deleted or lost, or is
	// about to be read again.
	Forget(p *Partition[T, L], v *T)
	// Untouched reports whether no record has changed the value: a new one from New would do the
	// same with the next record, and with this one if it is read again. Such a value is forgotten
	// at once, and leaves nothing in the table.
	Untouched(v *T) bool
}

// drop forgets the live entry.
func (p *Partition[T, L]) drop(e *Entry[T, L]) {
	delete(p.live, e.Key)
	p.keys.Store(int64(len(p.live)))
	e.due = 0 // its entries in the heap are void, as in the dirty list
	p.forget(e.V)
}

// forget tells Logic that a value is gone.
func (p *Partition[T, L]) forget(v *T) {
	if f, ok := p.eng.logic.(Forgetter[T, L]); ok {
		f.Forget(p, v)
	}
}

// dropUntouched forgets the entry if a record has just changed nothing. What it emitted is
// acknowledged before the record's offset is committed; until then it is owed, as the key's next
// value, once written, would have the record skipped.
func (p *Partition[T, L]) dropUntouched(e *Entry[T, L]) bool {
	f, ok := p.eng.logic.(Forgetter[T, L])
	if !ok || len(e.writers) > 0 && e.was == nil || e.lostMS > 0 || !f.Untouched(e.V) { // there is a value in the table
		return false
	}
	p.drop(e)
	if e.was != nil {
		p.keepGone(e.was)
	}
	if e.trim(); e.lettersOut() || len(e.pending) > 0 {
		if p.owed == nil {
			p.owed = map[string]*Entry[T, L]{}
		}
		p.owed[e.Key] = e
	}
	e.V = nil // at most the dirty list knows the entry, until it is flushed
	p.todo.mu.Lock()
	defer p.todo.mu.Unlock()
	if n := len(p.todo.dirty); n > 0 && p.todo.dirty[n-1] == e {
		p.todo.dirty = p.todo.dirty[:n-1]
	}
	return true
}

// inherit gives a new entry what an earlier one of its key still owes.
func (p *Partition[T, L]) inherit(e *Entry[T, L]) {
	if o := p.owed[e.Key]; o != nil {
		e.letters, e.pending = o.letters, o.pending
		o.letters, o.pending = nil, nil // it may still be in the dirty list
		delete(p.owed, e.Key)
	}
}

// settle forgets what is no longer owed.
func (p *Partition[T, L]) settle() {
	for key, o := range p.owed {
		if o.trim(); !o.lettersOut() && len(o.pending) == 0 {
			delete(p.owed, key)
		}
	}
}
