//go:build engines

package endtoend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

// The load of TestKills: 20 hosts with 5 metrics each and a sample every 2 s, over 70 minutes of
// event time that begin hours ago. It is sent within loadTime.
const (
	killHosts    = 20
	killEveryMS  = 2_000
	killLengthMS = 70 * 60_000
	killStepMS   = 10_000 // event time of the samples in one record
	killSenders  = 4
	loadTime     = 100 * time.Second

	kafkaRound, cassandraRound = 5, 9 // the rounds that kill an engine, too
)

// killLoad makes the samples of each host, in order. Each host is hot for a while, some of them
// several times, and busy twice: once too briefly for an alert, once long enough.
func killLoad(rnd *rand.Rand, startMS int64) [][]schemas.Sample {
	type span struct{ from, to int64 }
	in := func(spans []span, at int64) bool {
		for _, s := range spans {
			if at >= s.from && at < s.to {
				return true
			}
		}
		return false
	}
	byHost := make([][]schemas.Sample, killHosts)
	for h := range killHosts {
		var hot []span
		at := int64(2+rnd.IntN(60)) * 60_000
		for range 1 + h%3 {
			at = min(at, killLengthMS-4*60_000)
			hot = append(hot, span{at, at + int64(10+rnd.IntN(100))*1000})
			at += int64(4+rnd.IntN(20)) * 60_000
		}
		short := int64(rnd.IntN(20)) * 60_000
		long := short + int64(5+rnd.IntN(30))*60_000
		busy := []span{{short, short + 90_000}, {long, long + int64(200+rnd.IntN(400))*1000}}
		for at := int64(0); at < killLengthMS; at += killEveryMS {
			load, work := 20+20*rnd.Float64(), 10+20*rnd.Float64()
			if in(hot, at) {
				load += 65
			}
			if in(busy, at) {
				work += 60
			}
			add := func(metric string, v float64) {
				byHost[h] = append(byHost[h], schemas.Sample{Series: fleetSeries(metric, h), TimeMS: startMS + at, Value: v})
			}
			add("load", load)
			add("work", work)
			add("requests", float64(rnd.IntN(1000)))
			add("latency", rnd.ExpFloat64())
			add("free", 1e9*rnd.Float64())
		}
	}
	return byHost
}

