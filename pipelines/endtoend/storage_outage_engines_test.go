//go:build engines

package endtoend

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-metrics/weir/pipelines/enginetest"
	"github.com/weir-metrics/weir/processors/store"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/sinks/sinktest"
)

const (
	storageOutage = 10 * time.Minute
	// beforeOutage is how long the store is up first: long enough for the process's memory to settle.
	beforeOutage = 40 * time.Second
	// alertWithin is the longest time from a window's end to the arrival of its alert: the grace of 2 s, a
	// second until the next sample, and an allowance for a loaded machine.
	alertWithin = 8 * time.Second
	// outageBytes is by how much a process's RSS may grow while it cannot write. In ten minutes without an
	// outage, RSS was measured to grow by 25 MB, and the live heap by 1 MB.
	outageBytes = 64 << 20
	// outageLiveBytes is the same for the live heap, which holds at most in_flight records more.
	outageLiveBytes = 8 << 20

	outageHosts, outageMetrics = 60, 8
)

// reading is what a process and Kafka report about the store at one time.
type reading struct {
	at      time.Time
	rss     float64 // resident memory of the process, bytes
	live    float64 // live heap after the last collection, bytes: half of next_gc
	held    float64 // records in flight in store
	lag     float64 // store's lag by its own gauge, records
	backlog float64 // store's lag by Kafka, records
}

