package writeback

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// Table is a partition of the local copy of the table: values by key, and the offset up to which it
// has the whole changelog. Store has tables on disk, the package disk in memory. The goroutine of
// the partition writes and reads them, and the producer's callbacks delete and save beside it.
// Errors that wrap ErrBroken cause the table to be thrown away.
type Table interface {
	// Get returns the value of key, which the caller may keep; nil if there is none.
	Get(key string) ([]byte, error)
	// Set sets the value of key; the caller may change value afterwards.
	Set(key string, value []byte) error
	// Delete deletes key, if it is there.
	Delete(key string) error
	// Each calls f for every key in ascending order, until f returns false. value is valid during
	// the call. f may write to the table; Each need not notice.
	Each(f func(key string, value []byte) (more bool)) error
	// Offset is what SaveOffset had last saved when the table was opened, -1 if nothing.
	Offset() int64
	// SaveOffset saves the offset, after all that was written before.
	SaveOffset(offset int64) error
}

// tableOffset is the offset up to which the whole changelog is here, -1 for none. Once recovery has
// read to the end, it follows the acknowledgements of what this process writes. If another process
// writes in between, one that has lost the partition without knowing or one that already has it,
// the offset stays where it is: what comes after it is read again by the next recovery.
type tableOffset struct {
	atomic.Int64
	recovered atomic.Bool
}

// advance sets the offset to o, unless that is not newer or leaves a gap.
func (t *tableOffset) advance(o int64) bool {
	for {
		old := t.Load()
		if o <= old || o > old+1 && t.recovered.Load() {
			return false
		}
		if t.CompareAndSwap(old, o) {
			return true
		}
	}
}

// saveEvery is after how many records of the changelog a table's offset is saved: a stale one only
// means that a little more of the changelog is read again.
const saveEvery = 1000

// reached takes note that a record of the changelog is in the table.
func (p *Partition[T, L]) reached(offset int64) error {
	if p.offset.advance(offset) && offset%p.eng.saveEvery == 0 {
		return p.saveOffset()
	}
	return nil
}

// saveOffset saves the offset. A partition may be closed in the middle of its recovery, and the
// producer's callbacks save, too: one at a time, so that an older offset never follows a newer one.
func (p *Partition[T, L]) saveOffset() error {
	p.saving.Lock()
	defer p.saving.Unlock()
	if err := p.table.SaveOffset(p.offset.Load()); err != nil {
		return fmt.Errorf("save the offset of %s/%d: %w", p.eng.opts.Table, p.ID, err)
	}
	return nil
}

// put puts a value under a key of the changelog into the table.
func (p *Partition[T, L]) put(raw string, value []byte) error {
	p.changed(raw)
	return p.table.Set(raw, value)
}

// remove removes a key of the changelog from the table.
func (p *Partition[T, L]) remove(raw string) error {
	p.changed(raw)
	return p.table.Delete(raw)
}

// changed notes which keys recovery changes under values that were kept.
func (p *Partition[T, L]) changed(raw string) {
	if p.kept && !p.recovered {
		key, w := splitTableKey(raw)
		if !slices.Contains(p.reload[key], w) {
			p.reload[key] = append(p.reload[key], w)
		}
	}
}
