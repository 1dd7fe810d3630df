package simulation

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas/topics"
)

// This file is about records that do not decode, aborted transactions, and local stores that break.

// rubbish lists values that no input accepts, by the number in the op rubbish.
var rubbish = [][]byte{nil, {}, []byte("\xffrubbish"), {1}, {2, 0}, []byte("{"), []byte("{}"), []byte("null"), {'H'}, []byte("H\xff\xff"), {'P'}, []byte("P\x01\xff\xff")}

// spoil appends a value that does not decode to an input, under the key of the record at
// offset a[3]. If there is no such record, it uses no key, as ticks have none.
func (w *World) spoil(a [5]int) bool {
	if !in(a[0], int(roles)) || !in(a[1], len(w.groups[a[0]].owner)) || !in(a[2], len(rubbish)) {
		return false
	}
	input := w.groups[a[0]].input
	r := &kgo.Record{Topic: input.name, Partition: int32(a[1]), Value: rubbish[a[2]], Timestamp: time.UnixMilli(w.now)}
	if log := input.parts[a[1]]; in(a[3], len(log)) {
		r.Key = log[a[3]].Key
	}
	w.spoilt[recordName(input.name, r.Partition, int64(len(input.parts[a[1]])))] = true
	input.append(r)
	w.stats.Rubbish++
	return true
}

func recordName(topic string, p int32, offset int64) string {
	return fmt.Sprint(topic, "/", p, "/", offset)
}

// isSpoilt reports whether a record was written not to decode.
func (w *World) isSpoilt(r *kgo.Record) bool {
	return w.spoilt[recordName(r.Topic, r.Partition, r.Offset)]
}

// checkSpoilt checks that deadletter holds the records that do not decode, and calls no other
// record undecodable.
func (w *World) checkSpoilt(want []*kgo.Record) {
	type name struct{ reason, topic, partition, offset string }
	named := func(rs []*kgo.Record) map[name]bool {
		out := map[name]bool{}
		for _, r := range rs {
			if reason := headerOf(r, "weir.reason"); undecodable[reason] {
				n := name{reason, headerOf(r, "weir.topic"), headerOf(r, "weir.partition"), headerOf(r, "weir.offset")}
				if out[n] = true; !w.spoilt[n.topic+"/"+n.partition+"/"+n.offset] {
					w.violate("deadletter: %+v: the record decodes", n)
				}
			}
		}
		return out
	}
	var all []*kgo.Record
	for _, log := range w.topics[topics.DeadLetter].parts {
		all = append(all, log...)
	}
	got, wanted := named(all), named(want)
	for n := range wanted {
		if !got[n] {
			w.violate("deadletter: %+v is missing", n)
		}
	}
	for n := range got {
		if !wanted[n] {
			w.violate("deadletter: %+v: without faults it is not refused", n)
		}
	}
}

// undecodable holds the reasons of letters that quote a whole record unchanged.
var undecodable = map[string]bool{"undecodable": true, "wrong_key": true, "no_tick": true}

// transact appends an aborted transaction to a partition of metrics: a record with samples of a
// host, and the end marker. If there is no such host, it appends only the marker.
func (w *World) transact(h, p int) bool {
	if !in(p, len(w.metrics)) {
		return false
	}
	if in(h, len(w.hosts)) {
		host := w.hosts[h]
		sent, last := w.stats.Sent, host.last
		host.send(p, 0, 1)
		w.metrics[p][len(w.metrics[p])-1].aborted = true
		w.stats.Sent, host.last = sent, last // an aborted record does not count as sent, and is not sent again
		w.stats.Aborted++
	}
	w.metrics[p] = append(w.metrics[p], metricsRecord{})
	return true
}

// breakStore breaks the local stores of a machine. A process that has one open fails when it
// next uses it; a process that opens one finds it empty.
func (w *World) breakStore(machine int) bool {
	for _, m := range w.machines[machine].members {
		m.local.Break()
	}
	w.stats.Broken++
	return true
}

// failed restarts the processes of a machine if one of them has failed.
func (w *World) failed(machine int) bool {
	for _, m := range w.machines[machine].members {
		if m.proc.Failed() != nil {
			return w.kill(machine, 0, 0, 0)
		}
	}
	return false
}

func isBroken(err error) bool { return errors.Is(err, writeback.ErrBroken) }
