package notify

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

const (
	// keepEntries is how long an ended entry stays in the ledger: longer than the age up to which
	// replayed alerts are told. The trigger of an alert that is not known to be over stays, however
	// old it is.
	keepEntries = 30 * 24 * time.Hour
	// maxKnown is how many ended entries a lane keeps: twice the history of an alert.
	maxKnown = 32
	// maxWaiting is how many entries of a lane may be pending: beyond that, firings that are over
	// and were never called for are left out.
	maxWaiting = 16
)

// lane is what the ledger knows about one alert and one receiver: its entries in order, of which at
// most one is being delivered. Fields without a comment are guarded by part.mu.
type lane struct {
	part        *partition
	r           *receiver // nil: the receiver is no longer in the config
	receiver    string    // its ID
	fingerprint string
	entries     []entry
	seq         int64 // of the newest entry
	urgency     int   // of the alert: 0 is the most urgent
	calling     bool  // its first pending entry is being delivered
	repeat      bool  // and is to be told again after that; see again
	// About the first pending entry; they belong to whoever is calling:
	tries    int           // failed ones in a row
	spent    time.Duration // waits and calls since the first attempt that count against max_elapsed
	failedAt time.Time     // the end of the last attempt, if that counts; otherwise zero
	waits    time.Duration // from failedAt

	place // channel.mu's
}

// entry is what is remembered of a delivery: its place in the ledger, and little of its contents,
// so that waiting deliveries take no memory.
type entry struct {
	status   status
	heard    heard
	firing   bool // a trigger; otherwise a resolve
	unsent   bool // FAILED without a call
	unseen   bool // a resolve whose transition nobody saw
	doubtful bool // a trigger that has waited so long that its alert must be known to fire still
	size     int32
	atMS     int64
	seq      int64
	offset   int64  // of its newest record in the ledger; unwritten before it is acknowledged
	labels   uint64 // what was told, hashed; 0: unknown
	inMemory *schemas.Delivery
}

// unwritten is the offset of an entry that is not in the ledger yet.
const unwritten = -1

type status uint8

const (
	pending status = iota
	submittedOK
	failedOff
	lost // its record cannot be read: nobody knows how far it got
)

type heard uint8

const (
	nobody heard = iota
	perhaps
	surely
)

var statusNames = map[status]schemas.DeliveryStatus{
	pending: schemas.DeliveryPending, submittedOK: schemas.DeliverySubmitted, failedOff: schemas.DeliveryFailed,
}

var heardNames = map[heard]schemas.Heard{nobody: schemas.HeardNo, perhaps: schemas.HeardMaybe, surely: schemas.HeardYes}

// entryOf returns what is remembered of d.
func entryOf(d *schemas.Delivery) entry {
	e := entry{firing: d.To == schemas.Firing, atMS: d.AtMS, seq: d.Seq, offset: unwritten}
	if n := len(d.Attempts); n > 0 {
		e.unsent = d.Status == schemas.DeliveryFailed && strings.HasPrefix(d.Attempts[n-1].Result, unsent)
	}
	switch d.Status {
	case schemas.DeliverySubmitted:
		e.status = submittedOK
	case schemas.DeliveryFailed:
		e.status = failedOff
	}
	switch {
	case e.status == submittedOK || d.Heard == schemas.HeardYes:
		e.heard = surely
	case d.Heard == schemas.HeardMaybe, d.Heard == "" && e.status == failedOff && !e.unsent:
		e.heard = perhaps
	}
	for _, a := range []*schemas.Alert{d.Alert, d.Told} {
		if a != nil {
			e.labels = hashLabels(a.Labels)
			e.unseen = !e.firing && a.Last.Reason == reasonUnseen
		}
	}
	return e
}

var labelSeed = maphash.MakeSeed()

func hashLabels(labels map[string]string) uint64 {
	var sum uint64
	for name, value := range labels {
		sum += maphash.Comparable(labelSeed, [2]string{name, value})
	}
	return max(1, sum)
}

// bare returns the delivery of an entry without the alert: what the ledger keeps of an ended one.
func (l *lane) bare(e *entry) *schemas.Delivery {
	d := &schemas.Delivery{Receiver: l.receiver, Fingerprint: l.fingerprint, To: schemas.Resolved, AtMS: e.atMS, Seq: e.seq,
		Status: statusNames[e.status], Heard: heardNames[e.heard]}
	if e.firing {
		d.To = schemas.Firing
	}
	return d
}

// last returns the newest entry, or nil.
func (l *lane) last() *entry {
	if len(l.entries) == 0 {
		return nil
	}
	return &l.entries[len(l.entries)-1]
}

// open reports whether the newest entry is a trigger, so that its end is not entered yet.
func (l *lane) open() bool { e := l.last(); return e != nil && e.firing }

// find returns the entry of a transition, unless that is lost, or nil.
func (l *lane) find(firing bool, atMS int64) *entry {
	for i := len(l.entries) - 1; i >= 0; i-- {
		if e := &l.entries[i]; e.firing == firing && e.atMS == atMS && e.status != lost {
			return e
		}
	}
	return nil
}

