package alert

import (
	"testing"
	"time"

	"github.com/weir-metrics/weir/schemas"
)

// TestLostIsRemembered: the table records that an alert's state was lost. So even after a restart, receivers are told the
// end of an alert of which weir no longer knows the beginning.
func TestLostIsRemembered(t *testing.T) {
	l := &logic{forgetMS: time.Hour.Milliseconds()}
	v := &life{}
	l.Lost(nil, v, 1_800_000_000_000)
	back, err := decodeLife(l.Append(nil, nil, v))
	if err != nil || back.lostMS != v.lostMS || l.Gone(back) || l.Due(back) != v.lostMS+l.forgetMS {
		t.Errorf("%+v, %v: want that it was lost at %d", back, err, v.lostMS)
	}
	v.alert = &schemas.Alert{Fingerprint: "f", State: schemas.Firing}
	if back, err = decodeLife(l.Append(nil, nil, v)); err != nil || back.alert == nil || back.alert.Fingerprint != "f" || back.lostMS != v.lostMS {
		t.Errorf("%+v, %v", back, err)
	}
	if old, err := decodeLife([]byte{1, 4, 6}); err != nil || old.seenMS != 2 || old.forgetMS != 3 || old.lostMS != 0 {
		t.Errorf("version 1: %+v, %v", old, err)
	}
	for _, bad := range [][]byte{{}, {0}, {3, 0, 0, 0}, {2}, {2, 0}, {2, 0, 0}, {2, 0, 0, 0, 9}} {
		if got, err := decodeLife(bad); err == nil {
			t.Errorf("%v is %+v", bad, got)
		}
	}
}
