package schemas

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// TestAggregateMerge: however samples are split into aggregates, merging these gives the aggregate of all samples, except for
// the last bits of the sum.
func TestAggregateMerge(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		const size, parts = 1000, 6
		var whole, merged Aggregate
		whole.Mark, merged.Mark = 7, 7
		for part := range uint32(parts) {
			var a Aggregate
			for range rnd.IntN(4) {
				off, v := rnd.Uint32N(size), float64(rnd.IntN(20)-10)
				a.Add(off, v)
				whole.Add(part*size+off, v)
			}
			if a.Count > 0 {
				merged.Merge(&a, part*size)
			}
		}
		if merged != whole {
			t.Fatalf("merged %+v, want %+v", merged, whole)
		}
	}
	a := Aggregate{Count: math.MaxUint32 - 1}
	a.Merge(&Aggregate{Count: 5}, 0)
	a.Add(0, 1)
	if a.Count != math.MaxUint32 {
		t.Errorf("4294967290 samples and 6 more are counted as %d", a.Count)
	}
}

// TestColumnsAreAllNumbers: Numbers has all float64 fields of Aggregate, each under its own name.
func TestColumnsAreAllNumbers(t *testing.T) {
	var a Aggregate
	numbers := a.Numbers()
	known := map[*float64]string{}
	for i, p := range numbers {
		known[p] = Columns[i]
	}
	v := reflect.ValueOf(&a).Elem()
	for i := range v.NumField() {
		p, ok := v.Field(i).Addr().Interface().(*float64)
		if !ok {
			continue
		}
		if name := known[p]; name == "" {
			t.Errorf("%s is not among the numbers", v.Type().Field(i).Name)
		}
		delete(known, p)
	}
	if len(known) > 0 {
		t.Errorf("names that are no fields, or appear twice: %v", known)
	}
	if size := v.Type().Size(); size != 56 {
		t.Errorf("an aggregate takes %d bytes, want 56", size)
	}
}