// head returns the first pending entry and its index, or nil.
func (l *lane) head() (*entry, int) {
	for i := range l.entries {
		if l.entries[i].status == pending {
			return &l.entries[i], i
		}
	}
	return nil, -1
}

// endAfter returns the resolve that ends the i-th entry, a trigger, or nil. Other triggers, by which
// the severity changed, may come before it.
func (l *lane) endAfter(i int) *entry {
	for i++; i < len(l.entries); i++ {
		if !l.entries[i].firing {
			return &l.entries[i]
		}
	}
	return nil
}

// began returns the index of the first of the triggers right before the i-th entry, or i if there is
// none.
func (l *lane) began(i int) int {
	for i > 0 && l.entries[i-1].firing {
		i--
	}
	return i
}

// heardOf reports whether the receiver may have heard of one of the triggers right before the i-th
// entry, or may still.
func (l *lane) heardOf(i int) bool {
	return slices.ContainsFunc(l.entries[l.began(i):i], func(e entry) bool { return e.status != failedOff || e.heard != nobody })
}

// triggerOf returns the trigger that the i-th entry, a resolve, ends, or nil: the newest of which the
// receiver may have heard, or the newest.
func (l *lane) triggerOf(i int) *entry {
	from := l.began(i)
	if from == i {
		return nil
	}
	for k := i - 1; k >= from; k-- {
		if e := &l.entries[k]; e.status != failedOff || e.heard != nobody {
			return e
		}
	}
	return &l.entries[i-1]
}

// waiting returns the number of pending entries.
func (l *lane) waiting() (n int) {
	for i := range l.entries {
		if l.entries[i].status == pending {
			n++
		}
	}
	return n
}

// add appends the entry of d, and numbers both.
func (l *lane) add(d *schemas.Delivery) *entry {
	l.entries = slices.DeleteFunc(l.entries, func(e entry) bool {
		return e.status == lost && e.firing == (d.To == schemas.Firing) && e.atMS == d.AtMS
	})
	l.seq++
	d.Seq = l.seq
	l.entries = append(l.entries, entryOf(d))
	return l.last()
}

// order sorts the entries once all have been read. Entries of versions without Seq go by time.
func (l *lane) order() {
	slices.SortFunc(l.entries, func(a, b entry) int {
		trigger := func(e entry) int {
			if e.firing {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.atMS, b.atMS), cmp.Compare(trigger(a), trigger(b)))
	})
	if e := l.last(); e != nil {
		l.seq = max(l.seq, e.seq)
	}
}

// collapse ends firings that are over, and triggers of which the severity has changed since, that
// were never called for, the oldest first, as long as more than maxWaiting entries are pending. It
// returns what it ended.
func (l *lane) collapse() []*schemas.Delivery {
	var ended []*schemas.Delivery
	over := l.waiting() - maxWaiting
	for i := 0; i+1 < len(l.entries) && over > 0; i++ {
		trigger, next := &l.entries[i], &l.entries[i+1]
		if trigger.status != pending || next.status != pending || !trigger.firing || trigger.heard != nobody {
			continue
		}
		if _, h := l.head(); h == i && l.calling {
			continue
		}
		given := []*entry{trigger, next}
		switch {
		case next.firing:
			given = given[:1]
		case l.heardOf(i): // of an earlier severity, and must hear of the end
			continue
		}
		for _, e := range given {
			l.end(e, failedOff)
			e.unsent = true
			ended = append(ended, l.bare(e))
		}
		over -= len(given)
	}
	return ended
}

// end turns a pending entry into an ended one, and frees what it held in memory.
func (l *lane) end(e *entry, s status) {
	l.drop(e)
	e.status = s
}

// needed returns the indices of the triggers that an end which has not been told needs: of those
// right before it the first, the last, and the last of which the receiver may have heard.
func (l *lane) needed() (indices []int) {
	for i := range len(l.entries) + 1 {
		if i < len(l.entries) && (l.entries[i].firing || l.entries[i].status != pending) {
			continue
		}
		from := l.began(i)
		if from == i {
			continue
		}
		indices = append(indices, from, i-1)
		for k := i - 1; k >= from; k-- {
			if e := &l.entries[k]; e.status != failedOff || e.heard != nobody {
				indices = append(indices, k)
				break
			}
		}
	}
	return indices
}

// trim removes entries that are no longer needed, and returns their keys: the ledger forgets them
// as well.
func (l *lane) trim(nowMS, keepMS int64) (keys []string) {
	ended := len(l.entries) - l.waiting()
	needed := l.needed()
	kept := l.entries[:0]
	for i := range l.entries {
		e := l.entries[i]
		newest := i == len(l.entries)-1
		old := nowMS-e.atMS > keepMS || ended > maxKnown && !newest
		if e.status == pending || slices.Contains(needed, i) || !old {
			kept = append(kept, e)
			continue
		}
		ended--
		keys = append(keys, l.bare(&e).Key())
	}
	clear(l.entries[len(kept):])
	l.entries = kept
	return keys
}
