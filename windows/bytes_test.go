package windows

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// attack is a sender that tries to make the state of its group large, in one of many ways.
type attack struct {
	rnd   *rand.Rand
	kind  int
	n     int
	value float64
}

var attackNames = []string{"many series", "long labels", "many labels", "own times", "times within a ms", "late", "ahead", "collapsed", "senders", "everything"}

func (a *attack) batch(nowMS int64) []schemas.Sample {
	kind := a.kind
	if attackNames[kind] == "everything" {
		kind = a.rnd.IntN(len(attackNames) - 1)
	}
	var out []schemas.Sample
	for range 1 + a.rnd.IntN(300) {
		a.n++
		a.value++
		labels := map[string]string{"host": "web01"}
		s := schemas.Sample{TimeMS: nowMS - a.rnd.Int64N(9_000), Value: a.value * 1.1}
		metric := "m"
		switch attackNames[kind] {
		case "many series":
			labels["x"], metric = strconv.Itoa(a.n), "m"+strconv.Itoa(a.n%40)
		case "long labels":
			labels["x"] = strconv.Itoa(a.n) + strings.Repeat("q", a.rnd.IntN(4000))
			metric = "l" + strconv.Itoa(a.n%40)
		case "many labels": // label pairs are shared, so that names are long and the dictionary is short
			for k := range 30 {
				labels["k"+strconv.Itoa(k)] = strings.Repeat("v", 40) + strconv.Itoa(a.rnd.IntN(4))
			}
			metric = "s" + strconv.Itoa(a.n%40)
		case "own times":
			labels["x"] = strconv.Itoa(a.n % 300)
			s.TimeMS = nowMS - a.rnd.Int64N(9_000)
		case "times within a ms":
			labels["x"] = strconv.Itoa(a.n % 30)
			s.SubNS = uint32(a.rnd.IntN(1_000_000))
		case "late":
			labels["x"] = strconv.Itoa(a.n % 500)
			s.TimeMS = nowMS - a.rnd.Int64N(4*3600_000)
			if a.n%2 == 0 {
				s.TimeMS = nowMS - a.rnd.Int64N(30_000)
			}
		case "ahead":
			labels["x"] = strconv.Itoa(a.n % 500)
			s.TimeMS = nowMS + a.rnd.Int64N(3600_000)
		case "collapsed":
			labels["x"], metric = strconv.Itoa(a.n), "one"
		case "senders":
			labels["x"] = strconv.Itoa(a.n % 200)
		}
		s.Series = schemas.Series{Metric: metric, Labels: schemas.NewLabels(labels)}
		out = append(out, s)
	}
	return out
}

// TestStateIsBounded: whatever a sender sends, the encoded state never exceeds max_group_bytes: after each batch,
// when windows close, and when all have closed. A group that was encoded and decoded decides the same as one that
// lives on.
func TestStateIsBounded(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 14))
	for kind, name := range attackNames {
		cfg := Default()
		cfg.MaxGroupBytes = minBytes
		cfg.MaxFuture = cfg.MaxAge // windows far ahead may be open at the same time
		cfg.MaxSeriesPerMetric = []int{2000, 50}[rnd.IntN(2)]
		f, twin := newFeeder(t, cfg), newFeeder(t, cfg)
		a := &attack{rnd: rnd, kind: kind}
		largest, refused, collapsed := 0, 0, 0
		check := func() {
			t.Helper()
			state := f.g.AppendTo(f.sh, nil)
			largest = max(largest, len(state))
			if n := len(state); n > cfg.MaxGroupBytes {
				t.Fatalf("%s: a state of %d bytes, at most %d", name, n, cfg.MaxGroupBytes)
			}
			if n := f.g.bytes(f.sh); len(state) > n {
				t.Fatalf("%s: a state of %d bytes, the bound is %d", name, len(state), n)
			}
		}
		now := testStart
		for i := range 70 {
			now += []int64{10, 500, 5_000, 30_000}[rnd.IntN(4)]
			batch := a.batch(now)
			sender := uint64(0)
			if name == "senders" {
				sender = uint64(rnd.IntN(30))
			}
			f.send(now, sender, batch...)
			twin.send(now, sender, batch...)
			if len(f.last.Refused) != len(twin.last.Refused) || len(f.last.Values) != len(twin.last.Values) || f.last.OverBytes != twin.last.OverBytes {
				t.Fatalf("%s: a decoded group refuses %d samples, one that lives on %d", name, len(twin.last.Refused), len(f.last.Refused))
			}
			for _, x := range f.last.Refused {
				if x.Reason == BytesLimit {
					refused++
				}
			}
			collapsed += f.last.OverBytes
			check()
			if i%5 == 0 {
				twin.restart()
			}
			if i%20 == 19 {
				now += 15_000
				f.advance(now)
				twin.advance(now)
				check()
			}
		}
		f.windows()
		check()
		t.Logf("%s: at most %d bytes, %d samples refused and %d collapsed for them, %d series", name, largest, refused, collapsed, f.g.Series())
		if largest < 6_000 {
			t.Errorf("%s: at most %d bytes: the attack is too weak", name, largest)
		}
	}
}

// TestHostAtItsLimits: max_group_bytes has room for a host that sends as many series as it may, once a second.
func TestHostAtItsLimits(t *testing.T) {
	f := newFeeder(t, Default())
	var all []schemas.Sample
	for i := range f.cfg.MaxSeries {
		all = append(all, schemas.Sample{Series: schemas.Series{Metric: "system.metric_" + strconv.Itoa(i%100), Labels: schemas.NewLabels(map[string]string{
			"host": "web-00001", "region": "eu-west-1", "env": "prod", "service": "shop", "instance_of_the_thing": strconv.Itoa(i)})}})
	}
	for i := range int64(90) {
		for k := range all {
			all[k].TimeMS, all[k].Value = testStart+i*1000, float64(i)*1.1+float64(k)
		}
		if f.send(testStart+i*1000+100, 0, all...); f.last.Applied != len(all) || f.last.OverBytes > 0 {
			t.Fatalf("after %d s: %d samples counted, %d refused, %d collapsed", i, f.last.Applied, len(f.last.Refused), f.last.OverBytes)
		}
	}
	t.Logf("the state takes %d bytes, at most %d of %d", len(f.g.AppendTo(f.sh, nil)), f.g.bytes(f.sh), f.cfg.MaxGroupBytes)
}
