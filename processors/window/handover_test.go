package window

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

func TestHandoverBytes(t *testing.T) {
	h := handover{tierMS: 10_000, delayMS: -250, rules: []byte{1, 2, 3}}
	golden := []byte{'H', 1, 0x90, 0x4e, 0xf3, 0x03, 1, 2, 3}
	if b := h.append(nil); !bytes.Equal(b, golden) {
		t.Errorf("% x", b)
	}
	got, err := decodeHandover(golden)
	if err != nil || got.tierMS != h.tierMS || got.delayMS != h.delayMS || !bytes.Equal(got.rules, h.rules) {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range 6 {
		if _, err := decodeHandover(golden[:min(i, 5)]); !errors.Is(err, schemas.ErrCorrupt) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
	if _, err := decodeHandover([]byte{'H', 2}); !errors.Is(err, schemas.ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
	var b schemas.SampleBatch
	if err := b.Decode(golden); err == nil || isHandover(new(schemas.BatchBuilder).AppendTo(nil)) {
		t.Errorf("a handover and a batch are taken for each other: %v", err)
	}
}

func FuzzDecodeHandover(f *testing.F) {
	f.Add([]byte{'H', 1, 0x90, 0x4e, 0xf3, 0x03, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHandover(b)
		if err != nil {
			return
		}
		again, err := decodeHandover(h.append(nil))
		if err != nil || again.tierMS != h.tierMS || again.delayMS != h.delayMS || !bytes.Equal(again.rules, h.rules) {
			t.Errorf("%+v, %v, want %+v", again, err, h)
		}
	})
}

func TestPassedPrecedesTheValue(t *testing.T) {
	value := []byte{7, 1, 2}
	web := schemas.Retire{Labels: schemas.Labels{{Name: "host", Value: "web"}, {Name: "path", Value: "/"}}}
	for _, g := range []*group{{}, {passed: passed{handed: 1}}, {passed: passed{taken: 3}}, {retired: []retirement{{atMS: 1_700_000_000_000}}},
		{passed: passed{handed: 7, taken: 7}, retired: []retirement{{atMS: -5, record: web}, {atMS: 9}}}} {
		b := append(g.appendPassed(nil), value...)
		got, retired, rest, err := decodePassed(b)
		if err != nil || got != g.passed || !reflect.DeepEqual(retired, g.retired) || !bytes.Equal(rest, value) {
			t.Errorf("%+v: %+v, %+v, % x, %v", g, got, retired, rest, err)
		}
		for n := 4; n < len(b)-len(value) && len(g.retired) > 0; n++ {
			if _, _, _, err := decodePassed(b[:n]); !errors.Is(err, schemas.ErrCorrupt) {
				t.Errorf("the first %d bytes of % x: %v", n, b, err)
			}
		}
	}
}

func FuzzDecodeRetired(f *testing.F) {
	f.Add((&group{retired: []retirement{{atMS: 5, record: schemas.Retire{Labels: schemas.Labels{{Name: "a", Value: "b"}}}}}}).appendPassed(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		done, retired, _, err := decodePassed(b)
		if err != nil {
			return
		}
		g := &group{passed: done, retired: retired}
		again, retiredAgain, _, err := decodePassed(append(g.appendPassed(nil), 1))
		if err != nil || again != done || !reflect.DeepEqual(retiredAgain, retired) {
			t.Errorf("%+v, %+v, %v, want %+v, %+v", again, retiredAgain, err, done, retired)
		}
	})
}
