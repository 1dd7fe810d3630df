package sinks

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/cql"
)

func TestIndexLabelIsTheOneThatFewShare(t *testing.T) {
	for _, c := range []struct {
		match map[string]string
		want  string
	}{
		{map[string]string{"env": "prod", "host": "web01", "a": "b"}, "host"},
		{map[string]string{"instance": "i", "host": "web01"}, "instance"},
		{map[string]string{"env": "prod", "dc": "x"}, "dc"},
		{map[string]string{"host": "", "env": "prod"}, "env"},
		{map[string]string{"host": ""}, ""},
		{nil, ""},
	} {
		l, ok := IndexLabel(c.match)
		if l.Name != c.want || l.Value != c.match[c.want] || ok != (c.want != "") {
			t.Errorf("%v: %+v, %v, want %q", c.match, l, ok, c.want)
		}
	}
}

// The intake remembers a bounded number of series, however many there are, and beyond the bound there is no cliff: with twice as
// many series, half are written to the index again, not all.
func TestIndexedIsBoundedWithoutACliff(t *testing.T) {
	const limit = 1000
	for times, want := range map[int]float64{1: 0, 2: 0.5, 4: 0.75} {
		x := newIndexed(time.Hour)
		x.limit = limit
		told, windows := 0, 10
		for round := range windows {
			for i := range times * limit {
				key := schemas.ID{Hi: uint64(i), Lo: 7}
				if nowMS := int64(round+1) * 10_000; x.isDue(key, nowMS) {
					told++
					x.add("source", key, nowMS)
				}
			}
			if len(x.due) > limit {
				t.Fatalf("%d series remembered, want at most %d", len(x.due), limit)
			}
		}
		again := float64(told-times*limit) / float64((windows-1)*times*limit)
		t.Logf("%dx: %.2f of the series are written again with each window", times, again)
		if again > want {
			t.Errorf("%dx: %.2f of the series are written again with each window, want at most %.2f", times, again, want)
		}
	}
}

// TestIndexedMakesRoom: series that are due give way to new ones.
func TestIndexedMakesRoom(t *testing.T) {
	x := newIndexed(time.Hour)
	x.limit = 10
	for i := range uint64(10) {
		x.add("source", schemas.ID{Hi: i}, 1000)
	}
	const later = 2 * 3_600_000
	x.add("source", schemas.ID{Hi: 77}, later)
	if x.isDue(schemas.ID{Hi: 77}, later) || len(x.due) != 1 {
		t.Errorf("%d remembered", len(x.due))
	}
}

// TestSeriesAreKnownByWhatTheyAre: series with equal 64-bit hashes have different keys.
func TestSeriesAreKnownByWhatTheyAre(t *testing.T) {
	a, b := schemas.Series{Metric: "a"}, schemas.Series{Metric: "b"}
	keys := map[schemas.ID]bool{}
	for _, source := range []string{"a", "b"} {
		for _, s := range []schemas.Series{a, b} {
			keys[seriesKey(sourceKey(source), s)] = true
		}
	}
	if len(keys) != 4 {
		t.Errorf("%d keys for 4 series of sources", len(keys))
	}
}

func TestIndexedIsDueAgainWithinTheRenewal(t *testing.T) {
	x := newIndexed(time.Hour)
	const hour = 3_600_000
	moments := map[int64]bool{}
	for i := range uint64(100) {
		key := schemas.ID{Lo: i}
		x.add(fmt.Sprint("source", i), key, 1000)
		at := int64(1000)
		for ; !x.isDue(key, at); at += hour / 60 {
		}
		if at < 1000+hour/2-hour/60 || at > 1000+hour+hour/60 {
			t.Errorf("due after %d ms, want between half an hour and an hour", at-1000)
		}
		moments[at] = true
	}
	if len(moments) < 10 {
		t.Errorf("100 sources are due at only %d times, want them spread", len(moments))
	}
}

// A record with thousands of bad windows gives one error of bounded length.
func TestRefusalIsShort(t *testing.T) {
	in, err := NewIntake([]cql.Tier{{SizeMS: 10_000, TTL: time.Hour}}, time.Hour, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	b := &schemas.WindowBatch{Group: strings.Repeat("g", 50_000)}
	for range 5000 {
		b.Windows = append(b.Windows, schemas.Window{Series: schemas.Series{Metric: strings.Repeat("m", 5000)}, TierMS: 10_000, StartMS: 1_000_000_000})
	}
	rows, fresh, err := in.Sort(b, 1_000_000_000)
	if len(rows) != 0 || len(fresh) != 0 || !errors.Is(err, ErrRefused) || !errors.Is(err, schemas.ErrTooLong) || len(err.Error()) > 1000 {
		t.Errorf("%d rows, %d series, an error of %d bytes: %.300v", len(rows), len(fresh), len(fmt.Sprint(err)), err)
	}
	if !strings.Contains(err.Error(), "5000 windows") {
		t.Errorf("%.300v: does not tell how many", err)
	}
}

func TestNewIntakeChecks(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := NewIntake([]cql.Tier{{SizeMS: 10_000}}, time.Hour, reg); err == nil {
		t.Error("a tier without ttl: no error")
	}
	ok := []cql.Tier{{SizeMS: 10_000, TTL: time.Hour}}
	if _, err := NewIntake(ok, time.Hour, reg); err != nil {
		t.Fatal(err)
	}
	if _, err := NewIntake(ok, time.Hour, reg); err == nil {
		t.Error("a second intake on one registry: no error")
	}
}
