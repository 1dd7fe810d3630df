package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/consume"
	"github.com/weir-metrics/weir/schemas/topics"
)

const (
	// loadTimeout bounds how long the ledger, or the alerts, may deliver nothing while they are
	// read.
	loadTimeout = time.Minute
	// barrierKey is the key of the tombstones that mark how far to read.
	barrierKey = "barrier"
	// maxEntryBytes bounds an entry: below what brokers and clients accept by default.
	maxEntryBytes = 768 << 10
	// maxBatchBytes bounds how much is written at once.
	maxBatchBytes = 4 << 20
)

// ledgerRecord returns the entry of d, in the ledger partition of its alert's partition. Only a
// PENDING entry has the alert. An entry that is too large is cut, and so is what the receiver gets.
func ledgerRecord(d *schemas.Delivery, partition int32) *kgo.Record {
	v := *d
	if v.Status != schemas.DeliveryPending {
		v.Alert = nil
	}
	value := schemas.EncodeDoc(&v)
	for n := 4096; len(value) > maxEntryBytes && n >= 64; n /= 4 {
		for _, a := range []*schemas.Alert{v.Alert, v.Told} {
			if a != nil {
				cut(a, n)
			}
		}
		value = schemas.EncodeDoc(&v)
	}
	return &kgo.Record{Topic: topics.NotificationLog, Partition: partition, Key: []byte(d.Key()), Value: value}
}

// cut shortens the texts of an alert to n bytes each, and its maps to 64 of them.
func cut(a *schemas.Alert, n int) {
	short := func(s string) string {
		if len(s) > n {
			return strings.ToValidUTF8(s[:n], "") + "…"
		}
		return s
	}
	shortMap := func(m map[string]string) map[string]string {
		names := make([]string, 0, len(m))
		for name := range m {
			names = append(names, name)
		}
		slices.SortFunc(names, func(x, y string) int { return len(x) + len(m[x]) - len(y) - len(m[y]) })
		kept := map[string]string{}
		for _, name := range names[:min(len(names), 64)] {
			kept[short(name)] = short(m[name])
		}
		return kept
	}
	a.Labels, a.Annotations = shortMap(a.Labels), shortMap(a.Annotations)
	a.Rule, a.Group, a.Last.Reason = short(a.Rule), short(a.Group), short(a.Last.Reason)
}

func tombstone(partition int32, key string) *kgo.Record {
	return &kgo.Record{Topic: topics.NotificationLog, Partition: partition, Key: []byte(key)}
}