// watch takes a reading every second, for the duration d.
func watch(t testing.TB, w *enginetest.Weir, admin *kadm.Client, d time.Duration) (all []reading) {
	t.Helper()
	value := func(name string) float64 {
		v, err := metric(w, name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for end := time.Now().Add(d); time.Now().Before(end); pass(t, time.Second) {
		r := reading{time.Now(), value("process_resident_memory_bytes"), value("go_memstats_next_gc_bytes") / 2,
			value("weir_store_in_flight_records"), value("weir_store_lag_records"), 0}
		lags, err := admin.Lag(t.Context(), store.ConsumerGroup)
		if err == nil {
			err = lags.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		r.backlog = float64(lags[store.ConsumerGroup].Lag.Total())
		all = append(all, r)
	}
	return all
}

// most returns the largest value in the readings.
func most(all []reading, of func(reading) float64) (v float64) {
	for _, r := range all {
		v = max(v, of(r))
	}
	return v
}

// arrivals returns when the pager was first told of each change, by the alert, such as "hot host001", and the
// change's time.
func arrivals(t testing.TB, pager *sinktest.PagerDuty) map[string]map[int64]time.Time {
	t.Helper()
	all := map[string]map[int64]time.Time{}
	events := pager.Events()
	for i, r := range slices.DeleteFunc(pager.Requests(), func(r sinktest.Request) bool { return !r.Taken }) {
		at, err := time.Parse(time.RFC3339Nano, events[i].Payload.Timestamp)
		if err != nil {
			t.Fatal(err)
		}
		alert := events[i].Payload.Class + " " + events[i].Payload.Source
		if all[alert] == nil {
			all[alert] = map[int64]time.Time{}
		}
		if _, told := all[alert][at.UnixMilli()]; !told {
			all[alert][at.UnixMilli()] = r.At
		}
	}
	return all
}

// delays returns, for each change in [from, to), how long after the end of its window the pager was told. A change
// that the pager was not told of is an error.
func delays(t testing.TB, pager *sinktest.PagerDuty, want map[string][]schemas.Transition, from, to time.Time) (all []time.Duration, err error) {
	t.Helper()
	told := arrivals(t, pager)
	for alert, trs := range want {
		for _, tr := range trs {
			at := time.UnixMilli(tr.AtMS)
			if at.Before(from) || !at.Before(to) {
				continue
			}
			arrived, ok := told[alert][tr.AtMS]
			if !ok {
				err = errors.Join(err, fmt.Errorf("nobody was told that %s is %s at %s", alert, tr.To, at.Format(time.TimeOnly)))
				continue
			}
			all = append(all, arrived.Sub(at))
		}
	}
	return all, err
}

// TestStorageOutage kills Cassandra and starts it ten minutes later, under load. All the while alerts come on time,
// weir's memory does not grow, and Kafka holds the rows that cannot be written; afterwards every row is there. test.sh
// runs it in parallel with the other tests, on engines of its own.
func TestStorageOutage(t *testing.T) {
	enginetest.Reset(t, keyspace)
	pager := sinktest.NewPagerDuty(t, pagerKey)
	weir := enginetest.Run(t, "all", fleetConfig(t, pager, ""), "--roles", rolesButAgent)
	weir.Ready(t, time.Minute)
	// Each host is hot for one window of twelve, so that five alerts fire in each window and five resolve.
	load := &live{hosts: outageHosts, metrics: outageMetrics, hot: func(h int, at time.Time) bool {
		return (at.Unix()/10)%12 == int64(h%12)
	}}
	load.begin(t)
	admin, err := kadm.NewOptClient(kgo.SeedBrokers(enginetest.Kafka(t).Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()

	before := watch(t, weir, admin, beforeOutage)
	enginetest.Cassandra(t).Kill(t)
	down := time.Now()
	during := watch(t, weir, admin, storageOutage)
	up := time.Now()
	enginetest.Cassandra(t).Start(t)
	after := watch(t, weir, admin, 5*time.Second)
	endMS := load.stop(t)
	want := transitions(load.samples)
	enginetest.Eventually(t, 30*time.Second, "right notifications", func() error {
		_, err := checkPager(pager, want)
		return err
	})

	slow, err := delays(t, pager, want, down, up.Add(-alertWithin))
	if err != nil {
		t.Error(err)
	}
	windows := int(storageOutage / (10 * time.Second))
	if len(slow) < windows*(outageHosts/12)*9/5 { // each host has 2 changes in its window; allow for 10 % less
		t.Fatalf("%d alerts fired or resolved in %v without the store, want %d", len(slow), storageOutage, windows*outageHosts/6)
	}
	slices.Sort(slow)
	t.Logf("%d alerts fired or resolved without the store, %v after their window at the median, the slowest %v",
		len(slow), slow[len(slow)/2].Round(time.Millisecond), slow[len(slow)-1].Round(time.Millisecond))
	if slowest := slow[len(slow)-1]; slowest > alertWithin {
		t.Errorf("an alert came %v after its window, want at most %v", slowest, alertWithin)
	}

	rss := func(r reading) float64 { return r.rss }
	for i := 0; i < len(during); i += 60 {
		r := during[i]
		t.Logf("%4.0f s without the store: RSS %.0f MB, live heap %.1f MB, %v records in flight, lag %v, backlog in Kafka %v",
			r.at.Sub(down).Seconds(), r.rss/1e6, r.live/1e6, r.held, r.lag, r.backlog)
	}
	was, is := most(before, rss), max(most(during, rss), most(after, rss))
	t.Logf("RSS: at most %.0f MB before, %.0f MB in the first half of the outage, %.0f MB in the second, %.0f MB after",
		was/1e6, most(during[:len(during)/2], rss)/1e6, most(during[len(during)/2:], rss)/1e6, most(after, rss)/1e6)
	if was == 0 || is > was+outageBytes {
		t.Errorf("RSS grew from %.0f to %.0f bytes, more than %d", was, is, outageBytes)
	}
	live := func(r reading) float64 { return r.live }
	if was, is := most(before, live), most(during, live); was == 0 || is > was+outageLiveBytes {
		t.Errorf("the live heap grew from %.0f to %.0f bytes, more than %d", was, is, outageLiveBytes)
	}
	if held := most(during, func(r reading) float64 { return r.held }); held > float64(store.Default().InFlight) {
		t.Errorf("store had %v records in flight, its in_flight is %d", held, store.Default().InFlight)
	}
	last := during[len(during)-1]
	if least := float64(windows * outageHosts * 9 / 10); last.backlog < least {
		t.Errorf("Kafka holds %v records at the end, want at least %v: was store held up at all?", last.backlog, least)
	}
	for i, r := range during[10:] { // by then, what was written before the outage is committed
		// The gauge is 2 s old at most, and twice that on a machine that is busy.
		before := during[10+i-8].backlog
		if r.lag < before || r.lag > r.backlog {
			t.Errorf("%.0f s without the store, its gauge shows a lag of %v records; the lag was between %v and %v", r.at.Sub(down).Seconds(), r.lag, before, r.backlog)
		}
	}
	checkRows(t, load.samples, endMS, 2*time.Minute)
}
