package writeback

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// finishRecovery is called when the table is complete. Every value is decoded, in order
// (doing it lazily costs 24 µs a key), and what was pending is emitted again. After a rebalance
// that gave the partition back, only the values that another owner wrote in between are decoded:
// the others are as this process left them, each at its own offset, and the records since the last
// checkpoint that come again are skipped.
func (p *Partition[T, L]) finishRecovery() error {
	p.offset.recovered.Store(true)
	if err := p.saveOffset(); err != nil {
		return err
	}
	start := time.Now()
	decoded := 0
	if p.kept {
		for _, key := range slices.Sorted(maps.Keys(p.reload)) {
			if p.closed.Load() {
				break
			}
			if err := p.decodeAgain(key, p.reload[key]); err != nil {
				return err
			}
			decoded++
		}
	} else {
		p.Local = p.eng.logic.Open(p)
		if err := p.decodeAll(); err != nil {
			return err
		}
		decoded = len(p.live)
	}
	if p.closed.Load() {
		return nil // what was read so far says nothing about the partition's owner
	}
	if len(p.unlike) > 0 {
		return p.refuseSettings()
	}
	p.orderGone()
	p.recovered = true
	p.tellRubbish()
	p.eng.log.Debug("partition recovered", "partition", p.ID, "keys", len(p.live), "decoded", decoded, "took", time.Since(start).Round(time.Millisecond))
	p.keys.Store(int64(len(p.live)))
	p.eng.addPartition(p)
	return nil
}

// refuseSettings ends Run, however few the values of other settings are and whatever else does not
// decode: each of them is intact, and a new value in its place would lose it.
func (p *Partition[T, L]) refuseSettings() error {
	err := fmt.Errorf("%d of %d values of %s/%d: %w", len(p.unlike), len(p.unlike)+len(p.live), p.eng.opts.Table, p.ID, p.unlike[0])
	p.eng.fail(err) // Goka would pass on only its text
	return err
}

func (p *Partition[T, L]) decodeAll() error {
	var now found // the records of a key are usually neighbours
	apart := map[string][]writer{}
	end := func() {
		switch {
		case now.value == nil:
		case p.live[now.key] != nil || p.gone[now.key] != nil || apart[now.key] != nil:
			apart[now.key] = append(apart[now.key], now.writers...)
		default:
			p.decode(now.key, now.writers, now.value)
		}
	}
	err := p.table.Each(func(raw string, value []byte) bool {
		if p.closed.Load() {
			return false
		}
		key, w := splitTableKey(raw)
		if key != now.key || now.value == nil {
			end()
			now = found{key: key}
		}
		now.add(w, value)
		return true
	})
	if err != nil {
		return fmt.Errorf("read state %s/%d: %w", p.eng.opts.Table, p.ID, err)
	}
	end()
	for _, key := range slices.Sorted(maps.Keys(apart)) {
		if err := p.decodeAgain(key, apart[key]); err != nil {
			return err
		}
	}
	return nil
}

// found is what the local store has for a key: its writers, and the value with the highest offset.
type found struct {
	key     string
	writers []writer
	value   []byte
}

// add adds what a writer has; v may be reused. At one offset, gone outranks any other value.
func (f *found) add(w writer, v []byte) {
	f.writers = append(f.writers, w)
	if r, best := storedRank(v), storedRank(f.value); f.value == nil || r > best || r == best && !isGone(f.value) {
		f.value = append([]byte{}, v...)
	}
}

// decodeAgain reads the records of a key again, of its known writers and of more.
func (p *Partition[T, L]) decodeAgain(key string, more []writer) error {
	if old := p.live[key]; old != nil {
		p.drop(old)
		for _, w := range old.writers {
			if !slices.Contains(more, w) {
				more = append(more, w)
			}
		}
	}
	if g := p.gone[key]; g != nil {
		delete(p.gone, key)
		for _, w := range g.writers {
			if !slices.Contains(more, w) {
				more = append(more, w)
			}
		}
	}
	f := found{key: key}
	for _, w := range more {
		v, err := p.table.Get(string(tableKey(key, w)))
		if err != nil {
			return fmt.Errorf("read state %s/%d: %w", p.eng.opts.Table, p.ID, err)
		}
		if v != nil {
			f.add(w, v)
		}
	}
	if f.value != nil {
		p.decode(f.key, f.writers, f.value)
	}
	return nil
}

// decode makes the live entry of a key from its value, which it keeps, or a new one in place of a
// value that does not decode.
func (p *Partition[T, L]) decode(key string, writers []writer, value []byte) {
	if key == "" || len(key) > maxKey {
		p.refuseStored(key, value, -1, fmt.Errorf("a key of %d bytes, must be 1 to %d", len(key), maxKey))
		p.delete(key, writers)
		return
	}
	if isGone(value) {
		p.readGone(key, writers, value)
		return
	}
	e, err := decodeEntry(p, key, value)
	if err != nil {
		if errors.Is(err, ErrSettings) {
			p.unlike = append(p.unlike, err)
			return
		}
		if knownVersion(value) { // else load has told of it
			p.refuseStored(key, value, -1, err)
		}
		p.lose(key, writers)
		return
	}
	e.writers = writers
	p.live[key] = e
	p.register(e)
	if len(e.pending) > 0 {
		p.touch(e)
		for _, m := range e.pending {
			p.send(m)
		}
	}
}
