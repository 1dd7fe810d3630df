package writeback

import (
	"crypto/rand"
	"maps"
	"slices"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"

	"github.com/weir-metrics/weir/schemas/topics"
)

// # The changelog
//
// Compaction keeps the newest record of each key of the log, and the newest need not be
// the owner's: a process that was killed, was stopped for a while, or has lost the partition
// and does not know, may write after its successor did. So the owner and the others must not
// write the same key. A record of the changelog stands under the key and the *writer*, which
// is made anew whenever a partition is opened. Then
//
//   - what compaction keeps of a key and a writer is that writer's newest value, as one
//     producer writes it in order, with offsets that only grow;
//   - the value of the key is that of the highest offset among its writers'. The owner's
//     commits rest on its own records, or on those that it recovered from, and no other
//     process writes under these keys again;
//   - when the owner's own value of a key is acknowledged, it deletes those of the writers
//     before it: they have lost the partition before the owner read the table, so none of
//     them commits anything any more, and what they may still write is older;
//   - what they write afterwards is found at the next recovery, loses by its offset, and is
//     deleted then.
//
// So at no time, whatever is compacted and whoever runs, is a value that a commit rests on
// without a record of its own. The price is one small record a key after a partition moved.
//
// A key that Logic lets go of is not deleted, as what a writer before sends after that would come
// back: gone.go says what is there instead.

// writer names who wrote a record of the changelog; the zero writer wrote keys as they
// are, as weir did before there were writers.
type writer [8]byte

func newWriter() (w writer) {
	_, _ = rand.Read(w[:]) // never fails
	return w
}

// writerMark begins what follows the key.
const writerMark = "\x00w"

// tableKey is the key of a changelog record.
func tableKey(key string, w writer) []byte {
	if w == (writer{}) {
		return []byte(key)
	}
	b := make([]byte, 0, len(key)+len(writerMark)+len(w))
	return append(append(append(b, key...), writerMark...), w[:]...)
}

// splitTableKey reads what tableKey wrote.
func splitTableKey(raw string) (key string, w writer) {
	n := len(raw) - len(writerMark) - len(w)
	if n < 0 || raw[n:n+len(writerMark)] != writerMark {
		return raw, w
	}
	copy(w[:], raw[n+len(writerMark):])
	return raw[:n], w
}

// # The local store
//
// The local store mirrors the changelog, under the same keys. What this process writes is
// there before the changelog has it (Part.touchSince). What it deletes of others is there
// until the changelog does not have it any more, so that it is known after a crash.

// storedRank orders the values of a key: by offset, and what has none is below all others.
func storedRank(b []byte) int64 {
	if !knownVersion(b) {
		return lostRank
	}
	return storedOffset(b)
}

const lostRank = -2

// loadRecord has Goka put a record of the changelog into the local store.
func (e *Engine[T, L]) loadRecord(ctx goka.UpdateContext, _ storage.Storage, raw string, value []byte) error {
	e.mu.RLock()
	p := e.opened[int32(ctx.Partition())]
	e.mu.RUnlock()
	if p == nil {
		return nil // the session has ended
	}
	return p.load(raw, value, ctx.Offset())
}

// load puts a record of the changelog into the local store. What does not decode has no
// place there but for the fact: it is told of at the end of the recovery, unless it has been
// deleted by then.
func (p *Partition[T, L]) load(raw string, value []byte, offset int64) error {
	delete(p.rubbish, raw)
	if value == nil {
		return p.Delete(raw)
	}
	if !knownVersion(value) {
		if p.rubbish == nil {
			p.rubbish = map[string]rubbish{}
		}
		quote := value[:min(len(value), topics.MaxLetterValue)]
		if len(p.rubbish) >= maxQuoted {
			quote = nil
		}
		p.rubbish[raw] = rubbish{slices.Clone(quote), offset, errStoredVersion(value)}
		value = []byte{lostVersion}
	}
	return p.Set(raw, value)
}

// rubbish is a record of the changelog that does not decode.
type rubbish struct {
	value  []byte
	offset int64
	err    error
}

// maxQuoted bounds how many records of a changelog that do not decode are quoted.
const maxQuoted = 16

// tellRubbish tells of what load has found.
func (p *Partition[T, L]) tellRubbish() {
	for _, raw := range slices.Sorted(maps.Keys(p.rubbish)) {
		key, _ := splitTableKey(raw)
		r := p.rubbish[raw]
		p.refuseStored(key, r.value, r.offset, r.err)
	}
	p.rubbish = nil
}

// Set puts a record of the changelog into the local store, as Goka and load do.
func (p *Partition[T, L]) Set(raw string, v []byte) error {
	p.changed(raw)
	return p.Storage.Set(raw, v)
}

// Delete is Set for a tombstone.
func (p *Partition[T, L]) Delete(raw string) error {
	p.changed(raw)
	return p.Storage.Delete(raw)
}

func (p *Partition[T, L]) changed(raw string) {
	if p.kept && !p.recovered {
		key, w := splitTableKey(raw)
		if !slices.Contains(p.reload[key], w) {
			p.reload[key] = append(p.reload[key], w)
		}
	}
}
