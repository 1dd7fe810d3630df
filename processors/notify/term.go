package notify

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

// The owner of a partition of the ledger writes there under a term, a number larger than that of
// all owners before. A former owner that was suspended when it was taken for dead, and does not
// know that yet, may write long after its successor: what it found due, from outdated knowledge,
// and the outcome of a call that its receiver got late. Its records are recognized by their terms:
//
//   - A reader of the ledger (load) goes by what the owner of the highest term so far has written.
//   - The owner of the partition reads what others write after what it loaded (watch).
//   - Either writes its own record again, so that it is the one that survives compaction, and, if
//     the receiver may have been told something late, sends its last message again (again): the
//     last message that a receiver gets is right.

// termHeader is the header with the term of the writer of a record of the ledger.
const termHeader = "term"

// givenUpWithin bounds how long it may take to write how a call ended, or may have, after its
// partition was given up.
const givenUpWithin = 2 * time.Second

// maxTerm is above any term: anything above it is rubbish, and close to it terms would overflow.
const maxTerm = 1 << 62

// termOf returns the term under which a record was written; 0 for a version without terms, and for
// rubbish.
func termOf(r *kgo.Record) int64 {
	for _, h := range r.Headers {
		if h.Key == termHeader {
			if n, err := strconv.ParseInt(string(h.Value), 10, 64); err == nil && n > 0 && n < maxTerm {
				return n
			}
		}
	}
	return 0
}

// nextTerm returns the term of a process that was given a partition in a generation of the group,
// if newest is the highest in the ledger. Generations start from the beginning after all members
// have been away for long, and a process that comes back in time has the generation of its earlier
// life: in these cases the upper half of the term counts.
func nextTerm(newest int64, generation int32) int64 {
	term := newest>>32<<32 | int64(max(generation, 1))
	if term <= newest {
		term += 1 << 32
	}
	return term
}

// stamp writes the term into a record of the ledger.
func (part *partition) stamp(r *kgo.Record) *kgo.Record {
	if part.term != 0 {
		r.Headers = []kgo.RecordHeader{{Key: termHeader, Value: strconv.AppendInt(nil, part.term, 10)}}
	}
	return r
}

// assume takes the term of this owner, once the ledger has been read. It returns an error if the
// term does not follow from those before and this process is no longer a member of the group.
func (p *Processor) assume(ctx context.Context, part *partition, generation int32) error {
	part.term = nextTerm(part.newest, generation)
	if part.term>>32 == part.newest>>32 {
		return nil
	}
	if err := p.fence.ask(ctx); err != nil {
		return fmt.Errorf("term after %d.%d in generation %d: %w", part.newest>>32, part.newest&(1<<32-1), generation, err)
	}
	return nil
}

// foreignRecord takes a record of a former owner that came after those of a later one: while this
// owner read the ledger, or since then (live). The caller holds the lock, or is alone.
func (p *Processor) foreignRecord(part *partition, r *kgo.Record, live bool) {
	p.metrics.foreign.Inc()
	key := string(r.Key)
	id, fingerprint, firing, atMS, ok := parseKey(key)
	if !ok {
		return
	}
	told := false
	if r.Value != nil {
		d, err := schemas.DecodeDoc[schemas.Delivery](r.Value)
		told = err != nil || d.Status == schemas.DeliverySubmitted || d.Heard == schemas.HeardYes || d.Heard == schemas.HeardMaybe
	}
	known := false
	for _, l := range part.alerts[fingerprint] {
		known = known || l.receiver == id && l.has(firing, atMS)
	}
	if live && !known && !told {
		return // this owner itself finds out whether it is due, and writes that
	}
	part.foreign[key] = part.foreign[key] || told
	if !known && firing && r.Value != nil {
		part.laneOf(p, id, fingerprint).addLost(atMS)
	}
}

// has reports whether the lane has the entry of a transition, lost or not.
func (l *lane) has(firing bool, atMS int64) bool {
	for i := range l.entries {
		if e := &l.entries[i]; e.firing == firing && e.atMS == atMS {
			return true
		}
	}
	return false
}

// addLost adds a trigger whose progress nobody knows.
func (l *lane) addLost(atMS int64) {
	l.entries = append(l.entries, entry{firing: true, status: lost, heard: perhaps, atMS: atMS, seq: l.seq, offset: unwritten})
}

// toldLate is for the lanes in which a former owner told something, or may have: their last message
// is sent again. The caller holds the lock.
func (part *partition) toldLate() {
	for key, told := range part.foreign {
		id, fingerprint, firing, atMS, ok := parseKey(key)
		if !told || !ok {
			continue
		}
		part.foreign[key] = false // once
		for _, l := range part.alerts[fingerprint] {
			if e := l.last(); l.receiver == id && e != nil && (e.status == lost || e.firing != firing || e.atMS != atMS) {
				l.again()
			}
		}
	}
}

// again makes the lane's last message be sent again. A survey looks up what that is: the lane
// forgets how its newest entry ended. The caller holds the lock.
func (l *lane) again() {
	e := l.last()
	switch {
	case e.status == pending:
		_, h := l.head()
		l.repeat = l.calling && h == len(l.entries)-1 // otherwise it is sent later anyway
		return
	case e.firing:
		e.status = lost
	default:
		atMS := e.atMS
		l.entries = l.entries[:len(l.entries)-1]
		if t := l.last(); t == nil || !t.firing {
			l.addLost(atMS)
		} else {
			t.heard = max(t.heard, perhaps)
		}
	}
	l.part.unsure[l.fingerprint] = true
}

