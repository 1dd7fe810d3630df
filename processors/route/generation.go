package route

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weir-metrics/weir/processors/generations"
	"github.com/weir-metrics/weir/schemas"
	"github.com/weir-metrics/weir/schemas/topics"
)

// generation is where samples go from a certain time on.
type generation struct {
	topic  string
	shards int32
	fromMS int64 // event time; the first's does not matter
}

func generationsOf(g *schemas.Generations) []generation {
	var gens []generation
	for _, n := range g.Open() {
		gens = append(gens, generation{topics.SamplesOf(n.Gen), n.Shards, n.FromMS})
	}
	return gens
}

// generation returns the place in gens of the generation that takes samples of that time: so a
// window is whole in one of them. It depends on the sample alone, so the sections of a record that
// is read again are cut as before.
func (e *encoder) generation(timeMS int64) int {
	i := len(e.gens) - 1
	for i > 0 && timeMS < e.gens[i].fromMS {
		i--
	}
	return i
}

// follow uses gens from now on. Call it between two records, when nothing is in flight.
func (e *encoder) follow(gens []generation) {
	if slices.Equal(gens, e.gens) {
		return
	}
	e.gens = gens
	clear(e.known)
	clear(e.groups)
}

// refreshEvery is how often the record of the generations is read while there are
// samples.
const refreshEvery = 2 * time.Second

// follow reads the record of the generations again after a poll: what was polled was produced
// before, so a plan not visible here concerns later samples. It returns an error if the record is
// older than its lease.
func (r *Router) follow(ctx context.Context, gens *generations.Log, e *encoder) error {
	if gens.Age() < refreshEvery {
		return nil
	}
	if err := gens.Refresh(ctx); err != nil {
		if gens.Age() > generations.Lease {
			return fmt.Errorf("not read for %s: %w", gens.Age().Round(time.Second), err)
		}
		r.log.Warn("cannot read the generations, will try again", "err", err)
	}
	e.follow(generationsOf(gens.Current()))
	return nil
}
