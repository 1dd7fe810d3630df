package writeback

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// mortal is counting that drops a key whose last record was 0.
type mortal struct{ counting }

func (*mortal) Gone(v *counter) bool { return v.n > 0 && v.lostMS == -1 }

func (m *mortal) Apply(p *Partition[counter, none], e *Entry[counter, none], r Record) {
	e.V.n++
	if e.V.lostMS = 0; binary.BigEndian.Uint64(r.Value) == 0 {
		e.V.lostMS = -1
	}
}

// table is a changelog in memory: the newest record of each key, as compaction leaves it.
type table struct {
	end     int64
	records map[string]*kgo.Record
}

func (l *table) add(r *kgo.Record) {
	r.Offset = l.end
	l.end++
	l.records[string(r.Key)] = r
}

// mortalPart opens partition 0 from the table, and acknowledges everything that is written.
func mortalPart(t *testing.T, l *table) (*driven[counter, none], *Partition[counter, none]) {
	t.Helper()
	d := Drive(Options{ConsumerGroup: group, Input: inTopic, Table: group + "-table", Registry: prometheus.NewRegistry(),
		Counts: map[string]int32{inTopic: 1, outTopic: 1, group + "-table": 1, "dead": 1},
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil))}, &mortal{}, Host{Table: onDisk(newDisk()),
		Produce: func(r *kgo.Record, done func(*kgo.Record, error)) {
			if r.Topic == group+"-table" {
				l.add(r)
			}
			done(r, nil)
		}}).(*driven[counter, none])
	if _, err := d.Open(0); err != nil {
		t.Fatal(err)
	}
	for off := range l.end {
		for _, r := range l.records {
			if r.Offset == off {
				if err := d.Load(0, r); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := d.Recovered(0); err != nil {
		t.Fatal(err)
	}
	d.Joined()
	return d, d.opened[0]
}

// feed processes a record of the key, and then makes a checkpoint.
func feed(d *driven[counter, none], key string, n uint64, offset int64) {
	d.Record(0, &kgo.Record{Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, n), Offset: offset})
	checkpointOf(d)
}

func checkpointOf(d *driven[counter, none]) {
	at := d.Begin(0)
	for d.Flush(0) {
	}
	d.Marked(0, at)
}

// TestLateValueOfGoneKey: a value that a former owner writes late, when its key has been dropped, does not come back, whether
// the owner has another record in the table or not. The key starts again after its offset.
func TestLateValueOfGoneKey(t *testing.T) {
	l := &table{records: map[string]*kgo.Record{}}
	former, late := mortalPart(t, l)
	feed(former, "other", 1, 1)
	former.Record(0, &kgo.Record{Key: []byte("k"), Value: binary.BigEndian.AppendUint64(nil, 5), Offset: 10})
	ghost := &kgo.Record{Topic: group + "-table", Key: tableKey("k", late.writer), Value: late.live["k"].encode(late, nil)}

	d, p := mortalPart(t, l) // the new owner, which reads the record again
	feed(d, "k", 5, 10)
	feed(d, "k", 0, 11)
	checkpointOf(d) // its offset is committed, so the key is dropped
	if p.live["k"] != nil || p.gone["k"] == nil {
		t.Fatalf("k is live: %v, gone: %v", p.live["k"], p.gone["k"])
	}
	for _, from := range []string{"the former owner", "nobody"} {
		if l.add(ghost); from == "nobody" {
			delete(l.records, string(ghost.Key))
		}
		d, p = mortalPart(t, l)
		if p.live["k"] != nil || p.gone["k"] == nil || p.gone["k"].offset != 11 {
			t.Fatalf("with a late record of %s, k is live: %v, gone: %v", from, p.live["k"], p.gone["k"])
		}
		checkpointOf(d)
		if l.records[string(ghost.Key)] != nil && l.records[string(ghost.Key)].Value != nil {
			t.Errorf("with a late record of %s: it is still in the table", from)
		}
	}
	feed(d, "k", 7, 11) // read again: a replay
	if p.live["k"] != nil && p.live["k"].V.n != 0 {
		t.Errorf("a record was applied again: %+v", p.live["k"].V)
	}
	feed(d, "k", 7, 12)
	if e := p.live["k"]; e == nil || e.V.n != 1 || p.gone["k"] != nil {
		t.Errorf("k did not start again: %+v", e)
	}
	_, p = mortalPart(t, l)
	if e := p.live["k"]; e == nil || e.V.n != 1 || e.offset != 12 {
		t.Errorf("recovered as %+v", e)
	}
}

// TestGoneIsBounded: the table keeps the last maxGone dropped keys, also across restarts, and deletes earlier ones.
func TestGoneIsBounded(t *testing.T) {
	l := &table{records: map[string]*kgo.Record{}}
	d, p := mortalPart(t, l)
	const keys = maxGone + 500
	for i := range keys {
		d.Record(0, &kgo.Record{Key: fmt.Append(nil, "k", i), Value: binary.BigEndian.AppendUint64(nil, 0), Offset: int64(i)})
	}
	checkpointOf(d)
	checkpointOf(d)
	check := func(p *Partition[counter, none]) {
		t.Helper()
		stand := 0
		for _, r := range l.records {
			if r.Value != nil {
				stand++
			}
		}
		if len(p.live) != 0 || len(p.gone) != maxGone || stand != maxGone || len(p.goneOrder) > 2*maxGone {
			t.Errorf("%d live, %d gone, %d in the table, %d in order", len(p.live), len(p.gone), stand, len(p.goneOrder))
		}
	}
	check(p)
	_, p = mortalPart(t, l)
	check(p)
	d, p = mortalPart(t, l)
	for i := range int64(10) {
		feed(d, fmt.Sprint("later", i), 0, keys+i)
	}
	checkpointOf(d)
	check(p)
	for i := range keys {
		if got, want := p.gone[fmt.Sprint("k", i)] != nil, i >= 510; got != want {
			t.Fatalf("k%d is there: %v, want %v: the last ones must stay, whatever their names", i, got, want)
		}
	}
}

// TestGoneForm: only a complete record counts as that of a dropped key.
func TestGoneForm(t *testing.T) {
	good := binary.AppendVarint([]byte{goneVersion}, 300)
	if !isGone(good) || storedOffset(good) != 300 || !knownVersion(good) {
		t.Errorf("%x is not recognized", good)
	}
	for _, b := range [][]byte{nil, {goneVersion}, good[:2], append(good[:3:3], 0), binary.AppendVarint([]byte{goneVersion}, -1), {goneVersion + 1, 2}} {
		if isGone(b) || knownVersion(b) {
			t.Errorf("%x is accepted", b)
		}
	}
}
