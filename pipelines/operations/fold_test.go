package operations

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-metrics/weir/deploy/conf"
)

func fold(t *testing.T, grace time.Duration, in string) (out string, f *Fold) {
	t.Helper()
	c, err := FoldConfig([]conf.Duration{conf.Duration(10 * time.Second), conf.Duration(time.Minute)}, conf.Duration(grace))
	if err != nil {
		t.Fatal(err)
	}
	f = NewFold(c)
	if err := f.Read("in.csv", strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String(), f
}

func TestFold(t *testing.T) {
	out, f := fold(t, 2*time.Second, `series,timestamp_ms,value
"cpu{cpu=""0"",host=""web,01""}",0,1.5
cpu{host="web,01",cpu="0"},9999,2

mem , 1000 , -3e3
cpu{cpu="0",host="web,01"},10000,1e-7
cpu{cpu="0",host="web,01"},10000,1e-7
`)
	want := `series,tier,start,end,count,sum,min,max,first,last,revision
"cpu{cpu=""0"",host=""web,01""}",10s,0,10000,2,3.5,1.5,2,1.5,2,0
"cpu{cpu=""0"",host=""web,01""}",10s,10000,20000,1,1e-07,1e-07,1e-07,1e-07,1e-07,0
"cpu{cpu=""0"",host=""web,01""}",1m,0,60000,3,3.5000001,1e-07,2,1.5,1e-07,0
mem,10s,0,10000,1,-3000,-3000,-3000,-3000,-3000,0
mem,1m,0,60000,1,-3000,-3000,-3000,-3000,-3000,0
`
	if out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	if f.Err() != nil || f.Duplicates() != 1 {
		t.Error(f.Err(), f.Duplicates())
	}
}

// TestFoldRevises: a sample that comes after its window closed raises the revision.
func TestFoldRevises(t *testing.T) {
	out, _ := fold(t, time.Second, "a,5000,1\na,11500,1\na,6000,1\n")
	if !strings.Contains(out, "a,10s,0,10000,2,2,1,1,1,1,1\n") {
		t.Error(out)
	}
}

func TestFoldBadLines(t *testing.T) {
	bad := []string{"a", "a,x,1", "a,1.5,1", "a,1,NaN", "a,1,+Inf", "a,1,", ",1,1", `a{b},1,1`, `a{b="c",1,1`}
	out, f := fold(t, 0, "good,1,1\n"+strings.Join(bad, "\n"))
	if !strings.Contains(out, "good,10s,0,10000,1,1,") {
		t.Error(out)
	}
	told := strings.Split(f.Err().Error(), "\n")
	if len(told) != len(bad) {
		t.Errorf("%d of %d told: %v", len(told), len(bad), f.Err())
	}
	for i, line := range told {
		if !strings.HasPrefix(line, fmt.Sprintf("in.csv:%d: ", i+2)) {
			t.Error(line)
		}
	}
}

func TestFoldTellsSomeBadLinesAndCountsAll(t *testing.T) {
	_, f := fold(t, 0, "good,1,1\n"+strings.Repeat("bad\n", 1000))
	if told := strings.Split(f.Err().Error(), "\n"); len(told) != maxFaults+1 || told[maxFaults] != "and 980 more bad lines" {
		t.Error(f.Err())
	}
}

// TestFoldHintsAtUnits: times in seconds are counted as they stand, and told.
func TestFoldHintsAtUnits(t *testing.T) {
	out, f := fold(t, 0, "a,1700000000,1\n")
	if h := f.Hints(); f.Err() != nil || !strings.Contains(out, "a,10s,1700000000,") || len(h) != 1 || !strings.Contains(h[0], "in.csv: 1 of 1 times, read as ms: it looks like seconds") {
		t.Errorf("%v %v\n%s", f.Err(), h, out)
	}
}

// TestFoldNAB: rows without a series are those of the file's name.
func TestFoldNAB(t *testing.T) {
	out, f := fold(t, 0, "timestamp,value\n1970-01-01 00:00:01,2\n")
	if f.Err() != nil || !strings.Contains(out, "in,10s,0,10000,1,2,2,2,2,2,0\n") {
		t.Error(out, f.Err())
	}
}

func TestFoldConfigFaults(t *testing.T) {
	for _, tiers := range [][]conf.Duration{nil, {conf.Duration(time.Millisecond)}, {conf.Duration(time.Minute), conf.Duration(time.Second)}} {
		if _, err := FoldConfig(tiers, 0); err == nil {
			t.Errorf("%v: no error", tiers)
		}
	}
}
