package alerts

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files of this package anew; testdata/state.v2.hex only before a version is released")

// sampleState has one of everything: ranges, revisions, gaps, an active condition,
// a false one, NaN columns, and a series that no rule selects.
func sampleState(t testing.TB) *State {
	rs := load(t, `{alert: a, coverage: 0, expr: 'avg(x, "1m") > 5', recover: 'max(x, "1m") < 3'}`, `{alert: b, expr: y > 1, where: labels.host == "web01"}`)
	e := rs.NewEvaluator()
	st := &State{}
	for i, v := range []float64{1, 2.5, 9, 9, 9} {
		end := int64(1_700_000_000_000 + 10_000*i + i/3*10_000)
		ws := []schemas.Window{window(t, `x{cpu="0",host="web01"}`, end, v), window(t, `x{cpu="1",host="web01"}`, end, -v),
			window(t, `y{host="web01"}`, end, v), window(t, `y{host="web02"}`, end, v)}
		ws[0].Count, ws[0].Sum = 3, 3*v
		e.Closed(st, "web01", 10_000, end, ws, nil)
	}
	w := window(t, `y{host="web01"}`, 1_700_000_050_000, 0)
	w.Revision = 2
	e.Closed(st, "web01", 10_000, w.EndMS(), []schemas.Window{w}, nil)
	set := st.find(schemas.NewLabels(map[string]string{"cpu": "1", "host": "web01"}))
	set.series[0].ring.reshape(set.series[0].ring.cols|colFirst, 60_000)
	return st
}

// TestGolden: bytes that were once valid decode for ever, with the same meaning.
func TestGolden(t *testing.T) {
	const file = "testdata/state.v2.hex"
	now := sampleState(t).Append(nil)
	if *rewrite {
		if err := os.WriteFile(file, []byte(hex.EncodeToString(now)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden := readHex(t, file)
	if !bytes.Equal(now, golden) {
		t.Errorf("Append wrote\n%x\nbefore\n%x", now, golden)
	}
	st, err := DecodeState(golden)
	if err != nil {
		t.Fatal(err)
	}
	if again := st.Append(nil); !bytes.Equal(again, golden) {
		t.Errorf("decoded and encoded\n%x\nwant\n%x", again, golden)
	}
	old, err := DecodeState(readHex(t, "testdata/state.v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range old.sets {
		for i := range set.saved {
			if !set.saved[i].last.old {
				t.Errorf("%s was told under the old fingerprint", set.saved[i].rule)
			}
			set.saved[i].last.old = false
		}
	}
	if again := old.Append(nil); !bytes.Equal(again, golden) {
		t.Errorf("version 1 is now\n%x\nwant\n%x", again, golden)
	}
	if len(st.sets) != 3 || len(st.sets[0].saved) != 1 || st.sets[0].saved[0].rule != "g/a" || st.sets[0].saved[0].last.truth != yes {
		t.Errorf("%+v", st.sets)
	}
	x := st.sets[0].series[0]
	if x.metric != "x" || len(x.ring.at) != 5 || x.ring.newest() != 1_700_000_050_000 || x.ring.over(&input{fn: fnAvg}, x.ring.newest(), 60_000) != 6.1 {
		t.Errorf("%+v", x)
	}
	if y := st.sets[2]; y.labels.Get("host") != "web01" || y.series[0].ring.at[0].revision != 2 || y.saved[0].last.truth != no {
		t.Errorf("%+v", y)
	}
	if v := st.sets[1].series[0].ring.value(0, colFirst); v == v {
		t.Errorf("a column that was not kept is %v, want NaN", v)
	}
	if st.DueMS() == 0 {
		t.Error("due is lost")
	}
}

func readHex(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeStateErrors(t *testing.T) {
	good := sampleState(t).Append(nil)
	if _, err := DecodeState(nil); !errors.Is(err, schemas.ErrCorrupt) {
		t.Error(err)
	}
	if _, err := DecodeState([]byte{9}); !errors.Is(err, schemas.ErrVersion) {
		t.Error(err)
	}
	if _, err := DecodeState(append(good, 0)); !errors.Is(err, schemas.ErrCorrupt) {
		t.Error(err)
	}
	for n := 1; n < len(good); n++ {
		if _, err := DecodeState(good[:n]); !errors.Is(err, schemas.ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(good), err)
		}
	}
}

func FuzzDecodeState(f *testing.F) {
	f.Add((&State{}).Append(nil))
	f.Add(sampleState(f).Append(nil))
	f.Add(missState(f, ", shadow: true").Append(nil))
	rs := load(f, `{alert: a, expr: 'avg(x, "1m") > 5', recover: 'max(x, "1m") < 3'}`, `{alert: b, expr: y > 1}`)
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := DecodeState(data)
		if err != nil {
			if !errors.Is(err, schemas.ErrCorrupt) && !errors.Is(err, schemas.ErrVersion) {
				t.Error(err)
			}
			return
		}
		encoded := st.Append(nil)
		again, err := DecodeState(encoded)
		if err != nil {
			t.Fatalf("%x, of %x, does not decode: %v", encoded, data, err)
		}
		if twice := again.Append(nil); !bytes.Equal(encoded, twice) {
			t.Fatalf("%x became %x", encoded, twice)
		}
		e := rs.NewEvaluator()
		out := e.Closed(st, "g", 10_000, 20_000, []schemas.Window{window(t, `x{host="web01"}`, 20_000, 9)}, nil)
		for _, c := range e.Advance(st, "g", math.MaxInt64/2, out) {
			if !finite(c.Value) {
				t.Errorf("%+v", c)
			}
			schemas.EncodeDoc(&c)
		}
	})
}
