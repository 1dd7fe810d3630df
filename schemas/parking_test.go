package schemas

import (
	"encoding/hex"
	"errors"
	"slices"
	"testing"
)

func TestParking(t *testing.T) {
	for _, c := range []struct {
		ps   []Parked
		want string
	}{
		{nil, "500100"},
		{[]Parked{{"web01", 0}}, "500101057765623031" + "00"},
		{[]Parked{{"a", 1}, {"", -1}, {"bc", 1_700_000_000_000}}, "500103016102000102626380a0abfef962"},
	} {
		b := AppendParking(nil, c.ps)
		if got := hex.EncodeToString(b); got != c.want {
			t.Errorf("%v: %s, want %s", c.ps, got, c.want)
		}
		got, err := DecodeParking(b)
		if err != nil || !slices.Equal(got, c.ps) || !IsParking(b) {
			t.Errorf("%v: %v, %v", c.ps, got, err)
		}
		for n := range b {
			if _, err := DecodeParking(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v, %d bytes: %v", c.ps, n, err)
			}
		}
		if _, err := DecodeParking(append(b, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v and a byte: %v", c.ps, err)
		}
		if _, err := DecodeTick(b); err == nil {
			t.Errorf("%v is a tick, too", c.ps)
		}
	}
	if _, err := DecodeParking([]byte{'P', 2, 0}); !errors.Is(err, ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
	if IsParking((&Tick{NowMS: 1}).AppendTo(nil)) || IsParking(nil) {
		t.Error("a tick, or nothing, lists values to be parked")
	}
}

func FuzzDecodeParking(f *testing.F) {
	f.Add(AppendParking(nil, []Parked{{"web01", 3}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ps, err := DecodeParking(b)
		if err != nil {
			return
		}
		if again, err := DecodeParking(AppendParking(nil, ps)); err != nil || !slices.Equal(ps, again) {
			t.Errorf("%v, again %v, %v", ps, again, err)
		}
	})
}