// sendKillLoad sends the samples of every killSenders-th host, step by step. It waits for the
// acknowledgement of each step.
func sendKillLoad(ctx context.Context, p *collect.Publisher, byHost [][]schemas.Sample, sender int) error {
	rest := make([][]schemas.Sample, 0, killHosts)
	for h := sender; h < killHosts; h += killSenders {
		rest = append(rest, byHost[h])
	}
	tick := time.NewTicker(loadTime * killStepMS / killLengthMS)
	defer tick.Stop()
	for len(rest[0]) > 0 {
		var step []schemas.Sample
		for i, s := range rest {
			n := 0
			for n < len(s) && s[n].TimeMS/killStepMS == s[0].TimeMS/killStepMS {
				n++
			}
			step = append(step, s[:n]...)
			rest[i] = s[n:]
		}
		if err := publish(ctx, p, step); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// killer kills processes and counts the kills.
type killer struct {
	weirs            []*enginetest.Weir
	pager            *sinktest.PagerDuty
	rnd              *rand.Rand
	kills, notifying int
}

// any kills a random process, and restarts it at once or after a while.
func (k *killer) any(t testing.TB) {
	t.Helper()
	w := k.weirs[k.rnd.IntN(len(k.weirs))]
	w.Kill(t)
	k.kills++
	if k.rnd.IntN(2) == 0 {
		pass(t, time.Duration(k.rnd.IntN(2000))*time.Millisecond)
	}
	w.Start(t)
}

// whoNotifies makes the pager take an event without answering, and kills the process that waits for
// the answer: it has sent the event, but not entered that in its ledger. It kills every other process with
// pending notifications as well. If no event comes for a while, it does nothing.
func (k *killer) whoNotifies(t testing.TB) {
	t.Helper()
	hung := func() (n int) {
		for _, r := range k.pager.Requests() {
			if r.Taken && r.Status == 0 {
				n++
			}
		}
		return n
	}
	before := hung()
	k.pager.Script(sinktest.Fault{Do: sinktest.Hang})
	for deadline := time.Now().Add(10 * time.Second); hung() == before; {
		if time.Now().After(deadline) {
			return
		}
		pass(t, 20*time.Millisecond)
	}
	for _, w := range k.weirs {
		if n, err := metric(w, "weir_notify_pending"); err == nil && n > 0 {
			w.Kill(t)
			k.kills++
			k.notifying++
			w.Start(t)
		}
	}
}

// TestKills sends 210,000 samples through three processes that are killed all the time, sometimes
// between a call to the pager and its entry in the ledger. Kafka and Cassandra are killed once each.
// Every row of every tier, every transition of every alert and every event for PagerDuty is what a
// recompute of the samples gives.
func TestKills(t *testing.T) {
	enginetest.Reset(t, keyspace)
	rnd := newSeed(t)
	pager := sinktest.NewPagerDuty(t, pagerKey)
	config := fleetConfig(t, pager, "")
	k := &killer{pager: pager, rnd: rnd}
	for i := range 3 {
		k.weirs = append(k.weirs, enginetest.Run(t, fmt.Sprint(i), config, "--roles", rolesButAgent))
	}
	for _, w := range k.weirs {
		w.Ready(t, time.Minute)
	}

	const hourMS = 3_600_000
	now := time.Now().UnixMilli()
	startMS := now - now%hourMS - 4*hourMS
	endMS := startMS + 2*hourMS // end of the last 1h window that is compared
	byHost := killLoad(rnd, startMS)
	var all []schemas.Sample
	for _, s := range byHost {
		all = append(all, s...)
	}
	want := transitions(all)
	if len(want) != 2*killHosts {
		t.Fatalf("%d alerts in the load, want %d", len(want), 2*killHosts)
	}

	began := time.Now()
	sent := make(chan error, killSenders)
	for i := range killSenders {
		p := publisher(t)
		go func() { sent <- sendKillLoad(t.Context(), p, byHost, i) }()
	}
	round := 0
	for sending := killSenders; sending > 0; {
		select {
		case err := <-sent:
			if err != nil {
				t.Fatal(err)
			}
			sending--
		case <-time.After(2*time.Second + time.Duration(rnd.IntN(3000))*time.Millisecond):
			round++
			switch {
			case round == kafkaRound:
				enginetest.Kafka(t).Kill(t)
				k.any(t)
				enginetest.Kafka(t).Start(t)
			case round == cassandraRound:
				enginetest.Cassandra(t).Kill(t)
				k.any(t)
				enginetest.Cassandra(t).Start(t)
			case round%3 == 0:
				k.whoNotifies(t)
			default:
				k.any(t)
			}
		}
	}
	t.Logf("%d samples in %v; %d processes killed, %d of them while notifying",
		len(all), time.Since(began).Round(time.Second), k.kills, k.notifying)
	if err := closeFleet(t.Context(), publisher(t), killHosts, now); err != nil {
		t.Fatal(err)
	}
	for _, w := range k.weirs {
		w.Ready(t, time.Minute)
	}
	t.Logf("ready after %v", time.Since(began).Round(time.Second))

	twice := 0
	enginetest.Eventually(t, time.Minute, "right notifications", func() (err error) {
		twice, err = checkPager(pager, want)
		return err
	})
	opened := 0
	for _, a := range pager.Alerts() {
		opened += a.Opened
	}
	t.Logf("PagerDuty opened %d alerts with %d dedup_keys, as wanted, after %v; %d events were repeated",
		opened, len(pager.Alerts()), time.Since(began).Round(time.Second), twice)
	if err := checkAlerts(t, want); err != nil {
		t.Error(err)
	}
	checkRows(t, all, endMS, time.Minute)
	t.Logf("all compared after %v", time.Since(began).Round(time.Second))
	if round < cassandraRound || k.kills < 10 || k.notifying < 1 {
		t.Errorf("%d rounds, %d kills, %d while notifying: too few to prove anything", round, k.kills, k.notifying)
	}
}
