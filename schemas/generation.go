package schemas

import (
	"fmt"
	"math"
	"strconv"
)

// GenerationState is how far a generation of samples has come.
type GenerationState string

// The states of a generation, in order.
const (
	Planned  GenerationState = "planned"  // takes samples from FromMS on, a time that may still be to come
	Active   GenerationState = "active"   // takes current samples
	Draining GenerationState = "draining" // takes only samples from before the next one's FromMS
	Closed   GenerationState = "closed"   // takes nothing any more, but some records may still be on their way
	Retired  GenerationState = "retired"  // holds nothing and is not processed
)

// Generation is one set of shards: a samples topic, a window table and a Goka group.
// It takes the samples whose time is at or after FromMS and before the next
// generation's.
type Generation struct {
	Gen    int             `json:"gen"`
	Shards int32           `json:"shards"`
	FromMS int64           `json:"from_ms"` // event time, ms; math.MinInt64 of the first
	State  GenerationState `json:"state"`
}

// Generations is the record of all generations, oldest first: the value of the key
// "generations" of the topic of that name. Encode it with EncodeDoc.
type Generations struct {
	Version int64        `json:"version"` // +1 with each change
	List    []Generation `json:"list"`
}

// FirstGeneration is the record of a weir that has never been resharded.
func FirstGeneration(shards int32) *Generations {
	return &Generations{List: []Generation{{Shards: shards, FromMS: math.MinInt64, State: Active}}}
}

// Validate returns an error that names the first generation that is invalid: numbers and times must
// ascend, shards must be 1 to 10,000, and the newest generation must not be retired.
func (g *Generations) Validate() error {
	if len(g.List) == 0 {
		return fmt.Errorf("generations: none: %w", ErrCorrupt)
	}
	if g.Version < 0 {
		return fmt.Errorf("generations: version %d: %w", g.Version, ErrCorrupt)
	}
	for i, n := range g.List {
		fault := ""
		switch {
		case n.Gen < 0 || n.Gen > maxGeneration || i > 0 && n.Gen <= g.List[i-1].Gen:
			fault = "number out of order"
		case i > 0 && n.FromMS <= g.List[i-1].FromMS:
			fault = "from_ms " + strconv.FormatInt(n.FromMS, 10) + " out of order"
		case n.Shards < 1:
			fault = "shards " + strconv.Itoa(int(n.Shards)) + " below 1"
		case n.Shards > maxShards:
			fault = "shards " + strconv.Itoa(int(n.Shards)) + " above " + strconv.Itoa(maxShards)
		case n.FromMS > latestMS:
			fault = "from_ms " + strconv.FormatInt(n.FromMS, 10) + " after the year 9999"
		case n.State != Planned && n.State != Active && n.State != Draining && n.State != Closed && n.State != Retired:
			fault = "state " + strconv.Quote(string(n.State))
		case (n.State == Closed || n.State == Retired) && i == len(g.List)-1:
			fault = string(n.State) + ", though it is the newest"
		}
		if fault != "" {
			return fmt.Errorf("generation %d: %s: %w", n.Gen, fault, ErrCorrupt)
		}
	}
	return nil
}

// maxShards is how many shards a generation may have; schemas/topics has the same bound.
const maxShards = 10_000

// maxGeneration keeps NewPart's upper bits positive.
const maxGeneration = 1<<23 - 1

// Open returns the generations that take samples, oldest first, at least one. The first of them
// also takes the samples of the generations that are gone.
func (g *Generations) Open() []Generation {
	var open []Generation
	for _, n := range g.List {
		if n.State != Closed && n.State != Retired {
			open = append(open, n)
		}
	}
	return open
}

// Live returns the generations that are processed, oldest first, at least one.
func (g *Generations) Live() []Generation {
	var live []Generation
	for _, n := range g.List {
		if n.State != Retired {
			live = append(live, n)
		}
	}
	return live
}

// Newest returns the generation that was planned last.
func (g *Generations) Newest() *Generation { return &g.List[len(g.List)-1] }

// After returns the generation that follows gen, or nil.
func (g *Generations) After(gen int) *Generation {
	for i := range g.List {
		if g.List[i].Gen > gen {
			return &g.List[i]
		}
	}
	return nil
}

// ShardReport is what the owner of a shard reports about it every few seconds, in the topic
// shard-reports, under the key Key.
type ShardReport struct {
	Gen       int     `json:"gen"`
	Shard     int32   `json:"shard"`
	Owner     string  `json:"owner"` // the address of the process's page, or another name of the process
	AtMS      int64   `json:"at_ms"` // wall clock, ms
	Groups    int64   `json:"groups"`
	Open      int64   `json:"open"` // groups with a window, or with something that rules wait for
	Series    int64   `json:"series"`
	PerSecond float64 `json:"per_second"` // samples, the mean of the last half minute
}

// Key identifies the shard in the compacted topic.
func (r *ShardReport) Key() string {
	return strconv.Itoa(r.Gen) + "/" + strconv.Itoa(int(r.Shard))
}

// Validate returns an error that names the first invalid field.
func (r *ShardReport) Validate() error {
	fault := ""
	switch {
	case r.Gen < 0 || r.Gen > maxGeneration || r.Shard < 0 || r.Shard >= maxShards:
		fault = "shard " + r.Key()
	case r.AtMS < 0 || r.AtMS > latestMS:
		fault = "at_ms " + strconv.FormatInt(r.AtMS, 10)
	case r.Groups < 0 || r.Open < 0 || r.Series < 0 || r.PerSecond < 0:
		fault = fmt.Sprintf("%d groups, %d open, %d series, %g samples/s", r.Groups, r.Open, r.Series, r.PerSecond)
	}
	if fault != "" {
		return fmt.Errorf("shard report: %s: %w", fault, ErrCorrupt)
	}
	return nil
}
