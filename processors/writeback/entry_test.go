package writeback

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/schemas"
)

// drivenCounter is an engine whose broker acknowledges nothing.
func drivenCounter(t *testing.T) (*Engine[counter, none], *Partition[counter, none], *[]*kgo.Record) {
	t.Helper()
	sent := &[]*kgo.Record{}
	d := Drive(Options{ConsumerGroup: group, Input: inTopic, Table: group + "-table", Registry: prometheus.NewRegistry(),
		Counts: map[string]int32{inTopic: 1, outTopic: 1, group + "-table": 1, "dead": 1},
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil))}, &counting{stalls: nil}, Host{Table: onDisk(newDisk()),
		Produce: func(r *kgo.Record, _ func(*kgo.Record, error)) { *sent = append(*sent, r) }}).(*driven[counter, none])
	if _, err := d.Open(0); err != nil {
		t.Fatal(err)
	}
	if err := d.Recovered(0); err != nil {
		t.Fatal(err)
	}
	return d.e, d.opened[0], sent
}

// TestStoredForm: the stored form contains unacknowledged records, except dead letters, and tombstones stay tombstones.
// Version 1, which has no headers, can still be read.
func TestStoredForm(t *testing.T) {
	_, p, sent := drivenCounter(t)
	e := p.entry("k")
	e.offset = 7
	e.V.n, e.V.sum = 3, 5
	e.Emit(p, outTopic, []byte("k"), []byte("v"))
	e.Emit(p, outTopic, []byte("k"), nil)
	e.Deadletter(p, &kgo.Record{Topic: "dead", Key: []byte("k"), Value: []byte("bad"), Headers: []kgo.RecordHeader{{Key: "why", Value: []byte("too bad")}}})
	before := *sent
	*sent = nil
	back, err := decodeEntry(p, "k", e.encode(p, nil))
	if err != nil {
		t.Fatal(err)
	}
	if back.offset != 7 || *back.V != *e.V {
		t.Errorf("offset %d, value %+v", back.offset, back.V)
	}
	for _, m := range back.pending {
		p.send(m)
	}
	before = slices.DeleteFunc(before, func(r *kgo.Record) bool { return r.Topic == "dead" }) // not part of the stored form
	for i, r := range *sent {
		if w := before[i]; r.Topic != w.Topic || string(r.Key) != string(w.Key) || string(r.Value) != string(w.Value) ||
			(r.Value == nil) != (w.Value == nil) || !reflect.DeepEqual(r.Headers, w.Headers) {
			t.Errorf("sent again: %+v, want %+v", r, w)
		}
	}
	if len(*sent) != 2 {
		t.Errorf("%d records sent again, want 2", len(*sent))
	}

	v1, _ := hex.DecodeString("010e01" + "036f7574" + "016b" + "0176" + "0000000000000003" + "0000000000000005" + "0000000000000000")
	if back, err = decodeEntry(p, "k", v1); err != nil || back.offset != 7 || len(back.pending) != 1 || string(back.pending[0].value) != "v" || back.V.n != 3 {
		t.Errorf("version 1: %+v, %v", back, err)
	}
	for n := range v1 {
		if _, err := decodeEntry(p, "k", v1[:n]); !errors.Is(err, schemas.ErrCorrupt) && !errors.Is(err, schemas.ErrVersion) {
			t.Errorf("%d bytes of %d: %v", n, len(v1), err)
		}
	}
}

// TestNothingOvertakesWhatFailed: after the first failed produce, nothing more is sent.
func TestNothingOvertakesWhatFailed(t *testing.T) {
	var dones []func(*kgo.Record, error)
	p := newProducer(&Options{Counts: map[string]int32{outTopic: 1}}, func(error) {})
	p.out = func(_ context.Context, _ *kgo.Record, done func(*kgo.Record, error)) { dones = append(dones, done) }
	var errs []error
	produce := func() {
		p.produce(&kgo.Record{Topic: outTopic, Key: []byte("k")}, func(err error) { errs = append(errs, err) })
	}
	produce()
	timeout := errors.New("timed out")
	dones[0](nil, timeout)
	produce()
	if len(dones) != 1 || len(errs) != 2 || !errors.Is(errs[1], timeout) {
		t.Errorf("%d records sent, told %v", len(dones), errs)
	}
}
