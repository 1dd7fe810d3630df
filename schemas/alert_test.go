package schemas

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
)

func goldenCondition() *Condition {
	return &Condition{Rule: "hosts/high_cpu", Fingerprint: "00c0ffee00c0ffee", Group: "web01", Labels: map[string]string{"alertname": "high_cpu", "host": "web01"},
		Annotations: map[string]string{"summary": "CPU at 91 % on <web01>"}, EndMS: 1_700_000_010_000, Revision: 2, True: true, Reason: "false",
		Value: 91.25, ForMS: 300_000, KeepMS: 60_000, TierMS: 10_000}
}

func goldenAlert() *Alert {
	fired := Transition{From: Pending, To: Firing, AtMS: 1_700_000_310_000, Reason: "for 5m"}
	resolved := Transition{From: Firing, To: Resolved, AtMS: 1_700_000_410_000, Reason: "recovered"}
	return &Alert{Fingerprint: "00c0ffee00c0ffee", Rule: "hosts/high_cpu", Group: "web01", Labels: map[string]string{"alertname": "high_cpu", "host": "web01"},
		Annotations: map[string]string{"summary": "é"}, State: Resolved, ActiveMS: 1_700_000_010_000, FiredMS: fired.AtMS, ResolvedMS: resolved.AtMS,
		LastMS: resolved.AtMS, LastTrueMS: fired.AtMS, LastRev: 1, Value: -0.5, ForMS: 300_000, KeepMS: 1, TierMS: 10_000, Last: resolved, History: []Transition{fired, resolved}}
}

func goldenDelivery() *Delivery {
	return &Delivery{Receiver: "pager", Fingerprint: "00c0ffee00c0ffee", To: Firing, AtMS: 1_700_000_310_000, Status: DeliverySubmitted,
		Attempts: []Attempt{{1_700_000_311_000, "503 Service Unavailable"}, {1_700_000_312_000, "202 accepted"}}, Alert: goldenAlert()}
}

func testDoc[T doc](t *testing.T, name string, want *T) {
	t.Run(name, func(t *testing.T) {
		now := EncodeDoc(want)
		data := golden(t, name, now)
		got, err := DecodeDoc[T](data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("the golden bytes mean %+v, %v", got, err)
		}
		if !bytes.Equal(data, now) {
			t.Errorf("today's bytes differ from the golden ones:\n%s\n%s", now, data)
		}
		if _, err := DecodeDoc[T](append([]byte{2}, data[1:]...)); !errors.Is(err, ErrVersion) {
			t.Errorf("version 2: %v", err)
		}
		for i := range data {
			if _, err := DecodeDoc[T](data[:i]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("the first %d bytes: %v", i, err)
			}
		}
	})
}

func TestDocsGolden(t *testing.T) {
	testDoc(t, "condition_v1.golden", goldenCondition())
	testDoc(t, "alert_v1.golden", goldenAlert())
	testDoc(t, "delivery_v1.golden", goldenDelivery())
	testDoc(t, "generations_v1.golden", &Generations{Version: 2, List: []Generation{
		{Shards: 8, FromMS: math.MinInt64, State: Draining}, {Gen: 1, Shards: 16, FromMS: 1_700_000_400_000, State: Active}}})
	testDoc(t, "shard_report_v1.golden", &ShardReport{Gen: 1, Shard: 3, Owner: "weir-1", AtMS: 1_700_000_500_000, Groups: 2, Open: 1, Series: 100, PerSecond: 20.5})
}

// TestDocsOfLaterVersionsOfWeir: documents of later versions may have more fields.
func TestDocsOfLaterVersionsOfWeir(t *testing.T) {
	c, err := DecodeDoc[Condition]([]byte("\x01" + `{"rule":"r","new_field":[1,2],"true":true}`))
	if err != nil || c.Rule != "r" || !c.True {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestKeys(t *testing.T) {
	if got := goldenDelivery().Key(); got != "pager/00c0ffee00c0ffee/firing/1700000310000" {
		t.Errorf("Key is %s", got)
	}
	if got := goldenAlert().DedupKey(); got != "weir/00c0ffee00c0ffee" {
		t.Errorf("DedupKey is %s", got)
	}
}

// FuzzDecodeDoc: no input causes a panic, and a decoded document encodes to bytes that mean the same.
func FuzzDecodeDoc(f *testing.F) {
	f.Add(EncodeDoc(goldenCondition()))
	f.Add(EncodeDoc(goldenAlert()))
	f.Add(EncodeDoc(goldenDelivery()))
	f.Add([]byte("\x01null"))
	f.Add([]byte("\x01{\"value\":1e999}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzDoc[Condition](t, data)
		fuzzDoc[Alert](t, data)
		fuzzDoc[Delivery](t, data)
	})
}

func fuzzDoc[T doc](t *testing.T, data []byte) {
	v, err := DecodeDoc[T](data)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("an error of another kind: %v", err)
		}
		return
	}
	once := EncodeDoc(v)
	back, err := DecodeDoc[T](once)
	if err != nil {
		t.Fatalf("%s encodes to %s: %v", data, once, err)
	}
	if again := EncodeDoc(back); !bytes.Equal(again, once) {
		t.Fatalf("%s encodes to %s and then to %s", data, once, again)
	}
}

func TestEncodeDocPanicsOnNaN(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a NaN was encoded")
		}
	}()
	EncodeDoc(&Condition{Value: math.NaN()})
}