// tend starts a goroutine that takes care of unsure and foreign, unless they are empty, or one does
// already.
func (p *Processor) tend(part *partition) {
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.stopped || part.tended || len(part.unsure)+len(part.foreign) == 0 {
		return
	}
	part.tended = true
	part.running.Add(1)
	go p.survey(part)
}

// settled reports that there is nothing more to tend.
func (part *partition) settled() bool {
	part.mu.Lock()
	defer part.mu.Unlock()
	part.tended = len(part.unsure)+len(part.foreign) > 0
	return !part.tended
}

// overwrite writes the owner's records of keys under which a former owner wrote, once everything
// that follows from those has been entered: only then is it forgotten what the other had written.
func (p *Processor) overwrite(part *partition, keys []string) error {
	for _, key := range keys {
		part.mu.Lock()
		id, fingerprint, firing, atMS, _ := parseKey(key)
		var l *lane
		var e entry
		repeat := false
		for _, of := range part.alerts[fingerprint] {
			if of.receiver != id {
				continue
			}
			if repeat = of.repeat; of.find(firing, atMS) != nil {
				l, e = of, *of.find(firing, atMS)
			}
		}
		part.mu.Unlock()
		if repeat {
			continue // not yet: a call is in flight, after which it is sent again
		}
		r := tombstone(part.id, key)
		if l != nil {
			if e.status == pending {
				part.disown(key)
				continue // its outcome will be written
			}
			d := l.bare(&e)
			if e.offset != unwritten {
				var err error
				if d, err = p.readBack(part, e.offset, d); err != nil {
					return err
				}
			}
			r = ledgerRecord(d, part.id)
		}
		if err := p.out.ProduceSync(part.calls, part.stamp(r)).FirstErr(); err != nil {
			return fmt.Errorf("write %s: %w", topics.NotificationLog, err)
		}
		part.mu.Lock()
		if l != nil {
			if now := l.find(firing, atMS); now != nil && now.offset == e.offset {
				now.offset = r.Offset
			}
		}
		part.mu.Unlock()
		part.disown(key)
	}
	return nil
}

// disown forgets that a former owner wrote under the key, unless it has told something since.
func (part *partition) disown(key string) {
	part.mu.Lock()
	defer part.mu.Unlock()
	if !part.foreign[key] {
		delete(part.foreign, key)
	}
}

// watch reads the ledger after what was loaded of a partition, for what former owners write there.
func (p *Processor) watch(part *partition) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := map[string]map[int32]kgo.Offset{topics.NotificationLog: {part.id: kgo.NewOffset().At(part.from)}}
	if p.watcher != nil {
		p.watcher.AddConsumePartitions(from)
		return nil
	}
	var err error
	p.watcher, err = consume.New(consume.Watch{}, append(append([]kgo.Opt{}, p.deps.Options...), kgo.FetchMaxWait(fetchWait), kgo.FetchMaxBytes(4<<20),
		kgo.ConsumePartitions(from), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return fmt.Errorf("watch %s: %w", topics.NotificationLog, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	p.unwatch = func() { cancel(); <-ended; p.watcher.Close() }
	go func() {
		defer close(ended)
		p.watching(ctx, p.watcher)
	}()
	return nil
}

// watching takes what former owners write, until ctx ends.
func (p *Processor) watching(ctx context.Context, in *consume.Client) {
	for ctx.Err() == nil {
		fetches := in.PollFetches(ctx)
		failed := false
		fetches.EachError(func(_ string, id int32, err error) {
			if failed = true; ctx.Err() == nil {
				p.log.Debug("ledger not watched, will keep trying", "partition", id, "err", err)
			}
		})
		fetches.EachRecord(func(r *kgo.Record) {
			part := p.partition(r.Partition)
			if term := termOf(r); part == nil || r.Offset < part.from || term == 0 || term >= part.term {
				return
			}
			p.log.Warn("a former owner of the partition has written to the ledger", "partition", r.Partition, "key", string(r.Key), "offset", r.Offset)
			part.mu.Lock()
			p.foreignRecord(part, r, true)
			part.toldLate()
			part.mu.Unlock()
			p.tend(part)
		})
		if failed && fetches.NumRecords() == 0 {
			wait(fenceAgain, ctx.Done())
		}
	}
}

// unwatched stops reading partitions that were given up.
func (p *Processor) unwatched(parts []*partition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watcher == nil {
		return
	}
	var ids []int32
	for _, part := range parts {
		ids = append(ids, part.id)
	}
	p.watcher.RemoveConsumePartitions(map[string][]int32{topics.NotificationLog: ids})
}

// lastly writes d in its current state if its partition was given up while a call for it was made:
// the next owner learns of it, before or after it has told more.
func (p *Processor) lastly(l *lane, d *schemas.Delivery) {
	ctx, cancel := context.WithTimeout(context.Background(), givenUpWithin)
	defer cancel()
	if err := p.out.ProduceSync(ctx, l.part.stamp(ledgerRecord(d, l.part.id))).FirstErr(); err != nil {
		p.log.Warn("could not record how a call ended that was made when the partition was given up", "delivery", d.Key(), "err", err)
	}
}
