package simulation

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/processors/writeback"
	"github.com/weir-metrics/weir/schemas/topics"
)

// This file is about what does not decode, aborted transactions, and stores that break.

// rubbish are values that no input takes, by the number in the op rubbish.
var rubbish = [][]byte{nil, {}, []byte("\xffrubbish"), {1}, {2, 0}, []byte("{"), []byte("{}"), []byte("null"), {'H'}, []byte("H\xff\xff"), {'P'}, []byte("P\x01\xff\xff")}

// spoil appends to an input a value that does not decode, under the key of one of its
// records or, if a[4] is none of them, without one: a tick that is none.
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

// isSpoilt reports whether the op rubbish wrote a record.
func (w *World) isSpoilt(r *kgo.Record) bool {
	return w.spoilt[recordName(r.Topic, r.Partition, r.Offset)]
}

// checkSpoilt: what does not decode is in deadletter, and nothing else is reported as such.
func (w *World) checkSpoilt(want []*kgo.Record) {
	type name struct{ reason, topic, partition, offset string }
	named := func(rs []*kgo.Record) map[name]bool {
		out := map[name]bool{}
		for _, r := range rs {
			if reason := headerOf(r, "weir.reason"); undecodable[reason] {
				n := name{reason, headerOf(r, "weir.topic"), headerOf(r, "weir.partition"), headerOf(r, "weir.offset")}
				if out[n] = true; !w.spoilt[n.topic+"/"+n.partition+"/"+n.offset] {
					w.violate("deadletter: %+v was no rubbish", n)
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
			w.violate("deadletter: %+v is not there", n)
		}
	}
	for n := range got {
		if !wanted[n] {
			w.violate("deadletter: %+v was not refused without faults", n)
		}
	}
}

// undecodable are the reasons of letters that quote a record as it is.
var undecodable = map[string]bool{"undecodable": true, "wrong_key": true, "no_tick": true}

// transact appends to a partition of metrics a record of a transaction that was aborted,
// with samples, and the marker of its end; or, without a host, the marker alone.
func (w *World) transact(h, p int) bool {
	if !in(p, len(w.metrics)) {
		return false
	}
	if in(h, len(w.hosts)) {
		host := w.hosts[h]
		sent, last := w.stats.Sent, host.last
		host.send(p, 0, 1)
		w.metrics[p][len(w.metrics[p])-1].aborted = true
		w.stats.Sent, host.last = sent, last // nobody sends again what was not sent
		w.stats.Aborted++
	}
	w.metrics[p] = append(w.metrics[p], metricsRecord{})
	return true
}

// breakStore breaks the local stores of a machine. Who has one open fails when it is used
// next; who opens it finds it empty.
func (w *World) breakStore(machine int) bool {
	for _, m := range w.machines[machine].members {
		m.local.Break()
	}
	w.stats.Broken++
	return true
}

// failed starts the processes of a machine again if one of them has failed.
func (w *World) failed(machine int) bool {
	for _, m := range w.machines[machine].members {
		if m.proc.Failed() != nil {
			return w.kill(machine, 0, 0, 0)
		}
	}
	return false
}

func isBroken(err error) bool { return errors.Is(err, writeback.ErrBroken) }
