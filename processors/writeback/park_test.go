package writeback

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/writeback/disk"
	"github.com/weir-metrics/weir/schemas"
)

// smallLog is an input and a table of one partition. The table accepts values of at most limit bytes.
type smallLog struct {
	input, table []*kgo.Record
	limit        int
	later        []func() // answers that hold keeps back
	hold         bool
}

// tenant is an Engine on a smallLog, driven by hand, with what it emitted.
type tenant struct {
	*driven[counter, none]
	log     *smallLog
	read    int
	emitted []string
}

func (l *smallLog) start(t *testing.T, local *disk.Disk) *tenant {
	t.Helper()
	p := &tenant{log: l}
	produce := func(r *kgo.Record, done func(*kgo.Record, error)) {
		switch r.Topic {
		case inTopic:
			l.append(&l.input, r)
		case outTopic:
			p.emitted = append(p.emitted, fmt.Sprintf("%x", r.Value))
		default:
			if len(r.Value) > l.limit {
				answer := func() { done(r, kerr.MessageTooLarge) }
				if l.hold {
					l.later = append(l.later, answer)
					return
				}
				answer()
				return
			}
			l.append(&l.table, r)
		}
		done(r, nil)
	}
	p.driven = Drive(Options{ConsumerGroup: group, Input: inTopic, Table: group + "-table", Registry: prometheus.NewRegistry(),
		Counts: map[string]int32{inTopic: 1, outTopic: 1, group + "-table": 1},
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil))}, newFat(), Host{Table: onDisk(local), Produce: produce}).(*driven[counter, none])
	p.open(t)
	return p
}

func (l *smallLog) append(log *[]*kgo.Record, r *kgo.Record) {
	c := *r
	c.Offset = int64(len(*log))
	r.Offset = c.Offset
	c.Timestamp = time.UnixMilli(1_000_000 + 10*c.Offset)
	*log = append(*log, &c)
}

func (l *smallLog) number(key string, n uint64) {
	l.append(&l.input, &kgo.Record{Topic: inTopic, Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, n)})
}

