package writeback

import (
	"crypto/rand"
	"maps"
	"slices"

	"github.com/weir-metrics/weir/schemas/topics"
)

// # The changelog
//
// Compaction keeps the newest record of each key of the log, and the newest need not be the
// owner's: a process that was killed, suspended for a while, or has lost the partition without
// knowing may write after its successor. So the owner and the others must not write the same key. A
// record of the changelog has a key made of the key and the *writer*, which is new whenever a
// partition is opened. Then
//
//   - of the records of a key and a writer, compaction keeps that writer's newest value, as one
//     producer writes it in order, with offsets that only grow;
//   - the value of the key is the one with the highest offset among its writers'. The owner's
//     commits rest on its own records, or on those that it recovered from, and no other process
//     writes under these keys again;
//   - when the owner's own value of a key is acknowledged, the owner deletes those of earlier
//     writers: they lost the partition before the owner read the table, so none of them commits
//     anything any more, and whatever they may still write is older;
//   - what they write afterwards is found at the next recovery, loses because of its offset, and is
//     then deleted.
//
// So, whatever is compacted and whoever runs, a value that a commit rests on always has a record of
// its own. The price is one small record per key after a partition moved.
//
// A key that Logic lets go of is not deleted, as what an earlier writer sends after that would come
// back: gone.go explains what is there instead.

// writer identifies who wrote a record of the changelog; the zero writer wrote keys unchanged, as
// weir did before there were writers.
type writer [8]byte

func newWriter() (w writer) {
	_, _ = rand.Read(w[:]) // never fails
	return w
}

// writerMark separates the key from the writer.
const writerMark = "\x00w"

// tableKey returns the key of a changelog record.
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
// The local store mirrors the changelog, under the same keys. What this process writes is there
// before it is in the changelog (Partition.touchSince). What it deletes of others stays there until
// the changelog no longer has it, so that a process knows of it after a crash.

// storedRank orders the values of a key: by offset, and values without one are below all others.
func storedRank(b []byte) int64 {
	if !knownVersion(b) {
		return lostRank
	}
	return storedOffset(b)
}

const lostRank = -2

// load puts a record of the changelog into the local store. If it does not decode, only that fact
// is stored: it is reported at the end of the recovery, unless the record has been deleted by then.
func (p *Partition[T, L]) load(raw string, value []byte, offset int64) error {
	delete(p.rubbish, raw)
	if value == nil {
		return p.remove(raw)
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
	return p.put(raw, value)
}

// rubbish is a record of the changelog that does not decode.
type rubbish struct {
	value  []byte
	offset int64
	err    error
}

// maxQuoted bounds how many undecodable records of a changelog are quoted.
const maxQuoted = 16

// tellRubbish reports what load has found.
func (p *Partition[T, L]) tellRubbish() {
	for _, raw := range slices.Sorted(maps.Keys(p.rubbish)) {
		key, _ := splitTableKey(raw)
		r := p.rubbish[raw]
		p.refuseStored(key, r.value, r.offset, r.err)
	}
	p.rubbish = nil
}
