package schemas

import (
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

func TestRetire(t *testing.T) {
	for text, r := range map[string]Retire{
		"5201":                                 {},
		"520104686f7374037765620470617468012f": {Labels: Labels{{"host", "web"}, {"path", "/"}}},
	} {
		b := r.AppendTo(nil)
		if hex.EncodeToString(b) != text {
			t.Errorf("%+v is %x, want %s", r, b, text)
		}
		got, err := DecodeRetire(b)
		if err != nil || !reflect.DeepEqual(*got, r) || !IsRetire(b) {
			t.Errorf("%x is %+v, %v", b, got, err)
		}
	}
	for text, want := range map[string]error{"": ErrCorrupt, "R": ErrCorrupt, "R\x02": ErrVersion, "R\x01\x05host": ErrCorrupt, "R\x01\x00\x01x": ErrEmptyName} {
		if _, err := DecodeRetire([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
	var b SampleBatch
	if err := b.Decode([]byte("R\x01")); err == nil || IsRetire(new(BatchBuilder).AppendTo(nil)) {
		t.Errorf("a Retire and a batch are taken for each other: %v", err)
	}
}

func TestRetireOf(t *testing.T) {
	r := Retire{Labels: Labels{{"host", "web"}}}
	for _, c := range []struct {
		labels Labels
		want   bool
	}{{nil, false}, {Labels{{"host", "web"}}, true}, {Labels{{"host", "web"}, {"path", "/"}}, true}, {Labels{{"host", "db"}}, false}} {
		if r.Of(c.labels) != c.want || !(&Retire{}).Of(c.labels) {
			t.Errorf("%v: %v", c.labels, r.Of(c.labels))
		}
	}
}

func FuzzDecodeRetire(f *testing.F) {
	f.Add((&Retire{Labels: Labels{{"host", "web"}}}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRetire(b)
		if err != nil {
			return
		}
		if again, err := DecodeRetire(r.AppendTo(nil)); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%+v, %v, want %+v", again, err, r)
		}
	})
}
