package schemas

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func windowBatchSample() *WindowBatch {
	cpu := Series{Metric: "cpu.usage", Labels: NewLabels(map[string]string{"host": "web01", "cpu": "0"})}
	up := Series{Metric: "up", Labels: NewLabels(map[string]string{"host": "web01"})}
	return &WindowBatch{EmitMS: 1_700_000_012_345, NewestMS: 1_700_000_012_001, Windows: []Window{
		{Series: cpu, TierMS: 10_000, StartMS: 1_700_000_000_000, Aggregate: Aggregate{
			Count: 3, Sum: 6.5, Min: 1, Max: 3.5, First: 1, Last: 2, FirstOff: 100, LastOff: 9_999}},
		{Series: up, TierMS: 10_000, StartMS: 1_700_000_000_000, Revision: 7, Aggregate: Aggregate{
			Count: 1, Sum: 1, Min: 1, Max: 1, First: 1, Last: 1, FirstOff: 100, LastOff: 100}},
		{Series: up, TierMS: 3600_000, StartMS: 1_699_999_200_000, Part: NewPart(2, 41), Aggregate: Aggregate{Count: 1, Sum: math.Copysign(0, -1),
			Min: math.Copysign(0, -1), Max: math.Copysign(0, -1), First: math.Copysign(0, -1), Last: math.Copysign(0, -1)}},
		{Series: up, TierMS: 10_000, StartMS: -20_000, Aggregate: Aggregate{Count: 2, Sum: 3, Min: 1, Max: 2, First: 1, Last: 2, LastOff: 9_999}},
	}}
}

func TestWindowBatchRoundTrip(t *testing.T) {
	want := windowBatchSample()
	got, err := DecodeWindowBatch(AppendWindowBatch(nil, want))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	if !got.Windows[2].Late() || got.Windows[1].Late() {
		t.Fatal("Late reports the wrong parts as late")
	}
}

// TestWindowBatchGolden decodes the golden bytes of each version.
func TestWindowBatchGolden(t *testing.T) {
	for _, name := range []string{"windowbatch_v1.golden", "windowbatch_v2.golden"} {
		t.Run(name, func(t *testing.T) { testWindowBatchGolden(t, filepath.Join("testdata", name)) })
	}
}

func testWindowBatchGolden(t *testing.T, file string) {
	b := AppendWindowBatch(nil, windowBatchSample())
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) && os.Getenv("WEIR_WRITE_GOLDEN") != "" {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeWindowBatch(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, windowBatchSample()) {
		t.Fatalf("golden bytes decode to %+v", got)
	}
	if golden[0] == windowBatchVersion && !bytes.Equal(golden, b) {
		t.Fatal("the encoding of the newest version has changed: give the new form a new version")
	}
}

func TestWindowBatchFaults(t *testing.T) {
	b := AppendWindowBatch(nil, windowBatchSample())
	for n := 1; n < len(b); n++ {
		if got, err := DecodeWindowBatch(b[:n]); err == nil && len(got.Windows) >= 4 {
			t.Fatalf("%d of %d bytes decode to all windows", n, len(b))
		} else if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, err := DecodeWindowBatch([]byte{9, 1, 2}); !errors.Is(err, ErrVersion) {
		t.Fatalf("version 9: %v", err)
	}
}

func FuzzWindowBatchDecode(f *testing.F) {
	f.Add(AppendWindowBatch(nil, windowBatchSample()))
	f.Add(AppendWindowBatch(nil, &WindowBatch{}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, v []byte) {
		b, err := DecodeWindowBatch(v)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("unnamed error: %v", err)
			}
			return
		}
		if len(b.Windows) > len(v) {
			t.Fatalf("%d windows out of %d bytes", len(b.Windows), len(v))
		}
	})
}

func TestMergeParts(t *testing.T) {
	w := Window{Aggregate: Aggregate{Count: 2, Sum: 3, Min: 1, Max: 2, First: 1, Last: 2, FirstOff: 10, LastOff: 20}}
	w.MergeParts(&Window{Part: 1, Aggregate: Aggregate{Count: 1, Sum: 9, Min: 9, Max: 9, First: 9, Last: 9, FirstOff: 5, LastOff: 5}})
	want := Window{Aggregate: Aggregate{Count: 3, Sum: 12, Min: 1, Max: 9, First: 9, Last: 2, FirstOff: 5, LastOff: 20}}
	if !reflect.DeepEqual(w, want) {
		t.Fatalf("%+v, want %+v", w, want)
	}
}

func TestTierName(t *testing.T) {
	for ms, want := range map[int64]string{10_000: "10s", 60_000: "1m", 3600_000: "1h", 90_000: "90s", 86_400_000: "1d", 1500: "1500ms"} {
		if got := TierName(ms); got != want {
			t.Errorf("TierName(%d) = %s, want %s", ms, got, want)
		}
	}
}
