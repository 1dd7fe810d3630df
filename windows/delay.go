package windows

import (
	"encoding/binary"
	"slices"
)

// delaysKept is the number of batches from which a group's usual delay is taken.
const delaysKept = 8

// delay is how late the samples of a group usually arrive: as late as the latest of its last
// batches that brought something new.
type delay struct {
	late      [delaysKept]int64 // of the last batches, ms; negative: ahead of the clock; a ring
	next      uint8             // in late
	learned   bool              // late has been filled
	estimated bool              // all of it comes from batches that had queued for route
}

// learn records how late a batch was: the age on arrival, ms, of its oldest sample that was newer
// than all before. It replaces whatever was estimated from batches that had queued.
func (d *delay) learn(ms int64) {
	if d.estimated {
		d.late, d.estimated = [delaysKept]int64{}, false
	}
	d.note(ms)
}

// estimate is learn for a batch that had queued for route. Queued samples measure route's lag, not the
// sender's delay: their minimum is used, and only until an on-time batch arrives.
func (d *delay) estimate(ms int64) {
	if d.learned && !d.estimated {
		return
	}
	if d.estimated {
		ms = min(ms, d.largest())
	}
	d.late, d.next, d.estimated = [delaysKept]int64{}, 0, true
	d.note(ms)
}

func (d *delay) note(ms int64) {
	d.learned = true
	d.late[d.next%delaysKept] = ms
	d.next = (d.next + 1) % delaysKept
}

// inherit takes over the delay that another group has learnt, ms.
func (d *delay) inherit(ms int64) {
	for i := range d.late {
		d.late[i] = ms
	}
	d.learned = true
}

// forget drops delays that cannot be true, as a wrong clock taught them: less than least, or more
// than most, ms.
func (d *delay) forget(least, most int64) {
	for i, ms := range d.late {
		if ms < least || ms > most {
			d.late[i] = 0
		}
	}
}

// largest is the largest delay of the last batches, ms; negative if all were ahead of the clock.
func (d *delay) largest() int64 { return slices.Max(d.late[:]) }

// usual is the largest delay of the last batches, ms. It has no upper bound: a replay of old data
// is as late as the data are old, and its windows then close as the replay proceeds. It is never
// below 0: no group's clock runs ahead of weir's.
func (d *delay) usual() int64 { return max(0, d.largest()) }

func (d *delay) appendTo(dst []byte) []byte {
	for _, ms := range d.late {
		dst = binary.AppendVarint(dst, ms)
	}
	return dst
}

func (d *delay) decode(r *reader) {
	for i := range d.late {
		d.late[i] = r.varint()
	}
}
