package schemas

import (
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"testing"
)

func TestTick(t *testing.T) {
	for _, c := range []struct {
		tick Tick
		hex  string
	}{
		{Tick{NowMS: 1_700_000_000_000}, "010000018bcfe56800"}, // the oldest form of a tick
		{Tick{NowMS: NoTime}, "018000000000000000"},
		{Tick{NowMS: -5, Unknown: true}, "0201fffffffffffffffb000000000000000000"},
		{Tick{NowMS: 1000, Epoch: 7, Behind: []Behind{{0, 900}, {300, -1}}}, "020000000000000003e807000000000000000200880eac0201"},
	} {
		b := c.tick.AppendTo(nil)
		if hex.EncodeToString(b) != c.hex {
			t.Errorf("%+v is %x, want %s", c.tick, b, c.hex)
		}
		got, err := DecodeTick(b)
		if err != nil || !reflect.DeepEqual(got, c.tick) {
			t.Errorf("%x is %+v, %v, want %+v", b, got, err, c.tick)
		}
		for n := range b {
			if _, err := DecodeTick(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%x: %v", b[:n], err)
			}
		}
		if _, err := DecodeTick(append(b, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a byte too many: %v", err)
		}
	}
	if _, err := DecodeTick([]byte{3, 0, 0, 0, 0, 0, 0, 0, 0}); !errors.Is(err, ErrVersion) {
		t.Errorf("version 3: %v", err)
	}
	for _, at := range []int64{latestMS + 1, math.MaxInt64} {
		if _, err := DecodeTick((&Tick{NowMS: at}).AppendTo(nil)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a tick at %d: %v", at, err)
		}
	}
	tick := Tick{NowMS: 1000, Behind: []Behind{{2, 900}, {3, 2000}}}
	if tick.Of(0) != 1000 || tick.Of(2) != 900 || tick.Of(3) != 1000 || tick.OfAll() != 900 {
		t.Errorf("%d %d %d %d", tick.Of(0), tick.Of(2), tick.Of(3), tick.OfAll())
	}
	if tick = (Tick{NowMS: 1000, Unknown: true}); tick.Of(0) != NoTime || tick.OfAll() != NoTime {
		t.Errorf("a tick that knows nothing: %d %d", tick.Of(0), tick.OfAll())
	}
}