// unwritable reports whether a record was not written because of the record itself.
func unwritable(err error) bool {
	for _, e := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// writeOne writes the entry r of d. If the broker accepts none of that size, it writes one without
// the alert, and if that fails, too, none: the delivery continues from memory, and is made again if
// weir is restarted.
func (p *Processor) writeOne(ctx context.Context, r *kgo.Record, d *schemas.Delivery) error {
	err := p.out.ProduceSync(ctx, r).FirstErr()
	if !unwritable(err) {
		return err
	}
	bare := *d
	bare.Attempts, bare.Told = nil, nil
	if d.Alert != nil {
		bare.Alert = &schemas.Alert{Fingerprint: d.Fingerprint, Rule: d.Alert.Rule, Last: d.Alert.Last, FiredMS: d.Alert.FiredMS}
		cut(bare.Alert, 64)
	}
	again := ledgerRecord(&bare, r.Partition)
	again.Headers = r.Headers
	if err2 := p.out.ProduceSync(ctx, again).FirstErr(); err2 != nil {
		if !unwritable(err2) {
			return err2
		}
		p.metrics.unwritten.Inc()
		p.log.Error("the broker refuses a ledger entry, which is not written", "delivery", d.Key(), "bytes", len(r.Value), "err", err)
	}
	r.Offset = again.Offset
	return nil
}

// enter writes planned deliveries to the ledger, and schedules them when that is acknowledged.
func (p *Processor) enter(ctx context.Context, part *partition, due []planned) error {
	for len(due) > 0 {
		var records []*kgo.Record
		bytes := 0
		for len(records) < len(due) && bytes < maxBatchBytes {
			r := part.stamp(ledgerRecord(due[len(records)].d, part.id))
			records = append(records, r)
			bytes += len(r.Value)
		}
		for i, result := range p.out.ProduceSync(ctx, records...) {
			if result.Err == nil {
				continue
			}
			if !unwritable(result.Err) {
				return fmt.Errorf("write %s: %w", topics.NotificationLog, result.Err)
			}
			i = slices.Index(records, result.Record)
			if err := p.writeOne(ctx, records[i], due[i].d); err != nil {
				return fmt.Errorf("write %s: %w", topics.NotificationLog, err)
			}
		}
		for i, r := range records {
			p.entered(due[i], r)
		}
		due = due[len(records):]
	}
	return nil
}

// entered records that the ledger has a planned delivery, as record r.
func (p *Processor) entered(pl planned, r *kgo.Record) {
	l, d := pl.l, pl.d
	l.part.mu.Lock()
	defer l.part.mu.Unlock()
	i := slices.IndexFunc(l.entries, func(e entry) bool { return e.seq == d.Seq && e.firing == (d.To == schemas.Firing) && e.atMS == d.AtMS })
	if i < 0 {
		return
	}
	e := &l.entries[i]
	if d.Status == schemas.DeliveryPending && e.status != pending {
		return // ended before it was entered: its end is entered next
	}
	had := e.offset != unwritten
	e.offset = r.Offset
	if d.Status != schemas.DeliveryPending {
		if had && l.r != nil { // it was pending, and has been counted
			l.r.waiting.Add(-1)
			l.r.channel.gauge.Dec()
		}
		p.report(d)
		return
	}
	// If more wait than may be in memory, those that come first are read back when it is their
	// turn: what comes now would only take their room.
	if l.r.waiting.Load() < int64(p.cfg.Queue) {
		l.hold(e, d, len(r.Value), p.cfg.Queue)
	}
	l.r.waiting.Add(1)
	l.r.channel.gauge.Inc()
	p.scheduleLocked(l, time.Now())
}

// load reads the ledger partitions whole. The end is a record that it writes itself: the end offset
// of a compacted partition may never be reached, since the newest records may be gone. generation
// is the generation of this member's group in which it was given the partitions.
func (p *Processor) load(ctx context.Context, parts map[int32]*partition, generation int32) error {
	start, end := map[int32]kgo.Offset{}, map[int32]int64{}
	var barriers []*kgo.Record
	for id := range parts {
		start[id] = kgo.NewOffset().AtStart()
		barriers = append(barriers, tombstone(id, barrierKey))
	}
	if err := p.out.ProduceSync(ctx, barriers...).FirstErr(); err != nil {
		return fmt.Errorf("write %s: %w", topics.NotificationLog, err)
	}
	for _, b := range barriers {
		end[b.Partition], parts[b.Partition].from = b.Offset, b.Offset+1
	}
	now := time.Now()
	if err := p.read(ctx, topics.NotificationLog, start, end, func(r *kgo.Record) { p.loadRecord(parts[r.Partition], r, now) }); err != nil {
		return err
	}
	for _, part := range parts {
		if err := p.assume(ctx, part, generation); err != nil {
			return err
		}
	}
	return nil
}

// read passes each the records of partitions from their start until one at or after its end offset
// has come, and passes beyond those that came with it. It fails if nothing comes for loadTimeout.
func (p *Processor) read(ctx context.Context, topic string, start map[int32]kgo.Offset, end map[int32]int64, each func(*kgo.Record), beyond ...func(*kgo.Record)) error {
	in, err := consume.New(consume.Counted("notify", p.deps.Registry, p.log), append(slices.Clone(p.deps.Options), kgo.FetchMaxWait(fetchWait),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return fmt.Errorf("read %s: %w", topic, err)
	}
	defer in.Close()
	for len(end) > 0 {
		soon, cancel := context.WithTimeout(ctx, loadTimeout)
		fetches := in.PollFetches(soon)
		cancel()
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			last, open := end[r.Partition]
			if !open {
				for _, f := range beyond {
					f(r)
				}
				return
			}
			each(r)
			if r.Offset >= last {
				delete(end, r.Partition)
			}
		})
	}
	return nil
}

// loadRecord takes an entry of the ledger into a partition. An entry that cannot be read is known
// by its key: if its alert fires, its trigger is told (again), and if the alert is over, its end
// is. So at worst the loss of an entry means that somebody is told twice.
func (p *Processor) loadRecord(part *partition, r *kgo.Record, now time.Time) {
	key := string(r.Key)
	id, fingerprint, firing, atMS, ok := parseKey(key)
	term := termOf(r)
	if term != 0 && term < part.newest {
		p.foreignRecord(part, r, false)
		return
	}
	part.newest = max(part.newest, term)
	delete(part.foreign, key)
	if r.Value == nil {
		if ok {
			part.remove(id, fingerprint, firing, atMS)
		}
		return
	}
	d, err := schemas.DecodeDoc[schemas.Delivery](r.Value)
	switch {
	case err == nil && d.Status == schemas.DeliveryPending && d.Alert == nil:
		err = fmt.Errorf("PENDING without an alert: %w", schemas.ErrCorrupt)
	case err == nil && d.Key() != key:
		err = fmt.Errorf("an entry of %.200q: %w", d.Key(), schemas.ErrCorrupt)
	}
	if err != nil {
		p.metrics.undecodable.WithLabelValues(r.Topic).Inc()
		p.log.Error("cannot read a ledger entry: its receiver may be told again", "key", key, "partition", r.Partition, "offset", r.Offset, "err", err)
		if !ok {
			return
		}
		part.remove(id, fingerprint, firing, atMS)
		if firing {
			part.laneOf(p, id, fingerprint).addLost(atMS)
		}
		return
	}
	part.remove(id, fingerprint, firing, atMS)
	l := part.laneOf(p, id, fingerprint)
	e := entryOf(d)
	e.offset, e.doubtful = r.Offset, d.Status == schemas.DeliveryPending && p.isOld(d, now)
	l.seq = max(l.seq, e.seq)
	l.entries = append(l.entries, e)
	if e.status == pending {
		l.urgency = p.urgency(d.Alert.Labels)
		l.hold(l.last(), d, len(r.Value), p.cfg.Queue)
	}
}