func (p *tenant) open(t *testing.T) {
	t.Helper()
	from, err := p.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.log.table[from:] {
		if err := p.Load(0, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Recovered(0); err != nil {
		t.Fatal(err)
	}
	p.Joined()
}

func (p *tenant) readAll() {
	for ; p.read < len(p.log.input); p.read++ {
		p.Record(0, p.log.input[p.read])
	}
}

// checkpoint flushes, and reports whether the records that were read may be committed.
func (p *tenant) checkpoint() bool {
	p.Begin(0)
	for p.Flush(0) {
	}
	return !p.Refused(0)
}

// TestParkingStandsInTheLog: a value that the broker refuses is lost at the same record for the process that it refused, for one
// that has lost the partition, and for one that reads the log again: all emit the same. If the same value is refused twice,
// nothing more is lost.
func TestParkingStandsInTheLog(t *testing.T) {
	l := &smallLog{limit: 100}
	a, b := l.start(t, newDisk()), l.start(t, newDisk())
	for range 4 {
		l.number("k", 1)
	}
	l.number("k", fatBytes(200))
	a.readAll()
	b.readAll()
	if a.checkpoint() || b.checkpoint() {
		t.Fatal("a value was refused, but its records may be committed")
	}
	l.number("k", 2) // before anybody parks
	a.Begin(0)
	b.Begin(0) // so both park it
	for range 3 {
		l.number("k", 3)
	}
	a.readAll()
	b.readAll()
	c := l.start(t, newDisk())
	c.readAll()
	if !slices.Equal(a.emitted, b.emitted) || !slices.Equal(a.emitted, c.emitted) || len(a.emitted) != 2 {
		t.Errorf("emitted %v, by another %v, by one that came later %v; want the same, twice", a.emitted, b.emitted, c.emitted)
	}
	if n := counted(a.e, "weir_writeback_lost_values_total"); n != 1 {
		t.Errorf("%v values were lost, want 1", n)
	}
	if !a.checkpoint() {
		t.Error("the value that replaced the lost one was refused")
	}
	e := a.opened[0].live["k"]
	if e.V.n != 3 || e.V.sum != 9 || e.lostMS != l.input[6].Timestamp.UnixMilli() {
		t.Errorf("after the loss at %d: %d records, sum %d; want 3 and 9, at %v", e.lostMS, e.V.n, e.V.sum, l.input[6].Timestamp.UnixMilli())
	}
	d := l.start(t, newDisk()) // continues from what a wrote
	d.readAll()
	if got := d.opened[0].live["k"]; got.V.n != 3 || got.offset != e.offset || got.lostMS != e.lostMS || len(d.emitted) != 0 {
		t.Errorf("read back: %d records at %d, lost at %d; emitted %v", got.V.n, got.offset, got.lostMS, d.emitted)
	}
}

// TestLateRefusal: a value turns out to be refused only after a rebalance has given its partition back. It is parked, and
// nothing is committed before that.
func TestLateRefusal(t *testing.T) {
	l := &smallLog{limit: 100, hold: true}
	a := l.start(t, newDisk())
	l.number("k", fatBytes(200))
	a.readAll()
	a.checkpoint()
	if err := a.Close(0); err != nil {
		t.Fatal(err)
	}
	a.open(t)
	l.number("other", 1)
	a.readAll()
	a.Begin(0)
	for len(l.later) > 0 { // sent alone, it is refused again
		answers := l.later
		l.later = nil
		for _, f := range answers {
			f()
		}
	}
	for a.Flush(0) {
	}
	if !a.Refused(0) {
		t.Fatal("the records of the refused value would be committed")
	}
	l.hold = false
	a.checkpoint()
	a.readAll()
	if !a.checkpoint() || counted(a.e, "weir_writeback_lost_values_total") != 1 {
		t.Errorf("%v values were lost, want 1, and the rest committed", counted(a.e, "weir_writeback_lost_values_total"))
	}
}

// TestSmallestValueRefused: if the broker refuses the new value, too, it is given up, and its partition commits.
func TestSmallestValueRefused(t *testing.T) {
	l := &smallLog{limit: 0}
	a := l.start(t, newDisk())
	l.number("k", 1)
	a.readAll()
	for i := 0; !a.checkpoint(); i++ {
		if i > 5 {
			t.Fatal("the partition never commits")
		}
		a.readAll()
	}
	if e := a.opened[0].live["k"]; !e.mute {
		t.Error("the value would be written again and again")
	}
	if n := counted(a.e, "weir_writeback_lost_values_total"); n != 2 {
		t.Errorf("counted %v, want 2: parked and unwritable", n)
	}
}

// TestParkingIsBounded: however many values are refused, all are parked, some at a time. Rubbish and unknown names have no
// effect.
func TestParkingIsBounded(t *testing.T) {
	c := &changes[counter, none]{}
	key := string(make([]byte, maxKey))
	for range 20 {
		c.refused = append(c.refused, schemas.Parked{Key: key})
	}
	sizes := []int{}
	for {
		ps := c.takeRefused()
		if len(ps) == 0 {
			break
		}
		sizes = append(sizes, len(ps))
	}
	if !slices.Equal(sizes, []int{8, 8, 4}) {
		t.Errorf("parked %v at a time, want 8, 8 and 4", sizes)
	}
	l := &smallLog{limit: 1000}
	a := l.start(t, newDisk())
	l.number("k", 5)
	l.append(&l.input, &kgo.Record{Topic: inTopic, Value: []byte("P\xffrubbish")})
	l.append(&l.input, &kgo.Record{Topic: inTopic, Value: schemas.AppendParking(nil, []schemas.Parked{{Key: "nobody"}, {Key: "k", LostMS: 7}})})
	a.readAll()
	if e := a.opened[0].live["k"]; len(a.opened[0].live) != 1 || e.V.sum != 5 || e.lostMS != 0 {
		t.Errorf("%d values, sum %d, lost at %d", len(a.opened[0].live), e.V.sum, e.lostMS)
	}
}
