package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/weir-metrics/weir/pipelines/simulation"
)

func main() {
	duration := flag.Duration("duration", time.Minute, "how long to run")
	first := flag.Uint64("seed", uint64(time.Now().Unix())<<20, "the first seed; each run adds one")
	flag.Parse()
	os.Exit(stress(*first, *duration))
}

// stress plays the runs and returns the exit code.
func stress(first uint64, duration time.Duration) int {
	began := time.Now()
	var all simulation.Stats
	fmt.Printf("playing seeds from %d on, for %v\n", first, duration)
	told, seed := began, first
	for ; time.Since(began) < duration; seed++ {
		r := simulation.Seed(seed)
		all.Add(r.Stats)
		if r.Err != nil {
			fmt.Printf("\nseed %d fails: %v\n\n%d ops; shrinking …\n", seed, r.Err, len(r.Ops))
			small := r.Shrink(2000)
			fmt.Printf("shrunk to %d ops (a trace for pipelines/simulation/testdata):\n\n%s\n%v\n\n", len(small.Ops), small.Trace(), small.Err)
			fmt.Printf("to repeat it: WEIR_SEED=%d WEIR_SEEDS=1 go test ./pipelines/simulation -run TestSeeds\n", seed)
			return 1
		}
		if time.Since(told) >= 5*time.Second {
			told = time.Now()
			fmt.Println(progress(seed-first+1, time.Since(began), &all))
		}
	}
	fmt.Println(progress(seed-first, time.Since(began), &all))
	fmt.Printf("no violation in seeds %d to %d\n", first, seed-1)
	return 0
}

func progress(seeds uint64, took time.Duration, s *simulation.Stats) string {
	return fmt.Sprintf("%5.0fs %d seeds: %d steps, %d samples (%d late, %d refused, %d dropped), %d windows and %d transitions compared, %d kills, %d moves, %d records by zombies",
		took.Seconds(), seeds, s.Ops, s.Applied, s.Late, s.Refused, s.Dropped, s.Windows, s.Transitions, s.Kills, s.Moves, s.ZombieReads)
}