// remove takes an entry out of its lane, and the lane out of the partition if that was the last. It
// is called only while the ledger is read.
func (part *partition) remove(id, fingerprint string, firing bool, atMS int64) {
	lanes := part.alerts[fingerprint]
	i := slices.IndexFunc(lanes, func(l *lane) bool { return l.receiver == id })
	if i < 0 {
		return
	}
	l := lanes[i]
	l.entries = slices.DeleteFunc(l.entries, func(e entry) bool {
		same := e.firing == firing && e.atMS == atMS
		if same {
			l.drop(&e)
		}
		return same
	})
	if len(l.entries) > 0 {
		return
	}
	if lanes = slices.Delete(lanes, i, i+1); len(lanes) == 0 {
		delete(part.alerts, fingerprint)
		return
	}
	part.alerts[fingerprint] = lanes
}

// parseKey splits schemas.Delivery.Key.
func parseKey(key string) (receiver, fingerprint string, firing bool, atMS int64, ok bool) {
	var parts [3]string // time, state, fingerprint
	rest := key
	for i := range parts {
		at := strings.LastIndexByte(rest, '/')
		if at < 0 {
			return
		}
		rest, parts[i] = rest[:at], rest[at+1:]
	}
	atMS, err := strconv.ParseInt(parts[0], 10, 64)
	firing = parts[1] == string(schemas.Firing)
	ok = err == nil && rest != "" && parts[2] != "" && (firing || parts[1] == string(schemas.Resolved))
	return rest, parts[2], firing, atMS, ok
}

// errGone tells that the ledger no longer has a record.
var errGone = errors.New("the ledger no longer has the record")

// readBack reads the entry at an offset of the ledger. If it is gone, which only another owner of
// the partition could have caused, readBack returns instead: better told without the details than
// not at all.
func (p *Processor) readBack(part *partition, offset int64, instead *schemas.Delivery) (*schemas.Delivery, error) {
	p.reading.Lock()
	defer p.reading.Unlock()
	ahead := readAhead
	var found *schemas.Delivery
	err := errGone
	readErr := p.read(part.calls, topics.NotificationLog, map[int32]kgo.Offset{part.id: kgo.NewOffset().At(offset)}, map[int32]int64{part.id: offset},
		func(r *kgo.Record) {
			if r.Offset == offset && r.Value != nil {
				found, err = schemas.DecodeDoc[schemas.Delivery](r.Value)
			}
		}, func(r *kgo.Record) {
			if ahead > 0 && part.foresee(r, p.cfg.Queue+readAhead) {
				ahead--
			}
		})
	switch {
	case readErr != nil:
		return nil, readErr
	case err != nil:
		p.log.Error("the ledger no longer has what to tell about an alert: it is told without details", "delivery", instead.Key(), "offset", offset, "err", err)
		return instead, nil
	}
	return found, nil
}

// foresee keeps the delivery of a record in memory if it is the newest of one that waits.
func (part *partition) foresee(r *kgo.Record, most int) bool {
	id, fingerprint, firing, atMS, ok := parseKey(string(r.Key))
	if !ok || r.Value == nil {
		return false
	}
	part.mu.Lock()
	defer part.mu.Unlock()
	for _, l := range part.alerts[fingerprint] {
		if l.receiver != id {
			continue
		}
		e := l.find(firing, atMS)
		if e == nil || e.status != pending || e.offset != r.Offset || e.inMemory != nil || !l.room(len(r.Value), most) {
			return false
		}
		if d, err := schemas.DecodeDoc[schemas.Delivery](r.Value); err == nil && d.Alert != nil {
			l.hold(e, d, len(r.Value), most)
			return e.inMemory != nil
		}
	}
	return false
}
