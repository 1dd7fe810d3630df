package alerts

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestReuseIsTheSame: rules that are loaded with those before at hand are those that are loaded without,
// and so are the faults, whatever was changed: files, their order, tables, tiers.
func TestReuseIsTheSame(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	tables := map[string]string{"a.csv": "host,limit\nh,1\n", "b.csv": "host,limit\nh,2\n"}
	cfg := LoadConfig{TiersMS: tiersMS, Table: func(_, path string) (File, error) {
		text, ok := tables[path]
		if !ok {
			return File{}, errors.New("is gone")
		}
		return File{Name: "dir/" + path, Data: []byte(text)}, nil
	}}
	text := func(group int) string {
		s := "limits:\n- {name: t, labels: [host], file: " + [...]string{"a.csv", "b.csv"}[rng.IntN(2)] + "}\ngroups:\n"
		for g := range 1 + rng.IntN(3) {
			s += fmt.Sprintf("- name: g%d_%d\n  rules:\n", group, g)
			for r := range rng.IntN(4) {
				s += fmt.Sprintf("  - {alert: r%d, expr: '%s', annotations: {a: '{{ .Value }}'}}\n", r,
					[...]string{"x > 1", `x > limit("t", labels.host)`, `avg(x, "5m") > 2`, "a-b > 1", "x / y > 3"}[rng.IntN(5)])
			}
			if strings.HasSuffix(s, "rules:\n") {
				s = strings.TrimSuffix(s, "rules:\n") + "rules: []\n"
			}
		}
		return s
	}
	var files []File
	for i := range 4 {
		files = append(files, File{fmt.Sprint(i, ".yaml"), []byte(text(i))})
	}
	before, err := Load(cfg, files...)
	if err != nil {
		t.Fatal(err)
	}
	loaded, refused, reused := 0, 0, 0
	for step := range 400 {
		i := rng.IntN(len(files))
		undo := files[i].Data
		switch rng.IntN(7) {
		case 0, 1:
			files[i].Data = []byte(text(i))
		case 2:
			files[i].Data = []byte(text(rng.IntN(len(files)))) // with names of another
		case 3:
			rng.Shuffle(len(files), func(a, b int) { files[a], files[b] = files[b], files[a] })
		case 4:
			tables["a.csv"] = fmt.Sprintf("host,limit\nh,%d\n", rng.IntN(3))
		case 5:
			if cfg.GracesMS = nil; rng.IntN(2) == 0 {
				cfg.GracesMS = []int64{1000}
			}
		case 6:
			delete(tables, "b.csv")
			if rng.IntN(2) == 0 {
				tables["b.csv"] = "host,limit\nh,much\n"
			}
		}
		fresh, freshErr := Load(cfg, files...)
		again := cfg
		again.Before = before
		next, err := Load(again, files...)
		if fmt.Sprint(err) != fmt.Sprint(freshErr) {
			t.Fatalf("step %d: %v\nwithout the rules before: %v", step, err, freshErr)
		}
		if tables["b.csv"] = "host,limit\nh,2\n"; err != nil {
			refused++
			files[i].Data = undo
			continue
		}
		loaded++
		if next.Hash() != fresh.Hash() || !reflect.DeepEqual(next.Describe(), fresh.Describe()) || !reflect.DeepEqual(next.Info(), fresh.Info()) ||
			fmt.Sprint(next.Warnings()) != fmt.Sprint(fresh.Warnings()) || !reflect.DeepEqual(next.files, fresh.files) {
			t.Fatalf("step %d: differs\n%q\n%q", step, next.Describe(), fresh.Describe())
		}
		for k, r := range next.rules {
			if r.index != k || r.hash != fresh.rules[k].hash || next.byName[r.name] != r || r.graceMS != fresh.rules[k].graceMS {
				t.Fatalf("step %d: rule %d is %+v, want %+v", step, k, r, fresh.rules[k])
			}
			if old := before.byName[r.name]; old != nil && old.expr == r.expr {
				reused++
			}
		}
		for k, r := range before.rules {
			if r.index != k {
				t.Fatalf("step %d: the place of a rule that is in use has become %d", step, r.index)
			}
		}
		before = next
	}
	if loaded < 50 || refused < 20 || reused < 200 {
		t.Errorf("%d loads, %d refused, %d rules reused: not enough to tell", loaded, refused, reused)
	}
}
