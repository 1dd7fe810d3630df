package schemas

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestGenerationsValidate(t *testing.T) {
	for _, c := range []struct {
		list []Generation
		want string
	}{
		{FirstGeneration(8).List, ""},
		{[]Generation{{Shards: 8, FromMS: math.MinInt64, State: Retired}, {Gen: 1, Shards: 1, State: Active}}, ""},
		{nil, "generations: none"},
		{[]Generation{{State: Active}}, "generation 0: shards 0 below 1"},
		{[]Generation{{Shards: 1, State: "new"}}, `generation 0: state "new"`},
		{[]Generation{{Shards: 1, State: Retired}}, "generation 0: retired, though it is the newest"},
		{[]Generation{{Shards: 1, State: Active}, {Gen: 1, Shards: 1, State: Planned}}, "generation 1: from_ms 0 out of order"},
		{[]Generation{{Gen: 1, Shards: 1, State: Active}, {Gen: 1, Shards: 1, FromMS: 1, State: Planned}}, "generation 1: number out of order"},
	} {
		g := Generations{List: c.list}
		err := g.Validate()
		switch {
		case c.want == "" && err != nil, c.want != "" && (!errors.Is(err, ErrCorrupt) || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("%+v: %v, want %q", c.list, err, c.want)
		}
	}
}

func TestGenerationsLive(t *testing.T) {
	g := Generations{List: []Generation{{Gen: 0, State: Retired}, {Gen: 1, State: Draining}, {Gen: 2, State: Active}}}
	if live := g.Live(); len(live) != 2 || live[0].Gen != 1 || live[1].Gen != 2 {
		t.Error(live)
	}
	g.List[1].State = Closed
	if open, live := g.Open(), g.Live(); len(open) != 1 || open[0].Gen != 2 || len(live) != 2 {
		t.Error(open, live)
	}
	if n := g.After(0); n == nil || n.Gen != 1 {
		t.Error(n)
	}
	if n := g.After(2); n != nil {
		t.Error(n)
	}
	if g.Newest().Gen != 2 {
		t.Error(g.Newest())
	}
}
